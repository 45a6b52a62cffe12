package ref

import (
	"math"

	"meft/tensor"
)

// SwiGLU is tensor.Kernels.SwiGLU.
func (d *Device) SwiGLU(y, gate, up tensor.Tensor) {
	tensor.CheckSame("swiglu", y, gate, up)
	g, u := f64(gate), f64(up)
	for i, to := 0, f64(y); i < len(to); i++ {
		to[i] = g[i] * sigmoid(g[i]) * u[i]
	}
}

// SwiGLUGrad is tensor.Kernels.SwiGLUGrad.
func (d *Device) SwiGLUGrad(dgate, dup, dy, gate, up tensor.Tensor) {
	tensor.CheckSame("swiglu gradient", dy, dgate, dup, gate, up)
	dg, du, gs, us := f64(dgate), f64(dup), f64(gate), f64(up)
	for i, dy := range f64(dy) {
		g, u := gs[i], us[i]
		dg[i] = dy * u * siluSlope(g)
		du[i] = dy * g * sigmoid(g)
	}
}

// Act is tensor.Kernels.Act.
func (d *Device) Act(y, x tensor.Tensor, f tensor.Func) {
	tensor.CheckSame("activation", y, x)
	to := f64(y)
	for i, v := range f64(x) {
		switch f {
		case tensor.ReLU:
			to[i] = max(v, 0)
		case tensor.SiLU:
			to[i] = v * sigmoid(v)
		case tensor.Tanh:
			to[i] = math.Tanh(v)
		case tensor.GELU:
			to[i] = v * geluGate(v)
		}
	}
}

// GELU is x·g, g the logistic function of twice the tangent's argument.
func geluGate(x float64) float64 { return sigmoid(2 * geluScale * (x + geluCube*x*x*x)) }

// geluSlope is the derivative of x·geluGate(x).
func geluSlope(x float64) float64 {
	g := geluGate(x)
	if g == 0 || g == 1 {
		return g
	}
	return g + 2*x*g*(1-g)*geluScale*(1+3*geluCube*x*x)
}

const (
	geluScale = 0.79788456080286535588 // √(2/π)
	geluCube  = 0.044715
)

// ActGrad is tensor.Kernels.ActGrad.
func (d *Device) ActGrad(dx, dy, x tensor.Tensor, f tensor.Func) {
	tensor.CheckSame("activation gradient", x, dx, dy)
	to, g := f64(dx), f64(dy)
	for i, v := range f64(x) {
		switch {
		case f == tensor.SiLU:
			to[i] = g[i] * siluSlope(v)
		case f == tensor.Tanh:
			to[i] = g[i] / (math.Cosh(v) * math.Cosh(v))
		case f == tensor.GELU:
			to[i] = g[i] * geluSlope(v)
		case v > 0:
			to[i] = g[i]
		default:
			to[i] = 0
		}
	}
}

// Dropout is tensor.Kernels.Dropout.
func (d *Device) Dropout(y, x tensor.Tensor, p float32, key uint64) {
	tensor.CheckDropout(y, x, p)
	to := f64(y)
	for i, v := range f64(x) {
		if number := uint32(tensor.Random(key, i/2) >> (32 * (1 - i%2))); number < tensor.DropBelow(p) {
			to[i] = 0
		} else {
			to[i] = v / (1 - float64(p))
		}
	}
}

// Add is tensor.Kernels.Add.
func (d *Device) Add(dst, a, b tensor.Tensor) {
	tensor.CheckSame("add", dst, a, b)
	to, y := f64(dst), f64(b)
	for i, v := range f64(a) {
		to[i] = v + y[i]
	}
}

// Mul is tensor.Kernels.Mul.
func (d *Device) Mul(dst, a, b tensor.Tensor) {
	tensor.CheckSame("mul", dst, a, b)
	to, y := f64(dst), f64(b)
	for i, v := range f64(a) {
		to[i] = v * y[i]
	}
}

// Axpy is tensor.Kernels.Axpy.
func (d *Device) Axpy(y tensor.Tensor, alpha float32, x tensor.Tensor) {
	tensor.CheckSame("axpy", y, x)
	axpy(f64(y), float64(alpha), f64(x))
}

// Fill is tensor.Kernels.Fill.
func (d *Device) Fill(dst tensor.Tensor, v float32) {
	for i, to := 0, f64(dst); i < len(to); i++ {
		to[i] = float64(v)
	}
}

// Convert is tensor.Kernels.Convert.
func (d *Device) Convert(dst, src tensor.Tensor) {
	tensor.CheckConvert(dst, src)
	if src.DType == tensor.I32 {
		copy(ints(dst), ints(src))
		return
	}
	d.Write(dst, values(src))
}

// MaskZeros is tensor.Kernels.MaskZeros.
func (d *Device) MaskZeros(g, w tensor.Tensor) {
	tensor.CheckSame("mask zeros", g, w)
	to := f64(g)
	for i, x := range f64(w) {
		if x == 0 {
			to[i] = 0
		}
	}
}

// SumSquares is tensor.Kernels.SumSquares.
func (d *Device) SumSquares(dst, x tensor.Tensor) {
	tensor.CheckSumSquares(dst, x)
	f64(dst)[0] = dot(f64(x), f64(x))
}

// AdamW is tensor.Kernels.AdamW.
func (d *Device) AdamW(w, g, m, v tensor.Tensor, o tensor.AdamWOpts) {
	tensor.CheckSame("adamw", w, g, m, v)
	weight, grad, m1, m2 := f64(w), f64(g), f64(m), f64(v)
	rate, b1, b2 := float64(o.Rate), float64(o.Beta1), float64(o.Beta2)
	for i := range weight {
		gi := grad[i] * float64(o.Scale)
		m1[i] = b1*m1[i] + (1-b1)*gi
		m2[i] = b2*m2[i] + (1-b2)*gi*gi
		root := math.Sqrt(m2[i]/float64(o.Correct2)) + float64(o.Eps)
		weight[i] -= rate * float64(o.Decay) * weight[i]
		weight[i] -= rate * m1[i] / float64(o.Correct1) / root
	}
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// siluSlope is the derivative of x·sigmoid(x).
func siluSlope(x float64) float64 {
	s := sigmoid(x)
	return s * (1 + x*(1-s))
}
