// Package methodtest is the conformance suite of fine-tuning methods: what every
// method promises, checked on a tiny model. Gradients are compared with
// differences on package ref, everything else on package cpu.
package methodtest

import (
	"encoding/json"
	"math/rand/v2"
	"testing"

	"meft/cpu"
	"meft/internal/simd"
	"meft/method"
	"meft/model"
	"meft/param"
	"meft/ref"
	"meft/tensor"
)

// Run tests a method with its settings as given, on every type of base weights
// that it can have. Every test attaches a copy of it, made through JSON.
func Run(t *testing.T, name string, m method.Method) {
	t.Helper()
	bases := []tensor.DType{tensor.F32, tensor.BF16, tensor.NF4DQ}
	if m.Reach() == method.ToWeights || testing.Short() {
		// What is trained is F32; and -short, for the race detector, looks at what
		// runs side by side, which does not depend on the type.
		bases = bases[:1]
	}
	for _, base := range bases {
		s := &suite{name: name, settings: m, base: base}
		if base == tensor.F32 {
			s.run(t)
		} else {
			t.Run(base.String(), s.run)
		}
	}
}

func (s *suite) run(t *testing.T) {
	for _, group := range []struct {
		name string
		run  func(*suite, *testing.T)
	}{
		{"identity at start", (*suite).identity},
		{"gradients", (*suite).gradients},
		{"rebuild", (*suite).rebuild},
		{"frozen weights", (*suite).frozen},
		{"bytes", (*suite).bytes},
		{"allocations", (*suite).allocations},
		{"save and load", (*suite).saveAndLoad},
		{"resume", (*suite).resume},
		{"threads", (*suite).threads},
		{"overfit", (*suite).overfit},
	} {
		t.Run(group.name, func(t *testing.T) { group.run(s, t) })
	}
	// Where the weights are trained too, which are F32 then. Else their gradients
	// are the method's, or there are none.
	if s.base == tensor.F32 && s.settings.Reach() == method.ToInputs {
		t.Run("gradients without the weights' own", s.lowestBlock)
	}
}

type suite struct {
	name     string
	settings method.Method
	base     tensor.DType // of frozen weights
}

// Seeds of the model, the method and the noise on parameters.
const (
	modelSeed  = 3
	methodSeed = 4
	noiseSeed  = 5
)

// draw is Batch.Draw of training passes.
const draw = 9

// Config is the tiny model of the suite: three layers, grouped keys and values,
// weights so large that activations differ and that the frozen head, which sees
// normed rows, lets losses come close to 0.
func Config() model.Config {
	return model.Config{Architecture: "LlamaForCausalLM", Dim: 12, Layers: 3, Heads: 2, KVHeads: 1, HeadDim: 6, Hidden: 20,
		Vocab: 17, MaxPositions: 64, Eps: 1e-5, Theta: 10000, Window: []int{0, 0, 0}, InitRange: 0.6}
}

// Batch is two packed sequences with targets left out.
func Batch() model.Batch {
	return model.Batch{
		IDs:     []int32{1, 5, 3, 16, 4, 2, 9, 0, 7, 3, 11, 12, 8},
		Targets: []int32{-1, 3, 16, 4, 2, 9, -1, 7, 3, 11, 12, 8, 1},
		Pos:     []int32{0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5},
		Start:   []int32{0, 0, 0, 0, 0, 0, 0, 7, 7, 7, 7, 7, 7},
		Scale:   1.0 / 11,
	}
}

// size is for one Batch with gradients for what m trains.
func (s *suite) size() model.Size {
	return s.settings.Reach().Size(model.Size{Rows: 16, Context: 16, Frozen: s.base, LossRows: 4, CacheRows: 16})
}

// configOf is Config, wider where matrices have to be whole blocks of 64.
func configOf(frozen tensor.DType) model.Config {
	c := Config()
	if frozen.Quantised() {
		c.Dim, c.HeadDim, c.Hidden = 24, 16, 24
	}
	return c
}

// Rig is a model with a method attached and an optimizer.
type Rig struct {
	Model  *model.Model
	Method method.Method
	Set    *param.Set
	Opt    *param.Optimizer // nil without gradients
	Dev    tensor.Device
	Plan   *tensor.Ledger
	Ledger *tensor.Ledger
}

// Build plans and makes a rig for a copy of the method.
func Build(t testing.TB, dev tensor.Device, name string, settings method.Method, size model.Size, rate float64) *Rig {
	t.Helper()
	return buildWith(t, dev, name, settings, size, rate, param.NewOptimizer)
}

// maker is param.NewOptimizer or another of its kind.
type maker func(*tensor.Arena, *simd.Pool, *param.Set, param.AdamW, func(step int) float32) *param.Optimizer

func buildWith(t testing.TB, dev tensor.Device, name string, settings method.Method, size model.Size, rate float64, optimizer maker) *Rig {
	t.Helper()
	data, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	m, err := method.Decode(name, data)
	if err != nil {
		t.Fatal(err)
	}
	size = withAhead(size, method.Ahead(m))
	r := &Rig{Method: m, Dev: dev, Plan: &tensor.Ledger{}, Ledger: &tensor.Ledger{}}
	for _, a := range []*tensor.Arena{tensor.NewPlan(r.Plan), tensor.NewArena(dev, r.Ledger, r.Plan)} {
		if r.Model, err = model.Build(a, configOf(size.Frozen), size); err != nil {
			t.Fatal(err)
		}
		if r.Set, err = m.Attach(r.Model, a, methodSeed); err != nil {
			t.Fatal(err)
		}
		if size.Grad {
			adam := param.AdamW{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Decay: 0.01}
			r.Opt = optimizer(a, nil, r.Set, adam, func(step int) float32 { return float32(rate) })
		}
		if err := a.Err(); err != nil {
			t.Fatal(err)
		}
	}
	r.Model.Init(modelSeed)
	if s, ok := m.(method.Starter); ok && size.Grad {
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if c, ok := m.(interface{ Close() error }); ok {
			c.Close()
		}
		dev.Close()
	})
	return r
}

// withAhead makes room for what a method learns ahead of the two sequences of a
// Batch, or of one in the cache.
func withAhead(size model.Size, ahead model.Ahead) model.Size {
	size.Ahead = ahead
	size.Rows += 2 * ahead.Prompt
	size.Keys = size.Rows + 2*ahead.Prefix
	size.Context += ahead.Len()
	if size.CacheRows > 0 {
		size.CacheRows += ahead.Len()
	}
	return size
}

func (s *suite) build(t *testing.T, dev tensor.Device, size model.Size) *Rig {
	t.Helper()
	return Build(t, dev, s.name, s.settings, size, 0.02)
}

func (s *suite) onCPU(t *testing.T) *Rig {
	t.Helper()
	return s.build(t, cpu.New(2), s.size())
}

// Noise adds random numbers to every parameter, so that nothing is at the zero
// it starts from.
func (r *Rig) Noise() {
	rnd := rand.New(rand.NewPCG(noiseSeed, 0))
	for _, b := range r.Set.Weights() {
		if b.DType == tensor.I32 {
			continue // places, not values
		}
		x := make([]float32, b.Bytes()/4)
		b.Read(tensor.Bytes(x))
		for i := range x {
			x[i] += 0.4 * float32(rnd.NormFloat64())
		}
		b.Write(tensor.Bytes(x))
	}
}

// Pass runs the batch forward and backward from cleared gradients.
func (r *Rig) Pass(b model.Batch) {
	if r.Opt != nil {
		r.Opt.ZeroGrad()
	}
	r.Model.ZeroGrad()
	b.Draw = draw
	r.Model.Forward(b)
	r.Model.Backward()
}

// steps is how many a run has for methods that want to know: a tenth of them ends
// between the steps of the tests.
const steps = 40

// Step is one optimizer step on the batch, clipped to a norm of 1; it returns
// the loss per target.
func (r *Rig) Step(t testing.TB, step int, b model.Batch) float64 {
	if s, ok := r.Method.(method.Scheduled); ok {
		s.At(step, steps)
	}
	r.Pass(b)
	norm, err := r.Opt.Norm()
	if err != nil {
		t.Fatal(err)
	}
	r.Opt.Step(step, float32(1/max(1, norm)))
	return r.Model.Loss() * float64(b.Scale)
}

// Grads are all gradients by name, in full width on package ref; those of table
// rows by name and row, NaN-free and empty where a row has none.
func (r *Rig) Grads() map[string][]float64 {
	out := map[string][]float64{}
	for _, d := range r.Set.Dense {
		if !d.Fixed() {
			out[d.Name] = Values(r.Dev, d.D)
		}
	}
	for _, t := range r.Set.Tables {
		for p, name := range [param.Parts]string{"key", "value", "gate"} {
			if !t.Has(param.Part(p)) {
				continue
			}
			d := make([]float64, t.Rows*t.Dim)
			for id := range t.Rows {
				widen(d[id*t.Dim:], t.Gradient(int32(id))[p])
			}
			out[t.Name+"."+name] = d
		}
	}
	return out
}

// Values are the elements of a tensor, in full width on package ref.
func Values(dev tensor.Device, t tensor.Tensor) []float64 {
	switch d := dev.(type) {
	case *ref.Device:
		return d.Read(t)
	case *watch:
		return d.Read(t)
	}
	x := make([]float32, t.Len())
	dev.Await(dev.Download(tensor.Bytes(x), t))
	out := make([]float64, len(x))
	widen(out, x)
	return out
}

func widen(dst []float64, src []float32) {
	for i, v := range src {
		dst[i] = float64(v)
	}
}
