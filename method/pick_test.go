package method

import (
	"cmp"
	"flag"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"meft/cpu"
	"meft/model"
	"meft/tensor"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the simulations; 0 takes one from the clock")

func newRand(t *testing.T) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("repeat with -seed %d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// best are the places of the k highest scores by sorting, ascending.
func best(score []float64, k int) []int32 {
	places := make([]int32, len(score))
	for i := range places {
		places[i] = int32(i)
	}
	slices.SortStableFunc(places, func(a, b int32) int { return cmp.Compare(score[b], score[a]) })
	places = places[:min(k, len(places))]
	slices.Sort(places)
	return places
}

func TestHighestIsTheHeadOfAStableSort(t *testing.T) {
	r := newRand(t)
	for range 2000 {
		n := 1 + r.IntN(60)
		score, wide := make([]float32, n), make([]float64, n)
		distinct := 1 + r.IntN(n)
		for i := range score {
			v := float32(r.IntN(distinct)) - float32(distinct/2)
			switch r.IntN(30) {
			case 0:
				v = float32(math.NaN())
			case 1:
				v = float32(math.Inf(1 - 2*r.IntN(2)))
			}
			if score[i], wide[i] = v, float64(v); v != v {
				wide[i] = math.Inf(-1)
			}
		}
		k := 1 + r.IntN(n+3)
		given := slices.Clone(score)
		got := highest(make([]int32, k), score, make([]float32, n))
		if want := best(wide, k); !slices.Equal(got, want) {
			t.Fatalf("the %d highest of %v are at %v, wants %v", k, given, got, want)
		}
	}
}

// TestManyEqualScoresAreSelectedInLinearTime would take minutes with a
// selection that moves one equal score at a time.
func TestManyEqualScoresAreSelectedInLinearTime(t *testing.T) {
	const n = 1 << 20
	score := make([]float32, n)
	got := highest(make([]int32, n/2), score, make([]float32, n))
	if len(got) != n/2 || got[0] != 0 || got[n/2-1] != n/2-1 {
		t.Errorf("%d of equal scores, the last at %d", len(got), got[len(got)-1])
	}
}

// TestPicksFollowTheDefinition compares with routing and scoring written down
// plainly. All numbers are small integers, so that float32 is exact and ties
// are frequent.
func TestPicksFollowTheDefinition(t *testing.T) {
	r := newRand(t)
	for range 60 {
		f := All()["meft"].(*MEFT)
		f.Neurons = 1 + r.IntN(60)
		f.Experts = r.IntN(f.Neurons + 1)
		f.TopK = 1 + r.IntN(f.Neurons)
		f.Probe = 1 + r.IntN(6)
		f.Gate = []string{GateLogit, GateNone}[r.IntN(2)]
		m := tinyModel(t, f, model.Size{Rows: 1 + r.IntN(40), Context: 8})
		b := f.branches[1]
		n, d := 1+r.IntN(b.n), b.d
		small := func(x []float32) {
			for i := range x {
				x[i] = float32(r.IntN(5) - 2)
			}
		}
		x, g := testTensor(t, m.Device(), n, d), testTensor(t, m.Device(), n, b.experts)
		small(x.Float32())
		small(b.table.K)
		small(b.router.W.Float32())
		if b.routed() {
			m.Device().MatMul(g, x, b.router.W, tensor.MatMulOpts{TransB: true})
		}
		b.choose(g, x)
		union := map[int32]bool{}
		for tok := range n {
			want := plainPicks(b, x.Float32()[tok*d:(tok+1)*d])
			got := []int32{}
			for _, at := range b.picks[tok*b.top : (tok+1)*b.top] {
				if at >= 0 {
					got = append(got, b.union[at])
				}
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%+v: token %d picks %v, wants %v", *f, tok, got, want)
			}
			for _, id := range want {
				union[id] = true
			}
		}
		if b.used != len(union) || !slices.IsSorted(b.union[:b.used]) {
			t.Fatalf("union %v of %d ids, wants %d", b.union[:b.used], b.used, len(union))
		}
	}
}

func plainPicks(b *neurons, x []float32) []int32 {
	dot := func(w []float32) (sum float64) {
		for i, v := range x {
			sum += float64(v) * float64(w[i])
		}
		return sum
	}
	logits := make([]float64, b.experts)
	for e := range logits {
		logits[e] = dot(b.router.W.Float32()[e*b.d : (e+1)*b.d])
	}
	probed := best(logits, b.probe)
	var ids []int32
	var score []float64
	for id := range int32(b.m) {
		e := id / int32(b.each)
		if !slices.Contains(probed, e) {
			continue
		}
		a := dot(b.table.K[int(id)*b.d : (int(id)+1)*b.d])
		if b.gate == GateLogit {
			a *= logits[e]
		}
		ids, score = append(ids, id), append(score, a)
	}
	out := []int32{}
	for _, at := range best(score, b.top) {
		out = append(out, ids[at])
	}
	return out
}

func TestNoExpertIsEmpty(t *testing.T) {
	for m := 1; m < 300; m++ {
		for _, n := range []int{0, 1, 2, 7, m/2 + 1, m} {
			f := &MEFT{Router: RouteKeyExperts, Neurons: m, Experts: min(n, m), TopK: 1, Probe: 1}
			s := f.sizes(&model.Model{Size: model.Size{Rows: 1}})
			if last := s.m - (s.experts-1)*s.each; last < 1 || last > s.each {
				t.Fatalf("%d neurons, %d experts asked: %d of %d, the last has %d", m, n, s.experts, s.each, last)
			}
		}
	}
}

func tinyConfig() model.Config {
	return model.Config{Architecture: "LlamaForCausalLM", Dim: 12, Layers: 2, Heads: 2, KVHeads: 1, HeadDim: 6, Hidden: 16,
		Vocab: 11, MaxPositions: 64, Eps: 1e-5, Theta: 10000, Window: []int{0, 0}, InitRange: 0.3}
}

// tinyModel builds a model with the method attached on a CPU device.
func tinyModel(t *testing.T, f Method, s model.Size) *model.Model {
	t.Helper()
	dev := cpu.New(2)
	t.Cleanup(func() { dev.Close() })
	return modelOn(t, dev, f, s)
}

func modelOn(t *testing.T, dev tensor.Device, f Method, s model.Size) *model.Model {
	t.Helper()
	var plan, real tensor.Ledger
	var m *model.Model
	for _, a := range []*tensor.Arena{tensor.NewPlan(&plan), tensor.NewArena(dev, &real, &plan)} {
		var err error
		if m, err = model.Build(a, tinyConfig(), s); err != nil {
			t.Fatal(err)
		}
		if _, err = f.Attach(m, a, 1); err != nil {
			t.Fatal(err)
		}
	}
	m.Init(1)
	return m
}

func testTensor(t *testing.T, dev tensor.Device, rows, width int) tensor.Tensor {
	t.Helper()
	a := tensor.NewArena(dev, &tensor.Ledger{}, &tensor.Ledger{})
	t.Cleanup(a.Close)
	x := a.New("x", tensor.F32, rows, width)
	if err := a.Err(); err != nil {
		t.Fatal(err)
	}
	return x
}
