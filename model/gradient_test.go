package model_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"meft/model"
	"meft/ref"
	"meft/tensor"
)

// packed is two sequences in one batch, with targets left out.
func packed() model.Batch {
	return model.Batch{
		IDs:     []int32{1, 2, 3, 4, 5, 2, 6, 0, 1, 3},
		Targets: []int32{-1, 3, 4, 5, 6, 2, -1, 0, 1, 3},
		Pos:     []int32{0, 1, 2, 3, 4, 5, 0, 1, 2, 3},
		Start:   []int32{0, 0, 0, 0, 0, 0, 6, 6, 6, 6},
		Scale:   0.125,
	}
}

// The reference device computes in float64, so central differences with a step
// of 1e-5 are good to about 1e-9 relative; gradients here are of size 1. The
// numeric side sees all logits at once, the other three rows at a time.
func TestGradientsEqualCentralDifferences(t *testing.T) {
	for _, arch := range []string{"plain", "everything"} {
		for _, rebuild := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, rebuild %v", arch, rebuild), func(t *testing.T) {
				c := tiny()
				if arch == "plain" {
					c.QKVBias, c.QKNorm, c.Tied, c.Window = false, false, true, []int{0, 0}
				} else {
					c.OBias, c.MLPBias = true, true
				}
				dev := ref.New()
				m := build(t, dev, c, model.Size{Rows: 12, Context: 16, Grad: true, Weights: true, Rebuild: rebuild, LossRows: 3})
				m.Init(4)
				m.ZeroGrad()
				m.Forward(packed())
				m.Backward()
				checkNumeric(t, m, c)
			})
		}
	}
}

func checkNumeric(t *testing.T, m *model.Model, c model.Config) {
	t.Helper()
	dev := ref.New()
	plain := build(t, dev, c, model.Size{Rows: 12, Context: 16})
	plain.Init(4)
	r := rand.New(rand.NewPCG(8, 8))
	for i, w := range plain.Weights() {
		values := dev.Read(w.W)
		grads := m.Device().(*ref.Device).Read(m.Weights()[i].D)
		loss := func(at int, by float64) float64 {
			values[at] += by
			dev.Write(w.W, values)
			values[at] -= by
			plain.Forward(packed())
			var sum float64
			for _, l := range dev.Read(plain.LossTensor()) {
				sum += l
			}
			return sum * 0.125
		}
		for range 3 {
			at := r.IntN(len(values))
			const h = 1e-5
			numeric := (loss(at, h) - loss(at, -h)) / (2 * h)
			dev.Write(w.W, values)
			if math.Abs(numeric-grads[at]) > 1e-6*math.Abs(numeric)+1e-8 {
				t.Errorf("%s[%d]: gradient %v, central difference %v", w.Name, at, grads[at], numeric)
			}
		}
	}
}

func TestRebuildGivesSameGradientsInLessMemory(t *testing.T) {
	var grads [2][]float64
	var bytes [2]int64
	for i, rebuild := range []bool{false, true} {
		dev := ref.New()
		c := tiny()
		c.Layers, c.Window = 6, make([]int, 6)
		m := build(t, dev, c, model.Size{Rows: 12, Context: 16, Grad: true, Weights: true, Rebuild: rebuild})
		m.Init(4)
		m.ZeroGrad()
		m.Forward(packed())
		m.Backward()
		for _, w := range m.Weights() {
			grads[i] = append(grads[i], dev.Read(w.D)...)
		}
		bytes[i] = dev.Allocated(tensor.OnDevice)
	}
	for i, g := range grads[0] {
		if g != grads[1][i] {
			t.Fatalf("gradient %d is %v kept, %v rebuilt", i, g, grads[1][i])
		}
	}
	if bytes[1] >= bytes[0] {
		t.Errorf("rebuilding takes %d bytes, keeping %d", bytes[1], bytes[0])
	}
}
