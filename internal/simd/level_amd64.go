//go:build !purego

package simd

import "golang.org/x/sys/cpu"

// The cpu package also checks that the system saves the wide registers.
var (
	hasAVX2   = cpu.X86.HasAVX2 && cpu.X86.HasFMA
	hasAVX512 = hasAVX2 && cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL
	hasBF16   = hasAVX512 && cpu.X86.HasAVX512BF16
)
