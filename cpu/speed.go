package cpu

import (
	"time"

	"meft/internal/simd"
	"meft/tensor"
)

// PeakSpeed measures for about so long how many floating point operations a
// second the threads can do together: multiply-adds on registers, that wait for
// neither memory nor each other. No product is faster.
func (d *Device) PeakSpeed(span time.Duration) float64 {
	task := &peakTask{level: d.level, done: make([]peakPart, d.Threads())}
	start := time.Now()
	took := time.Duration(0)
	for took == 0 || took < span {
		d.pool.Run(8*d.Threads(), task)
		took = time.Since(start)
	}
	sum := 0.0
	for _, p := range task.done {
		sum += p.flops
	}
	return sum / took.Seconds()
}

// peakTask is a few ten microseconds of arithmetic a piece.
type peakTask struct {
	level simd.Level
	done  []peakPart // by worker
}

// peakPart is one worker's share, on cache lines of its own.
type peakPart struct {
	room  simd.PeakRoom
	flops float64
	_     [128]byte
}

// Do does piece i.
func (t *peakTask) Do(_, worker int) {
	p := &t.done[worker]
	p.flops += t.level.Peak(20000, &p.room)
}

// readPiece is how many numbers of a ReadSpeed a thread takes at a time.
const readPiece = 1 << 16

// ReadSpeed measures how many bytes a second the threads together read from
// memory, by reading F32 tensor t once. It means something if t is much larger
// than the caches, or was not read lately.
func (d *Device) ReadSpeed(t tensor.Tensor) float64 {
	x := t.Float32()
	start := time.Now()
	d.pool.Run((len(x)+readPiece-1)/readPiece, &readTask{level: d.level, x: x})
	return float64(t.Bytes()) / time.Since(start).Seconds()
}

// readTask multiplies memory with a few numbers that stay in the first cache:
// the sum costs less than the reading.
type readTask struct {
	level simd.Level
	x     []float32
	with  [1024]float32
}

// Do reads piece i. The sums are all 0 and of no use.
func (t *readTask) Do(i, _ int) {
	x := t.x[i*readPiece : min((i+1)*readPiece, len(t.x))]
	for len(x) > 0 {
		n := min(len(x), len(t.with))
		t.level.Dot(x[:n], t.with[:n])
		x = x[n:]
	}
}
