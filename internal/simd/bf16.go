package simd

import "math"

// FromBF16 widens bfloat16, which is exact:
//
//	for i := range dst {
//		dst[i] = float32(src[i])
//	}
func (l Level) FromBF16(dst []float32, src []uint16) {
	src = src[:len(dst)]
	if whole := l.whole(len(dst)); whole > 0 {
		if l == AVX512 {
			fromBF16AVX512(whole, &dst[0], &src[0])
		} else {
			fromBF16AVX2(whole, &dst[0], &src[0])
		}
		dst, src = dst[whole:], src[whole:]
	}
	for i, h := range src {
		dst[i] = widen(h)
	}
}

// ToBF16 rounds to bfloat16, to nearest with ties to even; a NaN stays one:
//
//	for i := range dst {
//		dst[i] = bfloat16(src[i])
//	}
func (l Level) ToBF16(dst []uint16, src []float32) {
	src = src[:len(dst)]
	if whole := l.whole(len(dst)); whole > 0 {
		if l == AVX512 {
			toBF16AVX512(whole, &dst[0], &src[0])
		} else {
			toBF16AVX2(whole, &dst[0], &src[0])
		}
		dst, src = dst[whole:], src[whole:]
	}
	for i, v := range src {
		dst[i] = narrow(v)
	}
}

// narrow rounds by adding just under half of what is cut, and the lowest bit
// that stays. A NaN is cut, with its quiet bit set.
func narrow(v float32) uint16 {
	b := math.Float32bits(v)
	if v != v {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// roundBF16 rounds x to bfloat16 in place.
func (l Level) roundBF16(x []float32) {
	if whole := l.whole(len(x)); whole > 0 {
		if l == AVX512 {
			roundBF16AVX512(whole, &x[0])
		} else {
			roundBF16AVX2(whole, &x[0])
		}
		x = x[whole:]
	}
	for i, v := range x {
		x[i] = widen(narrow(v))
	}
}

// pairBF16 rounds x [rows][width] to bfloat16 and puts rows 2i and 2i+1 together
// as row i, the first in the low halves; beside an odd last row are zeros. x is
// longer than rows·width by what whole vectors run over, and the rest of it
// holds anything afterwards.
func (l Level) pairBF16(x []float32, rows, width int) {
	whole := 0
	if l == AVX512 && rows > 1 {
		whole = rows / 2
		_ = x[(2*whole-1)*width+(width+15)&^15-1]
		pairBF16AVX512(whole, &x[0], width)
	}
	for i := whole; i < (rows+1)/2; i++ {
		for c := range width {
			pair := uint32(narrow(x[2*i*width+c]))
			if 2*i+1 < rows {
				pair |= uint32(narrow(x[(2*i+1)*width+c])) << 16
			}
			x[i*width+c] = math.Float32frombits(pair)
		}
	}
}
