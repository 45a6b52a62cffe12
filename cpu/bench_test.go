package cpu

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"meft/internal/simd"
	"meft/tensor"
)

// gflops reports the rate of so many floating point operations a call, and how
// much that is of what the processor does at best, measured right after.
func (x *bench) gflops(b *testing.B, flops float64) {
	rate := flops * float64(b.N) / b.Elapsed().Seconds()
	b.ReportMetric(rate/1e9, "GFLOP/s")
	b.ReportMetric(100*rate/x.PeakSpeed(20*time.Millisecond), "%peak")
}

// threadCounts are one thread and all.
func threadCounts() []int {
	if n := runtime.GOMAXPROCS(0); n > 1 {
		return []int{1, n}
	}
	return []int{1}
}

// BenchmarkAttention counts the products that the mask lets through: two a pair
// of query and key forwards, five backwards.
func BenchmarkAttention(b *testing.B) {
	for _, c := range []struct {
		name         string
		d, hd, group int
		window       int
		lengths      []int
	}{
		{"d288/batch", 288, 48, 1, far, repeat(256, 4)},
		{"d192/short", 192, 32, 1, far, repeat(16, 32)},
		{"d768/long", 768, 64, 1, far, []int{1024}},
		{"d768/short", 768, 64, 1, far, repeat(32, 32)},
		{"d768/window", 768, 64, 1, 256, []int{1024}},
		{"d768/shared", 768, 64, 4, far, []int{1024}},
	} {
		for _, threads := range threadCounts() {
			n, pairs := 0, 0
			for _, l := range c.lengths {
				n += l
				for i := range l {
					pairs += min(i+1, c.window)
				}
			}
			x := newBench(b, threads, simd.Best())
			h := c.d / c.hd
			q, k, v, o, lse := x.random(n, h, c.hd), x.random(n, h/c.group, c.hd), x.random(n, h/c.group, c.hd), x.random(n, h, c.hd), x.random(n, h)
			dq, dk, dv := x.random(n, h, c.hd), x.random(n, h/c.group, c.hd), x.random(n, h/c.group, c.hd)
			m := x.packed(0.1, c.window, c.lengths...)
			b.Run(fmt.Sprintf("forward/%s/%d", c.name, threads), func(b *testing.B) {
				for b.Loop() {
					x.Attention(o, lse, q, k, v, m)
				}
				x.gflops(b, 4*float64(pairs*c.d))
			})
			b.Run(fmt.Sprintf("backward/%s/%d", c.name, threads), func(b *testing.B) {
				for b.Loop() {
					x.AttentionGrad(dq, dk, dv, o, o, lse, q, k, v, m)
				}
				x.gflops(b, 10*float64(pairs*c.d))
			})
		}
	}
}

// BenchmarkDecode is one query row against a cache of 1024 keys.
func BenchmarkDecode(b *testing.B) {
	x := newBench(b, runtime.GOMAXPROCS(0), simd.Best())
	const rows, h, hd = 1024, 12, 64
	q, k, v, o, lse := x.random(1, h, hd), x.random(rows, h, hd), x.random(rows, h, hd), x.random(1, h, hd), x.random(1, h)
	m := tensor.Mask{Start: x.ids([]int32{0}, 1), End: x.ids([]int32{rows}, 1), Scale: 0.1}
	for b.Loop() {
		x.Attention(o, lse, q, k, v, m)
	}
	b.SetBytes(2 * rows * h * hd * 4)
}

func BenchmarkRMSNorm(b *testing.B) {
	for _, d := range []int{192, 768} {
		x := newBench(b, runtime.GOMAXPROCS(0), simd.Best())
		in, w, out, r, dw := x.random(512, d), x.random(d), x.random(512, d), x.random(512), x.random(d)
		b.Run(fmt.Sprintf("forward/%d", d), func(b *testing.B) {
			for b.Loop() {
				x.RMSNorm(out, r, in, w, 1e-5)
			}
			b.SetBytes(2 * in.Bytes())
		})
		b.Run(fmt.Sprintf("backward/%d", d), func(b *testing.B) {
			for b.Loop() {
				x.RMSNormGrad(out, dw, in, in, w, r)
			}
			b.SetBytes(4 * in.Bytes())
		})
	}
}

func BenchmarkCrossEntropy(b *testing.B) {
	for _, v := range []int{4096, 32000} {
		x := newBench(b, runtime.GOMAXPROCS(0), simd.Best())
		logits, loss, targets := x.random(256, v), x.random(256), x.ids(make([]int32, 256), 256)
		b.Run(fmt.Sprint(v), func(b *testing.B) {
			for b.Loop() {
				x.CrossEntropy(loss, logits, targets, 1)
			}
			b.SetBytes(logits.Bytes())
		})
	}
}

// BenchmarkElements are kernels bound by memory, on more than fits into caches.
// Their floor is the bytes they read and write at the speed of the first, which
// only copies.
func BenchmarkElements(b *testing.B) {
	const n, d = 2048, 2048
	x := newBench(b, runtime.GOMAXPROCS(0), simd.Best())
	p, q, r, s, w, rstd := x.random(n, d), x.random(n, d), x.random(n, d), x.random(n, d), x.random(d), x.random(n)
	heads, pos, angles := p.View(n, d/64, 64), x.ids(make([]int32, n), n), x.random(1, 64)
	for _, c := range []struct {
		name   string
		arrays int64 // read and written
		f      func()
	}{
		{"copy", 2, func() { x.Convert(p, q) }},
		{"add", 3, func() { x.Add(p, q, r) }},
		{"swiglu", 3, func() { x.SwiGLU(p, q, r) }},
		{"swiglu-grad", 5, func() { x.SwiGLUGrad(p, q, p, r, s) }},
		{"rmsnorm", 2, func() { x.RMSNorm(p, rstd, q, w, 1e-5) }},
		{"rmsnorm-grad", 4, func() { x.RMSNormGrad(p, tensor.Tensor{}, q, r, w, rstd) }},
		{"rope", 2, func() { x.RoPE(heads, pos, angles, false) }},
		{"sumsquares", 1, func() { x.SumSquares(rstd, p) }},
		{"adamw", 7, func() {
			x.AdamW(p, q, r, s, tensor.AdamWOpts{Rate: 1e-4, Beta1: 0.9, Beta2: 0.99, Eps: 1, Correct1: 1, Correct2: 1})
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			x.Fill(s, 1)
			for b.Loop() {
				c.f()
			}
			b.SetBytes(c.arrays * p.Bytes())
		})
	}
}

// BenchmarkRows are the kernels of a MEFT branch: 512 tokens, 64 neurons each.
func BenchmarkRows(b *testing.B) {
	for _, d := range []int{192, 768} {
		x := newBench(b, runtime.GOMAXPROCS(0), simd.Best())
		const n, k, u = 512, 64, 4096
		id := make([]int32, n*k)
		for i := range id {
			id[i] = int32(i*7919) % u
		}
		in, rows, s, ids := x.random(n, d), x.random(u, d), x.random(n, k), x.ids(id, n, k)
		for name, f := range map[string]func(){
			"dots":  func() { x.RowDots(s, in, rows, ids) },
			"add":   func() { x.RowAdd(in, s, rows, ids) },
			"outer": func() { x.RowOuter(rows, s, in, ids) },
		} {
			b.Run(fmt.Sprintf("%s/%d", name, d), func(b *testing.B) {
				x.Fill(s, 0)
				for b.Loop() {
					f()
				}
				x.gflops(b, 2*n*k*float64(d))
			})
		}
	}
}

func repeat(n, times int) []int {
	out := make([]int, times)
	for i := range out {
		out[i] = n
	}
	return out
}
