package methodtest

import (
	"testing"

	"meft/cpu"
	"meft/method"
	"meft/param"
	"meft/tensor"
)

// dense are methods with tensors on the device.
func dense() map[string]method.Method {
	f := small()
	return map[string]method.Method{
		"full":     &method.Full{},
		"parallel": &method.Parallel{Bottleneck: 9, Activation: "relu", Layers: "all"},
		"lora":     &method.LoRA{Rank: 3, Targets: "all-linear", Layers: "all", Dropout: 0.3},
		"meft":     &f, // its router
	}
}

// sized is a size with gradients for what m trains.
func sized(m method.Method) *suite { return &suite{settings: m} }

// TestOffloadedOptimizerHasTheSameBits trains with the optimizer's state on the
// host, on a device that is as late as it may be, against a device that has
// everything and does it at once.
func TestOffloadedOptimizerHasTheSameBits(t *testing.T) {
	for name, m := range dense() {
		size := sized(m).size()
		away := buildWith(t, &late{Device: cpu.New(2)}, name, m, size, 0.02, param.NewOffloaded)
		here := Build(t, cpu.New(2), name, m, size, 0.02)
		for _, r := range []*Rig{away, here} {
			r.Noise()
			for step := range 4 {
				r.Step(t, step, rotated(step))
				r.Model.Forward(Batch()) // an evaluation in between
			}
		}
		sameState(t, away, here, name)
		if a, b := away.Ledger.Used(tensor.OnDevice), here.Ledger.Used(tensor.OnDevice); a >= b {
			t.Errorf("%s: %d bytes on the device with the optimizer offloaded, %d without", name, a, b)
		}
		for p := tensor.Pool(0); p < tensor.Pools; p++ {
			if got, want := away.Dev.Allocated(p), away.Plan.Used(p); got != want {
				t.Errorf("%s: %v: the device gave %d bytes, planned were %d", name, p, got, want)
			}
		}
	}
}

// TestOffloadedRunGoesOnWhereItWasSaved moves a run from host to device and back.
func TestOffloadedRunGoesOnWhereItWasSaved(t *testing.T) {
	blobs := func(r *Rig) []param.Blob { return append(r.Set.Weights(), r.Set.Moments()...) }
	for name, m := range dense() {
		size := sized(m).size()
		straight := Build(t, cpu.New(2), name, m, size, 0.02)
		for step := range 6 {
			straight.Step(t, step, rotated(step))
		}
		var last *Rig
		for i, optimizer := range []maker{param.NewOffloaded, param.NewOptimizer, param.NewOffloaded} {
			r := buildWith(t, cpu.New(2), name, m, size, 0.02, optimizer)
			if last != nil {
				r.Step(t, 0, Batch()) // what it has is overwritten
				restore(blobs(r), saved(blobs(last)))
			}
			for step := 2 * i; step < 2*i+2; step++ {
				r.Step(t, step, rotated(step))
			}
			last = r
		}
		sameState(t, last, straight, name)
	}
}

func TestOffloadedStepAllocatesNothing(t *testing.T) {
	m := &method.Full{}
	r := buildWith(t, cpu.New(2), "full", m, sized(m).size(), 0.02, param.NewOffloaded)
	b, step := Batch(), 0
	if n := testing.AllocsPerRun(5, func() {
		r.Step(t, step, b)
		step++
	}); n != 0 {
		t.Errorf("%v allocations a step", n)
	}
}
