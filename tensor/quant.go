package tensor

import "fmt"

// A quantised tensor is a matrix of frozen weights whose memory holds codes and
// then the scales that they are multiplied by. Package quant says which number a
// code stands for and makes codes of numbers. n is the number of elements, which
// lie row by row, in blocks of QuantBlock but for INT8:
//
//	NF4, FP4      n/2 bytes of codes, element 2i in the upper half of byte i;
//	              n/64 scales F32
//	NF4DQ, FP4DQ  n/2 bytes of codes; the mean of all scales, F32; a second scale
//	              F32 for every 256 scales, the last for what is left;
//	              n/64 scales of one byte
//	INT8          n bytes of codes, filled up to a multiple of 4; a scale F32 for
//	              every row
//
// Only MatMul, as b, and Convert to F32 take quantised tensors, or rows of one.

// QuantBlock is the number of elements with one scale in NF4 and FP4; the
// elements of a tensor are a multiple of it. QuantGroup is the number of scales
// with one second scale.
const (
	QuantBlock = 64
	QuantGroup = 256
)

// Quantised reports whether t is a type of codes with scales.
func (t DType) Quantised() bool { return t >= NF4 && t <= INT8 }

// DoubleScales reports whether t's scales are quantised too.
func (t DType) DoubleScales() bool { return t == NF4DQ || t == FP4DQ }

// Bytes is the memory that a tensor of that shape takes. A quantised type panics
// for a shape that it cannot have.
func (t DType) Bytes(dims ...int) int64 {
	n := int64(1)
	for _, d := range dims {
		n *= int64(d)
	}
	if len(dims) == 0 {
		n = 0
	}
	switch {
	case !t.Quantised():
		return n * t.Size()
	case len(dims) == 0:
		return 0
	case t == INT8:
		return (n+3)&^3 + 4*int64(dims[0])
	case n%QuantBlock != 0:
		panic(fmt.Sprintf("tensor: %v%v has %d elements, no multiple of %d", t, append([]int(nil), dims...), n, QuantBlock))
	case t.DoubleScales():
		return n/2 + 4 + 4*((n/QuantBlock+QuantGroup-1)/QuantGroup) + n/QuantBlock
	}
	return n/2 + 4*(n/QuantBlock)
}

// Codes is the memory, codes and scales, of the whole quantised tensor that t is
// all or some rows of, on a device whose memory the CPU can address.
func (t Tensor) Codes() []byte {
	if !t.DType.Quantised() || t.Buf == nil {
		panic(fmt.Sprintf("tensor: %v has no quantised memory", t))
	}
	mem := t.Buf.Host()
	t.Dims[0] = t.Whole
	return mem[:t.Bytes()]
}
