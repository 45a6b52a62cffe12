package ref

import (
	"math"
	"math/rand/v2"
	"testing"

	"meft/tensor"
)

var _ tensor.Device = (*Device)(nil)

// bench is a device and a source of random tensors for one test.
type bench struct {
	*Device
	t   *testing.T
	rng *rand.Rand
}

func newBench(t *testing.T) *bench {
	return &bench{Device: New(), t: t, rng: rand.New(rand.NewPCG(7, 7))}
}

func (b *bench) zeros(d tensor.DType, dims ...int) tensor.Tensor {
	b.t.Helper()
	a := tensor.NewArena(b, &tensor.Ledger{}, &tensor.Ledger{})
	x := a.New("x", d, dims...)
	if a.Err() != nil {
		b.t.Fatal(a.Err())
	}
	return x
}

// random is a tensor of normal numbers, none closer to zero than 0.01: a step
// of the differences does not cross the kink of a ReLU.
func (b *bench) random(dims ...int) tensor.Tensor {
	x := b.zeros(tensor.F32, dims...)
	v := b.Read(x)
	for i := range v {
		v[i] = b.rng.NormFloat64()
		v[i] += math.Copysign(0.01, v[i])
	}
	b.Write(x, v)
	return x
}

func (b *bench) ids(v []float64, dims ...int) tensor.Tensor {
	x := b.zeros(tensor.I32, dims...)
	b.Write(x, v)
	return x
}

// dot is the loss whose gradient with respect to y is dy.
func (b *bench) dot(y, dy tensor.Tensor) float64 { return dot(b.Read(y), b.Read(dy)) }

// differ compares the gradient dx with central differences of loss in x.
//
// With a step h the differences err by h²/6 times a third derivative, about
// 1e-10 times a number of order 10, and by rounding, 1e-16·|loss|/h = 1e-10.
func (b *bench) differ(name string, dx, x tensor.Tensor, loss func() float64) {
	b.t.Helper()
	const h = 1e-5
	at, got := b.Read(x), b.Read(dx)
	for i, v := range at {
		at[i] = v + h
		b.Write(x, at)
		up := loss()
		at[i] = v - h
		b.Write(x, at)
		down := loss()
		at[i] = v
		b.Write(x, at)
		want := (up - down) / (2 * h)
		if math.Abs(got[i]-want) > 1e-7*(1+math.Abs(want)) {
			b.t.Errorf("%s[%d] is %v, by differences %v", name, i, got[i], want)
		}
	}
}

func TestRMSNormGradIsTheSlope(t *testing.T) {
	b := newBench(t)
	x, w, dy := b.random(3, 5), b.random(5), b.random(3, 5)
	y, rstd := b.zeros(tensor.F32, 3, 5), b.zeros(tensor.F32, 3)
	forward := func() float64 { b.RMSNorm(y, rstd, x, w, 1e-3); return b.dot(y, dy) }
	forward()
	dx, dw := b.zeros(tensor.F32, 3, 5), b.zeros(tensor.F32, 5)
	b.RMSNormGrad(dx, dw, dy, x, w, rstd)
	b.differ("dx", dx, x, forward)
	b.differ("dw", dw, w, forward)
}

func TestBiasGradIsTheSlope(t *testing.T) {
	b := newBench(t)
	bias, dy := b.random(5), b.random(3, 5)
	db := b.zeros(tensor.F32, 5)
	b.BiasGrad(db, dy)
	b.differ("db", db, bias, func() float64 {
		y := b.zeros(tensor.F32, 3, 5)
		b.AddBias(y, bias)
		return b.dot(y, dy)
	})
}

func TestInverseRoPEIsTheSlope(t *testing.T) {
	b := newBench(t)
	x, dy := b.random(3, 2, 4), b.random(3, 2, 4)
	table := b.zeros(tensor.F32, 9, 4)
	angles := b.Read(table)
	for p := range 9 {
		for j := range 2 {
			angles[p*4+j], angles[p*4+2+j] = math.Cos(float64(p*(j+1))), math.Sin(float64(p*(j+1)))
		}
	}
	b.Write(table, angles)
	pos := b.ids([]float64{8, 0, 3}, 3)
	dx := b.zeros(tensor.F32, 3, 2, 4)
	b.Convert(dx, dy)
	b.RoPE(dx, pos, table, true)
	b.differ("dx", dx, x, func() float64 {
		y := b.zeros(tensor.F32, 3, 2, 4)
		b.Convert(y, x)
		b.RoPE(y, pos, table, false)
		return b.dot(y, dy)
	})
}

func TestAttentionGradIsTheSlope(t *testing.T) {
	b := newBench(t)
	const n, h, hkv, hd = 5, 4, 2, 3
	q, k, v, do := b.random(n, h, hd), b.random(n, hkv, hd), b.random(n, hkv, hd), b.random(n, h, hd)
	o, lse := b.zeros(tensor.F32, n, h, hd), b.zeros(tensor.F32, n, h)
	// Two packed sequences, the second with a window of two keys.
	m := tensor.Mask{Start: b.ids([]float64{0, 0, 2, 2, 3}, n), End: b.ids([]float64{1, 2, 3, 4, 5}, n), Scale: 0.6}
	forward := func() float64 { b.Attention(o, lse, q, k, v, m); return b.dot(o, do) }
	forward()
	dq, dk, dv := b.zeros(tensor.F32, n, h, hd), b.zeros(tensor.F32, n, hkv, hd), b.zeros(tensor.F32, n, hkv, hd)
	b.AttentionGrad(dq, dk, dv, do, o, lse, q, k, v, m)
	b.differ("dq", dq, q, forward)
	b.differ("dk", dk, k, forward)
	b.differ("dv", dv, v, forward)
}

func TestElementGradsAreTheSlopes(t *testing.T) {
	b := newBench(t)
	x, u, c, dy := b.random(3, 5), b.random(3, 5), b.random(3, 5), b.random(3, 5)
	y, dx, du := b.zeros(tensor.F32, 3, 5), b.zeros(tensor.F32, 3, 5), b.zeros(tensor.F32, 3, 5)

	b.SwiGLUGrad(dx, du, dy, x, u)
	swiglu := func() float64 { b.SwiGLU(y, x, u); return b.dot(y, dy) }
	b.differ("dgate", dx, x, swiglu)
	b.differ("dup", du, u, swiglu)

	for f := tensor.ReLU; f <= tensor.SiLU; f++ {
		b.ActGrad(dx, dy, x, f)
		b.differ("act", dx, x, func() float64 { b.Act(y, x, f); return b.dot(y, dy) })
	}

	b.GatedReLUGrad(du, dx, dy, u, c)
	gated := func() float64 { b.GatedReLU(y, u, c); return b.dot(y, dy) }
	b.differ("du", du, u, gated)
	b.differ("dc", dx, c, gated)
	b.GatedReLUGrad(du, tensor.Tensor{}, dy, u, tensor.Tensor{})
	b.differ("du without gate", du, u, func() float64 { b.GatedReLU(y, u, tensor.Tensor{}); return b.dot(y, dy) })

	b.Softmax(y, x)
	b.SoftmaxGrad(dx, dy, y)
	b.differ("softmax", dx, x, func() float64 { b.Softmax(y, x); return b.dot(y, dy) })
}

func TestRowGradsAreTheSlopes(t *testing.T) {
	b := newBench(t)
	ids := b.ids([]float64{3, 0, -1, 1, 3, 2}, 2, 3)
	x, rows, z, ds := b.random(2, 5), b.random(4, 5), b.random(2, 3), b.random(2, 3)

	// s = RowDots(x, rows): drows is RowOuter(ds, x), dx is RowAdd(ds, rows).
	drows, dx := b.zeros(tensor.F32, 4, 5), b.zeros(tensor.F32, 2, 5)
	b.RowOuter(drows, ds, x, ids)
	b.RowAdd(dx, ds, rows, ids)
	dots := func() float64 {
		s := b.zeros(tensor.F32, 2, 3)
		b.RowDots(s, x, rows, ids)
		return b.dot(s, ds)
	}
	b.differ("drows", drows, rows, dots)
	b.differ("dx", dx, x, dots)

	// y = RowAdd(z, rows): dz is RowDots(dy, rows).
	dy, dz := b.random(2, 5), b.zeros(tensor.F32, 2, 3)
	b.RowDots(dz, dy, rows, ids)
	b.differ("dz", dz, z, func() float64 {
		y := b.zeros(tensor.F32, 2, 5)
		b.RowAdd(y, z, rows, ids)
		return b.dot(y, dy)
	})

	p, dp := b.random(2, 4), b.zeros(tensor.F32, 2, 4)
	b.PickGrad(dp, ds, ids)
	b.differ("dp", dp, p, func() float64 {
		c := b.zeros(tensor.F32, 2, 3)
		b.Pick(c, p, ids)
		return b.dot(c, ds)
	})
}

func TestMatMulGradsAreTheSlopes(t *testing.T) {
	b := newBench(t)
	x, w, dy := b.random(3, 4), b.random(5, 4), b.random(3, 5)
	dx, dw := b.zeros(tensor.F32, 3, 4), b.zeros(tensor.F32, 5, 4)
	b.MatMul(dx, dy, w, tensor.MatMulOpts{Alpha: 0.5})
	b.MatMul(dw, dy, x, tensor.MatMulOpts{Alpha: 0.5, TransA: true})
	forward := func() float64 {
		y := b.zeros(tensor.F32, 3, 5)
		b.MatMul(y, x, w, tensor.MatMulOpts{Alpha: 0.5, TransB: true})
		return b.dot(y, dy)
	}
	b.differ("dx", dx, x, forward)
	b.differ("dw", dw, w, forward)
}

func TestScatterAddIsTheSlopeOfGather(t *testing.T) {
	b := newBench(t)
	table, dy, ids := b.random(4, 3), b.random(3, 3), b.ids([]float64{2, 0, 2}, 3)
	dtable := b.zeros(tensor.F32, 4, 3)
	b.ScatterAdd(dtable, dy, ids)
	b.differ("dtable", dtable, table, func() float64 {
		y := b.zeros(tensor.F32, 3, 3)
		b.Gather(y, table, ids)
		return b.dot(y, dy)
	})
}

func TestCrossEntropyLeavesItsSlope(t *testing.T) {
	b := newBench(t)
	logits, targets := b.random(3, 6), b.ids([]float64{5, -1, 0}, 3)
	loss, grad := b.zeros(tensor.F32, 3), b.zeros(tensor.F32, 3, 6)
	b.Convert(grad, logits)
	b.CrossEntropy(loss, grad, targets, 0.25)
	b.differ("dlogits", grad, logits, func() float64 {
		b.CrossEntropy(loss, logits, targets, 0)
		v := b.Read(loss)
		return 0.25 * (v[0] + v[1] + v[2])
	})
}
