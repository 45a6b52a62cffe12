package simd

// In all element-wise routines the first slice gives the length; the others
// are at least as long. Slices are equal or do not overlap. An element of the
// result depends on its inputs only, not on its place.

// Axpy adds a multiple of x to y:
//
//	for i := range y {
//		y[i] += a * x[i]
//	}
func (l Level) Axpy(a float32, x, y []float32) {
	x = x[:len(y)]
	if len(y) > 0 {
		switch l {
		case AVX2:
			axpyAVX2(len(y), &y[0], &x[0], a)
			return
		case AVX512:
			axpyAVX512(len(y), &y[0], &x[0], a)
			return
		}
	}
	for i, v := range x {
		y[i] += float32(a * v)
	}
}

// Scale multiplies x by a:
//
//	for i := range x {
//		x[i] *= a
//	}
func (l Level) Scale(a float32, x []float32) {
	if len(x) > 0 {
		switch l {
		case AVX2:
			scaleAVX2(len(x), &x[0], a)
			return
		case AVX512:
			scaleAVX512(len(x), &x[0], a)
			return
		}
	}
	for i := range x {
		x[i] *= a
	}
}

// Add writes sums, z possibly being x or y:
//
//	for i := range z {
//		z[i] = x[i] + y[i]
//	}
func (l Level) Add(z, x, y []float32) {
	x, y = x[:len(z)], y[:len(z)]
	if len(z) > 0 {
		switch l {
		case AVX2:
			addAVX2(len(z), &z[0], &x[0], &y[0])
			return
		case AVX512:
			addAVX512(len(z), &z[0], &x[0], &y[0])
			return
		}
	}
	for i := range z {
		z[i] = x[i] + y[i]
	}
}

// Mul writes products, z possibly being x or y:
//
//	for i := range z {
//		z[i] = x[i] * y[i]
//	}
func (l Level) Mul(z, x, y []float32) {
	x, y = x[:len(z)], y[:len(z)]
	if len(z) > 0 {
		switch l {
		case AVX2:
			mulAVX2(len(z), &z[0], &x[0], &y[0])
			return
		case AVX512:
			mulAVX512(len(z), &z[0], &x[0], &y[0])
			return
		}
	}
	for i := range z {
		z[i] = x[i] * y[i]
	}
}

// MulAdd adds products to z:
//
//	for i := range z {
//		z[i] += x[i] * y[i]
//	}
func (l Level) MulAdd(z, x, y []float32) {
	x, y = x[:len(z)], y[:len(z)]
	if len(z) > 0 {
		switch l {
		case AVX2:
			mulAddAVX2(len(z), &z[0], &x[0], &y[0])
			return
		case AVX512:
			mulAddAVX512(len(z), &z[0], &x[0], &y[0])
			return
		}
	}
	for i := range z {
		z[i] += float32(x[i] * y[i])
	}
}

// MulScaled writes scaled products, z possibly being x or y; with a the
// reciprocal root mean square of x and y the weight it ends an RMSNorm:
//
//	for i := range z {
//		z[i] = a * x[i] * y[i]
//	}
func (l Level) MulScaled(z []float32, a float32, x, y []float32) {
	x, y = x[:len(z)], y[:len(z)]
	if len(z) > 0 {
		switch l {
		case AVX2:
			mulScaledAVX2(len(z), &z[0], &x[0], &y[0], a)
			return
		case AVX512:
			mulScaledAVX512(len(z), &z[0], &x[0], &y[0], a)
			return
		}
	}
	for i := range z {
		z[i] = float32(a*x[i]) * y[i]
	}
}

// RMSNorm writes x·w/√(mean(x²)+eps), y possibly being x, and returns the
// factor 1/√(mean(x²)+eps), which the backward pass needs. The mean is added
// up in float64. Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467.
func (l Level) RMSNorm(y, x, w []float32, eps float32) (rstd float32) {
	x = x[:len(y)]
	rstd = rsqrt(l.SumSquares(x)/float64(len(x)) + float64(eps))
	l.MulScaled(y, rstd, x, w)
	return rstd
}

// Rotate turns the pairs (x1[i], x2[i]) by the angles whose cosines and sines
// are c and s, in place (RoPE with x1 and x2 the halves of a head):
//
//	for i := range x1 {
//		x1[i], x2[i] = x1[i]*c[i]-x2[i]*s[i], x1[i]*s[i]+x2[i]*c[i]
//	}
func (l Level) Rotate(x1, x2, c, s []float32) { l.rotate(x1, x2, c, s, 1) }

// RotateBack turns by the negative angles: the inverse of [Level.Rotate] and,
// for gradients, its transpose.
func (l Level) RotateBack(x1, x2, c, s []float32) { l.rotate(x1, x2, c, s, -1) }

func (l Level) rotate(x1, x2, c, s []float32, sign float32) {
	n := len(x1)
	x2, c, s = x2[:n], c[:n], s[:n]
	if n > 0 {
		switch l {
		case AVX2:
			rotateAVX2(n, &x1[0], &x2[0], &c[0], &s[0], sign)
			return
		case AVX512:
			rotateAVX512(n, &x1[0], &x2[0], &c[0], &s[0], sign)
			return
		}
	}
	for i, u := range x1 {
		v, sn := x2[i], s[i]*sign
		x1[i] = float32(u*c[i]) - float32(v*sn)
		x2[i] = float32(u*sn) + float32(v*c[i])
	}
}

// ReLU keeps what is positive, y possibly being x; a NaN stays one:
//
//	for i := range y {
//		y[i] = max(x[i], 0)
//	}
func (l Level) ReLU(y, x []float32) {
	x = x[:len(y)]
	if len(y) > 0 {
		switch l {
		case AVX2:
			reluAVX2(len(y), &y[0], &x[0])
			return
		case AVX512:
			reluAVX512(len(y), &y[0], &x[0])
			return
		}
	}
	for i, v := range x {
		y[i] = max(v, 0)
	}
}

// ReLUBackward passes the gradient where the input (or the output) x was
// positive, dx possibly being dy or x:
//
//	for i := range dx {
//		dx[i] = dy[i] if x[i] > 0, else 0
//	}
func (l Level) ReLUBackward(dx, x, dy []float32) {
	x, dy = x[:len(dx)], dy[:len(dx)]
	if len(dx) > 0 {
		switch l {
		case AVX2:
			reluBackwardAVX2(len(dx), &dx[0], &x[0], &dy[0])
			return
		case AVX512:
			reluBackwardAVX512(len(dx), &dx[0], &x[0], &dy[0])
			return
		}
	}
	for i, v := range x {
		if v > 0 {
			dx[i] = dy[i]
		} else {
			dx[i] = 0
		}
	}
}
