package cpu

import (
	"meft/internal/simd"
	"meft/tensor"
)

// job is the kernel that runs: a function and its operands, kept in the device
// so that a call allocates nothing. Each function says which fields it reads.
type job struct {
	d       *Device
	f       func(j *job, lo, hi, worker int) // does items [lo, hi)
	n       int                              // number of items
	grain   int                              // items a piece
	width   int                              // of a row
	k       int                              // ids a row
	cols    int                              // of a block of columns
	y, y2   []float32                        // outputs
	x, g, z []float32                        // inputs
	w       weight
	ids     []int32
	table   []float32
	alpha   float32
	flag    bool
	adam    simd.AdamW
}

// weight is an operand in F32 or BF16; both nil stands for none.
type weight struct {
	f []float32
	h []uint16
}

func weightOf(t tensor.Tensor) weight {
	if t.DType == tensor.BF16 {
		return weight{h: t.BFloat16()}
	}
	return weight{f: t.Float32()}
}

// part is elements [i, i+n) as floats; BF16 is widened into room.
func (w weight) part(l simd.Level, i, n int, room []float32) []float32 {
	if w.h == nil {
		return w.f[i : i+n]
	}
	l.FromBF16(room[:n], w.h[i:i+n])
	return room[:n]
}

// floats is the memory of t, nil for none.
func floats(t tensor.Tensor) []float32 {
	if t.None() {
		return nil
	}
	return t.Float32()
}

// pieceSize is about how many numbers a piece of work handles: enough to be
// worth handing to a thread, few enough to share out evenly.
const pieceSize = 1 << 14

// run does n items of about size numbers each, in pieces.
func (d *Device) run(n, size int, j job) {
	if n == 0 {
		return
	}
	j.d, j.n = d, n
	j.grain = max(1, pieceSize/max(1, size))
	d.job = j
	d.pool.Run((n+j.grain-1)/j.grain, &d.job)
	d.job = job{}
}

// runColumns does blocks of columns of a matrix of that width, for kernels that
// add rows to each other: one thread owns a column from the first row to the
// last, so neither blocks nor threads show in the sums. rows is the work by
// column.
func (d *Device) runColumns(rows, width int, j job) {
	j.width = width
	j.cols = width
	if rows*width > pieceSize && d.Threads() > 1 {
		j.cols = max(32, (width/(2*d.Threads())+15)&^15)
	}
	if width == 0 {
		return
	}
	d.run((width+j.cols-1)/j.cols, pieceSize, j)
}

// columns is the range of block i of runColumns.
func (j *job) columns(i int) (lo, hi int) { return i * j.cols, min((i+1)*j.cols, j.width) }

// Do does piece i.
func (j *job) Do(i, worker int) {
	lo := i * j.grain
	j.f(j, lo, min(lo+j.grain, j.n), worker)
}

// row is row i of a matrix of the job's width.
func (j *job) row(x []float32, i int) []float32 { return x[i*j.width : (i+1)*j.width] }
