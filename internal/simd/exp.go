package simd

import "math"

// Exp writes exponentials, y possibly being x:
//
//	for i := range y {
//		y[i] = exp(x[i] - shift)
//		sum += float64(y[i])
//	}
//
// and returns their sum. The error of exp is below 1.5 units in the last place
// where the result is normal and below 1 in the subnormals; results below
// 2^-150 are 0 and above the range of float32 +Inf; a NaN stays one.
func (l Level) Exp(y, x []float32, shift float32) (sum float64) {
	x = x[:len(y)]
	if len(y) > 0 {
		switch l {
		case AVX2:
			return expAVX2(len(y), &y[0], &x[0], shift)
		case AVX512:
			return expAVX512(len(y), &y[0], &x[0], shift)
		}
	}
	for i, v := range x {
		e := exp(v - shift)
		y[i] = e
		sum += float64(e)
	}
	return sum
}

// Sigmoid writes the logistic function, y possibly being x:
//
//	for i := range y {
//		y[i] = 1 / (1 + exp(-x[i]))
//	}
func (l Level) Sigmoid(y, x []float32) {
	x = x[:len(y)]
	if len(y) > 0 {
		switch l {
		case AVX2:
			sigmoidAVX2(len(y), &y[0], &x[0])
			return
		case AVX512:
			sigmoidAVX512(len(y), &y[0], &x[0])
			return
		}
	}
	for i, v := range x {
		y[i] = sigmoid(v)
	}
}

// SiLU writes x·sigmoid(x), y possibly being x:
//
//	for i := range y {
//		y[i] = x[i] * sigmoid(x[i])
//	}
func (l Level) SiLU(y, x []float32) {
	x = x[:len(y)]
	if len(y) > 0 {
		switch l {
		case AVX2:
			siluAVX2(len(y), &y[0], &x[0])
			return
		case AVX512:
			siluAVX512(len(y), &y[0], &x[0])
			return
		}
	}
	for i, v := range x {
		y[i] = v * sigmoid(v)
	}
}

// SiLUBackward writes the gradient of [Level.SiLU] at x, dx possibly being dy
// or x:
//
//	for i := range dx {
//		s := sigmoid(x[i])
//		dx[i] = dy[i] * s * (1 + x[i]*(1-s))
//	}
func (l Level) SiLUBackward(dx, x, dy []float32) {
	x, dy = x[:len(dx)], dy[:len(dx)]
	if len(dx) > 0 {
		switch l {
		case AVX2:
			siluBackwardAVX2(len(dx), &dx[0], &x[0], &dy[0])
			return
		case AVX512:
			siluBackwardAVX512(len(dx), &dx[0], &x[0], &dy[0])
			return
		}
	}
	for i, v := range x {
		dx[i] = dy[i] * slope(v, sigmoid(v))
	}
}

// SwiGLU writes the gated unit, y possibly being gate or up:
//
//	for i := range y {
//		y[i] = gate[i] * sigmoid(gate[i]) * up[i]
//	}
func (l Level) SwiGLU(y, gate, up []float32) {
	gate, up = gate[:len(y)], up[:len(y)]
	if len(y) > 0 {
		switch l {
		case AVX2:
			swigluAVX2(len(y), &y[0], &gate[0], &up[0])
			return
		case AVX512:
			swigluAVX512(len(y), &y[0], &gate[0], &up[0])
			return
		}
	}
	for i, v := range gate {
		y[i] = v * sigmoid(v) * up[i]
	}
}

// SwiGLUBackward writes the gradients of [Level.SwiGLU]; dgate and dup may be
// gate, up or dy in any pairing but with each other:
//
//	for i := range dgate {
//		s := sigmoid(gate[i])
//		dgate[i] = dy[i] * up[i] * s * (1 + gate[i]*(1-s))
//		dup[i] = dy[i] * gate[i] * s
//	}
func (l Level) SwiGLUBackward(dgate, dup, gate, up, dy []float32) {
	n := len(dgate)
	dup, gate, up, dy = dup[:n], gate[:n], up[:n], dy[:n]
	if n > 0 {
		switch l {
		case AVX2:
			swigluBackwardAVX2(n, &dgate[0], &dup[0], &gate[0], &up[0], &dy[0])
			return
		case AVX512:
			swigluBackwardAVX512(n, &dgate[0], &dup[0], &gate[0], &up[0], &dy[0])
			return
		}
	}
	for i, v := range gate {
		s, d, u := sigmoid(v), dy[i], up[i]
		dgate[i] = d * u * slope(v, s)
		dup[i] = d * v * s
	}
}

func sigmoid(x float32) float32 { return 1 / (1 + exp(-x)) }

// slope is the derivative of x·sigmoid(x), s being sigmoid(x).
func slope(x, s float32) float32 { return s * (1 + float32(x*(1-s))) }

// exp is e^x by the method of the assembly: x = n·ln2 + r, the Taylor
// polynomial of degree 7 for e^r, and 2^n in two halves.
func exp(x float32) float32 {
	if x != x {
		return x
	}
	x = min(max(x, -104), 89)
	n := float32(math.RoundToEven(float64(x * math.Log2E)))
	// ln2 in two parts; products with the first, of 9 bits, are exact.
	const hi = 0.693359375
	r := x - float32(n*hi)
	r -= float32(n * float32(math.Ln2-hi))
	p := float32(1.0 / 5040)
	for _, c := range [...]float32{1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1, 1} {
		p = float32(p*r) + c
	}
	i := int32(n)
	h := i >> 1
	return p * power2(h) * power2(i-h)
}

// power2 is 2^n for -127 < n < 128.
func power2(n int32) float32 { return math.Float32frombits(uint32(n+127) << 23) }

func rsqrt(x float64) float32 { return float32(1 / math.Sqrt(x)) }
