// Package tensor has the arrays every other package computes on, the interface
// of the devices that hold them, and the account of every byte they take. It
// computes nothing itself and knows nothing of models or methods.
package tensor

import (
	"fmt"
	"strings"
	"unsafe"
)

// DType is the type of a tensor's elements.
type DType uint8

// The element types. A device may keep F32 in a wider type (package ref does).
const (
	F32 DType = iota
	BF16
	I32
	U8 // codes in host memory; no kernel takes them

	// The quantised types, for frozen weights; see quant.go.
	NF4   // codes of 4 bits, a scale in F32 for every 64
	NF4DQ // NF4 whose scales are quantised too, to 8 bits
	FP4   // as NF4 with floating point codes
	FP4DQ // as NF4DQ with floating point codes
	INT8  // codes of 8 bits, a scale in F32 for every row
)

// Size is the width of one element in bytes. It panics for quantised types,
// where only whole tensors have a size; see DType.Bytes.
func (t DType) Size() int64 {
	switch t {
	case F32, I32:
		return 4
	case BF16:
		return 2
	case U8:
		return 1
	}
	panic(fmt.Sprintf("tensor: an element of %v has no size of its own", t))
}

// String is the type's name: f32, bf16, i32, u8, nf4, nf4-dq, fp4, fp4-dq, int8.
func (t DType) String() string {
	switch t {
	case F32:
		return "f32"
	case BF16:
		return "bf16"
	case I32:
		return "i32"
	case U8:
		return "u8"
	case NF4:
		return "nf4"
	case NF4DQ:
		return "nf4-dq"
	case FP4:
		return "fp4"
	case FP4DQ:
		return "fp4-dq"
	case INT8:
		return "int8"
	}
	return fmt.Sprintf("dtype(%d)", uint8(t))
}

// MaxRank is the largest number of dimensions of a tensor.
const MaxRank = 4

// A Buffer is memory that a Device gave out.
type Buffer interface {
	// Bytes is the size that was asked for.
	Bytes() int64
	// Host is the memory itself where the CPU can address it, else nil.
	Host() []byte
}

// Tensor is a dense row-major array. It is a small value: copy it freely. It
// owns nothing; its Arena does. The zero Tensor stands for "none". A tensor of
// a planning arena has a shape and no memory.
type Tensor struct {
	Buf   Buffer       // where the elements live; nil while planning
	Off   int64        // of the first element, in elements
	DType DType        // of the elements
	Rank  int          // number of dimensions, 0 for the zero Tensor
	Dims  [MaxRank]int // outermost first; the first Rank are used
	Whole int          // of a quantised type: rows of the tensor that these are all or some rows of
}

// None reports whether t is the zero Tensor.
func (t Tensor) None() bool { return t.Rank == 0 }

// Dim is the length of dimension i; a negative i counts from the innermost.
func (t Tensor) Dim(i int) int {
	if i < 0 {
		i += t.Rank
	}
	if i < 0 || i >= t.Rank {
		panic(fmt.Sprintf("tensor: dimension %d of %v", i, t))
	}
	return t.Dims[i]
}

// Len is the number of elements.
func (t Tensor) Len() int {
	if t.Rank == 0 {
		return 0
	}
	n := 1
	for _, d := range t.Dims[:t.Rank] {
		n *= d
	}
	return n
}

// Bytes is the number of bytes the elements take in their stated type. Some of
// the rows of a quantised tensor have none of their own: it panics.
func (t Tensor) Bytes() int64 {
	if t.DType.Quantised() && t.Rank > 0 && t.Dims[0] != t.Whole {
		panic(fmt.Sprintf("tensor: %d rows of %d have no bytes", t.Dims[0], t.Whole))
	}
	return t.DType.Bytes(t.Dims[:t.Rank]...)
}

// Width is the length of one row: the product of all dimensions but the first.
func (t Tensor) Width() int {
	w := 1
	for i := 1; i < t.Rank; i++ {
		w *= t.Dims[i]
	}
	return w
}

// Rows is the view of rows [i, j) of the outermost dimension.
func (t Tensor) Rows(i, j int) Tensor {
	if t.Rank == 0 || i < 0 || j < i || j > t.Dims[0] {
		panic(fmt.Sprintf("tensor: rows [%d, %d) of %v", i, j, t))
	}
	t.Off += int64(i) * int64(t.Width())
	t.Dims[0] = j - i
	return t
}

// View has the same elements in another shape. A quantised tensor has one shape.
func (t Tensor) View(dims ...int) Tensor {
	if t.DType.Quantised() {
		panic(fmt.Sprintf("tensor: view of %v", t))
	}
	v := t
	v.setDims(dims)
	if v.Len() != t.Len() {
		panic(fmt.Sprintf("tensor: view of %v has %d elements, wants %d", t, t.Len(), v.Len()))
	}
	return v
}

func (t *Tensor) setDims(dims []int) {
	if len(dims) == 0 || len(dims) > MaxRank {
		panic(fmt.Sprintf("tensor: %d dimensions, wants 1 to %d", len(dims), MaxRank))
	}
	t.Rank = len(dims)
	t.Dims = [MaxRank]int{}
	copy(t.Dims[:], dims)
	if t.DType.Quantised() {
		t.Whole = dims[0]
	}
}

// Is reports whether t has exactly the given type and dimensions.
func (t Tensor) Is(d DType, dims ...int) bool {
	if t.DType != d || t.Rank != len(dims) {
		return false
	}
	for i, n := range dims {
		if t.Dims[i] != n {
			return false
		}
	}
	return true
}

// SameShape reports whether t and u have the same dimensions.
func (t Tensor) SameShape(u Tensor) bool { return t.Rank == u.Rank && t.Dims == u.Dims }

// String is the type and the dimensions, as f32[512 64].
func (t Tensor) String() string {
	if t.Rank == 0 {
		return "none"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%v%v", t.DType, t.Dims[:t.Rank])
	return b.String()
}

// Float32 is the memory of an F32 tensor on a device whose memory the CPU can
// address. It panics on any other tensor.
func (t Tensor) Float32() []float32 { return elements[float32](t, F32) }

// Int32 is the memory of an I32 tensor, as Float32.
func (t Tensor) Int32() []int32 { return elements[int32](t, I32) }

// BFloat16 is the memory of a BF16 tensor as raw bits, as Float32.
func (t Tensor) BFloat16() []uint16 { return elements[uint16](t, BF16) }

// Uint8 is the memory of a U8 tensor, as Float32.
func (t Tensor) Uint8() []uint8 { return elements[uint8](t, U8) }

func elements[E float32 | int32 | uint16 | uint8](t Tensor, want DType) []E {
	if t.DType != want || t.Buf == nil {
		panic(fmt.Sprintf("tensor: %v has no %v memory", t, want))
	}
	n := t.Len()
	if n == 0 {
		return nil
	}
	mem := t.Buf.Host()
	size := t.DType.Size()
	mem = mem[t.Off*size : (t.Off+int64(n))*size]
	return unsafe.Slice((*E)(unsafe.Pointer(&mem[0])), n)
}

// Bytes is the memory of s seen as bytes, for Device.Upload and Download.
func Bytes[E float32 | int32 | uint16 | uint32](s []E) []byte {
	if len(s) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&s[0])), len(s)*int(unsafe.Sizeof(s[0])))
}
