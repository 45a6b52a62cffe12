package simd

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
)

// gflops reports multiply-adds as two operations.
func gflops(b *testing.B, flops float64) {
	b.ReportMetric(flops*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
}

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
					w.kernel(w.shape.mr, 1, 240, w.a, 0, w.b, w.tile, w.shape.nr, 0, 1)
				}
				best = min(best, time.Since(start))
			}
			b.ReportMetric(float64(100*2*240*w.shape.mr*w.shape.nr)/float64(best), "best-GFLOP/s")
		})
	}
}

func BenchmarkMatMul(b *testing.B) {
	shapes := [][3]int{ // m, n, k of NT: tokens, outputs, inputs
		{256, 2048, 768}, {256, 768, 2048}, {512, 2048, 768}, {1024, 4096, 1024}, {64, 2048, 768},
		{32, 128, 128}, {64, 64, 64}, {128, 256, 128}, {512, 768, 256}, {512, 128, 512},
	}
	for _, l := range Levels()[min(1, len(Levels())-1):] {
		for _, s := range shapes {
			for op := NT; op <= TN; op++ {
				for threads := 1; threads <= 2; threads++ {
					m, n, k := s[0], s[1], s[2]
					switch op { // the gradients of the same layer
					case NN:
						n, k = k, n
					case TN:
						m, n, k = n, k, m
					}
					b.Run(fmt.Sprintf("%v/%v/%dx%dx%d/threads=%d", l, op, m, n, k, threads), func(b *testing.B) { product(b, l, threads, op, m, n, k, false) })
				}
			}
		}
	}
}

// BenchmarkFewRows is decoding: bound by reading B, from memory or, for the
// smaller one, from the caches.
func BenchmarkFewRows(b *testing.B) {
	for _, l := range Levels()[min(1, len(Levels())-1):] {
		for _, s := range [][2]int{{11008, 4096}, {256, 768}} {
			for _, m := range []int{1, 2, 3, 4, 5, 8} {
				for _, bf16 := range []bool{false, true} {
					for threads := 1; threads <= 2; threads++ {
						b.Run(fmt.Sprintf("%v/%dx%d/m=%d/bf16=%v/threads=%d", l, s[0], s[1], m, bf16, threads), func(b *testing.B) {
							product(b, l, threads, NT, m, s[0], s[1], bf16)
						})
					}
				}
			}
		}
	}
}

func product(b *testing.B, l Level, threads int, op Op, m, n, k int, bf16 bool) {
	rng := rand.New(rand.NewPCG(1, 1))
	p := NewPool(threads, l)
	defer p.Close()
	x, y, c := Mat{F32: make([]float32, m*k), Stride: k}, Mat{F32: make([]float32, n*k), Stride: k}, make([]float32, m*n)
	if op == TN {
		x.Stride = m
	}
	if op != NT {
		y.Stride = n
	}
	for i := range x.F32 {
		x.F32[i] = rng.Float32()
	}
	for i := range y.F32 {
		y.F32[i] = rng.Float32()
	}
	if bf16 {
		y.BF16 = make([]uint16, n*k)
		l.ToBF16(y.BF16, y.F32)
		y.F32 = nil
	}
	// The fastest call tells the speed of the code even on a busy machine; for
	// one thread its processor time does.
	best, cpu := time.Duration(math.MaxInt64), time.Duration(math.MaxInt64)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for b.Loop() {
		start, used := time.Now(), cpuTime()
		p.MatMul(op, m, n, k, 1, x, y, c, n, false)
		best, cpu = min(best, time.Since(start)), min(cpu, cpuTime()-used)
	}
	if threads == 1 {
		best = cpu
	}
	b.ReportMetric(2*float64(m)*float64(n)*float64(k)/float64(best), "best-GFLOP/s")
	gflops(b, 2*float64(m)*float64(n)*float64(k))
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
