// Package ref is the reference device: every kernel is a plain loop that reads
// like its definition in package tensor, computed in float64. It is the truth
// that other devices are tested against, and wide enough for gradients to be
// checked by differences. It will never be fast.
package ref

import (
	"encoding/binary"
	"fmt"
	"math"
	"unsafe"

	"meft/quant"
	"meft/tensor"
)

// Device is the reference device. The zero Device is ready. It is not safe for
// concurrent use.
//
// Device memory is twice as large as it says. An element that starts at byte b
// in its stated type starts at byte 2b and has twice its stated size: F32 is
// kept as float64, I32 as int64, BF16 as the equal float32. So views may start
// at any element, and tensors of different types may take turns on the same
// memory as they do on other devices. Quantised tensors are codes and scales as
// everywhere, in the first half of their memory. Host memory is plain.
type Device struct {
	used   [tensor.Pools]int64
	ticket tensor.Ticket
}

// New returns a reference device.
func New() *Device { return &Device{} }

// most is the largest buffer, far more than a loop in float64 is good for. The
// Go heap answers a larger request with a panic instead of an error.
const most = 1 << 34

// buffer is memory of a Device: wide for device memory, host for the others.
type buffer struct {
	bytes int64
	pool  tensor.Pool
	wide  []uint64 // one word for every 4 stated bytes
	host  []byte
}

// Bytes is the size that was asked for.
func (b *buffer) Bytes() int64 { return b.bytes }

// Host is nil for device memory, whose elements are wider than they say.
func (b *buffer) Host() []byte { return b.host }

// Name says what the device is.
func (d *Device) Name() string { return "reference (float64)" }

// Alloc gives zeroed memory.
func (d *Device) Alloc(bytes int64, p tensor.Pool) (tensor.Buffer, error) {
	if bytes <= 0 || bytes > most || p >= tensor.Pools {
		return nil, fmt.Errorf("ref: cannot allocate %d bytes of pool %d", bytes, p)
	}
	b := &buffer{bytes: bytes, pool: p}
	if words := (bytes + 3) / 4; p == tensor.OnDevice {
		b.wide = make([]uint64, words)
	} else {
		// 64 bytes more make room to start at a multiple of 64.
		raw := make([]byte, bytes+64)
		skip := -uintptr(unsafe.Pointer(&raw[0])) & 63
		b.host = raw[skip : skip+uintptr(bytes) : skip+uintptr(bytes)]
	}
	d.used[p] += bytes
	return b, nil
}

// Free takes memory back; a later use of it panics.
func (d *Device) Free(x tensor.Buffer) {
	b := x.(*buffer)
	if b.wide == nil && b.host == nil {
		panic("ref: memory freed twice")
	}
	d.used[b.pool] -= b.bytes
	b.wide, b.host = nil, nil
}

// Allocated is the number of bytes given out and not freed, in stated types.
func (d *Device) Allocated(p tensor.Pool) int64 { return d.used[p] }

// Upload copies src to dst.
func (d *Device) Upload(dst tensor.Tensor, src []byte) tensor.Ticket {
	tensor.CheckCopy(dst, src)
	if dst.DType.Quantised() {
		copy(codes(dst), src)
	}
	switch le := binary.LittleEndian; dst.DType {
	case tensor.F32:
		for i, x := 0, f64(dst); i < len(x); i++ {
			x[i] = float64(math.Float32frombits(le.Uint32(src[4*i:])))
		}
	case tensor.I32:
		for i, x := 0, ints(dst); i < len(x); i++ {
			x[i] = int64(int32(le.Uint32(src[4*i:])))
		}
	case tensor.BF16:
		for i, x := 0, brain(dst); i < len(x); i++ {
			x[i] = math.Float32frombits(uint32(le.Uint16(src[2*i:])) << 16)
		}
	}
	d.ticket++
	return d.ticket
}

// Download copies src to dst; F32 is rounded to float32.
func (d *Device) Download(dst []byte, src tensor.Tensor) tensor.Ticket {
	tensor.CheckCopy(src, dst)
	if src.DType.Quantised() {
		copy(dst, codes(src))
	}
	switch le := binary.LittleEndian; src.DType {
	case tensor.F32:
		for i, v := range f64(src) {
			le.PutUint32(dst[4*i:], math.Float32bits(float32(v)))
		}
	case tensor.I32:
		for i, v := range ints(src) {
			le.PutUint32(dst[4*i:], uint32(int32(v)))
		}
	case tensor.BF16:
		for i, v := range brain(src) {
			le.PutUint16(dst[2*i:], uint16(math.Float32bits(v)>>16))
		}
	}
	d.ticket++
	return d.ticket
}

// After does nothing: copies are done when they return.
func (d *Device) After(tensor.Ticket) {}

// Await does nothing: copies are done when they return.
func (d *Device) Await(tensor.Ticket) {}

// Sync returns nil: kernels are done when they return, and have no faults.
func (d *Device) Sync() error { return nil }

// Close does nothing.
func (d *Device) Close() error { return nil }

// Read returns the elements of t in full width.
func (d *Device) Read(t tensor.Tensor) []float64 {
	out := make([]float64, t.Len())
	if t.DType == tensor.I32 {
		for i, v := range ints(t) {
			out[i] = float64(v)
		}
		return out
	}
	copy(out, values(t))
	return out
}

// Write sets the elements of t. F32 keeps every bit of v, BF16 rounds.
func (d *Device) Write(t tensor.Tensor, v []float64) {
	if len(v) != t.Len() {
		panic(fmt.Sprintf("ref: %d values for %v", len(v), t))
	}
	switch t.DType {
	case tensor.F32:
		copy(f64(t), v)
	case tensor.I32:
		for i, x := 0, ints(t); i < len(x); i++ {
			x[i] = int64(v[i])
		}
	case tensor.BF16:
		for i, x := 0, brain(t); i < len(x); i++ {
			x[i] = roundBF16(v[i])
		}
	}
}

// f64, ints and brain are the memory of tensors of the three types.
func f64(t tensor.Tensor) []float64   { return elements[float64](t, tensor.F32) }
func ints(t tensor.Tensor) []int64    { return elements[int64](t, tensor.I32) }
func brain(t tensor.Tensor) []float32 { return elements[float32](t, tensor.BF16) }

// values are the elements of an F32 tensor, or a copy of those of a BF16 or
// quantised one.
func values(t tensor.Tensor) []float64 {
	if t.DType.Quantised() {
		return decoded(t)
	}
	if t.DType != tensor.BF16 {
		return f64(t)
	}
	out := make([]float64, t.Len())
	for i, v := range brain(t) {
		out[i] = float64(v)
	}
	return out
}

// codes is the memory of the whole quantised tensor that t is rows of. It is
// plain, in the first half of the buffer's.
func codes(t tensor.Tensor) []byte {
	b, ok := t.Buf.(*buffer)
	t.Dims[0] = t.Whole
	n := t.Bytes()
	if !ok || b.wide == nil || n > b.bytes {
		panic(fmt.Sprintf("ref: %v is no quantised device memory", t))
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(b.wide))), n)
}

// decoded are the elements of a quantised tensor.
func decoded(t tensor.Tensor) []float64 {
	m := quant.Of(t.DType, codes(t), t.Whole, t.Width())
	x := make([]float32, t.Len())
	m.Decode(x, int(t.Off))
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}

func elements[E float64 | int64 | float32](t tensor.Tensor, want tensor.DType) []E {
	b, ok := t.Buf.(*buffer)
	if !ok || t.DType != want || b.wide == nil {
		panic(fmt.Sprintf("ref: %v is no %v device memory", t, want))
	}
	n, size := int64(t.Len()), t.DType.Size()
	if t.Off < 0 || (t.Off+n)*size > b.bytes {
		panic(fmt.Sprintf("ref: elements [%d, %d) of %v are beyond %d bytes", t.Off, t.Off+n, t, b.bytes))
	}
	if n == 0 {
		return nil
	}
	first := unsafe.Add(unsafe.Pointer(&b.wide[0]), 2*t.Off*size)
	return unsafe.Slice((*E)(first), n)
}

// roundBF16 rounds to the nearest bfloat16, ties to even. NaN stays NaN.
func roundBF16(v float64) float32 {
	bits := math.Float32bits(float32(v))
	if v != v {
		return math.Float32frombits(bits&0xffff0000 | 0x00400000)
	}
	return math.Float32frombits((bits + 0x7fff + bits>>16&1) & 0xffff0000)
}
