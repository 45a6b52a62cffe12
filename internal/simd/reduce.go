package simd

import "math"

// Dot returns the inner product of x and y, which is at least as long:
//
//	for i, v := range x {
//		sum += v * y[i]
//	}
//
// The vector levels keep 4 vectors of partial sums.
func (l Level) Dot(x, y []float32) (sum float32) {
	y = y[:len(x)]
	if len(x) > 0 {
		switch l {
		case AVX2:
			return dotAVX2(len(x), &x[0], &y[0])
		case AVX512:
			return dotAVX512(len(x), &x[0], &y[0])
		}
	}
	for i, v := range x {
		sum += float32(v * y[i])
	}
	return sum
}

// Dots scores x against consecutive rows:
//
//	for i := range dst {
//		dst[i] = Dot(x, rows[i*stride:])
//	}
//
// with the bits of [Level.Dot]. rows holds len(dst) rows of len(x) elements.
func (l Level) Dots(dst, x, rows []float32, stride int) {
	if len(dst) == 0 {
		return
	}
	_ = rows[:(len(dst)-1)*stride+len(x)]
	if len(x) > 0 && stride >= 0 {
		switch l {
		case AVX2:
			dotsAVX2(len(x), &x[0], len(dst), &dst[0], &rows[0], stride)
			return
		case AVX512:
			dotsAVX512(len(x), &x[0], len(dst), &dst[0], &rows[0], stride)
			return
		}
	}
	for i := range dst {
		dst[i] = l.Dot(x, rows[i*stride:])
	}
}

// DotBF16 returns the inner product of x and the bfloat16 vector y, which is
// at least as long:
//
//	for i, v := range x {
//		sum += v * float32(y[i])
//	}
func (l Level) DotBF16(x []float32, y []uint16) (sum float32) {
	y = y[:len(x)]
	if whole := l.whole(len(x)); whole > 0 {
		if l == AVX512 {
			sum = dotBF16AVX512(whole, &x[0], &y[0])
		} else {
			sum = dotBF16AVX2(whole, &x[0], &y[0])
		}
		x, y = x[whole:], y[whole:]
	}
	for i, v := range x {
		sum += float32(v * widen(y[i]))
	}
	return sum
}

// Sum returns the sum of x, added up in float64:
//
//	for _, v := range x {
//		sum += float64(v)
//	}
func (l Level) Sum(x []float32) (sum float64) {
	if len(x) > 0 {
		switch l {
		case AVX2:
			return sumAVX2(len(x), &x[0])
		case AVX512:
			return sumAVX512(len(x), &x[0])
		}
	}
	for _, v := range x {
		sum += float64(v)
	}
	return sum
}

// SumSquares returns the sum of squares of x, added up in float64 (squares of
// float32 are exact there):
//
//	for _, v := range x {
//		sum += float64(v) * float64(v)
//	}
func (l Level) SumSquares(x []float32) (sum float64) {
	if len(x) > 0 {
		switch l {
		case AVX2:
			return sumSquaresAVX2(len(x), &x[0])
		case AVX512:
			return sumSquaresAVX512(len(x), &x[0])
		}
	}
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return sum
}

// Max returns the largest element of x, -Inf if x is empty:
//
//	for _, v := range x {
//		if v > m {
//			m = v
//		}
//	}
//
// If x holds a NaN the result is unspecified.
func (l Level) Max(x []float32) float32 {
	switch {
	case l == AVX2 && len(x) >= 8:
		return maxAVX2(len(x), &x[0])
	case l == AVX512 && len(x) >= 16:
		return maxAVX512(len(x), &x[0])
	}
	m := float32(math.Inf(-1))
	for _, v := range x {
		if v > m {
			m = v
		}
	}
	return m
}

// whole is the part of n elements that fills vectors: 0 for Portable.
func (l Level) whole(n int) int {
	switch l {
	case AVX2:
		return n &^ 7
	case AVX512:
		return n &^ 15
	}
	return 0
}
