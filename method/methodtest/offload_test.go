package methodtest

import (
	"bytes"
	"slices"
	"strings"
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
		"lst":      &method.LST{Reduction: 2, Layers: "0-1", Temperature: 0.5, Init: method.InitPruned},
		"prompt":   &method.Prompt{Tokens: 3, Init: method.FromVocabulary},
		"prefix":   &method.Prefix{Tokens: 3, Init: method.FromVocabulary}, // of what blocks compute that visit the device
		"dora":     &method.LoRA{Rank: 3, Targets: "all-linear", Layers: "all", DoRA: true},
	}
}

// registered is the name that methods know a case by.
func registered(name string) string {
	if name == "dora" {
		return "lora"
	}
	return name
}

// sized is a size with gradients for what m trains.
func sized(m method.Method) *suite { return &suite{settings: m} }

// TestOffloadedOptimizerHasTheSameBits trains with the optimizer's state on the
// host, on a device that is as late as it may be, against a device that has
// everything and does it at once.
func TestOffloadedOptimizerHasTheSameBits(t *testing.T) {
	for name, m := range dense() {
		size := sized(m).size()
		away := buildWith(t, &late{Device: cpu.New(2)}, registered(name), m, size, 0.02, param.NewOffloaded)
		here := Build(t, cpu.New(2), registered(name), m, size, 0.02)
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

// TestOffloadedBlocksHaveTheSameBits trains with blocks that visit a device which
// is as late as it may be, two batches a step, against one that has everything.
func TestOffloadedBlocksHaveTheSameBits(t *testing.T) {
	for name, m := range dense() {
		for _, rebuild := range []bool{false, true} {
			size := sized(m).size()
			size.Rebuild = rebuild
			here := Build(t, cpu.New(2), registered(name), m, size, 0.02)
			size.Offload = true
			blocks := Build(t, &late{Device: cpu.New(2)}, registered(name), m, size, 0.02)
			both := buildWith(t, &late{Device: cpu.New(2)}, registered(name), m, size, 0.02, param.NewOffloaded)
			rigs := []*Rig{here, blocks, both}
			norms := make([]float64, len(rigs))
			for i, r := range rigs {
				r.Noise()
				for step := range 4 {
					r.Opt.ZeroGrad()
					for micro := range 2 {
						b := rotated(2*step + micro)
						b.Draw = draw
						r.Model.Forward(b)
						r.Model.Backward()
					}
					var err error
					if norms[i], err = r.Opt.Norm(); err != nil {
						t.Fatal(err)
					}
					r.Opt.Step(step, float32(1/max(1, norms[i])))
					r.logits()
				}
			}
			for i, r := range rigs[1:] {
				what := []string{name + " blocks", name + " blocks and optimizer"}[i]
				sameState(t, r, here, what)
				if norms[i+1] != norms[0] {
					t.Errorf("%s: the norm is %v, wants %v", what, norms[i+1], norms[0])
				}
				if !slices.Equal(r.logits(), here.logits()) {
					t.Errorf("%s: other logits", what)
				}
				for p := tensor.Pool(0); p < tensor.Pools; p++ {
					if got, want := r.Dev.Allocated(p), r.Plan.Used(p); got != want {
						t.Errorf("%s: %v: the device gave %d bytes, planned were %d", what, p, got, want)
					}
				}
			}
			if a, b := blocks.Ledger.Used(tensor.OnDevice), here.Ledger.Used(tensor.OnDevice); a >= b {
				t.Errorf("%s: %d bytes on the device with blocks offloaded, %d without", name, a, b)
			}
		}
	}
}

// TestOffloadedBlocksMoveOnce counts copies: forward brings every block, backward
// all but the two that are still there; trained blocks leave their gradients.
func TestOffloadedBlocksMoveOnce(t *testing.T) {
	for _, m := range []method.Method{&method.Full{}, &method.LoRA{Rank: 3, Targets: "all-linear", Layers: "all"}} {
		size := sized(m).size()
		size.Offload = true
		name := map[bool]string{true: "full", false: "lora"}[size.Weights]
		r := Build(t, cpu.New(1), name, m, size, 0.02)
		block := int64(0)
		for _, w := range r.Model.Weights() {
			if strings.HasPrefix(w.Name, "model.layers.0.") {
				block += w.Home.Bytes()
			}
		}
		r.Pass(Batch())
		first, down := r.Model.Moved()
		r.Pass(Batch())
		up, _ := r.Model.Moved()
		// Of three blocks the backward pass ends with the first two on the device.
		again := int64(2)
		if size.Weights {
			again = 4 // values may have changed
		}
		if first != 4*block || up-first != again*block {
			t.Errorf("%s: %d and %d blocks up, wants 4 and %d", name, first/block, (up-first)/block, again)
		}
		if want := map[bool]int64{true: 3 * block}[size.Weights]; down != want {
			t.Errorf("%s: %d bytes down, wants %d", name, down, want)
		}
	}
}

// TestGradientsThatWereClearedAreZero: clearing costs no copy, and still counts.
func TestGradientsThatWereClearedAreZero(t *testing.T) {
	m := &method.Full{}
	size := sized(m).size()
	size.Offload = true
	r := Build(t, cpu.New(1), "full", m, size, 0.02)
	r.Pass(Batch())
	r.Opt.ZeroGrad()
	if norm, err := r.Opt.Norm(); norm != 0 || err != nil {
		t.Errorf("norm is %v, %v", norm, err)
	}
	before := saved(r.Set.Weights())
	r.Opt.Step(0, 1) // decay only
	for i, b := range r.Set.Weights() {
		if d := r.Set.Dense[i]; d.NoDecay && !bytes.Equal(saved([]param.Blob{b})[0], before[i]) {
			t.Errorf("%s moved without a gradient", d.Name)
		}
	}
}

// TestOffloadedRunGoesOnWhereItWasSaved moves a run from host to device and back.
func TestOffloadedRunGoesOnWhereItWasSaved(t *testing.T) {
	blobs := func(r *Rig) []param.Blob { return append(r.Set.Weights(), r.Set.Moments()...) }
	for name, m := range dense() {
		size := sized(m).size()
		straight := Build(t, cpu.New(2), registered(name), m, size, 0.02)
		for step := range 6 {
			straight.Step(t, step, rotated(step))
		}
		var last *Rig
		for i, optimizer := range []maker{param.NewOffloaded, param.NewOptimizer, param.NewOffloaded} {
			r := buildWith(t, cpu.New(2), registered(name), m, size, 0.02, optimizer)
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
	for _, offload := range []bool{false, true} {
		m := &method.Full{}
		size := sized(m).size()
		size.Offload = offload
		r := buildWith(t, cpu.New(2), "full", m, size, 0.02, param.NewOffloaded)
		b, step := Batch(), 0
		if n := testing.AllocsPerRun(5, func() {
			r.Step(t, step, b)
			step++
		}); n != 0 {
			t.Errorf("blocks offloaded %v: %v allocations a step", offload, n)
		}
	}
}
