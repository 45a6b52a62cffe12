package method

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"meft/model"
	"meft/ref"
	"meft/tensor"
)

// bench is one MEFT on the reference device, with random parameters and inputs
// for its branches.
type bench struct {
	*ref.Device
	f *MEFT
	m *model.Model
	r *rand.Rand
}

func newBench(t *testing.T, change func(f *MEFT)) *bench {
	t.Helper()
	f := &MEFT{Router: RouteKeyExperts, Neurons: 23, TopK: 4, Experts: 6, Probe: 2, Gate: GateLogit, Share: ShareToken, Layers: "all", Idle: "lazy", Activation: "relu", Master: "f32", Moments: "f32"}
	change(f)
	b := &bench{Device: ref.New(), f: f, r: rand.New(rand.NewPCG(7, 7))}
	b.m = modelOn(t, b.Device, f, model.Size{Rows: 9, Context: 9, Grad: true})
	t.Cleanup(func() { f.Close() })
	for _, n := range f.branches {
		for _, x := range [][]float32{n.table.K, n.table.V, n.table.G} {
			for i := range x {
				x[i] = float32(b.r.NormFloat64())
			}
		}
		b.fill(n.router.W)
	}
	return b
}

func (b *bench) fill(t tensor.Tensor) []float64 {
	x := make([]float64, t.Len())
	for i := range x {
		x[i] = float64(float32(b.r.NormFloat64()))
	}
	b.Write(t, x)
	return x
}

// forward is what a branch adds to zeros.
func (b *bench) forward(t *testing.T, n *neurons, x tensor.Tensor) []float64 {
	y := testTensor(t, b.Device, x.Dim(0), x.Dim(1))
	n.Forward(y, x)
	return b.Read(y)
}

// TestOutputFollowsTheFormula computes MEFT's output as the comment of MEFT
// writes it, in float64.
func TestOutputFollowsTheFormula(t *testing.T) {
	for _, share := range []string{ShareToken, ShareUnion} {
		for _, gate := range []string{GateLogit, GateNone, GateSoftmax, SwiGLU} {
			b := newBench(t, func(f *MEFT) {
				if f.Share, f.Gate = share, gate; gate == SwiGLU {
					f.Gate, f.Activation = GateLogit, SwiGLU
				}
			})
			n := b.f.branches[0]
			xt := testTensor(t, b.Device, 9, n.d)
			x := b.fill(xt)
			got := b.forward(t, n, xt)
			want := plainOutput(n, x, b.Read(n.router.W), share, n.gate)
			for i := range want {
				if math.Abs(got[i]-want[i]) > 1e-12*(1+math.Abs(want[i])) {
					t.Fatalf("%s, %s: output %d is %v, wants %v", share, gate, i, got[i], want[i])
				}
			}
		}
	}
}

func plainOutput(n *neurons, x, router []float64, share, gate string) []float64 {
	d := n.d
	dot := func(a []float64, b []float32) (sum float64) {
		for i, v := range a {
			sum += v * float64(b[i])
		}
		return sum
	}
	rows := len(x) / d
	score := make([][]float64, rows) // a of every neuron
	kept := make([][]int32, rows)
	used := map[int32]bool{}
	for t := range rows {
		h := x[t*d : (t+1)*d]
		g, sum := make([]float64, n.experts), 0.0
		for e := range g {
			for i, v := range h {
				g[e] += v * router[e*d+i]
			}
			sum += math.Exp(g[e])
		}
		probed := best(g, n.probe)
		candidates := make([]float64, n.m)
		for i := range n.m {
			e := i / n.each
			w := map[string]float64{GateLogit: g[e], GateNone: 1, GateSoftmax: math.Exp(g[e]) / sum}[gate]
			a := w * dot(h, n.table.Range(n.scored(), i, i+1).F32)
			score[t] = append(score[t], a)
			if candidates[i] = a; !slices.Contains(probed, int32(e)) {
				candidates[i] = math.Inf(-1)
			}
		}
		kept[t] = best(candidates, n.top)
		for _, i := range kept[t] {
			used[i] = true
		}
	}
	y := make([]float64, len(x))
	for t := range rows {
		for i := range int32(n.m) {
			if share == ShareToken && !slices.Contains(kept[t], i) || !used[i] {
				continue
			}
			a := score[t][i]
			z := max(a, 0)
			if n.swiglu {
				z = a / (1 + math.Exp(-a)) * dot(x[t*d:(t+1)*d], n.table.K[int(i)*d:(int(i)+1)*d])
			}
			for c := range d {
				y[t*d+c] += z * float64(n.table.V[int(i)*d+c])
			}
		}
	}
	return y
}

func TestHoldKeepsThePicks(t *testing.T) {
	b := newBench(t, func(*MEFT) {})
	n := b.f.branches[0]
	x := testTensor(t, b.Device, 9, n.d)
	b.fill(x)
	picks := func() []int32 {
		b.forward(t, n, x)
		var ids []int32
		for _, at := range n.picks[:9*n.top] {
			ids = append(ids, n.union[at])
		}
		return ids
	}
	before := picks()
	b.f.Hold(true)
	b.fill(x)
	if !slices.Equal(picks(), before) {
		t.Error("picks changed while held")
	}
	b.f.Hold(false)
	if slices.Equal(picks(), before) {
		t.Error("picks did not change with the input")
	}
}

// TestForwardNeverUsesRowsGatheredAhead runs Backward of the upper block alone,
// which gathers rows for the lower one, and changes them.
func TestForwardNeverUsesRowsGatheredAhead(t *testing.T) {
	b := newBench(t, func(*MEFT) {})
	low, high := b.f.branches[0], b.f.branches[1]
	x, dy := testTensor(t, b.Device, 9, low.d), testTensor(t, b.Device, 9, low.d)
	b.fill(x)
	b.fill(dy)
	before := b.forward(t, low, x)
	b.forward(t, high, x)
	high.Backward(tensor.Tensor{}, dy, x)
	for i := range low.table.V {
		low.table.V[i] *= 2
	}
	for i, v := range b.forward(t, low, x) {
		if v != 2*before[i] {
			t.Fatalf("output %d is %v after doubling all values, wants twice %v", i, v, before[i])
		}
	}
}

// TestGradientsArriveWhenTheLowestBlockReturns: those of the upper block wait
// on their way until the block below it comes.
func TestGradientsArriveWhenTheLowestBlockReturns(t *testing.T) {
	b := newBench(t, func(*MEFT) {})
	low, high := b.f.branches[0], b.f.branches[1]
	x, dy := testTensor(t, b.Device, 9, low.d), testTensor(t, b.Device, 9, low.d)
	b.fill(x)
	b.fill(dy)
	for _, n := range []*neurons{low, high} {
		b.forward(t, n, x)
	}
	high.Backward(tensor.Tensor{}, dy, x)
	if got := high.table.Touched(); got != 0 {
		t.Errorf("%d rows have gradients before anyone waited", got)
	}
	low.Backward(tensor.Tensor{}, dy, x)
	for _, n := range []*neurons{low, high} {
		if n.table.Touched() != n.used || n.used == 0 {
			t.Errorf("block %d: %d rows have gradients, wants the %d of the union", n.block, n.table.Touched(), n.used)
		}
	}
}
