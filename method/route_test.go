package method

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"meft/model"
)

func switching(f *MEFT) {
	f.Router, f.Gate, f.Neurons, f.Experts, f.TopK, f.Balance = RouteSwitch, GateAuto, 24, 6, 3, 0.7
}

// TestBalanceLossHasItsGradient: with no gradient from above, what Backward gives
// the router and the input is the gradient of α·N·Σ f_e·P_e by differences, where
// f is held. Shares of a step's batches count one each.
func TestBalanceLossHasItsGradient(t *testing.T) {
	b := newBench(t, switching)
	b.m.Forward(training()) // draws are those of training from here on
	n := b.f.branches[0]
	n.micros = 1
	const rows = 9
	xt, dx := testTensor(t, b.Device, rows, n.d), testTensor(t, b.Device, rows, n.d)
	x, w := b.fill(xt), b.Read(n.router.W)
	before := n.counts.Auxiliary
	b.forward(t, n, xt)
	told := n.counts.Auxiliary - before

	share := make([]float64, n.experts)
	probabilities := func() [][]float64 {
		var all [][]float64
		for t := range rows {
			p, sum := make([]float64, n.experts), 0.0
			for e := range p {
				for i := range n.d {
					p[e] += x[t*n.d+i] * w[e*n.d+i]
				}
				p[e] = math.Exp(p[e])
				sum += p[e]
			}
			for e := range p {
				p[e] /= sum
			}
			all = append(all, p)
		}
		return all
	}
	for _, p := range probabilities() {
		share[best(p, 1)[0]] += 1.0 / rows
	}
	loss := func() (sum float64) {
		for _, p := range probabilities() {
			for e, v := range p {
				sum += 0.7 * float64(n.experts) * share[e] * v / rows
			}
		}
		return sum
	}
	// The host adds up in float32.
	if want := loss(); math.Abs(told-want) > 1e-5*want {
		t.Errorf("the loss told is %v, wants %v", told, want)
	}
	b.Fill(dx, 0)
	b.Fill(n.router.D, 0)
	n.Backward(dx, testTensor(t, b.Device, rows, n.d), xt)
	check := func(what string, values, got []float64) {
		for i := range values {
			const step = 1e-6
			old := values[i]
			values[i] = old + step
			up := loss()
			values[i] = old - step
			down := loss()
			values[i] = old
			// The gradient of a probability is a float32.
			if want := (up - down) / (2 * step); math.Abs(got[i]-want) > 1e-6*math.Abs(want)+1e-8 {
				t.Fatalf("gradient %d of the %s is %v, by differences %v", i, what, got[i], want)
			}
		}
	}
	check("router", w, b.Read(n.router.D))
	check("input", x, b.Read(dx))
}

// training is a batch of training for the model of a bench.
func training() model.Batch {
	return model.Batch{IDs: []int32{1, 2, 3}, Targets: []int32{2, 3, 1}, Pos: []int32{0, 1, 2}, Start: []int32{0, 0, 0}, Scale: 1, Draw: 5}
}

// TestCapacityDropsTheLaterTokens: in training no expert takes more than its
// capacity, the first tokens are served, the others get nothing and are counted;
// otherwise nobody is dropped.
func TestCapacityDropsTheLaterTokens(t *testing.T) {
	b := newBench(t, func(f *MEFT) { switching(f); f.Capacity = 1 })
	n := b.f.branches[0]
	const rows, most = 9, 2 // ceil(9/6)
	x := testTensor(t, b.Device, rows, n.d)
	b.fill(x)
	all := b.forward(t, n, x)
	free := slices.Clone(n.probes[:rows])
	if slices.Contains(free, -1) || n.counts.Dropped != 0 {
		t.Fatalf("experts %v, %d dropped outside of training", free, n.counts.Dropped)
	}
	b.m.Forward(training())
	n.counts = Traffic{}
	y := b.forward(t, n, x)
	taken, dropped := map[int32]int{}, 0
	for i, e := range free {
		row := y[i*n.d : (i+1)*n.d]
		if taken[e]++; taken[e] <= most {
			if n.probes[i] != e || !slices.Equal(row, all[i*n.d:(i+1)*n.d]) {
				t.Errorf("token %d got something else than without a limit", i)
			}
			continue
		}
		dropped++
		if n.probes[i] != -1 || slices.ContainsFunc(row, func(v float64) bool { return v != 0 }) {
			t.Errorf("token %d is beyond the capacity of expert %d and got %v", i, e, row)
		}
	}
	if dropped == 0 || n.counts.Dropped != int64(dropped) {
		t.Errorf("%d dropped, counted %d; wants some", dropped, n.counts.Dropped)
	}
}

// TestProductKeysFindTheHighestOfAllSums compares with all M of them.
func TestProductKeysFindTheHighestOfAllSums(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	for _, side := range []int{1, 2, 7, 16} {
		for _, top := range []int{1, 2, side, 3*side - 2, side * side} {
			top = min(top, side*side)
			s := sizes{m: side * side, n: 1, side: side, top: top, routing: RouteProductKey, gate: GateNone, logitWidth: 4 * side}
			p := &picker{sizes: s, g: make([]float32, 4*side), n: 1}
			p.b = &neurons{picks: make([]int32, top), firsts: make([]int32, top), seconds: make([]int32, top)}
			var sums []float64
			for i := range p.g {
				p.g[i] = float32(r.NormFloat64())
			}
			for i := range side * side {
				sums = append(sums, float64(p.g[i/side]+p.g[3*side+i%side]))
			}
			p.productOf(0, make([]float32, s.room()), make([]int32, s.intRoom()))
			if want := best(sums, top); !slices.Equal(p.b.picks, want) {
				t.Fatalf("side %d, %d of %d: %v, wants %v", side, top, side*side, p.b.picks, want)
			}
			for j, id := range p.b.picks {
				if int(p.b.firsts[j]) != int(id)/side || int(p.b.seconds[j]) != 3*side+int(id)%side {
					t.Fatalf("neuron %d of side %d has columns %d and %d", id, side, p.b.firsts[j], p.b.seconds[j])
				}
			}
		}
	}
}

// TestProductKeysGiveWhatTheFormulaSays, with the gates of the K kept.
func TestProductKeysGiveWhatTheFormulaSays(t *testing.T) {
	for _, gate := range []string{GateNone, GateLogit, GateSoftmax} {
		b := newBench(t, func(f *MEFT) { f.Router, f.Gate, f.Neurons, f.TopK, f.Buffer = RouteProductKey, gate, 25, 4, 3 })
		n := b.f.branches[0]
		xt := testTensor(t, b.Device, 9, n.d)
		x, c := b.fill(xt), b.Read(n.router.W)
		got, half := b.forward(t, n, xt), n.d/2
		for tok := range 9 {
			h, score := x[tok*n.d:(tok+1)*n.d], make([]float64, 25)
			for i := range score {
				for j := range half {
					score[i] += c[i/5*half+j]*h[j] + c[(5+i%5)*half+j]*h[half+j]
				}
			}
			kept, sum := best(score, 4), 0.0
			for _, i := range kept {
				sum += math.Exp(score[i])
			}
			y := make([]float64, n.d)
			for _, i := range kept {
				a := map[string]float64{GateNone: 1, GateLogit: score[i], GateSoftmax: math.Exp(score[i]) / sum}[gate]
				k, v := n.table.K[int(i)*n.d:(int(i)+1)*n.d], n.table.V[int(i)*n.d:(int(i)+1)*n.d]
				z := 0.0
				for j := range k {
					z += float64(k[j]) * h[j]
				}
				for j := range y {
					y[j] += max(a*z, 0) * float64(v[j])
				}
			}
			for j := range y {
				if math.Abs(y[j]-got[tok*n.d+j]) > 1e-12*(1+math.Abs(y[j])) {
					t.Fatalf("%s: token %d, column %d: %v, wants %v", gate, tok, j, got[tok*n.d+j], y[j])
				}
			}
		}
	}
}

// TestExactIsKeyExpertsThatProbeAll, and keeps the highest of all scores.
func TestExactIsKeyExpertsThatProbeAll(t *testing.T) {
	for _, gate := range []string{GateLogit, GateNone, GateSoftmax} {
		exact := newBench(t, func(f *MEFT) { f.Router, f.Gate = RouteExact, gate })
		probing := newBench(t, func(f *MEFT) { f.Gate, f.Probe = gate, 6 })
		a, b := exact.f.branches[0], probing.f.branches[0]
		if gate == GateNone && a.experts != 1 {
			t.Errorf("%d experts where one product does", a.experts)
		}
		copy(b.table.K, a.table.K)
		copy(b.table.V, a.table.V)
		if gate != GateNone {
			probing.Write(b.router.W, exact.Read(a.router.W))
		}
		xa, xb := testTensor(t, exact.Device, 9, a.d), testTensor(t, probing.Device, 9, a.d)
		probing.Write(xb, exact.fill(xa))
		if got, want := exact.forward(t, a, xa), probing.forward(t, b, xb); !slices.Equal(got, want) {
			t.Errorf("%s: %v, wants %v", gate, got, want)
		}
	}
}

func TestRoutersRefuseWhatTheyCannotDo(t *testing.T) {
	c := model.Config{Dim: 16, Layers: 2}
	for name, x := range map[string]struct {
		change func(f *MEFT)
		say    []string
	}{
		"a router there is not":        {func(f *MEFT) { f.Router = "hash" }, []string{"meft_router", "hash", "product-key"}},
		"neurons that are no square":   {func(f *MEFT) { f.Router, f.Neurons = RouteProductKey, 4000 }, []string{"meft_neurons", "4000", "3969", "4096"}},
		"neurons in no equal parts":    {func(f *MEFT) { f.Router, f.Neurons, f.Experts = RouteSwitch, 100, 12 }, []string{"meft_neurons", "100", "96", "108"}},
		"a switch with another gate":   {func(f *MEFT) { f.Router, f.Gate = RouteSwitch, GateLogit }, []string{"meft_gate", "softmax"}},
		"product keys shared":          {func(f *MEFT) { f.Router, f.Share = RouteProductKey, ShareUnion }, []string{"meft_share", "token"}},
		"a balance loss below nothing": {func(f *MEFT) { f.Balance = -1 }, []string{"meft_balance_loss", "-1"}},
		"a capacity that is no number": {func(f *MEFT) { f.Capacity = math.NaN() }, []string{"meft_capacity_factor"}},
		"halves of an odd width":       {func(f *MEFT) { f.Router = RouteProductKey }, []string{"15", "even"}},
	} {
		m, _ := Decode("meft", nil)
		f, c := m.(*MEFT), c
		x.change(f)
		if strings.Contains(name, "odd") {
			c.Dim = 15
		}
		err := f.Check(c)
		if err == nil {
			t.Errorf("%s went through", name)
			continue
		}
		for _, want := range x.say {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, wants %q", name, err, want)
			}
		}
	}
}

// TestSpreadOfLoads: even loads are 1 and 1, all in one is N and 0.
func TestSpreadOfLoads(t *testing.T) {
	for _, x := range []struct {
		loads         []int32
		most, entropy float64
	}{{[]int32{3, 3, 3, 3}, 1, 1}, {[]int32{0, 8, 0, 0}, 4, 0}, {[]int32{0, 0}, 0, 0}, {[]int32{5}, 0, 0}, {[]int32{4, 4, 0, 0}, 2, 0.5}} {
		if most, entropy := spread(x.loads); math.Abs(most-x.most)+math.Abs(entropy-x.entropy) > 1e-12 {
			t.Errorf("%v: %v and %v, wants %v and %v", x.loads, most, entropy, x.most, x.entropy)
		}
	}
}
