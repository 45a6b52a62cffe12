package model

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"sync"

	"meft/safetensors"
	"meft/tensor"
)

// Weight is one weight of the checkpoint.
type Weight struct {
	Name    string        // as Hugging Face names it
	W       tensor.Tensor // F32, or where it is frozen what Size.Frozen says
	D       tensor.Tensor // gradient, none unless Size.Weights
	NoDecay bool          // a norm or a bias

	// With Size.Offload the weights of blocks live in pinned host memory. W and D
	// then are what the device has of the block that is being computed, and other
	// blocks have them in turn. All are none without.
	Home  tensor.Tensor // as W, in memory of the host
	HomeD tensor.Tensor // as D; none unless Size.Weights
	SumD  tensor.Tensor // [1] on the device: the sum of squares of HomeD
	Zero  bool          // HomeD and SumD stand for zeros, whatever they hold
}

// place is where values are put that come from outside.
func (w *Weight) place() tensor.Tensor {
	if !w.Home.None() {
		return w.Home
	}
	return w.W
}

// spec says what a weight is before it has memory.
type spec struct {
	name   string
	dims   []int
	vector bool // a norm or a bias: always F32, never decayed
	ones   bool // starts as 1 (norms)
	block  int  // it belongs to, -1 for none
	linear bool // a projection of a block: may be quantised
}

func (s spec) count() int64 {
	n := int64(1)
	for _, d := range s.dims {
		n *= int64(d)
	}
	return n
}

// specs lists every weight in the order of the forward pass.
func (c Config) specs() []spec {
	d, q, kv := c.Dim, c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	out := []spec{{name: "model.embed_tokens.weight", dims: []int{c.Vocab, d}, block: -1}}
	for i := range c.Layers {
		pre := fmt.Sprintf("model.layers.%d.", i)
		matrix := func(name string, rows, cols int, bias bool) {
			out = append(out, spec{name: pre + name + ".weight", dims: []int{rows, cols}, block: i, linear: true})
			if bias {
				out = append(out, spec{name: pre + name + ".bias", dims: []int{rows}, vector: true, block: i})
			}
		}
		norm := func(name string, n int) {
			out = append(out, spec{name: pre + name + ".weight", dims: []int{n}, vector: true, ones: true, block: i})
		}
		norm("input_layernorm", d)
		matrix("self_attn.q_proj", q, d, c.QKVBias)
		matrix("self_attn.k_proj", kv, d, c.QKVBias)
		matrix("self_attn.v_proj", kv, d, c.QKVBias)
		if c.QKNorm {
			norm("self_attn.q_norm", c.HeadDim)
			norm("self_attn.k_norm", c.HeadDim)
		}
		matrix("self_attn.o_proj", d, q, c.OBias)
		norm("post_attention_layernorm", d)
		matrix("mlp.gate_proj", c.Hidden, d, c.MLPBias)
		matrix("mlp.up_proj", c.Hidden, d, c.MLPBias)
		matrix("mlp.down_proj", d, c.Hidden, c.MLPBias)
	}
	out = append(out, spec{name: "model.norm.weight", dims: []int{d}, vector: true, ones: true, block: -1})
	if !c.Tied {
		out = append(out, spec{name: "lm_head.weight", dims: []int{c.Vocab, d}, block: -1})
	}
	return out
}

// WeightShape is a weight of the checkpoint before it has memory.
type WeightShape struct {
	Name string // as Hugging Face names it
	Dims []int  // of a matrix [out, in]
}

// WeightShapes are all weights in the order of the forward pass.
func (c Config) WeightShapes() []WeightShape {
	var out []WeightShape
	for _, s := range c.specs() {
		out = append(out, WeightShape{s.name, s.dims})
	}
	return out
}

// newWeights allocates every weight, and its gradient if it is trained. Offloaded
// blocks of even and of odd number have a place on the device for each weight,
// which the blocks share.
func newWeights(a *tensor.Arena, c Config, s Size) []*Weight {
	wa, ga := a.Sub("weights"), a.Sub("grads")
	var ws []*Weight
	specs := c.specs()
	ofBlock := 0
	for _, sp := range specs {
		if sp.block == 0 {
			ofBlock++
		}
	}
	for i, sp := range specs {
		t := sp.kept(s)
		w := &Weight{Name: sp.name, NoDecay: sp.vector}
		ws = append(ws, w)
		if s.Offload && sp.block >= 0 {
			w.goAway(a.Sub("host"), s, t, sp.dims)
		}
		if s.Offload && sp.block >= 2 {
			w.W, w.D = ws[i-2*ofBlock].W, ws[i-2*ofBlock].D
			continue
		}
		w.W = wa.New(sp.name, t, sp.dims...)
		if s.Weights {
			w.D = ga.New(sp.name, tensor.F32, sp.dims...)
		}
	}
	return ws
}

// ignored are tensors some exporters write that hold nothing to learn.
func (c Config) ignored(name string) bool {
	return strings.HasSuffix(name, "rotary_emb.inv_freq") || c.Tied && name == "lm_head.weight"
}

// CheckWeights compares a checkpoint with what the configuration wants and
// reports every missing, surplus and misshapen tensor in one error.
func CheckWeights(c Config, s *safetensors.Set) error {
	var problems []string
	want := map[string]bool{}
	for _, sp := range c.specs() {
		want[sp.name] = true
		info, ok := s.Info(sp.name)
		switch {
		case !ok:
			problems = append(problems, fmt.Sprintf("tensor %q is missing, wanted %v", sp.name, sp.dims))
		case !slices.Equal(info.Shape, sp.dims):
			problems = append(problems, fmt.Sprintf("%s: tensor %q is %v, wanted %v", info.File, sp.name, info.Shape, sp.dims))
		case info.DType != "F32" && info.DType != "F16" && info.DType != "BF16" && info.DType != "F64":
			problems = append(problems, fmt.Sprintf("%s: tensor %q is %s, wanted F32, F16 or BF16", info.File, sp.name, info.DType))
		}
	}
	for _, name := range s.Names() {
		if !want[name] && !c.ignored(name) {
			problems = append(problems, fmt.Sprintf("tensor %q is not part of %s", name, c.Architecture))
		}
	}
	if len(problems) == 0 {
		return nil
	}
	sort.Strings(problems)
	const most = 40
	if n := len(problems); n > most {
		problems = append(problems[:most], fmt.Sprintf("and %d more", n-most))
	}
	return fmt.Errorf("checkpoint does not match config.json:\n  %s", strings.Join(problems, "\n  "))
}

// Load fills every weight from a checkpoint. It checks names, shapes and types
// of all tensors first, and refuses values that are not finite.
func (m *Model) Load(s *safetensors.Set) error {
	if err := CheckWeights(m.Config, s); err != nil {
		return err
	}
	for _, w := range m.weights {
		if err := m.loadWeight(w, s); err != nil {
			return err
		}
		s.Release(w.Name)
	}
	m.tellLoaded()
	return m.dev.Sync()
}

func (m *Model) tellLoaded() {
	for _, f := range m.loaded {
		f()
	}
}

// loadWeight converts straight into the device's memory where the CPU can
// address it; other devices get a copy of the whole tensor.
func (m *Model) loadWeight(w *Weight, s *safetensors.Set) error {
	info, _ := s.Info(w.Name)
	to := w.place()
	if to.DType.Quantised() {
		return m.loadQuantised(w, s)
	}
	if to.DType == tensor.BF16 {
		dst := hostOr(to, tensor.Tensor.BFloat16)
		if err := s.ReadBF16(dst, w.Name); err != nil {
			return err
		}
		if err := safetensors.CheckFiniteBF16(w.Name, dst); err != nil {
			return fmt.Errorf("%s: %w", info.File, err)
		}
		m.push(to, tensor.Bytes(dst))
		return nil
	}
	dst := hostOr(to, tensor.Tensor.Float32)
	if err := s.ReadF32(dst, w.Name); err != nil {
		return err
	}
	if err := safetensors.CheckFinite(w.Name, dst); err != nil {
		return fmt.Errorf("%s: %w", info.File, err)
	}
	m.push(to, tensor.Bytes(dst))
	return nil
}

// hostOr is the tensor's own memory, or fresh memory of its size.
func hostOr[E any](t tensor.Tensor, view func(tensor.Tensor) []E) []E {
	if t.Buf.Host() != nil {
		return view(t)
	}
	return make([]E, t.Len())
}

// push uploads src unless it is dst's own memory.
func (m *Model) push(dst tensor.Tensor, src []byte) {
	if dst.Buf.Host() == nil {
		m.dev.Await(m.dev.Upload(dst, src))
	}
}

// Init gives every weight a random value: norms 1, biases 0, matrices normal
// with standard deviation Config.InitRange. Each weight has its own stream, a
// function of seed and its place in the list.
func (m *Model) Init(seed uint64) {
	var wg sync.WaitGroup
	var push sync.Mutex // devices take one caller at a time
	slots := make(chan struct{}, 4)
	for i, sp := range m.Config.specs() {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			data := initialValues(m.weights[i], sp, m.Config.InitRange, rand.New(rand.NewPCG(seed, uint64(i))))
			push.Lock()
			defer push.Unlock()
			m.push(m.weights[i].place(), data)
		})
	}
	wg.Wait()
	m.tellLoaded()
}

// initialValues fills the weight's own memory where the CPU can address it,
// else fresh memory, and returns it as bytes.
func initialValues(w *Weight, sp spec, deviation float32, r *rand.Rand) []byte {
	value := func() float32 { return float32(r.NormFloat64()) * deviation }
	if sp.vector {
		var constant float32
		if sp.ones {
			constant = 1
		}
		value = func() float32 { return constant }
	}
	to := w.place()
	if to.DType.Quantised() {
		return initialCodes(to, value)
	}
	if to.DType == tensor.BF16 {
		dst := hostOr(to, tensor.Tensor.BFloat16)
		var block [4096]float32
		for i := 0; i < len(dst); i += len(block) {
			part := dst[i:min(i+len(block), len(dst))]
			for j := range part {
				block[j] = value()
			}
			safetensors.BF16FromF32(part, block[:len(part)])
		}
		return tensor.Bytes(dst)
	}
	dst := hostOr(to, tensor.Tensor.Float32)
	for i := range dst {
		dst[i] = value()
	}
	return tensor.Bytes(dst)
}
