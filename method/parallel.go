package method

import (
	"errors"
	"math/rand/v2"

	"meft/model"
	"meft/param"
	"meft/tensor"
)

// SwiGLU is the activation of gated neurons: columns of a feed-forward layer
// like the base model's, silu(g·x)·(k·x) v.
const SwiGLU = "swiglu"

// Parallel is the parallel adapter: beside the feed-forward layer of each
// chosen block, with its normed input x,
//
//	y += f(x·Kᵀ)·V                  relu, silu
//	y += (silu(x·Gᵀ)∘(x·Kᵀ))·V      swiglu
//
// He et al. 2022, https://arxiv.org/abs/2110.04366, section 4; the dense
// baseline of MEFT's paper. K, V and G are [r, d] and live on the device.
type Parallel struct {
	Bottleneck int    `json:"parallel_bottleneck" help:"neurons of a layer's adapter, on the device"`                                                                                 // r, neurons of a block
	Activation string `json:"parallel_activation" help:"of a neuron: relu, silu or swiglu (gated, as the columns of the base model's feed-forward layer)" choices:"relu,silu,swiglu"` // f: relu, silu or swiglu
	Layers     string `json:"parallel_layers" help:"blocks with an adapter: all, 8-15 or 0,3,5"`                                                                                      // all, 8-15 or 0,3,5
}

// keyDeviation is the standard deviation of a key element at the start, the
// initializer range of the authors' base models. Values start at 0.
const keyDeviation = 0.02

// About names the rate of MEFT's paper for its dense baseline, section 4.3.
func (*Parallel) About() About {
	return About{Summary: "a dense adapter beside each feed-forward layer, on the device", Source: "He et al. 2022, https://arxiv.org/abs/2110.04366", Rate: 1e-4, PEFT: "PARALLEL_ADAPTER", Size: "parallel_bottleneck",
		Merges: "exactly with parallel_activation swiglu"}
}

// Reach is ToInputs.
func (*Parallel) Reach() Reach { return ToInputs }

// Check compares the settings with the model.
func (p *Parallel) Check(c model.Config) error {
	_, err := parseLayers("parallel_layers", p.Layers, c.Layers)
	return errors.Join(
		atLeast("parallel_bottleneck", p.Bottleneck, 1),
		oneOf("parallel_activation", p.Activation, "relu", "silu", SwiGLU),
		err,
	)
}

// Attach hangs one branch on each chosen block.
func (p *Parallel) Attach(m *model.Model, a *tensor.Arena, seed uint64) (*param.Set, error) {
	if err := p.Check(m.Config); err != nil {
		return nil, err
	}
	layers, _ := parseLayers("parallel_layers", p.Layers, m.Config.Layers)
	s := &param.Set{}
	for _, i := range layers {
		b := p.branch(m, a, i)
		if err := hang(m, i, b); err != nil {
			return nil, err
		}
		s.Dense = append(s.Dense, b.key, b.value)
		if b.gate != nil {
			s.Dense = append(s.Dense, b.gate)
		}
		if a.Planning() || a.Err() != nil {
			continue
		}
		b.key.Fill(normal(p.Bottleneck*m.Config.Dim, parallelKeys.stream(seed, i, 0)))
		if b.gate != nil {
			b.gate.Fill(normal(p.Bottleneck*m.Config.Dim, parallelGates.stream(seed, i, 0)))
		}
	}
	return s, a.Err()
}

func (p *Parallel) branch(m *model.Model, a *tensor.Arena, block int) *parallel {
	b := &parallel{dev: m.Device(), f: tensor.ReLU}
	if p.Activation == "silu" {
		b.f = tensor.SiLU
	}
	dense := param.NewDense
	if !m.Size.Grad {
		dense = param.NewFixed
	}
	n, r, d := m.Size.Rows, p.Bottleneck, m.Config.Dim
	b.key = dense(a, blockName(block)+".key", r, d)
	b.value = dense(a, blockName(block)+".value", r, d)
	scratch := m.Scratch()
	b.z = scratch.New("z", tensor.F32, n, r)
	b.u = b.z // without gradients the activation may overwrite its input
	if m.Size.Grad {
		b.u = m.Acts(block).New("parallel.u", tensor.F32, n, r)
		b.dz = scratch.New("dz", tensor.F32, n, r)
	}
	if p.Activation != SwiGLU {
		return b
	}
	b.gate = dense(a, blockName(block)+".gate", r, d)
	if m.Size.Grad {
		b.g = m.Acts(block).New("parallel.g", tensor.F32, n, r)
	} else {
		b.g = scratch.New("g", tensor.F32, n, r)
	}
	return b
}

// parallel is the branch of one block. n is Size.Rows.
type parallel struct {
	dev        tensor.Device
	f          tensor.Func
	key, value *param.Dense  // [r, d]
	gate       *param.Dense  // [r, d]; nil but with swiglu
	u          tensor.Tensor // [n, r] x·Kᵀ, kept for Backward
	z          tensor.Tensor // [n, r] f(u), scratch
	dz         tensor.Tensor // [n, r] its gradient, scratch
	g          tensor.Tensor // [n, r] x·Gᵀ with swiglu, kept for Backward
}

// Forward adds f(x·Kᵀ)·V, or (silu(x·Gᵀ)∘(x·Kᵀ))·V, to y.
func (b *parallel) Forward(y, x tensor.Tensor) {
	n := x.Dim(0)
	u, z := b.u.Rows(0, n), b.z.Rows(0, n)
	b.dev.MatMul(u, x, b.key.W, tensor.MatMulOpts{TransB: true}) // u = x·Kᵀ
	if b.gate != nil {
		b.dev.MatMul(b.g.Rows(0, n), x, b.gate.W, tensor.MatMulOpts{TransB: true}) // g = x·Gᵀ
	}
	if y.None() {
		return
	}
	b.activate(z, u, n)
	b.dev.MatMul(y, z, b.value.W, tensor.MatMulOpts{Accumulate: true}) // y += z·V
}

// activate is z = f(u) or silu(g)∘u of n rows.
func (b *parallel) activate(z, u tensor.Tensor, n int) {
	if b.gate != nil {
		b.dev.SwiGLU(z, b.g.Rows(0, n), u)
	} else {
		b.dev.Act(z, u, b.f)
	}
}

// Backward mirrors Forward.
func (b *parallel) Backward(dx, dy, x tensor.Tensor) {
	n := x.Dim(0)
	u, z, dz := b.u.Rows(0, n), b.z.Rows(0, n), b.dz.Rows(0, n)
	b.activate(z, u, n)
	b.dev.MatMul(b.value.D, z, dy, tensor.MatMulOpts{TransA: true, Accumulate: true}) // dV += zᵀ·dy
	b.dev.MatMul(dz, dy, b.value.W, tensor.MatMulOpts{TransB: true})                  // dz = dy·Vᵀ
	if b.gate == nil {
		b.dev.ActGrad(dz, dz, u, b.f) // du
		b.inward(b.key, dx, dz, x)
		return
	}
	b.dev.SwiGLUGrad(dz, z, dz, b.g.Rows(0, n), u) // dg, du
	b.inward(b.key, dx, z, x)
	b.inward(b.gate, dx, dz, x)
}

// inward carries du, the gradient of u = x·Wᵀ, to W and x.
func (b *parallel) inward(w *param.Dense, dx, du, x tensor.Tensor) {
	b.dev.MatMul(w.D, du, x, tensor.MatMulOpts{TransA: true, Accumulate: true}) // dW += duᵀ·x
	if !dx.None() {
		b.dev.MatMul(dx, du, w.W, tensor.MatMulOpts{Accumulate: true}) // dx += du·W
	}
}

// purpose keeps random streams of one seed apart.
type purpose uint64

const (
	parallelKeys  purpose = 0x70617261
	parallelGates purpose = 0x70617267
	meftKeys      purpose = 0x6d656674
	meftGates     purpose = 0x6d656667
	meftTokens    purpose = 0x6d656677
	loraDown      purpose = 0x6c6f7241
	loraDropout   purpose = 0x6c6f7244
	shiraPlaces   purpose = 0x73686952
	seriesDown    purpose = 0x73657244
	promptTokens  purpose = 0x70726f6d
	prefixTokens  purpose = 0x70726566
	prefixLayers  purpose = 0x7072654c
)

// stream is the random stream of a row of a block.
func (p purpose) stream(seed uint64, block, row int) *rand.Rand {
	return rand.New(rand.NewPCG(seed^uint64(p)<<32, uint64(block)<<40|uint64(row)))
}

// normal is n draws of standard deviation keyDeviation.
func normal(n int, r *rand.Rand) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = keyDeviation * float32(r.NormFloat64())
	}
	return x
}
