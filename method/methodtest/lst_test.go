package methodtest

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"meft/cpu"
	"meft/method"
	"meft/model"
	"meft/ref"
	"meft/tensor"
)

func asideSize(size model.Size) model.Size { return method.ToTop.Size(size) }

func lstRig(t *testing.T, dev tensor.Device, m method.LST, size model.Size) *Rig {
	t.Helper()
	if size.Grad {
		size = asideSize(size)
	}
	return Build(t, dev, "lst", &m, size, 0.01)
}

func wide(layers, init string) method.LST {
	return method.LST{Reduction: 1, Layers: layers, Temperature: 0.1, Init: init}
}

// setGates gives all gates one value of a.
func setGates(r *Rig, a float64) {
	for _, d := range r.Set.Dense {
		if d.Name == "side.gates" {
			x := make([]float64, d.W.Len())
			for i := range x {
				x[i] = a
			}
			r.Dev.(*watch).Write(d.W, x)
		}
	}
}

// A side network that is as wide as the model is the model, when it begins as
// all of it and the gates let nothing in but the side's own state, which began
// as the embedding.
func TestUnprunedLadderWithClosedGatesIsTheModel(t *testing.T) {
	bare := Build(t, &watch{Device: ref.New()}, "lora", &method.LoRA{Rank: 1, Targets: "q_proj", Layers: "all"}, grad(), 0)
	r := lstRig(t, &watch{Device: ref.New()}, wide("all", method.InitPruned), grad())
	setGates(r, 100) // sigmoid(1000) is 1
	// The same sums of float64, in part in another order.
	if got, want := r.loss(), bare.loss(); math.Abs(got-want) > 1e-12 {
		t.Errorf("loss %v, of the model %v", got, want)
	}
	setGates(r, 0)
	if got, want := r.loss(), bare.loss(); math.Abs(got-want) < 1e-3 {
		t.Errorf("loss %v with gates half open, of the model %v", got, want)
	}
}

// The same holds for biases, norms of queries and keys, shared keys and sliding
// windows: the side's blocks have what the model's have.
func TestUnprunedLadderIsTheModelInEveryFamily(t *testing.T) {
	for name, change := range map[string]func(c *model.Config){
		"biases":  func(c *model.Config) { c.QKVBias, c.OBias, c.MLPBias = true, true, true },
		"norms":   func(c *model.Config) { c.QKNorm = true },
		"windows": func(c *model.Config) { c.Window = []int{0, 2, 3} },
		"tied":    func(c *model.Config) { c.Tied = true },
	} {
		c := Config()
		change(&c)
		losses := map[bool]float64{}
		for _, ladder := range []bool{false, true} {
			dev, plan := &watch{Device: ref.New()}, &tensor.Ledger{}
			t.Cleanup(func() { dev.Close() })
			m := wide("all", method.InitPruned)
			r := &Rig{Dev: dev, Method: &m}
			for _, a := range []*tensor.Arena{tensor.NewPlan(plan), tensor.NewArena(dev, &tensor.Ledger{}, plan)} {
				var err error
				if r.Model, err = model.Build(a, c, asideSize(grad())); err != nil {
					t.Fatal(err)
				}
				if !ladder {
					continue
				}
				if r.Set, err = m.Attach(r.Model, a, methodSeed); err != nil {
					t.Fatal(err)
				}
			}
			r.Model.Init(modelSeed)
			for i, w := range r.Model.Weights() { // biases and norms begin as 0 and 1
				if x := dev.Read(w.W); w.W.Rank == 1 {
					for j := range x {
						x[j] += 0.1 * float64((i+j)%5)
					}
					dev.Write(w.W, x)
				}
			}
			if ladder {
				if err := m.Start(); err != nil {
					t.Fatal(err)
				}
				setGates(r, 100)
			}
			losses[ladder] = r.loss()
		}
		// The values go through float32 on their way, the sums are in another order.
		if math.Abs(losses[true]-losses[false]) > 1e-5 {
			t.Errorf("%s: loss %v, of the model %v", name, losses[true], losses[false])
		}
	}
}

// With gates open, the state below a block of the side does not count: only the
// last of the blocks does, and what it reads.
func TestOpenGatesForgetTheSide(t *testing.T) {
	all, last := lstRig(t, &watch{Device: ref.New()}, wide("all", method.InitPruned), grad()), lstRig(t, &watch{Device: ref.New()}, wide("2", method.InitPruned), grad())
	setGates(all, -100)
	setGates(last, -100)
	if a, b := all.loss(), last.loss(); math.Abs(a-b) > 1e-12 {
		t.Errorf("loss %v with three blocks, %v with the last of them", a, b)
	}
}

// The blocks keep nothing of the frozen model: without rebuilding only the
// streams that are read, of the embeddings and of the chosen blocks; with it not
// even those.
func TestLadderKeepsOnlyWhatItReads(t *testing.T) {
	m := method.LST{Reduction: 4, Layers: "0,2", Temperature: 0.1, Init: method.InitRandom}
	for _, rebuild := range []bool{false, true} {
		size := grad()
		size.Rebuild = rebuild
		r := lstRig(t, cpu.New(1), m, size)
		taps := 0
		for _, e := range r.Ledger.Entries() {
			if strings.Contains(e.Name, "tap.") {
				taps++
			}
			if strings.HasPrefix(e.Name, "acts.") && !e.Part && e.Name != "acts.x.0" {
				t.Errorf("rebuild %v: %s is kept", rebuild, e.Name)
			}
		}
		if want := map[bool]int{false: 3, true: 0}[rebuild]; taps != want {
			t.Errorf("rebuild %v: %d streams kept, want %d", rebuild, taps, want)
		}
	}
}

// Decoding token by token, in batches and with beams, has the logits of running
// all at once: both networks have their keys and values cached.
func TestLadderDecodesAsItReads(t *testing.T) {
	m := method.LST{Reduction: 2, Layers: "0,2", Temperature: 0.5, Init: method.InitRandom}
	r := lstRig(t, cpu.New(2), m, model.Size{Rows: 16, Context: 16, LossRows: 4, CacheRows: 64})
	r.Noise()
	want, got := r.logits(), make([]float32, Config().Vocab)
	for i, id := range []int32{4, 9, 1, 15} { // the prompt of logits
		step := model.Step{IDs: []int32{id}, Pos: []int32{int32(i)}, Base: []int32{0}, Want: []int32{0}}
		if i == 1 {
			step.Want = nil // nothing of this row is asked for
		}
		r.Model.Infer(step, func(_ int, row []float32) { copy(got, row) })
	}
	if !slices.Equal(got, want) {
		t.Errorf("logits are %v, of all rows together %v", got, want)
	}
	prompts := [][]int32{{4, 9, 1}, {2}, {7, 7, 3, 1, 5}}
	for _, beams := range []int{1, 3} {
		d := model.Decoding{MaxNew: 5, Beams: beams}
		together := continued(t, r, prompts, d)
		for i, p := range prompts {
			alone := continued(t, r, [][]int32{p}, d)[0]
			if !slices.Equal(alone, together[i]) {
				t.Errorf("%d beams: prompt %d goes on with %v alone, %v among others", beams, i, alone, together[i])
			}
			if beams == 1 {
				follows(t, r, p, alone)
			}
		}
	}
}

func continued(t *testing.T, r *Rig, prompts [][]int32, d model.Decoding) [][]int32 {
	t.Helper()
	out := make([][]int32, len(prompts))
	err := r.Model.Generate(context.Background(), prompts, d, func(i int, c model.Continuation) error {
		out[i] = slices.Clone(c.IDs)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// follows checks that each new token is the likeliest by a pass over the text
// that has no cache: no other target has a smaller loss.
func follows(t *testing.T, r *Rig, prompt, more []int32) {
	t.Helper()
	ids := slices.Concat(prompt, more)
	n := len(ids) - 1
	loss := func(at int, target int32) float32 {
		b := model.Batch{IDs: ids[:n], Targets: make([]int32, n), Pos: make([]int32, n), Start: make([]int32, n)}
		for i := range n {
			b.Pos[i], b.Targets[i] = int32(i), -1
		}
		b.Targets[at] = target
		return r.losses(b)[at]
	}
	for i, id := range more {
		at := len(prompt) - 1 + i
		for other := range int32(Config().Vocab) {
			if loss(at, other) < loss(at, id)-1e-5 { // float32 losses of size 1, from logits with and without a cache
				t.Errorf("token %d of %v is not the likeliest: %d is", i, more, other)
			}
		}
	}
}

// Frozen weights in BF16 are exact on both devices; the CPU adds up in float32.
func TestLadderBesideHalfWidthWeights(t *testing.T) {
	for _, rebuild := range []bool{false, true} {
		size := grad()
		size.Frozen, size.Rebuild = tensor.BF16, rebuild
		m := method.LST{Reduction: 2, Layers: "all", Temperature: 0.5, Init: method.InitPruned}
		got, want := lstRig(t, cpu.New(2), m, size), lstRig(t, &watch{Device: ref.New()}, m, size)
		for _, name := range []string{"side.1.mlp.down_proj.weight", "side.down.embed.weight"} {
			if a, b := valuesOf(got, name), valuesOf(want, name); !slices.Equal(a, b) {
				t.Errorf("%s begins as %v on one device and %v on another", name, a, b)
			}
		}
		got.Noise()
		copyWeights(want, got)
		got.Pass(Batch())
		want.Pass(Batch())
		SameGrads(t, got, want, 1e-4)
	}
}

func valuesOf(r *Rig, name string) []float64 {
	for _, d := range r.Set.Dense {
		if d.Name == name {
			return Values(r.Dev, d.W)
		}
	}
	return nil
}
