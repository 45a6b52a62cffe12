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
