// Package cpu is the device that computes with the processor's vector units on
// all cores. Its memory is plain memory outside the Go heap, so tensors can be
// read in place; its copies are done when they return.
//
// Results have the same bits for any number of threads: work is cut at places
// that depend on shapes only, or in ways that no sum can see. A row's result
// does not depend on the other rows of the batch: not in MatMul, not in kernels
// by row, and not in Attention. So decoding token by token gives the bits of the
// whole forward pass.
//
// Kernels allocate nothing.
package cpu

import (
	"fmt"
	"math"
	"runtime"
	"unsafe"

	"meft/internal/simd"
	"meft/tensor"
)

// Device is the CPU as a device. It serves one goroutine at a time.
type Device struct {
	pool    *simd.Pool
	level   simd.Level
	compute tensor.DType // of MatMul
	job     job
	attn    attention
	spaces  []space // by worker
	sums    [maxSums]float64
	codes   simd.Quant // of the call
	memory  memory
	used    [tensor.Pools]int64
	ticket  tensor.Ticket
}

// chunk is how many numbers of a row are worked on at a time where a kernel
// needs room for intermediate results.
const chunk = 4096

// space is the room of one worker. Kernels by row use chunks of the tile.
type space struct {
	tile
	_ [64]byte // workers do not share cache lines
}

// New returns a device of so many threads, 0 for as many as Go may use, at the
// best level of the machine.
func New(threads int) *Device { return NewLevel(threads, simd.Best()) }

// NewLevel is New at a level from simd.Levels.
func NewLevel(threads int, level simd.Level) *Device {
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	d := &Device{pool: simd.NewPool(threads, level), level: level, spaces: make([]space, threads)}
	for i := range d.spaces {
		d.spaces[i].init(level)
	}
	return d
}

// SetCompute chooses the numbers MatMul multiplies: F32, which is the default, or
// BF16, to which it rounds both operands, adding up in float32. The other kernels
// compute in float32 always. Before the first kernel; another type panics.
//
// Rounding moves an element by at most 2^-7 + 2^-16 of the sum of the absolute
// values of its products, 2^-8 where b is BF16 already.
func (d *Device) SetCompute(t tensor.DType) {
	if t != tensor.F32 && t != tensor.BF16 {
		panic(fmt.Sprintf("cpu: products of %v", t))
	}
	d.compute = t
}

// Name says what the device is, such as "cpu, 8 threads, avx2".
func (d *Device) Name() string {
	products := ""
	if d.compute == tensor.BF16 {
		products = ", bf16 products (" + BF16Products() + ")"
	}
	if d.Threads() == 1 {
		return fmt.Sprintf("cpu, 1 thread, %v%s", d.level, products)
	}
	return fmt.Sprintf("cpu, %d threads, %v%s", d.Threads(), d.level, products)
}

// BF16Products is "hardware" where the processor has instructions for products of
// BF16 (AVX512_BF16), and "emulated" where operands are rounded for those of F32,
// which is no faster.
func BF16Products() string {
	if simd.DotsBF16() {
		return "hardware"
	}
	return "emulated"
}

// Threads is the number of threads kernels run on.
func (d *Device) Threads() int { return d.pool.Threads() }

// Pool is the device's thread pool, for work on host memory between kernels.
func (d *Device) Pool() *simd.Pool { return d.pool }

// WorkspaceBytes is the memory the device itself takes, which Allocated does
// not count: 4 MB and about 0.9 MB a thread, whatever the model.
func (d *Device) WorkspaceBytes() int64 {
	return d.pool.Bytes() + int64(d.Threads())*int64(unsafe.Sizeof(space{}))
}

// buffer is memory of a Device.
type buffer struct {
	mem  []byte
	from piece
	size int64
	pool tensor.Pool
}

// Bytes is the size that was asked for.
func (b *buffer) Bytes() int64 { return b.size }

// Host is the memory.
func (b *buffer) Host() []byte { return b.mem }

// Alloc gives zeroed memory that starts at a multiple of 64 bytes. On Linux real
// pages are behind it at once, so that a machine with too little shows it at the
// start of a run and not hours later. An error names the size.
func (d *Device) Alloc(bytes int64, p tensor.Pool) (tensor.Buffer, error) {
	if bytes <= 0 || bytes > math.MaxInt-64 || p >= tensor.Pools {
		return nil, fmt.Errorf("cpu: cannot allocate %d bytes of pool %d", bytes, p)
	}
	mem, from, err := d.memory.reserve(int(bytes))
	if err != nil {
		return nil, fmt.Errorf("cpu: cannot allocate %d bytes (%.1f GiB): %w", bytes, float64(bytes)/(1<<30), err)
	}
	d.used[p] += bytes
	return &buffer{mem: mem, from: from, size: bytes, pool: p}, nil
}

// Free takes memory back; a later use of it panics.
func (d *Device) Free(x tensor.Buffer) {
	b := x.(*buffer)
	if b.mem == nil {
		panic("cpu: memory freed twice")
	}
	b.from.release()
	b.mem = nil
	d.used[b.pool] -= b.size
}

// Allocated is the number of bytes given out and not freed.
func (d *Device) Allocated(p tensor.Pool) int64 { return d.used[p] }

// Upload copies src to dst.
func (d *Device) Upload(dst tensor.Tensor, src []byte) tensor.Ticket {
	tensor.CheckCopy(dst, src)
	copy(bytesOf(dst), src)
	d.ticket++
	return d.ticket
}

// Download copies src to dst.
func (d *Device) Download(dst []byte, src tensor.Tensor) tensor.Ticket {
	tensor.CheckCopy(src, dst)
	copy(dst, bytesOf(src))
	d.ticket++
	return d.ticket
}

// bytesOf is the memory of t.
func bytesOf(t tensor.Tensor) []byte {
	if t.DType.Quantised() {
		return t.Codes()
	}
	switch t.DType {
	case tensor.BF16:
		return tensor.Bytes(t.BFloat16())
	case tensor.I32:
		return tensor.Bytes(t.Int32())
	}
	return tensor.Bytes(t.Float32())
}

// After does nothing: copies are done when they return.
func (d *Device) After(tensor.Ticket) {}

// Await does nothing: copies are done when they return.
func (d *Device) Await(tensor.Ticket) {}

// Sync returns nil: kernels are done when they return, and have no faults.
func (d *Device) Sync() error { return nil }

// Close ends the device's threads. Memory not freed stays until the end of the
// process.
func (d *Device) Close() error {
	d.pool.Close()
	return nil
}
