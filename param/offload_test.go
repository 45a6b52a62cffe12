package param

import (
	"math"
	"slices"
	"testing"

	"meft/cpu"
	"meft/internal/simd"
	"meft/tensor"
)

// long is a set of tensors of one, two and three pieces, with its optimizer.
func long(t *testing.T, dev tensor.Device, build func(*tensor.Arena, *Set) *Optimizer) (*Set, *Optimizer) {
	t.Helper()
	var plan, real tensor.Ledger
	var s *Set
	var o *Optimizer
	for _, a := range []*tensor.Arena{tensor.NewPlan(&plan), tensor.NewArena(dev, &real, &plan)} {
		s = &Set{Dense: []*Dense{NewDense(a, "short", 3), NewDense(a, "whole", 2, pieceFloats), NewFixed(a, "still", 4), NewDense(a, "ragged", pieceFloats+77)}}
		s.Dense[1].NoDecay = true
		o = build(a, s)
		if err := a.Err(); err != nil {
			t.Fatal(err)
		}
	}
	if diff := real.Diff(&plan); diff != "" {
		t.Fatalf("made against planned: %s", diff)
	}
	return s, o
}

func TestOffloadedStepsHaveTheBitsOfTheDevices(t *testing.T) {
	pool := simd.NewPool(3, simd.Best())
	defer pool.Close()
	run := func(build func(*tensor.Arena, *Set) *Optimizer) [][]byte {
		dev := cpu.New(2)
		defer dev.Close()
		s, o := long(t, dev, build)
		for step := range 3 {
			for _, d := range s.Dense {
				if step != 1 { // set from outside, at first and in between
					x, scale := d.W.Float32(), 0.01*float64(step+1)
					values := slices.Clone(x)
					for i := range values {
						values[i] += float32(scale * math.Sin(float64(i)))
					}
					d.Fill(values)
				}
				if !d.Fixed() {
					for i, g := 0, d.D.Float32(); i < len(g); i++ {
						g[i] = float32(math.Cos(float64(i*(step+1)))) / 64
					}
				}
			}
			o.Step(step, 0.5)
		}
		var out [][]byte
		for _, b := range append(s.Weights(), s.Moments()...) {
			x := make([]byte, b.Bytes())
			if err := b.Read(x); err != nil {
				t.Fatal(err)
			}
			if view := b.View(); view != nil && !slices.Equal(view, x) {
				t.Errorf("the view of %s differs from what is read", b.Name)
			}
			out = append(out, x)
		}
		return out
	}
	want := run(func(a *tensor.Arena, s *Set) *Optimizer { return NewOptimizer(a, nil, s, testAdamW(), testRate) })
	for name, pool := range map[string]*simd.Pool{"one thread": nil, "three threads": pool} {
		got := run(func(a *tensor.Arena, s *Set) *Optimizer { return NewOffloaded(a, pool, s, testAdamW(), testRate) })
		for i := range want {
			if !slices.Equal(got[i], want[i]) {
				t.Errorf("%s: blob %d differs", name, i)
			}
		}
	}
}

// TestOffloadedStepMovesTwoValuesAParameter is the traffic of ZeRO-Offload: a
// gradient down, a value up. The values go down once, when the first step finds
// that they were set.
func TestOffloadedStepMovesTwoValuesAParameter(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	_, o := long(t, dev, func(a *tensor.Arena, s *Set) *Optimizer { return NewOffloaded(a, nil, s, testAdamW(), testRate) })
	bytes := int64(4 * (3 + 2*pieceFloats + pieceFloats + 77))
	for step := range 3 {
		o.Step(step, 1)
		up, down := o.Moved()
		if n := int64(step + 1); up != n*bytes || down != (n+1)*bytes {
			t.Errorf("after step %d: %d bytes up and %d down, wants %d and %d", step, up, down, n*bytes, (n+1)*bytes)
		}
	}
}

// A set of tables only has nothing to offload.
func TestOffloadedTablesAreTables(t *testing.T) {
	s := arenas(t, func(a *tensor.Arena) small {
		s := small{table: NewTable(a, "ffn", 50, 4, TableOptions{Idle: Lazy})}
		s.set = &Set{Tables: []*Table{s.table}}
		s.opt = NewOffloaded(a, nil, s.set, testAdamW(), testRate)
		return s
	})
	s.train(t, 0, 2)
	if up, down := s.opt.Moved(); up != 0 || down != 0 {
		t.Errorf("%d bytes up and %d down", up, down)
	}
}
