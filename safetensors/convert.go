package safetensors

import (
	"encoding/binary"
	"fmt"
	"math"
	"unsafe"
)

// The converters below work on little-endian bytes, since the data of a file
// need not be aligned; the exported ones hand their slices on as bytes.

// view returns the memory of s as bytes. Machines are little-endian here, see
// endian_big.go.
func view[T any](s []T) []byte {
	var zero T
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s)*int(unsafe.Sizeof(zero)))
}

func sameLen(what string, dst, src int) {
	if dst != src {
		panic(fmt.Sprintf("%s: dst has %d values, src has %d", what, dst, src))
	}
}

// F32FromBF16 widens bfloat16 values, exactly. dst and src have equal length.
func F32FromBF16(dst []float32, src []uint16) {
	sameLen("F32FromBF16", len(dst), len(src))
	widenBF16(dst, view(src))
}

// F32FromF16 widens IEEE half-precision values, exactly; NaN stays NaN. dst and
// src have equal length.
func F32FromF16(dst []float32, src []uint16) {
	sameLen("F32FromF16", len(dst), len(src))
	widenF16(dst, view(src))
}

// BF16FromF32 rounds to the nearest bfloat16, ties to even; what is above the
// largest bfloat16 becomes Inf, NaN stays NaN. dst and src have equal length.
func BF16FromF32(dst []uint16, src []float32) {
	sameLen("BF16FromF32", len(dst), len(src))
	narrowF32(dst, view(src))
}

// widenBF16 converts len(dst) values, four to a load.
// F16FromF32 rounds src to half precision, to nearest even. Beyond 65519 in
// magnitude the result is Inf; NaN stays NaN.
func F16FromF32(dst []uint16, src []float32) {
	sameLen("F16FromF32", len(dst), len(src))
	for i, v := range src {
		dst[i] = roundF16(math.Float32bits(v))
	}
}

// roundF16 rounds the bits of a float32 to the nearest half, ties to even.
func roundF16(u uint32) uint16 {
	sign, u := uint16(u>>16&0x8000), u&0x7fffffff
	switch {
	case u > 0x7f800000: // NaN; the set bit keeps a payload in the low bits from becoming Inf
		return sign | 0x7e00 | uint16(u>>13&0x1ff)
	case u >= 0x477ff000: // half way from the largest half to 65536, and more
		return sign | 0x7c00
	case u >= 0x38800000: // 2^-14, the smallest normal half
		return sign | uint16((u-0x38000000+0xfff+u>>13&1)>>13)
	case u < 0x33000000: // below half of the smallest half
		return sign
	}
	shift := 126 - u>>23 // of a subnormal: its unit is 2^-24
	m := u&0x7fffff | 0x800000
	h, rest, middle := m>>shift, m&(1<<shift-1), uint32(1)<<(shift-1)
	if rest > middle || rest == middle && h&1 == 1 {
		h++
	}
	return sign | uint16(h)
}

func widenBF16(dst []float32, src []byte) {
	for len(dst) >= 4 && len(src) >= 8 {
		u := binary.LittleEndian.Uint64(src)
		lo, hi := uint32(u), uint32(u>>32)
		dst[0] = math.Float32frombits(lo << 16)
		dst[1] = math.Float32frombits(lo & 0xffff0000)
		dst[2] = math.Float32frombits(hi << 16)
		dst[3] = math.Float32frombits(hi & 0xffff0000)
		dst, src = dst[4:], src[8:]
	}
	for i := range dst {
		dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
	}
}

// widenF16 converts len(dst) values. Four ordinary ones at a time need no
// branches; a group with a zero, a subnormal, an Inf or a NaN takes the long way.
func widenF16(dst []float32, src []byte) {
	for len(dst) >= 4 && len(src) >= 8 {
		u := binary.LittleEndian.Uint64(src)
		if fourNormalHalves(u) {
			dst[0] = normalHalf(uint32(u))
			dst[1] = normalHalf(uint32(u >> 16))
			dst[2] = normalHalf(uint32(u >> 32))
			dst[3] = normalHalf(uint32(u >> 48))
		} else {
			dst[0] = halfToFloat(uint16(u))
			dst[1] = halfToFloat(uint16(u >> 16))
			dst[2] = halfToFloat(uint16(u >> 32))
			dst[3] = halfToFloat(uint16(u >> 48))
		}
		dst, src = dst[4:], src[8:]
	}
	for i := range dst {
		dst[i] = halfToFloat(binary.LittleEndian.Uint16(src[2*i:]))
	}
}

// A half has 1 sign, 5 exponent (bias 15) and 10 fraction bits, a float32 has 1,
// 8 (bias 127) and 23. halfRebias is the difference of the biases, in place.
const halfRebias = (127 - 15) << 23

// fourNormalHalves tells whether no half in u has the exponent 0 or 31, the two
// for which exponent+1 has none of the bits 1 to 4. Lanes never carry over.
func fourNormalHalves(u uint64) bool {
	const (
		exponent = 0x7c00_7c00_7c00_7c00
		one      = 0x0400_0400_0400_0400
		upper    = 0x7800_7800_7800_7800 // bits 1 to 4 of the exponent
		sign     = 0x8000_8000_8000_8000
	)
	// Adding upper sets the sign bit of the lanes that are not zero.
	return ((u&exponent+one)&upper+upper)&sign == sign
}

// normalHalf widens the half in the low 16 bits of u, which is not 0, subnormal,
// Inf or NaN.
func normalHalf(u uint32) float32 {
	return math.Float32frombits(u&0x8000<<16 | (u&0x7fff<<13 + halfRebias))
}

// halfToFloat widens any half.
func halfToFloat(h uint16) float32 {
	sign, v := uint32(h&0x8000)<<16, uint32(h&0x7fff)<<13
	switch {
	case v >= 31<<23: // Inf and NaN have the largest exponent in both
		v += 2 * halfRebias
	case v >= 1<<23:
		v += halfRebias
	default: // 0 and subnormals are the fraction times 2⁻²⁴, exact in a float32
		v = math.Float32bits(float32(h&0x3ff) * 0x1p-24)
	}
	return math.Float32frombits(sign | v)
}

func widenF64(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:])))
	}
}

// narrowF32 rounds len(dst) values, two at a time where neither is NaN or Inf:
// the largest finite value rounds up to Inf without leaving its 32 bits.
func narrowF32(dst []uint16, src []byte) {
	for len(dst) >= 2 && len(src) >= 8 {
		u := binary.LittleEndian.Uint64(src)
		if (u&magnitude32+carry32)&sign32 == 0 {
			u += 0x00007fff_00007fff + u>>16&0x00000001_00000001
			dst[0], dst[1] = uint16(u>>16), uint16(u>>48)
		} else {
			dst[0], dst[1] = roundBF16(uint32(u)), roundBF16(uint32(u>>32))
		}
		dst, src = dst[2:], src[8:]
	}
	for i := range dst {
		dst[i] = roundBF16(binary.LittleEndian.Uint32(src[4*i:]))
	}
}

// narrowF16 goes through float32, which holds every half, so it rounds once.
func narrowF16(dst []uint16, src []byte) {
	var wide [512]float32
	for len(dst) > 0 {
		n := min(len(dst), len(wide))
		widenF16(wide[:n], src)
		narrowF32(dst[:n], view(wide[:n]))
		dst, src = dst[n:], src[2*n:]
	}
}

func narrowF64(dst []uint16, src []byte) {
	for i := range dst {
		dst[i] = roundBF16(oddFloat32(math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:]))))
	}
}

// roundBF16 rounds the bits of a float32 to the nearest bfloat16, ties to even.
func roundBF16(u uint32) uint16 {
	if u&0x7fffffff > 0x7f800000 {
		// A NaN with its payload in the low half only would become Inf: set a
		// fraction bit that survives.
		return uint16(u>>16) | 0x40
	}
	return uint16((u + 0x7fff + u>>16&1) >> 16)
}

// oddFloat32 returns the bits of v as a float32, rounded toward zero with the
// last bit set if anything was cut off. Rounding v to float32 and then to
// bfloat16 would round ties the wrong way; the set bit keeps them from looking
// like ties.
func oddFloat32(v float64) uint32 {
	f := float32(v)
	u := math.Float32bits(f)
	back := float64(f)
	if back == v || v != v {
		return u
	}
	if math.Abs(back) > math.Abs(v) {
		u--
	}
	return u | 1
}
