// Package quant is the arithmetic of the quantised types of package tensor:
// which number a code stands for, and which code is made of a number. It is that
// of QLoRA (Dettmers et al. 2023, https://arxiv.org/abs/2305.14314, section 3)
// as bitsandbytes computes it.
//
// An element is float32(value·scale), the value being that of its code. In NF4
// and FP4 the scale is the largest magnitude of the element's block of 64, in
// INT8 the largest of its row through 127. With double scales it is
// float32(float32(m·s) + mean): m is the number in [-1, 1] that the scale's code
// stands for, s the second scale of its group of 256 and mean that of all scales
// of the tensor, which was subtracted from them.
package quant

import (
	"fmt"
	"math"
	"unsafe"

	"meft/tensor"
)

// Matrix is a quantised tensor taken apart: its parts are its memory.
type Matrix struct {
	Type   tensor.DType
	N      int       // elements
	Row    int       // elements of a row
	Codes  []byte    // two to a byte, the upper half first; of INT8 one, in two's complement
	Scales []float32 // of blocks or, of INT8, rows; with double scales of groups of blocks
	Codes8 []byte    // double scales: of blocks
	Mean   []float32 // double scales: one number
}

// Of takes apart memory for a tensor of a quantised type and that shape, as
// tensor.DType.Bytes counts it, which starts at a multiple of 4.
func Of(t tensor.DType, mem []byte, rows, width int) Matrix {
	if int64(len(mem)) != t.Bytes(rows, width) {
		panic(fmt.Sprintf("quant: %d bytes for %v[%d %d]", len(mem), t, rows, width))
	}
	m := Matrix{Type: t, N: rows * width, Row: width}
	floats := func(n int) []float32 {
		part := mem[:4*n]
		mem = mem[4*n:]
		return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(part))), n)
	}
	if t == tensor.INT8 {
		m.Codes, mem = mem[:m.N], mem[(m.N+3)&^3:]
		m.Scales = floats(rows)
		return m
	}
	m.Codes, mem = mem[:m.N/2], mem[m.N/2:]
	blocks := m.N / tensor.QuantBlock
	if !t.DoubleScales() {
		m.Scales = floats(blocks)
		return m
	}
	m.Mean = floats(1)
	m.Scales = floats((blocks + tensor.QuantGroup - 1) / tensor.QuantGroup)
	m.Codes8 = mem[:blocks]
	return m
}

// Scale is what the values of block i of NF4 and FP4, or of row i of INT8, are
// multiplied by.
func (m *Matrix) Scale(i int) float32 {
	if m.Codes8 == nil {
		return m.Scales[i]
	}
	return float32(scales.value[m.Codes8[i]]*m.Scales[i/tensor.QuantGroup]) + m.Mean[0]
}

// Decode writes elements [i, i+len(dst)).
func (m *Matrix) Decode(dst []float32, i int) {
	if m.Type == tensor.INT8 {
		for j := range dst {
			dst[j] = float32(int8(m.Codes[i+j])) * m.Scale((i+j)/m.Row)
		}
		return
	}
	values := Values(m.Type)
	for j := range dst {
		at := i + j
		code := m.Codes[at/2] >> (4 * (1 - at&1)) & 15
		dst[j] = values[code] * m.Scale(at/tensor.QuantBlock)
	}
}

// Values are the numbers that the 16 codes of an NF4 or FP4 type stand for.
func Values(t tensor.DType) *[16]float32 {
	switch t {
	case tensor.NF4, tensor.NF4DQ:
		return &normal.value
	case tensor.FP4, tensor.FP4DQ:
		return &float.value
	}
	panic(fmt.Sprintf("quant: %v has no codes of 4 bits", t))
}

// ScaleValues are the numbers that the codes of double scales stand for.
func ScaleValues() *[256]float32 { return &scales.value }

// The code points of NF4 are means of quantiles of the normal distribution with
// 8 of them above 0, 7 below and 0 itself, divided by the largest: appendix E of
// the paper, as published with bitsandbytes.
var normal = newNibbles([16]float32{
	-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
	-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0,
	0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
	0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
})

// FP4 has a sign in bit 3. The others are what bitsandbytes takes for them,
// twelfths of a number of two exponent bits and one of fraction. The code of
// minus zero is not made.
var float = newNibbles([16]float32{
	0, 0.005208333333, 0.66666667, 1, 0.33333333, 0.5, 0.16666667, 0.25,
	float32(math.Copysign(0, -1)), -0.005208333333, -0.66666667, -1, -0.33333333, -0.5, -0.16666667, -0.25,
})

var scales = newBytes()
