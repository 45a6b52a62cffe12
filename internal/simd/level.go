package simd

import "fmt"

// Level is the instruction set that routines use. Its methods are the vector
// primitives. The zero value is Portable, which every machine has; using a
// level that is not in [Levels] faults.
type Level int

const (
	Portable Level = iota // Go loops
	AVX2                  // 256-bit vectors with fused multiply-add
	AVX512                // 512-bit vectors: F, BW, DQ and VL
)

// String returns "portable", "avx2" or "avx512".
func (l Level) String() string {
	switch l {
	case Portable:
		return "portable"
	case AVX2:
		return "avx2"
	case AVX512:
		return "avx512"
	case wideTest:
		return "wide"
	}
	return fmt.Sprintf("Level(%d)", int(l))
}

// wideTest is the matrix product of AVX512 with its micro-kernel replaced by
// the portable one, so that tests reach its packing and block arithmetic on
// machines without the instructions.
const wideTest Level = 100

// Best returns the fastest level of this machine and build.
func Best() Level {
	all := Levels()
	return all[len(all)-1]
}

// Levels returns the levels that this machine and build can run, slowest
// first. Tests loop over it.
func Levels() []Level {
	all := []Level{Portable}
	if hasAVX2 {
		all = append(all, AVX2)
	}
	if hasAVX512 {
		all = append(all, AVX512)
	}
	return all
}

// Features names the instruction sets in use, for version reports: "avx2 fma",
// "avx512f avx512bw avx512dq avx512vl" after it and "avx512_bf16" with DotsBF16,
// or "portable".
func Features() string {
	switch Best() {
	case AVX2:
		return "avx2 fma"
	case AVX512:
		if DotsBF16() {
			return "avx2 fma avx512f avx512bw avx512dq avx512vl avx512_bf16"
		}
		return "avx2 fma avx512f avx512bw avx512dq avx512vl"
	}
	return "portable"
}

// DotsBF16 reports whether the best level of this machine multiplies pairs of
// bfloat16 by instructions of its own (AVX512_BF16), which is what makes
// MatMulBF16 faster than MatMul.
func DotsBF16() bool { return hasBF16 }
