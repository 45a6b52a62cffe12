package param

import (
	"flag"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"meft/internal/simd"
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

func testAdamW() AdamW { return AdamW{Beta1: 0.9, Beta2: 0.99, Eps: 1e-8, Decay: 0.1} }

// testRate changes with every step, so that a step replayed with the rate of
// another shows.
func testRate(step int) float32 { return 0.01 / float32(1+step%7) }

func newTable(t *testing.T, rows, dim int, o TableOptions) *Table {
	t.Helper()
	return arenas(t, func(a *tensor.Arena) *Table { return NewTable(a, "t", rows, dim, o) })
}

func randomize(r *rand.Rand, x []float32) {
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
}

func randoms(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	randomize(r, x)
	return x
}

func all(n int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(i)
	}
	return ids
}

// some is a random ascending subset of n ids, possibly empty.
func some(r *rand.Rand, n int, share float64) []int32 {
	return slices.DeleteFunc(all(n), func(int32) bool { return r.Float64() > share })
}

func same(t *testing.T, what string, got, want []float32) {
	t.Helper()
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("%s: element %d is %v, wants exactly %v", what, i, got[i], want[i])
		}
	}
}

func TestIdleSettingsAgreeWhenEveryRowIsTouched(t *testing.T) {
	r := newRand(t)
	const rows, dim, steps = 45, 19, 12
	for _, idle := range []Idle{Lazy, Moving, Replay} {
		tab := newTable(t, rows, dim, TableOptions{Idle: idle})
		randomize(r, tab.K)
		randomize(r, tab.V)
		k, v := slices.Clone(tab.K), slices.Clone(tab.V)
		k64 := widen(k)
		mk, vk, mv, vv := make([]float32, len(k)), make([]float32, len(k)), make([]float32, len(k)), make([]float32, len(k))
		m64, v64 := make([]float64, len(k)), make([]float64, len(k))
		for step := range steps {
			dk, dv := randoms(r, rows*dim), randoms(r, rows*dim)
			tab.ZeroGrad()
			tab.ScatterAdd(all(rows), [Parts][]float32{dk, dv})
			tab.Step(step, testAdamW(), testRate, 0.5)
			o := testAdamW().opts(step, testRate(step), 0.5)
			p := scalars(o)
			tab.level.AdamW(k, dk, mk, vk, &p)
			tab.level.AdamW(v, dv, mv, vv, &p)
			adamw64(k64, widen(dk), m64, v64, o)
		}
		same(t, string(idle)+" keys", tab.K, k)
		same(t, string(idle)+" values", tab.V, v)
		for i := range k64 {
			// A step rounds a handful of times, each by 2⁻²⁴ of numbers of size
			// |w| + rate; rounding of the moments enters through the quotient.
			if bound := steps * 8 * 0x1p-24 * (math.Abs(k64[i]) + 1); math.Abs(float64(tab.K[i])-k64[i]) > bound {
				t.Fatalf("%s: key %d is %v, float64 gives %v", idle, i, tab.K[i], k64[i])
			}
		}
	}
}

func widen(x []float32) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}

// TestReplayEqualsMoving needs no tolerance: a missed step that is made up for
// is the same arithmetic on the same numbers.
func TestReplayEqualsMoving(t *testing.T) {
	r := newRand(t)
	const rows, dim = 70, 9
	for _, decay := range []float32{0, 0.1} {
		adam := testAdamW()
		adam.Decay = decay
		moving := newTable(t, rows, dim, TableOptions{Idle: Moving})
		replay := newTable(t, rows, dim, TableOptions{Idle: Replay})
		randomize(r, moving.K)
		randomize(r, moving.V)
		copy(replay.K, moving.K)
		copy(replay.V, moving.V)
		for step := range 60 {
			moving.ZeroGrad()
			replay.ZeroGrad()
			for range r.IntN(3) {
				ids := some(r, rows, 0.05)
				n := len(ids) * dim
				var k, v [2][]float32
				for i, tab := range []*Table{moving, replay} {
					k[i], v[i] = make([]float32, n), make([]float32, n)
					tab.Gather([Parts]Rows{Rows{F32: k[i]}, Rows{F32: v[i]}}, ids)
				}
				same(t, "gathered keys", k[1], k[0])
				same(t, "gathered values", v[1], v[0])
				dk, dv := randoms(r, n), randoms(r, n)
				moving.ScatterAdd(ids, [Parts][]float32{dk, dv})
				replay.ScatterAdd(ids, [Parts][]float32{dk, dv})
			}
			moving.Step(step, adam, testRate, 1)
			replay.Step(step, adam, testRate, 1)
			if step == 31 {
				replay.Flush() // saving in between changes nothing
			}
		}
		if slices.Equal(moving.V, replay.V) {
			t.Fatal("no row was idle: nothing was tested")
		}
		replay.Flush()
		same(t, "keys", replay.K, moving.K)
		same(t, "values", replay.V, moving.V)
		same(t, "moments", replay.parts[Value].m.f32, moving.parts[Value].m.f32)
		same(t, "squares", replay.parts[Key].v.f32, moving.parts[Key].v.f32)
	}
}

// naive is a table with every idle rule written down without cleverness, in
// float64.
type naive struct {
	idle       Idle
	dim        int
	w, g, m, v [2][]float64
	count      []int
	has        []bool
}

func newNaive(tab *Table) *naive {
	n := &naive{idle: tab.o.Idle, dim: tab.Dim, count: make([]int, tab.Rows), has: make([]bool, tab.Rows)}
	for h, x := range [2][]float32{tab.K, tab.V} {
		n.w[h] = widen(x)
		n.g[h], n.m[h], n.v[h] = make([]float64, len(x)), make([]float64, len(x)), make([]float64, len(x))
	}
	return n
}

func (n *naive) zero() { clear(n.g[0]); clear(n.g[1]); clear(n.has) }

func (n *naive) add(ids []int32, d [2][]float32) {
	for j, id := range ids {
		n.has[id] = true
		for h := range d {
			for c := range n.dim {
				n.g[h][int(id)*n.dim+c] += float64(d[h][j*n.dim+c])
			}
		}
	}
}

func (n *naive) step(step int, scale float32) {
	for id := range n.has {
		done := step
		if n.idle == Lazy {
			if !n.has[id] {
				continue
			}
			done = n.count[id]
			n.count[id]++
		}
		from, to := id*n.dim, (id+1)*n.dim
		for h := range n.w {
			adamw64(n.w[h][from:to], n.g[h][from:to], n.m[h][from:to], n.v[h][from:to], testAdamW().opts(done, testRate(step), scale))
		}
	}
}

func TestTableSimulation(t *testing.T) {
	r := newRand(t)
	pool := simd.NewPool(2, simd.Best())
	defer pool.Close()
	for _, o := range []TableOptions{{Idle: Lazy}, {Idle: Moving}, {Idle: Replay}, {Idle: Lazy, Pool: pool}, {Idle: Replay, Pool: pool}} {
		rows, dim := 1+r.IntN(100), 1+r.IntN(40)
		tab := newTable(t, rows, dim, o)
		randomize(r, tab.K)
		randomize(r, tab.V)
		truth := newNaive(tab)
		step := 0
		for range 300 {
			switch r.IntN(6) {
			case 0, 1:
				ids := some(r, rows, r.Float64()*0.3)
				d := [2][]float32{randoms(r, len(ids)*dim), randoms(r, len(ids)*dim)}
				tab.ScatterAdd(ids, [Parts][]float32{d[0], d[1]})
				truth.add(ids, d)
			case 2:
				scale := 0.25 + r.Float32()
				tab.Step(step, testAdamW(), testRate, scale)
				truth.step(step, scale)
				step++
			case 3:
				tab.ZeroGrad()
				truth.zero()
			case 4:
				compareGrads(t, tab, truth)
			case 5:
				compareRows(t, tab, truth, some(r, rows, 0.3), step)
			}
		}
		compareRows(t, tab, truth, all(rows), step)
	}
}

func compareGrads(t *testing.T, tab *Table, truth *naive) {
	t.Helper()
	touched, sum := 0, 0.0
	for _, h := range truth.has {
		if h {
			touched++
		}
	}
	for _, g := range truth.g {
		for _, v := range g {
			sum += v * v
		}
	}
	if tab.Touched() != touched {
		t.Fatalf("%d rows touched, wants %d", tab.Touched(), touched)
	}
	for id, h := range truth.has {
		g := tab.Gradient(int32(id))
		for half, d := range [2][]float32{g[Key], g[Value]} {
			if !h && d != nil || h && len(d) != tab.Dim {
				t.Fatalf("row %d, touched %v, has a gradient of %d elements", id, h, len(d))
			}
			for c, v := range d {
				// At most a few hundred float32 of size 1 were added up.
				if want := truth.g[half][id*tab.Dim+c]; math.Abs(float64(v)-want) > 1e-4 {
					t.Fatalf("gradient of row %d, column %d is %v, wants %v", id, c, v, want)
				}
			}
		}
	}
	// Gradients are sums of at most a few hundred float32.
	if got := tab.SumSquares(); math.Abs(got-sum) > 1e-5*sum {
		t.Fatalf("sum of squares is %v, wants %v", got, sum)
	}
}

func compareRows(t *testing.T, tab *Table, truth *naive, ids []int32, step int) {
	t.Helper()
	var got [2][]float32
	for h := range got {
		got[h] = make([]float32, len(ids)*tab.Dim)
	}
	tab.Gather([Parts]Rows{Rows{F32: got[0]}, Rows{F32: got[1]}}, ids)
	for h := range got {
		for j, id := range ids {
			for c := range tab.Dim {
				want := truth.w[h][int(id)*tab.Dim+c]
				// As above; a gradient that sums to almost nothing by
				// cancellation may turn the quotient m/sqrt(v) by 1e-4 of a step.
				bound := float64(step+1) * (8*0x1p-24*(math.Abs(want)+1) + 1e-4*0.01)
				if diff := math.Abs(float64(got[h][j*tab.Dim+c]) - want); !(diff <= bound) {
					t.Fatalf("%s, half %d, row %d, column %d after %d steps: %v, wants %v", tab.o.Idle, h, id, c, step, got[h][j*tab.Dim+c], want)
				}
			}
		}
	}
}

func TestStepCostsTouchedRowsOnly(t *testing.T) {
	const rows, dim = 100_000, 3
	ids := []int32{5, 31, 32, 77_777, rows - 1}
	grad := make([]float32, len(ids)*dim)
	fill(grad, 1)
	for idle, want := range map[Idle]int64{Lazy: 5, Replay: 5, Moving: rows} {
		tab := newTable(t, rows, dim, TableOptions{Idle: idle})
		for step := range 3 {
			tab.visits.Store(0)
			tab.ZeroGrad()
			tab.ScatterAdd(ids, [Parts][]float32{grad, grad})
			tab.Step(step, testAdamW(), testRate, 1)
			if got := tab.visits.Load(); got != want {
				t.Errorf("%s: step %d worked on %d rows, wants %d", idle, step, got, want)
			}
		}
	}
}

func TestThreadsDoNotChangeTheResult(t *testing.T) {
	r := newRand(t)
	const rows, dim = 130, 33
	pool := simd.NewPool(3, simd.Best())
	defer pool.Close()
	alone, shared := newTable(t, rows, dim, TableOptions{}), newTable(t, rows, dim, TableOptions{Pool: pool})
	for step := range 5 {
		for range 2 {
			ids := some(r, rows, 0.4)
			dk, dv := randoms(r, len(ids)*dim), randoms(r, len(ids)*dim)
			alone.ScatterAdd(ids, [Parts][]float32{dk, dv})
			shared.ScatterAdd(ids, [Parts][]float32{dk, dv})
		}
		if a, b := alone.SumSquares(), shared.SumSquares(); a != b {
			t.Errorf("norms %v and %v", a, b)
		}
		alone.Step(step, testAdamW(), testRate, 1)
		shared.Step(step, testAdamW(), testRate, 1)
		alone.ZeroGrad()
		shared.ZeroGrad()
	}
	same(t, "keys", shared.K, alone.K)
	same(t, "values", shared.V, alone.V)
}

func TestFrozenKeysStayAndCostNothing(t *testing.T) {
	r := newRand(t)
	const rows, dim = 40, 16
	tab := newTable(t, rows, dim, TableOptions{FrozenKeys: true})
	randomize(r, tab.K)
	before := slices.Clone(tab.K)
	tab.ScatterAdd(all(rows), [Parts][]float32{nil, randoms(r, rows*dim)})
	tab.Step(0, testAdamW(), testRate, 1)
	same(t, "keys", tab.K, before)
	if zero(tab.V) {
		t.Error("values did not move")
	}
	bytes := func(o TableOptions) int64 {
		var l tensor.Ledger
		NewTable(tensor.NewPlan(&l), "t", rows, dim, o)
		return l.Used(tensor.OnHost)
	}
	const matrix = rows * dim * 4
	if whole, frozen := bytes(TableOptions{}), bytes(TableOptions{FrozenKeys: true}); whole-frozen != 3*matrix {
		t.Errorf("frozen keys save %d bytes, wants gradient and moments of %d", whole-frozen, 3*matrix)
	}
	if fixed := bytes(TableOptions{Fixed: true}); fixed != 2*matrix {
		t.Errorf("a fixed table takes %d bytes, wants %d", fixed, 2*matrix)
	}
}

func TestBadIdsPanic(t *testing.T) {
	tab := newTable(t, 10, 2, TableOptions{})
	buf := make([]float32, 100)
	for _, ids := range [][]int32{{1, 1}, {2, 1}, {-1}, {10}} {
		for name, call := range map[string]func(){
			"gather":  func() { tab.Gather([Parts]Rows{Rows{F32: buf}, Rows{F32: buf}}, ids) },
			"scatter": func() { tab.ScatterAdd(ids, [Parts][]float32{buf, buf}) },
		} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s of %v went through", name, ids)
					}
				}()
				call()
			}()
		}
	}
}
