package simd

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"
)

// BenchmarkKernel is the micro-kernel on data in the first-level cache: what
// MatMul could reach if packing were free.
func BenchmarkKernel(b *testing.B) {
	for _, l := range Levels() {
		b.Run(l.String(), func(b *testing.B) {
			var w worker
			w.init(l, l.blocks())
			best := time.Duration(math.MaxInt64)
			for b.Loop() {
				start := time.Now()
				for range 100 {
					w.kernel(exact, w.shape.mr, 1, 240, w.a, 0, w.b, w.tile, w.shape.nr, 0, 1)
				}
				best = min(best, time.Since(start))
			}
			b.ReportMetric(float64(100*2*240*w.shape.mr*w.shape.nr)/float64(best), "best-GFLOP/s")
		})
	}
}

// BenchmarkMatMul is a linear layer and its gradients in training: rows of
// tokens by inputs by outputs. best is of the fastest product, and the share of
// peak is that over the fastest round of multiply-adds on registers, taken
// between the products on as many threads.
func BenchmarkMatMul(b *testing.B) {
	for _, l := range Levels()[min(1, len(Levels())-1):] {
		for _, layer := range [][2]int{{288, 768}, {768, 2048}, {2048, 5632}} {
			for _, rows := range []int{8, 64, 256, 512, 1024} {
				for op := NT; op <= TN; op++ {
					m, n, k := rows, layer[1], layer[0]
					switch op {
					case NN:
						n, k = k, n
					case TN:
						m, k = n, m
						n = layer[0]
					}
					for _, dtype := range []string{"f32", "bf16"} {
						for threads := 1; threads <= 2; threads++ {
							b.Run(fmt.Sprintf("%v/%dx%dx%d/%v/%s/threads=%d", l, rows, layer[0], layer[1], op, dtype, threads), func(b *testing.B) {
								product(b, l, threads, op, m, n, k, dtype == "bf16")
							})
						}
					}
				}
			}
		}
	}
}

// BenchmarkFewRows is decoding, which the reading of B bounds: of the layers of
// small and large models, and of heads. It goes through copies of B that the
// caches do not hold together. best-GB/s counts the bytes of B, and the share of
// read is that over the fastest plain reading of the same memory, taken between
// the products on as many threads.
func BenchmarkFewRows(b *testing.B) {
	for _, l := range Levels()[min(1, len(Levels())-1):] {
		for _, s := range [][2]int{{768, 288}, {2048, 768}, {11008, 4096}, {32000, 288}, {32000, 768}, {32000, 2048}} {
			for _, m := range []int{1, 2, 4, 8} {
				for _, dtype := range []string{"f32", "bf16"} {
					for threads := 1; threads <= 2; threads++ {
						b.Run(fmt.Sprintf("%v/%dx%d/m=%d/%s/threads=%d", l, s[0], s[1], m, dtype, threads), func(b *testing.B) {
							fewRows(b, l, threads, m, s[0], s[1], dtype == "bf16")
						})
					}
				}
			}
		}
	}
}

// numbers are n uniform ones.
func numbers(n int) []float32 {
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	x := make([]float32, n)
	for i := range x {
		x[i] = rng.Float32()
	}
	return x
}

func product(b *testing.B, l Level, threads int, op Op, m, n, k int, bf16 bool) {
	p := NewPool(threads, l)
	defer p.Close()
	x, y, c := Mat{F32: numbers(m * k), Stride: k}, Mat{F32: numbers(n * k), Stride: k}, make([]float32, m*n)
	if op == TN {
		x.Stride = m
	}
	if op != NT {
		y.Stride = n
	}
	if bf16 {
		y.BF16 = make([]uint16, n*k)
		l.ToBF16(y.BF16, y.F32)
		y.F32 = nil
	}
	flops := 2 * float64(m) * float64(n) * float64(k)
	speed, peak := 0.0, 0.0
	for b.Loop() {
		start := time.Now()
		p.MatMul(op, m, n, k, 1, x, y, c, n, false)
		speed = max(speed, flops/float64(time.Since(start)))
		peak = max(peak, peakOf(p))
	}
	b.ReportMetric(0, "ns/op") // the rounds in between are in it
	b.ReportMetric(speed, "best-GFLOP/s")
	b.ReportMetric(100*speed/peak, "%peak")
}

// peakOf is the GFLOP/s of the threads at multiply-adds on registers, for as
// long as it takes to share them out evenly.
func peakOf(p *Pool) float64 {
	rooms := make([]struct {
		PeakRoom
		_ [128]byte
	}, p.Threads())
	flops := make([]float64, 32)
	start := time.Now()
	p.Run(len(flops), taskFunc(func(i, w int) { flops[i] = p.level.Peak(2000, &rooms[w].PeakRoom) }))
	return float64(len(flops)) * flops[0] / float64(time.Since(start))
}

func fewRows(b *testing.B, l Level, threads, m, n, k int, bf16 bool) {
	const caches = 96 << 20 // bytes, more than any cache
	p := NewPool(threads, l)
	defer p.Close()
	size := n * k * 4
	if bf16 {
		size /= 2
	}
	copies := make([]Mat, max(1, caches/size))
	for i := range copies {
		copies[i] = Mat{F32: numbers(n * k), Stride: k}
		if bf16 {
			h := make([]uint16, n*k)
			l.ToBF16(h, copies[i].F32)
			copies[i] = Mat{BF16: h, Stride: k}
		}
	}
	x, c := Mat{F32: numbers(m * k), Stride: k}, make([]float32, m*n)
	// The sweeps over all copies are the rounds: one product of a small layer is
	// too short to time.
	speed, read := 0.0, 0.0
	for b.Loop() {
		start := time.Now()
		for i := range copies {
			p.MatMul(NT, m, n, k, 1, x, copies[i], c, n, false)
		}
		speed = max(speed, float64(len(copies)*size)/float64(time.Since(start)))
		start = time.Now()
		for i := range copies {
			readAll(p, copies[i])
		}
		read = max(read, float64(len(copies)*size)/float64(time.Since(start)))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(speed, "best-GB/s")
	b.ReportMetric(100*speed/read, "%read")
}

// readAll reads a matrix on all threads, at the cost of one addition a vector.
func readAll(p *Pool, x Mat) {
	f := x.F32
	if f == nil {
		f = unsafe.Slice((*float32)(unsafe.Pointer(&x.BF16[0])), len(x.BF16)/2)
	}
	const piece = 1 << 16
	p.Run((len(f)+piece-1)/piece, taskFunc(func(i, _ int) {
		p.level.Max(f[i*piece : min((i+1)*piece, len(f))])
	}))
}

func BenchmarkVectors(b *testing.B) {
	const n = 4096
	rng := rand.New(rand.NewPCG(2, 1))
	for _, l := range Levels() {
		for _, c := range elementCases() {
			s := make([][]float32, c.args)
			for i := range s {
				s[i] = make([]float32, n)
				for j := range s[i] {
					s[i][j] = rng.Float32()
				}
			}
			b.Run(fmt.Sprintf("%v/%s", l, c.name), func(b *testing.B) {
				for b.Loop() {
					c.run(l, s)
				}
				b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)/n*1e9, "ns/element")
			})
		}
	}
}
