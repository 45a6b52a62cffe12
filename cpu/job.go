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
	shift   uint                             // of heapOf
	y, y2   []float32                        // outputs
	x, g, z []float32                        // inputs
	w       weight
	ids     []int32
	table   []float32
	alpha   float32
	key     uint64
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
	if width == 0 {
		return
	}
	j.width = width
	j.cols = width
	if rows*width > pieceSize && d.Threads() > 1 {
		j.cols = max(32, (width/(2*d.Threads())+15)&^15)
	}
	d.run((width+j.cols-1)/j.cols, pieceSize, j)
}

// columns is the range of block i of runColumns.
func (j *job) columns(i int) (lo, hi int) { return i * j.cols, min((i+1)*j.cols, j.width) }

// Rows that are added to by id are shared out in heaps, each about so large
// that it stays in the second-level cache while all ids are gone through.
const (
	heapBytes = 256 << 10
	maxHeaps  = 64 // going through the ids has a price too
)

// runHeaps is for kernels that add to the rows of a matrix [rows, width] by id:
// one thread owns a heap of rows and adds to it in the order of the ids. Few
// rows are shared out by columns instead, which gives the same bits.
func (d *Device) runHeaps(rows, width int, j job) {
	heaps := 1
	j.shift = 32
	for heaps < maxHeaps && (heaps < 4*d.Threads() && d.Threads() > 1 || heaps*heapBytes < rows*width*4) {
		heaps *= 2
		j.shift--
	}
	if d.Threads() > 1 && rows < 4*heaps {
		j.shift = 32
		d.runColumns(len(j.ids), width, j)
		return
	}
	j.width, j.cols = width, width
	d.run(heaps, pieceSize, j)
}

// share is what item i of runHeaps does: rows of one heap, and columns. There
// is one heap when the columns are shared out, and the other way round.
func (j *job) share(i int) (heap uint32, lo, hi int) {
	if j.shift == 32 {
		lo, hi = j.columns(i)
		return 0, lo, hi
	}
	return uint32(i), 0, j.width
}

// heapOf is the heap of a row. Multiplying by 2³²/φ spreads neighbours, which
// are often equally busy (frequent tokens have low ids).
func (j *job) heapOf(id int32) uint32 { return uint32(id) * 0x9e3779b9 >> j.shift }

// Do does piece i.
func (j *job) Do(i, worker int) {
	lo := i * j.grain
	j.f(j, lo, min(lo+j.grain, j.n), worker)
}

// row is row i of a matrix of the job's width.
func (j *job) row(x []float32, i int) []float32 { return x[i*j.width : (i+1)*j.width] }
