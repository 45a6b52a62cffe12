package method

import (
	"errors"
	"fmt"

	"meft/model"
	"meft/param"
	"meft/tensor"
)

// How the side network of LST begins.
const (
	InitPruned = "pruned" // as the part of the model that matters most
	InitRandom = "random"
)

// LST is ladder side-tuning: a network r times narrower stands beside the frozen
// model, reads the residual stream h_i after its blocks, and speaks in its
// place. With s_0 = D_0(embedding), for each chosen block i and the chosen one
// before it,
//
//	s_i = Block_i( μ_i s + (1-μ_i) D_i(h_i) )      μ_i = sigmoid(a_i/T)
//	logits = head( U·norm(s_last) )                the model's head, without its norm
//
// D_i is linear from d to w = d/r, U back, both with biases. The side's blocks
// are decoder blocks like the model's with whole heads of its width, r times
// fewer: the width of a head is what rotary positions are made for. a_i begins
// as 0. The model's own output has no part in the logits. No gradient enters the
// frozen blocks, so they keep nothing; of training there are only the streams
// that D_i reads, and with gradient checkpointing not even those: the model then
// runs a second time, forward only, for the gradient of D_i.
//
// Sung et al. 2022, https://arxiv.org/abs/2206.06522, sections 3.1 to 3.3, and
// the authors' code, where μ multiplies the side's state, T is 0.1 and layers
// can be left out. Pruned initial values go by magnitudes, see pruner.
type LST struct {
	Reduction   int     `json:"lst_reduction" help:"r: the side network is r times narrower than the model"`
	Layers      string  `json:"lst_layers" help:"blocks with a block of the side network beside them: all, 8-15 or 0,3,5"`
	Temperature float64 `json:"lst_temperature" help:"T of the gates sigmoid(a/T) between the side's state and the model's"`
	Init        string  `json:"lst_init" help:"how the side network begins: pruned (from the weights of the model that matter most) or random" choices:"pruned,random"`

	ladder *ladder
	seed   uint64
}

// About names the rate of the authors' scripts.
func (*LST) About() About {
	return About{Summary: "a narrow network beside the model, which runs forward only and keeps no activations", Source: "Sung et al. 2022, https://arxiv.org/abs/2206.06522", Rate: 3e-3, PEFT: "LST", Changes: true,
		Merges: "no: it is a second network beside the model"}
}

// Reach is ToTop.
func (*LST) Reach() Reach { return ToTop }

// Check compares the settings with the model.
func (f *LST) Check(c model.Config) error {
	_, layers := parseLayers("lst_layers", f.Layers, c.Layers)
	var width, temperature error
	if r := f.Reduction; r > 0 && c.Dim%r != 0 {
		width = fmt.Errorf("lst_reduction is %d, which does not divide the model's width %d; the nearest that does is %d", r, c.Dim, nearestDivisor(c.Dim, r))
	}
	if !(f.Temperature > 0) {
		temperature = fmt.Errorf("lst_temperature is %v, wants a number above 0", f.Temperature)
	}
	return errors.Join(atLeast("lst_reduction", f.Reduction, 1), width, temperature, oneOf("lst_init", f.Init, InitPruned, InitRandom), layers)
}

// nearestDivisor is the divisor of n nearest to r, the lower of two.
func nearestDivisor(n, r int) int {
	for by := 1; ; by++ {
		if r > by && n%(r-by) == 0 {
			return r - by
		}
		if r+by <= n && n%(r+by) == 0 {
			return r + by
		}
	}
}

// config is the side network's. Key and value heads become r times fewer, and of
// the queries that share one, as many stay as make the heads r times fewer too.
func (f *LST) config(c model.Config) model.Config {
	kv := max(1, c.KVHeads/f.Reduction)
	group := max(1, min(c.Heads/c.KVHeads, c.Heads/f.Reduction/kv))
	c.Dim, c.Hidden, c.KVHeads, c.Heads = c.Dim/f.Reduction, max(1, c.Hidden/f.Reduction), kv, kv*group
	return c
}

// Attach makes the side network. Its values come with Start.
func (f *LST) Attach(m *model.Model, a *tensor.Arena, seed uint64) (*param.Set, error) {
	if err := f.Check(m.Config); err != nil {
		return nil, err
	}
	if m.Ladder != nil {
		return nil, errors.New("the model has a ladder already; attach one method to one model")
	}
	layers, _ := parseLayers("lst_layers", f.Layers, m.Config.Layers)
	l := &ladder{dev: m.Device(), model: m, layers: layers, config: f.config(m.Config)}
	f.ladder, f.seed = l, seed
	s := &param.Set{}
	l.parameters(a, m.Size.Grad, s)
	l.side = m.NewSide(a, l.config, layers)
	for _, w := range l.side.Weights() {
		l.blocks = append(l.blocks, param.Adopt(a, w.Name, w.W, w.D, w.NoDecay))
	}
	s.Dense = append(s.Dense, l.blocks...)
	l.all = s.Dense
	l.allocate(m)
	if m.Size.Grad && f.Init == InitPruned {
		l.staging = m.Scratch().New("weights", tensor.F32, pruneRows*max(m.Config.Dim, m.Config.Hidden, m.Config.Heads*m.Config.HeadDim))
	}
	m.Ladder = l
	if !a.Planning() && a.Err() == nil {
		l.dev.Await(l.dev.Upload(l.spread, tensor.Bytes([]float32{float32(1 / f.Temperature), 0})))
	}
	return s, a.Err()
}

// parameters allocates what is trained beside the blocks.
func (l *ladder) parameters(a *tensor.Arena, grad bool, s *param.Set) {
	trained := param.NewDense
	if !grad {
		trained = param.NewFixed
	}
	dense := func(noDecay bool, name string, dims ...int) *param.Dense {
		d := trained(a, "side."+name, dims...)
		d.NoDecay = noDecay
		s.Dense = append(s.Dense, d)
		return d
	}
	w, d := l.config.Dim, l.model.Config.Dim
	l.rungs = make([]rung, 1+len(l.layers))
	for i := range l.rungs {
		name := "down.embed"
		if i > 0 {
			name = fmt.Sprintf("down.%d", l.layers[i-1])
		}
		l.rungs[i].down, l.rungs[i].bias = dense(false, name+".weight", w, d), dense(true, name+".bias", w)
	}
	l.gates = dense(true, "gates", len(l.layers), 1)
	l.norm = dense(true, "norm.weight", w)
	l.up, l.upBias = dense(false, "up.weight", d, w), dense(true, "up.bias", d)
}

// allocate takes the memory of passes.
func (l *ladder) allocate(m *model.Model) {
	n, d, w, k := m.Size.Rows, m.Config.Dim, l.config.Dim, len(l.layers)
	acts, scratch := l.side.Arena().Sub("acts"), m.Scratch()
	l.spread = acts.New("spread", tensor.F32, 1, 2)
	l.choice = acts.New("choice", tensor.F32, k, 2)
	l.mix = acts.New("mix", tensor.F32, k, 2)
	l.z = scratch.New("z", tensor.F32, n, w)
	l.rstd = scratch.New("rstd", tensor.F32, n)
	both := scratch.New("pair", tensor.F32, 2*n*w)
	if m.Size.Grad {
		l.z, l.rstd = acts.New("z", tensor.F32, n, w), acts.New("rstd", tensor.F32, n)
		l.dz = scratch.New("dz", tensor.F32, n, w)
		l.dmix = acts.New("dmix", tensor.F32, k, 2)
	}
	for i := range l.rungs {
		r := &l.rungs[i]
		r.both = both
		if m.Size.Grad && i > 0 {
			r.both = acts.New(fmt.Sprintf("pair.%d", i), tensor.F32, 2*n*w)
		}
		if m.Size.Grad && !m.Size.Rebuild {
			r.tap = acts.New(fmt.Sprintf("tap.%d", i), tensor.F32, n, d)
		}
	}
}

// pruneRows is how many of the widest rows of the model's weights are looked at
// together.
const pruneRows = 16

// Work is that of the side network; its products are too narrow for the speed of
// large ones, so an operation counts for two. With 2 threads, meft bench train
// of llama-15m and llama-110m says so.
func (f *LST) Work(c model.Config, tokens, batches int) Work {
	return Work{Ops: sideCost * float64(tokens*batches) * f.Flops(c)}
}

// Flops is what a token costs in the side network: six operations for a weight
// of its blocks and of U, four for one of D_i, whose input takes no gradient.
// Attention of the side is left out: with whole heads it is that share of the
// model's, which does not matter.
func (f *LST) Flops(c model.Config) float64 {
	layers, err := parseLayers("lst_layers", f.Layers, c.Layers)
	if err != nil || f.Check(c) != nil {
		return 0 // Check has refused it
	}
	s := f.config(c)
	q, kv := s.Heads*s.HeadDim, s.KVHeads*s.HeadDim
	block := 2*s.Dim*(q+kv) + 3*s.Dim*s.Hidden
	down := (len(layers) + 1) * s.Dim * c.Dim
	return float64(6*(len(layers)*block+s.Dim*c.Dim) + 4*down)
}

// sideCost is how many operations of a large product one of the side's takes.
const sideCost = 2
