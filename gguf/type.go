// Package gguf writes and reads GGUF, version 3: the file format of models and
// adapters of llama.cpp. A file is a list of keys with values, a list of tensors,
// and their data. The package knows nothing of models; what keys and names mean
// is for others to say. It shares its number formats with package safetensors.
//
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
package gguf

import (
	"fmt"
	"math"

	"meft/safetensors"
)

// Type is the form of a tensor's values, by ggml's number.
type Type uint32

// The types that are written.
const (
	F32  Type = 0
	F16  Type = 1
	Q8_0 Type = 8 // blocks of 32 values: a scale as half, then 32 int8
	BF16 Type = 30
)

// form is how many values make a block, and how many bytes that is.
type form struct {
	name          string
	values, bytes int
}

// forms are the types of ggml that files are found with.
func forms() map[Type]form {
	return map[Type]form{
		F32: {"F32", 1, 4}, F16: {"F16", 1, 2}, 2: {"Q4_0", 32, 18}, 3: {"Q4_1", 32, 20}, 6: {"Q5_0", 32, 22}, 7: {"Q5_1", 32, 24},
		Q8_0: {"Q8_0", 32, 34}, 9: {"Q8_1", 32, 40}, 10: {"Q2_K", 256, 84}, 11: {"Q3_K", 256, 110}, 12: {"Q4_K", 256, 144},
		13: {"Q5_K", 256, 176}, 14: {"Q6_K", 256, 210}, 15: {"Q8_K", 256, 292}, 16: {"IQ2_XXS", 256, 66}, 17: {"IQ2_XS", 256, 74},
		18: {"IQ3_XXS", 256, 98}, 19: {"IQ1_S", 256, 50}, 20: {"IQ4_NL", 32, 18}, 21: {"IQ3_S", 256, 110}, 22: {"IQ2_S", 256, 82},
		23: {"IQ4_XS", 256, 136}, 24: {"I8", 1, 1}, 25: {"I16", 1, 2}, 26: {"I32", 1, 4}, 27: {"I64", 1, 8}, 28: {"F64", 1, 8},
		29: {"IQ1_M", 256, 56}, BF16: {"BF16", 1, 2}, 34: {"TQ1_0", 256, 54}, 35: {"TQ2_0", 256, 66}, 39: {"MXFP4", 32, 17},
	}
}

// String is ggml's name of the type.
func (t Type) String() string {
	if f, ok := forms()[t]; ok {
		return f.name
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// Fits reports whether rows of so many values can have the type: quantised rows
// are whole blocks.
func (t Type) Fits(columns int) bool {
	f, ok := forms()[t]
	return ok && columns%f.values == 0
}

// Bytes is the size of n values, whole blocks of a known type.
func (t Type) Bytes(n int) int64 {
	f := forms()[t]
	return int64(n/f.values) * int64(f.bytes)
}

// encode puts values, whole blocks, into dst. It returns the index of the first
// value that is too large for the type, -1 if all fit.
func (t Type) encode(dst []byte, src []float32) int {
	switch t {
	case F32:
		for i, v := range src {
			put32(dst[4*i:], math.Float32bits(v))
		}
	case F16, BF16:
		return t.encodeHalves(dst, src)
	case Q8_0:
		for i := 0; i < len(src); i += 32 {
			if !encodeQ8(dst[i/32*34:][:34], src[i:i+32]) {
				return i
			}
		}
	default:
		panic(fmt.Sprintf("gguf: values as %v", t))
	}
	return -1
}

func (t Type) encodeHalves(dst []byte, src []float32) int {
	var block [256]uint16
	inf := uint16(0x7c00)
	if t == BF16 {
		inf = 0x7f80
	}
	for at := 0; at < len(src); at += len(block) {
		part := src[at:min(at+len(block), len(src))]
		half := block[:len(part)]
		if t == BF16 {
			safetensors.BF16FromF32(half, part)
		} else {
			safetensors.F16FromF32(half, part)
		}
		for i, h := range half {
			if h&0x7fff == inf {
				return at + i
			}
			put16(dst[2*(at+i):], h)
		}
	}
	return -1
}

// encodeQ8 quantises a block as ggml's quantize_row_q8_0_ref does, to the bit. It
// reports false where the scale is no half.
func encodeQ8(dst []byte, src []float32) bool {
	var most float32
	for _, v := range src {
		most = max(most, float32(math.Abs(float64(v))))
	}
	scale := most / 127
	inverse := float32(0)
	if scale != 0 {
		inverse = 1 / scale
	}
	var half [1]uint16
	safetensors.F16FromF32(half[:], []float32{scale})
	put16(dst, half[0])
	for i, v := range src {
		x := v * inverse
		dst[2+i] = byte(int8(math.Round(float64(x)))) // halves away from zero
	}
	return half[0]&0x7c00 != 0x7c00
}

// decode is the way back. It reports false for a type it does not read.
func (t Type) decode(dst []float32, src []byte) bool {
	switch t {
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(get32(src[4*i:]))
		}
	case BF16:
		for i := range dst {
			dst[i] = math.Float32frombits(uint32(get16(src[2*i:])) << 16)
		}
	case F16:
		for i := range dst {
			dst[i] = half(src[2*i:])
		}
	case Q8_0:
		for i := range dst {
			block := src[i/32*34:]
			dst[i] = half(block) * float32(int8(block[2+i%32]))
		}
	default:
		return false
	}
	return true
}

// half is the value of the half at the beginning of b.
func half(b []byte) float32 {
	var v [1]float32
	safetensors.F32FromF16(v[:], []uint16{get16(b)})
	return v[0]
}
