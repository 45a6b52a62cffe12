package param

import (
	"math"
	"slices"
	"testing"

	"meft/internal/simd"
	"meft/tensor"
)

// small is a set of two dense tensors and a table, with its optimizer.
type small struct {
	set   *Set
	opt   *Optimizer
	table *Table
}

func newSmall(t *testing.T, idle Idle) small {
	t.Helper()
	return arenas(t, func(a *tensor.Arena) small {
		w, d := a.New("norm", tensor.F32, 3), a.New("norm.grad", tensor.F32, 3)
		s := small{table: NewTable(a, "ffn", 50, 4, TableOptions{Idle: idle})}
		s.set = &Set{Dense: []*Dense{NewDense(a, "router", 2, 4), Adopt(a, "norm", w, d, true)}, Tables: []*Table{s.table}}
		s.opt = NewOptimizer(a, nil, s.set, testAdamW(), testRate)
		return s
	})
}

// train makes steps [from, to) with gradients that are a function of the step.
func (s small) train(t *testing.T, from, to int) {
	t.Helper()
	for step := from; step < to; step++ {
		s.opt.ZeroGrad()
		for _, d := range s.set.Dense {
			for i, g := 0, d.D.Float32(); i < len(g); i++ {
				g[i] = float32(math.Sin(float64(3*step + i)))
			}
		}
		ids := []int32{int32(step % 50), int32(step%50) + 50}[:1]
		g := make([]float32, 4)
		fill(g, float32(math.Cos(float64(step))))
		s.table.ScatterAdd(ids, [Parts][]float32{g, g})
		if _, err := s.opt.Norm(); err != nil {
			t.Fatal(err)
		}
		s.opt.Step(step, 0.5)
	}
}

func TestNormIsOfAllGradients(t *testing.T) {
	s := newSmall(t, Lazy)
	fill(s.set.Dense[0].D.Float32(), 2)                                                         // 8 · 4
	fill(s.set.Dense[1].D.Float32(), 1)                                                         // 3 · 1
	s.table.ScatterAdd([]int32{7}, [Parts][]float32{[]float32{1, 1, 1, 1}, make([]float32, 4)}) // 4
	if got, err := s.opt.Norm(); err != nil || got != math.Sqrt(32+3+4) {
		t.Errorf("norm is %v, %v; wants the root of 39", got, err)
	}
	s.opt.ZeroGrad()
	if got, _ := s.opt.Norm(); got != 0 {
		t.Errorf("norm is %v after ZeroGrad", got)
	}
}

func TestNoDecayIsHonoured(t *testing.T) {
	s := newSmall(t, Lazy)
	for _, d := range s.set.Dense {
		fill(d.W.Float32(), 1)
	}
	s.opt.Step(0, 1) // all gradients are zero
	want := 1 - testRate(0)*testAdamW().Decay
	if got := s.set.Dense[0].W.Float32()[0]; got != want {
		t.Errorf("decayed weight is %v, wants %v", got, want)
	}
	if got := s.set.Dense[1].W.Float32()[0]; got != 1 {
		t.Errorf("weight without decay is %v, wants 1", got)
	}
}

// TestFixedMembersAreLeftAlone has a fixed tensor between trained ones.
func TestFixedMembersAreLeftAlone(t *testing.T) {
	s := arenas(t, func(a *tensor.Arena) small {
		s := small{set: &Set{Dense: []*Dense{NewFixed(a, "still", 2), NewDense(a, "moving", 2)}}}
		s.opt = NewOptimizer(a, nil, s.set, testAdamW(), testRate)
		return s
	})
	for _, d := range s.set.Dense {
		d.Fill([]float32{1, 1})
	}
	s.opt.ZeroGrad()
	fill(s.set.Dense[1].D.Float32(), 3)
	if got, err := s.opt.Norm(); err != nil || math.Abs(got-math.Sqrt(18)) > 1e-12 {
		t.Errorf("norm is %v, %v", got, err)
	}
	s.opt.Step(0, 1)
	if got := s.set.Dense[0].W.Float32(); got[0] != 1 || got[1] != 1 {
		t.Errorf("the fixed tensor moved to %v", got)
	}
	if got := s.set.Dense[1].W.Float32()[0]; got >= 1 {
		t.Errorf("the trained tensor is %v, wants less than 1", got)
	}
	if n := len(s.set.Moments()); n != 2 {
		t.Errorf("%d moments, wants two of the trained tensor", n)
	}
}

func TestStepAllocatesNothing(t *testing.T) {
	pool := simd.NewPool(2, simd.Best())
	defer pool.Close()
	for _, idle := range []Idle{Lazy, Moving, Replay} {
		s := newSmall(t, idle)
		s.table.o.Pool = pool
		ids, g := []int32{1, 4, 49}, make([]float32, 12)
		fill(g, 1)
		step := 0
		if n := testing.AllocsPerRun(20, func() {
			s.opt.ZeroGrad()
			s.table.Gather([Parts]Rows{Rows{F32: g}, Rows{F32: g}}, ids)
			s.table.ScatterAdd(ids, [Parts][]float32{g, g})
			if _, err := s.opt.Norm(); err != nil {
				t.Fatal(err)
			}
			s.opt.Step(step, 1)
			s.table.Flush()
			step++
		}); n != 0 {
			t.Errorf("%s: %v allocations a step", idle, n)
		}
	}
}

// TestRestoredRunEqualsUninterruptedRun saves after a few steps, restores into
// a used set and compares every bit at the end.
func TestRestoredRunEqualsUninterruptedRun(t *testing.T) {
	blobs := func(s small) []Blob { return append(s.set.Weights(), s.set.Moments()...) }
	for _, idle := range []Idle{Lazy, Moving, Replay} {
		straight, first, second := newSmall(t, idle), newSmall(t, idle), newSmall(t, idle)
		straight.train(t, 0, 80)
		first.train(t, 0, 37)
		second.train(t, 0, 60) // what it had is overwritten
		saved, names := [][]byte{}, []string{}
		for _, b := range blobs(first) {
			x := make([]byte, b.Bytes())
			b.Read(x)
			saved, names = append(saved, x), append(names, b.Name)
		}
		for i, b := range blobs(second) {
			b.Write(saved[i])
		}
		second.train(t, 37, 80)
		want := blobs(straight)
		for i, b := range blobs(second) {
			x, y := make([]byte, b.Bytes()), make([]byte, b.Bytes())
			b.Read(x)
			want[i].Read(y)
			if !slices.Equal(x, y) {
				t.Errorf("%s: %s differs after resuming", idle, b.Name)
			}
		}
		wantNames := []string{"router", "norm", "ffn.key", "ffn.value", "router.m", "router.v", "norm.m", "norm.v",
			"ffn.key.m", "ffn.key.v", "ffn.value.m", "ffn.value.v", "ffn.steps"}
		if idle == Moving {
			wantNames = wantNames[:len(wantNames)-1]
		}
		if !slices.Equal(names, wantNames) {
			t.Errorf("%s: blobs are %q, wants %q", idle, names, wantNames)
		}
	}
}

func TestSavedRowsDoNotLagBehind(t *testing.T) {
	moving, replay := newSmall(t, Moving), newSmall(t, Replay)
	moving.train(t, 0, 33)
	replay.train(t, 0, 33)
	want := moving.set.Weights()
	for i, b := range replay.set.Weights() {
		x, y := make([]byte, b.Bytes()), make([]byte, b.Bytes())
		b.Read(x)
		want[i].Read(y)
		if !slices.Equal(x, y) {
			t.Errorf("%s as saved differs from the dense optimizer's", b.Name)
		}
	}
}

func TestParametersCountsEverything(t *testing.T) {
	if got := newSmall(t, Lazy).set.Parameters(); got != 8+3+2*50*4 {
		t.Errorf("%d parameters, wants %d", got, 8+3+2*50*4)
	}
}
