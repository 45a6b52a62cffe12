package method

import (
	"math/rand/v2"
	"testing"

	"meft/cpu"
	"meft/model"
	"meft/tensor"
)

// BenchmarkMEFT is one block of width 512 with 4096 neurons and 512 tokens: the
// host's choice alone, and both passes of the branch. The bytes are those of the
// rows that come in, both ways.
func BenchmarkMEFT(b *testing.B) {
	dev := cpu.New(0)
	defer dev.Close()
	c := tinyConfig()
	c.Dim, c.Layers, c.Window = 512, 1, []int{0}
	f := All()["meft"].(*MEFT)
	var plan, real tensor.Ledger
	var m *model.Model
	for _, a := range []*tensor.Arena{tensor.NewPlan(&plan), tensor.NewArena(dev, &real, &plan)} {
		var err error
		if m, err = model.Build(a, c, model.Size{Rows: 512, Context: 512, Grad: true}); err != nil {
			b.Fatal(err)
		}
		if _, err = f.Attach(m, a, 1); err != nil {
			b.Fatal(err)
		}
	}
	a := tensor.NewArena(dev, &tensor.Ledger{}, &tensor.Ledger{})
	x, y := a.New("x", tensor.F32, 512, 512), a.New("y", tensor.F32, 512, 512)
	r := rand.New(rand.NewPCG(1, 1))
	for _, v := range [][]float32{x.Float32(), y.Float32()} {
		for i := range v {
			v[i] = float32(r.NormFloat64())
		}
	}
	n := f.branches[0]
	b.Run("choose", func(b *testing.B) {
		g := n.logits(x)
		for b.Loop() {
			n.choose(g, x)
		}
	})
	b.Run("forward", func(b *testing.B) {
		for b.Loop() {
			n.Forward(y, x)
		}
		b.SetBytes(int64(n.used) * 512 * 8)
		b.ReportMetric(float64(n.used)/float64(n.m), "union/M")
	})
	b.Run("backward", func(b *testing.B) {
		for b.Loop() {
			n.Backward(x, y, x)
		}
		b.SetBytes(int64(n.used) * 512 * 16)
	})
}
