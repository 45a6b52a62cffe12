package method

import (
	"errors"
	"fmt"
	"math"

	"meft/model"
	"meft/param"
	"meft/tensor"
)

// Which sublayers of a block have a series adapter on their output.
const (
	SeriesBoth      = "both"      // Houlsby's adapter
	SeriesAttention = "attention" // after attention only
	SeriesFFN       = "ffn"       // after the feed-forward layer only: Pfeiffer's adapter
	SeriesAround    = "around"    // before and after the feed-forward layer: AdapterH of MEFT's released code
)

// Series is the series adapter: on the output h of a sublayer, before it is
// added to the residual stream, or on the normed input of one,
//
//	h += f(h·Wdᵀ + bd)·Wu + bu
//
// Wd and Wu are [r, d], bd [r], bu [d]. Wd begins uniform in ±1/√d, the rest as
// 0, so that h is what it was; the original begins near that, with both
// matrices normal of deviation 0.01.
//
// Houlsby et al. 2019, https://arxiv.org/abs/1902.00751, section 2.1 and figure
// 2 (AdapterH of MEFT's paper, whose runs take tanh); after the feed-forward
// layer alone it is the adapter of Pfeiffer et al. 2021,
// https://arxiv.org/abs/2005.00247.
type Series struct {
	Bottleneck int    `json:"series_bottleneck" help:"neurons r of an adapter"`
	Position   string `json:"series_position" help:"where adapters are: after attention, after ffn, after both, or around ffn (before and after it)" choices:"both,attention,ffn,around"`
	Activation string `json:"series_activation" help:"of a neuron: relu, silu, tanh or gelu" choices:"relu,silu,tanh,gelu"`
	Layers     string `json:"series_layers" help:"blocks with adapters: all, 8-15 or 0,3,5"`
}

// About names the rate at which LLM-Adapters trains its series adapter.
func (*Series) About() About {
	return About{Summary: "dense adapters on the outputs of attention and of the feed-forward layer, on the device", Source: "Houlsby et al. 2019, https://arxiv.org/abs/1902.00751", Rate: 3e-4, PEFT: "SERIES_ADAPTER", Size: "series_bottleneck",
		Merges: "no: a layer of the model has no activation on its output"}
}

// Reach is ToInputs.
func (*Series) Reach() Reach { return ToInputs }

// Check compares the settings with the model.
func (s *Series) Check(c model.Config) error {
	_, err := parseLayers("series_layers", s.Layers, c.Layers)
	return errors.Join(
		atLeast("series_bottleneck", s.Bottleneck, 1),
		oneOf("series_position", s.Position, SeriesBoth, SeriesAttention, SeriesFFN, SeriesAround),
		oneOf("series_activation", s.Activation, "relu", "silu", "tanh", "gelu"),
		err,
	)
}

// Attach hangs one or two branches on each chosen block.
func (s *Series) Attach(m *model.Model, a *tensor.Arena, seed uint64) (*param.Set, error) {
	if err := s.Check(m.Config); err != nil {
		return nil, err
	}
	layers, _ := parseLayers("series_layers", s.Layers, m.Config.Layers)
	set := &param.Set{}
	for _, i := range layers {
		block := m.Blocks[i]
		seams := map[string]*model.Branch{SeriesAttention: &block.AfterAttention, seriesInput: &block.BeforeFFN, SeriesFFN: &block.AfterFFN}
		for at, site := range s.sites() {
			seam := seams[site]
			if *seam != nil {
				return nil, fmt.Errorf("%s of block %d has a branch already; attach one method to one model", site, i)
			}
			b := s.branch(m, a, i, site)
			*seam = b
			set.Dense = append(set.Dense, b.down, b.downBias, b.up, b.upBias)
			if !a.Planning() && a.Err() == nil {
				d := m.Config.Dim
				b.down.Fill(uniform(s.Bottleneck*d, 1/math.Sqrt(float64(d)), seriesDown.stream(seed, i, at)))
			}
		}
	}
	return set, a.Err()
}

// seriesInput is the site before the feed-forward layer.
const seriesInput = "ffn_input"

// sites are the places of a block with an adapter.
func (s *Series) sites() []string {
	switch s.Position {
	case SeriesBoth:
		return []string{SeriesAttention, SeriesFFN}
	case SeriesAround:
		return []string{seriesInput, SeriesFFN}
	}
	return []string{s.Position}
}

func (s *Series) branch(m *model.Model, a *tensor.Arena, block int, site string) *series {
	b := &series{dev: m.Device(), f: map[string]tensor.Func{"silu": tensor.SiLU, "tanh": tensor.Tanh, "gelu": tensor.GELU}[s.Activation]}
	dense := param.NewDense
	if !m.Size.Grad {
		dense = param.NewFixed
	}
	n, r, d := m.Size.Rows, s.Bottleneck, m.Config.Dim
	name := fmt.Sprintf("blocks.%d.%s.", block, site)
	b.down, b.downBias = dense(a, name+"down", r, d), dense(a, name+"down_bias", r)
	b.up, b.upBias = dense(a, name+"up", r, d), dense(a, name+"up_bias", d)
	b.downBias.NoDecay, b.upBias.NoDecay = true, true
	scratch := m.Scratch()
	b.z = scratch.New("z", tensor.F32, n, r)
	b.u = b.z // without gradients the activation may overwrite its input
	if m.Size.Grad {
		acts := m.Acts(block)
		b.h = acts.New("series."+site+".h", tensor.F32, n, d)
		b.u = acts.New("series."+site+".u", tensor.F32, n, r)
		b.dz = scratch.New("dz", tensor.F32, n, r)
	}
	return b
}

// series is the branch on one output. n is Size.Rows.
type series struct {
	dev      tensor.Device
	f        tensor.Func
	down, up *param.Dense  // [r, d] Wd and Wu
	downBias *param.Dense  // [r]
	upBias   *param.Dense  // [d]
	h        tensor.Tensor // [n, d] the output as it was, kept for Backward
	u        tensor.Tensor // [n, r] h·Wdᵀ + bd, kept for Backward
	z        tensor.Tensor // [n, r] f(u), scratch
	dz       tensor.Tensor // [n, r] its gradient, scratch
}

// Forward adds f(x·Wdᵀ + bd)·Wu + bu to y, which is x.
func (b *series) Forward(y, x tensor.Tensor) {
	n := x.Dim(0)
	u, z := b.u.Rows(0, n), b.z.Rows(0, n)
	if !b.h.None() {
		b.dev.Convert(b.h.Rows(0, n), x)
	}
	b.dev.MatMul(u, x, b.down.W, tensor.MatMulOpts{TransB: true}) // u = x·Wdᵀ + bd
	b.dev.AddBias(u, b.downBias.W)
	b.dev.Act(z, u, b.f)
	b.dev.MatMul(y, z, b.up.W, tensor.MatMulOpts{Accumulate: true}) // y += z·Wu + bu
	b.dev.AddBias(y, b.upBias.W)
}

// Backward mirrors Forward; dx is dy.
func (b *series) Backward(dx, dy, _ tensor.Tensor) {
	n := dy.Dim(0)
	h, u, z, dz := b.h.Rows(0, n), b.u.Rows(0, n), b.z.Rows(0, n), b.dz.Rows(0, n)
	b.dev.Act(z, u, b.f)
	b.dev.BiasGrad(b.upBias.D, dy)
	b.dev.MatMul(b.up.D, z, dy, tensor.MatMulOpts{TransA: true, Accumulate: true}) // dWu += zᵀ·dy
	b.dev.MatMul(dz, dy, b.up.W, tensor.MatMulOpts{TransB: true})                  // dz = dy·Wuᵀ
	b.dev.ActGrad(dz, dz, u, b.f)                                                  // du
	b.dev.BiasGrad(b.downBias.D, dz)
	b.dev.MatMul(b.down.D, dz, h, tensor.MatMulOpts{TransA: true, Accumulate: true}) // dWd += duᵀ·h
	b.dev.MatMul(dx, dz, b.down.W, tensor.MatMulOpts{Accumulate: true})              // dx += du·Wd
}
