package safetensors

import (
	"encoding/binary"
	"fmt"
	"math"
)

// CheckFinite reports the first NaN or Inf of a tensor, by name, value and flat
// index, or nil. The caller adds the file:
//
//	fmt.Errorf("%s: %w", info.File, err)
func CheckFinite(name string, data []float32) error {
	return CheckFinitePart(name, data, 0, len(data))
}

// CheckFinitePart is CheckFinite for a part of a tensor of n values: data begins
// with the given one.
func CheckFinitePart(name string, data []float32, first, n int) error {
	i := firstNonFinite32(view(data))
	if i < 0 {
		return nil
	}
	return fmt.Errorf("tensor %q has %v at index %d of %d", clip(name), data[i], first+i, n)
}

// CheckFiniteBF16 is CheckFinite for bfloat16 values.
func CheckFiniteBF16(name string, data []uint16) error {
	i := firstNonFinite16(view(data))
	if i < 0 {
		return nil
	}
	v := math.Float32frombits(uint32(data[i]) << 16)
	return fmt.Errorf("tensor %q has %v at index %d of %d", clip(name), v, i, len(data))
}

// A value is NaN or Inf if all its exponent bits are set. With the sign cleared,
// adding one unit of the exponent carries into the sign bit in just that case,
// and never out of the value's own lane: so one 64-bit addition tests two
// float32 or four bfloat16. The results of a block are or-ed and looked at once.

const (
	finiteBlock = 64 // bytes tested before one branch

	magnitude32 = 0x7fffffff_7fffffff
	carry32     = 0x00800000_00800000
	sign32      = 0x80000000_80000000
	magnitude16 = 0x7fff7fff_7fff7fff
	carry16     = 0x00800080_00800080
	sign16      = 0x80008000_80008000
)

// firstNonFinite32 returns the index of the first float32 in b that is NaN or
// Inf, -1 if none is.
func firstNonFinite32(b []byte) int {
	at := blockWithCarry(b, magnitude32, carry32, sign32)
	for ; at+4 <= len(b); at += 4 {
		if binary.LittleEndian.Uint32(b[at:])&0x7f800000 == 0x7f800000 {
			return at / 4
		}
	}
	return -1
}

// firstNonFinite16 returns the index of the first bfloat16 in b that is NaN or
// Inf, -1 if none is.
func firstNonFinite16(b []byte) int {
	at := blockWithCarry(b, magnitude16, carry16, sign16)
	for ; at+2 <= len(b); at += 2 {
		if binary.LittleEndian.Uint16(b[at:])&0x7f80 == 0x7f80 {
			return at / 2
		}
	}
	return -1
}

// blockWithCarry returns the offset of the first block in which some lane
// carries into its sign bit, or that of the rest shorter than a block.
func blockWithCarry(b []byte, magnitude, carry, sign uint64) int {
	at := 0
	for ; len(b) >= finiteBlock; b = b[finiteBlock:] {
		s := b[:finiteBlock]
		acc := binary.LittleEndian.Uint64(s)&magnitude + carry
		acc |= binary.LittleEndian.Uint64(s[8:])&magnitude + carry
		acc |= binary.LittleEndian.Uint64(s[16:])&magnitude + carry
		acc |= binary.LittleEndian.Uint64(s[24:])&magnitude + carry
		acc |= binary.LittleEndian.Uint64(s[32:])&magnitude + carry
		acc |= binary.LittleEndian.Uint64(s[40:])&magnitude + carry
		acc |= binary.LittleEndian.Uint64(s[48:])&magnitude + carry
		acc |= binary.LittleEndian.Uint64(s[56:])&magnitude + carry
		if acc&sign != 0 {
			return at
		}
		at += finiteBlock
	}
	return at
}
