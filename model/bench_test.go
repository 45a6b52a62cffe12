package model_test

import (
	"fmt"
	"runtime"
	"testing"

	"meft/cpu"
	"meft/model"
	"meft/tensor"
)

// BenchmarkGenerate continues prompts of 256 tokens by 64, greedily, on random
// weights: one prompt, and eight at once. It reports prompt and new tokens a
// second apart, the first as measured with a single new token.
func BenchmarkGenerate(b *testing.B) {
	threads := []int{1}
	if n := runtime.GOMAXPROCS(0); n > 1 {
		threads = append(threads, n)
	}
	for _, shape := range []string{"llama-15m", "llama-110m", "tinyllama-1.1b"} {
		for _, t := range []tensor.DType{tensor.F32, tensor.BF16} {
			for _, n := range threads {
				b.Run(fmt.Sprintf("%s/%v/threads=%d", shape, t, n), func(b *testing.B) { benchmarkGenerate(b, shape, t, n) })
			}
		}
	}
}

func benchmarkGenerate(b *testing.B, shape string, frozen tensor.DType, threads int) {
	const prompt, fresh, most = 192, 64, 8
	dev := cpu.New(threads)
	defer dev.Close()
	m := build(b, dev, model.Shapes()[shape], model.Size{Rows: 256, Context: prompt + fresh, CacheRows: most * (prompt + fresh), Frozen: frozen})
	m.Init(1)
	for _, n := range []int{1, most} {
		prompts := make([][]int32, n)
		for i := range prompts {
			for j := range prompt {
				prompts[i] = append(prompts[i], int32(1+(i*prompt+j)*7919%31999))
			}
		}
		run := func(b *testing.B, fresh int) {
			for b.Loop() {
				if err := m.Generate(b.Context(), prompts, model.Decoding{MaxNew: fresh}, func(int, model.Continuation) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
		}
		var first float64 // seconds until each prompt has a token
		b.Run(fmt.Sprintf("prompts=%d/prefill", n), func(b *testing.B) {
			run(b, 1)
			first = b.Elapsed().Seconds() / float64(b.N)
			b.ReportMetric(float64(n*prompt)/first, "tokens/s")
		})
		b.Run(fmt.Sprintf("prompts=%d/decode", n), func(b *testing.B) {
			b.ReportAllocs()
			run(b, fresh)
			b.ReportMetric(float64(n*(fresh-1))/(b.Elapsed().Seconds()/float64(b.N)-first), "tokens/s")
		})
	}
}
