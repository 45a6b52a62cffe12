package method

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"meft/cpu"
	"meft/model"
	"meft/param"
	"meft/tensor"
)

// BenchmarkMEFT is one block of width 768 with M neurons and 512 tokens: the
// host's choice alone, both passes of the branch, and the step of its table.
func BenchmarkMEFT(b *testing.B) {
	for _, m := range []int{1024, 4096, 16384, 65536, 262144} {
		b.Run(fmt.Sprint(m), func(b *testing.B) { benchmarkBlock(b, m) })
	}
}

func benchmarkBlock(b *testing.B, neurons int) {
	dev := cpu.New(0)
	defer dev.Close()
	c := tinyConfig()
	c.Dim, c.Layers, c.Window = 768, 1, []int{0}
	f := All()["meft"].(*MEFT)
	f.Neurons = neurons
	var plan, real tensor.Ledger
	var m *model.Model
	var s *param.Set
	for _, a := range []*tensor.Arena{tensor.NewPlan(&plan), tensor.NewArena(dev, &real, &plan)} {
		var err error
		if m, err = model.Build(a, c, model.Size{Rows: 512, Context: 512, Grad: true}); err != nil {
			b.Fatal(err)
		}
		if s, err = f.Attach(m, a, 1); err != nil {
			b.Fatal(err)
		}
		defer a.Close()
	}
	a := tensor.NewArena(dev, &tensor.Ledger{}, &tensor.Ledger{})
	defer a.Close()
	x, y := a.New("x", tensor.F32, 512, c.Dim), a.New("y", tensor.F32, 512, c.Dim)
	dx := a.New("dx", tensor.F32, 512, c.Dim)
	r := rand.New(rand.NewPCG(1, 1))
	for _, v := range [][]float32{x.Float32(), y.Float32()} {
		for i := range v {
			v[i] = float32(r.NormFloat64())
		}
	}
	n := f.branches[0]
	opt := param.NewOptimizer(tensor.NewArena(dev, &tensor.Ledger{}, &tensor.Ledger{}), nil, s,
		param.AdamW{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8}, func(int) float32 { return 1e-3 })
	b.Run("choose", func(b *testing.B) {
		g := n.logits(x)
		for b.Loop() {
			n.choose(g, x)
		}
		b.ReportMetric(float64(n.used), "union")
	})
	b.Run("forward", func(b *testing.B) {
		for b.Loop() {
			n.Forward(y, x)
		}
	})
	b.Run("backward", func(b *testing.B) {
		for b.Loop() {
			n.Backward(dx, y, x)
		}
	})
	b.Run("step", func(b *testing.B) {
		rowBytes := 0
		for step := 0; b.Loop(); step++ {
			if _, err := opt.Norm(); err != nil {
				b.Fatal(err)
			}
			opt.Step(step, 1)
			rowBytes = 2 * c.Dim * 4
		}
		// The norm reads gradients; the step reads them, moments and values, and
		// writes the last three.
		b.SetBytes(int64(n.table.Touched()) * int64(rowBytes) * 8)
	})
}
