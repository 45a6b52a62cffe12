package quant

import (
	"fmt"
	"math"

	"meft/tensor"
)

// Encoder makes codes of a matrix piece by piece. Pieces may come in any order
// and from several goroutines, the result is the same; Finish ends it.
type Encoder struct {
	m      Matrix
	scales []float32 // of blocks or rows
	table  *nibbles
}

// NewEncoder begins to fill m. With double scales it takes 4 bytes of memory for
// every 64 elements, until it is dropped.
func NewEncoder(m Matrix) *Encoder {
	e := &Encoder{m: m, scales: m.Scales}
	switch m.Type {
	case tensor.NF4, tensor.NF4DQ:
		e.table = normal
	case tensor.FP4, tensor.FP4DQ:
		e.table = float
	}
	if m.Type.DoubleScales() {
		e.scales = make([]float32, len(m.Codes8))
	}
	return e
}

// Unit is the number of elements that are coded together: pieces are multiples
// of it.
func (e *Encoder) Unit() int {
	if e.m.Type == tensor.INT8 {
		return e.m.Row
	}
	return tensor.QuantBlock
}

// Encode codes elements [i, i+len(x)), whole units of finite numbers.
func (e *Encoder) Encode(x []float32, i int) {
	unit := e.Unit()
	if unit == 0 {
		return
	}
	if i%unit != 0 || len(x)%unit != 0 {
		panic(fmt.Sprintf("quant: elements [%d, %d) in units of %d", i, i+len(x), unit))
	}
	for ; len(x) > 0; x, i = x[unit:], i+unit {
		if e.m.Type == tensor.INT8 {
			e.scales[i/unit] = encode8(e.m.Codes[i:i+unit], x[:unit])
		} else {
			e.scales[i/unit] = e.table.encode(e.m.Codes[i/2:(i+unit)/2], x[:unit])
		}
	}
}

// largest is the largest magnitude; magnitudes compare as their bits do.
func largest(x []float32) float32 {
	top := uint32(0)
	for _, v := range x {
		top = max(top, math.Float32bits(v)&^(1<<31))
	}
	return math.Float32frombits(top)
}

// least is the smallest scale there is: the inverse of a smaller one may be Inf,
// and nothing as small moves a model. Such blocks are zeros.
const least = 1e-30

// encode codes a block and returns its scale.
func (n *nibbles) encode(dst []byte, x []float32) float32 {
	scale := largest(x)
	inverse := 1 / scale
	if scale < least {
		scale, inverse = 0, 0
	}
	for i := range dst {
		dst[i] = n.nearest(x[2*i]*inverse)<<4 | n.nearest(x[2*i+1]*inverse)
	}
	return scale
}

// encode8 codes a row to whole numbers from -127 to 127 and returns its scale.
func encode8(dst []byte, x []float32) float32 {
	top := largest(x)
	if top < least {
		clear(dst)
		return 0
	}
	inverse := 127 / top
	for i, v := range x {
		dst[i] = byte(int8(math.RoundToEven(float64(v * inverse))))
	}
	return top / 127
}

// Finish codes the scales where the type has double ones. The mean is taken in
// order and in float64, so that it depends on the numbers only.
func (e *Encoder) Finish() {
	if !e.m.Type.DoubleScales() {
		return
	}
	sum := 0.0
	for _, s := range e.scales {
		sum += float64(s)
	}
	mean := float32(sum / float64(max(1, len(e.scales))))
	e.m.Mean[0] = mean
	for i := range e.scales {
		e.scales[i] -= mean
	}
	for g := range e.m.Scales {
		from, to := g*tensor.QuantGroup, min((g+1)*tensor.QuantGroup, len(e.scales))
		e.m.Scales[g] = scales.encode(e.m.Codes8[from:to], e.scales[from:to])
	}
}

// encode codes a group of scales and returns the second scale.
func (b *bytes) encode(dst []byte, x []float32) float32 {
	scale := largest(x)
	inverse := 1 / scale
	if scale < least {
		scale, inverse = 0, 0
	}
	for i, v := range x {
		dst[i] = b.nearest(v * inverse)
	}
	return scale
}
