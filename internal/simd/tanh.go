package simd

import "math"

// Tanh writes hyperbolic tangents, y possibly being x:
//
//	for i := range y {
//		y[i] = tanh(x[i])
//	}
//
// The error is below 4 units in the last place.
func (l Level) Tanh(y, x []float32) {
	x = x[:len(y)]
	if len(y) > 0 {
		switch l {
		case AVX2:
			tanhAVX2(len(y), &y[0], &x[0])
			return
		case AVX512:
			tanhAVX512(len(y), &y[0], &x[0])
			return
		}
	}
	for i, v := range x {
		y[i] = tanh(v)
	}
}

// TanhBackward writes the gradient of [Level.Tanh] at x, dx possibly being dy
// or x:
//
//	for i := range dx {
//		t := tanh(x[i])
//		dx[i] = dy[i] * (1 - t*t)
//	}
func (l Level) TanhBackward(dx, x, dy []float32) {
	x, dy = x[:len(dx)], dy[:len(dx)]
	if len(dx) > 0 {
		switch l {
		case AVX2:
			tanhBackwardAVX2(len(dx), &dx[0], &x[0], &dy[0])
			return
		case AVX512:
			tanhBackwardAVX512(len(dx), &dx[0], &x[0], &dy[0])
			return
		}
	}
	for i, v := range x {
		t := tanh(v)
		dx[i] = dy[i] * (1 - t) * (1 + t)
	}
}

// GELU writes the Gaussian error linear unit in the form with a hyperbolic
// tangent (Hendrycks and Gimpel 2016, https://arxiv.org/abs/1606.08415), y
// possibly being x:
//
//	for i := range y {
//		y[i] = x[i] * (1 + tanh(√(2/π)*(x[i]+0.044715*x[i]³))) / 2
//	}
func (l Level) GELU(y, x []float32) {
	x = x[:len(y)]
	if len(y) > 0 {
		switch l {
		case AVX2:
			geluAVX2(len(y), &y[0], &x[0])
			return
		case AVX512:
			geluAVX512(len(y), &y[0], &x[0])
			return
		}
	}
	for i, v := range x {
		t, _ := geluGate(v)
		y[i] = v * t
	}
}

// GELUBackward writes the gradient of [Level.GELU] at x, dx possibly being dy
// or x:
//
//	for i := range dx {
//		g := (1 + tanh(√(2/π)*(x[i]+0.044715*x[i]³))) / 2
//		dx[i] = dy[i] * (g + x[i]*2*g*(1-g)*√(2/π)*(1+3*0.044715*x[i]²))
//	}
func (l Level) GELUBackward(dx, x, dy []float32) {
	x, dy = x[:len(dx)], dy[:len(dx)]
	if len(dx) > 0 {
		switch l {
		case AVX2:
			geluBackwardAVX2(len(dx), &dx[0], &x[0], &dy[0])
			return
		case AVX512:
			geluBackwardAVX512(len(dx), &dx[0], &x[0], &dy[0])
			return
		}
	}
	for i, v := range x {
		g, rest := geluGate(v)
		v = min(max(v, -geluEnd), geluEnd) // beyond, g or 1-g is 0 and must not meet an infinity
		dx[i] = dy[i] * (g + 2*v*g*rest*geluScale*(1+3*geluCube*v*v))
	}
}

const (
	geluScale = 0.7978845608028654 // √(2/π)
	geluCube  = 0.044715
	geluEnd   = 100
)

// geluGate is g of GELU at x and 1-g: the logistic function of twice the
// argument of the tangent.
func geluGate(x float32) (g, rest float32) {
	x = min(max(x, -geluEnd), geluEnd)
	e := exp(-2 * geluScale * (x + geluCube*x*x*x))
	return 1 / (1 + e), 1 - 1/(1+e)
}

// tanh is by the method of the assembly m/(m+2) with m = e^(2x)-1, which is taken
// of the polynomial of exp without its 1, so that small numbers keep all their
// digits.
func tanh(x float32) float32 {
	x = 2 * min(max(x, -10), 10) // tanh of 10 is 1 in float32; a NaN stays one
	n := float32(math.RoundToEven(float64(x * math.Log2E)))
	if n != n {
		return n
	}
	const hi = 0.693359375 // as in exp
	r := x - float32(n*hi)
	r -= float32(n * float32(math.Ln2-hi))
	p := float32(1.0 / 5040)
	for _, c := range [...]float32{1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1} {
		p = float32(p*r) + c
	}
	two := power2(int32(n))
	m := float32(two*float32(p*r)) + (two - 1)
	return m / (m + 2)
}
