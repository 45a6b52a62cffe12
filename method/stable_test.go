package method

import (
	"math"
	"slices"
	"testing"

	"meft/tensor"
)

// stableBench is a branch that learns routes, its rows those of training().
func stableBench(t *testing.T) (b *bench, n *neurons, x tensor.Tensor) {
	b = newBench(t, func(f *MEFT) {
		f.Router, f.Gate, f.TopK, f.StableLoss, f.StableShare = RouteStable, GateAuto, 3, 0.7, 0.1
	})
	n = b.f.branches[0]
	b.fill(n.tokens.W)
	b.f.At(0, 40)
	b.m.Forward(training())
	x = testTensor(t, b.Device, 3, n.d)
	b.fill(x)
	return b, n, x
}

// TestStableLossesHaveTheirGradients: with no gradient from above Backward gives
// the router and the input that of the balance loss, and the token router that of
// the distillation, by differences with the choice of experts held.
func TestStableLossesHaveTheirGradients(t *testing.T) {
	b, n, xt := stableBench(t)
	const rows = 3
	words := testTensor(t, b.Device, rows, n.d)
	b.m.Words(words)
	x, w, g, r := b.Read(xt), b.Read(words), b.Read(n.router.W), b.Read(n.tokens.W)
	before := n.counts.Auxiliary
	b.forward(t, n, xt)
	logits := func(router, in []float64, t int) []float64 {
		out := make([]float64, n.experts)
		for e := range out {
			for i := range n.d {
				out[e] += router[e*n.d+i] * in[t*n.d+i]
			}
		}
		return out
	}
	var chosen [rows]int32
	load := make([]float64, n.experts)
	for t := range rows {
		chosen[t] = best(logits(g, x, t), 1)[0]
		load[chosen[t]]++
	}
	if !slices.Equal(n.probes[:rows], chosen[:]) {
		t.Fatalf("experts %v, wants those of the highest logits %v", n.probes[:rows], chosen)
	}
	loss := func() (sum float64) {
		for t, e := range chosen {
			over := load[e]*float64(n.experts)/rows - 1
			sum += 0.7 / rows * over / (1 + math.Exp(-logits(g, x, t)[e]))
			total, out := 0.0, logits(r, w, t)
			for _, v := range out {
				total += math.Exp(v)
			}
			sum += 0.7 / rows * (math.Log(total) - out[e])
		}
		return sum
	}
	dx := testTensor(t, b.Device, rows, n.d)
	for _, d := range []tensor.Tensor{n.router.D, n.tokens.D} {
		b.Fill(d, 0)
	}
	n.Backward(dx, testTensor(t, b.Device, rows, n.d), xt)
	// The host adds up numbers that it has as float32.
	if told, want := n.counts.Auxiliary-before, loss(); math.Abs(told-want) > 1e-5*math.Abs(want) {
		t.Errorf("the losses told come to %v, wants %v", told, want)
	}
	for name, c := range map[string]struct{ values, got []float64 }{
		"router": {g, b.Read(n.router.D)}, "token router": {r, b.Read(n.tokens.D)}, "input": {x, b.Read(dx)},
	} {
		some := false
		for i, old := range c.values {
			const step = 1e-6
			c.values[i] = old + step
			up := loss()
			c.values[i] = old - step
			down := loss()
			c.values[i] = old
			want := (up - down) / (2 * step)
			some = some || want != 0
			// The gradient of a gate is a float32, as the scale of a loss is.
			if math.Abs(c.got[i]-want) > 1e-6*math.Abs(want)+1e-8 {
				t.Fatalf("gradient %d of the %s is %v, by differences %v", i, name, c.got[i], want)
			}
		}
		if !some {
			t.Errorf("the %s has no gradient: nothing was tested", name)
		}
	}
}

// TestTokenRouterDecidesInTheEnd: after its share of the steps, and in every pass
// that is not of training, a token's expert follows from the token, and the token
// router stands still.
func TestTokenRouterDecidesInTheEnd(t *testing.T) {
	b, n, x := stableBench(t)
	route := func() []int32 {
		b.fill(x)
		b.forward(t, n, x)
		return slices.Clone(n.probes[:3])
	}
	for step, learns := range map[int]bool{0: true, 3: true, 4: false, 39: false} {
		b.f.At(step, 40)
		if n.learns() != learns || n.tokens.Still == learns {
			t.Errorf("step %d of 40: learns %v, the token router stands still %v", step, n.learns(), n.tokens.Still)
		}
	}
	b.f.At(4, 40)
	words := testTensor(t, b.Device, 3, n.d)
	b.m.Words(words)
	w, r := b.Read(words), b.Read(n.tokens.W)
	var want []int32
	for i := range 3 {
		score := make([]float64, n.experts)
		for e := range score {
			for j := range n.d {
				score[e] += r[e*n.d+j] * w[i*n.d+j]
			}
		}
		want = append(want, best(score, 1)[0])
	}
	for range 3 {
		if got := route(); !slices.Equal(got, want) {
			t.Errorf("experts %v, the tokens' are %v", got, want)
		}
	}
	b.f.At(0, 40)
	still := training()
	still.Draw = 0
	b.m.Forward(still)
	if got := route(); !slices.Equal(got, want) {
		t.Errorf("outside of training experts %v, the tokens' are %v", got, want)
	}
}
