package method

import (
	"errors"
	"fmt"
	"math"

	"meft/model"
	"meft/param"
	"meft/tensor"
)

// Prefix is prefix tuning: in every layer, p learned keys and values ahead of
// those of every sequence, for each key head,
//
//	attention(q, [Pk; k], [Pv; v])
//
// P is [p, 2·layers·kv·d/h]: of each position the key and the value of the first
// layer, then of the next. Keys are as after RoPE. It begins as the keys and
// values that the model computes for real tokens, which is what makes it learn:
// see docs/format.md. With prefix_projection, P is not learned itself but, as in
// the paper, through two layers that are thrown away in the end:
//
//	P = R + tanh(E·W1ᵀ + b1)·W2ᵀ + b2
//
// E is [p, kv·d/h], W1 [hidden, kv·d/h], W2 [2·layers·kv·d/h, hidden]; R is what P
// begins as, and zero where it begins as RANDOM or ZERO, which are PEFT's two
// ways. W2 and b2 begin as 0, but for RANDOM.
//
// Li and Liang 2021, https://arxiv.org/abs/2101.00190, section 4; without the
// projection P-Tuning v2, Liu et al. 2022, https://arxiv.org/abs/2110.07602.
type Prefix struct {
	Tokens   int    `json:"prefix_tokens" help:"learned keys and values of each layer ahead of every sequence; the context counts them"`
	Init     string `json:"prefix_init" help:"what they begin as: SAMPLE_VOCAB (what the model computes for random tokens), TEXT (for a text), RANDOM (small random numbers), ZERO" choices:"SAMPLE_VOCAB,TEXT,RANDOM,ZERO"`
	InitText string `json:"prefix_init_text" help:"with prefix_init TEXT: the text, repeated or cut to prefix_tokens tokens"`
	Projects bool   `json:"prefix_projection" help:"learn them through two layers, which are not saved"`
	Hidden   int    `json:"encoder_hidden_size" help:"with prefix_projection: width between the two layers; 0 for that of a layer's keys"`

	model  *model.Model
	plain  *plainRows // without a projection
	layers *projection
	text   []int32
	seed   uint64
}

// About names the rate of the better runs of PEFT's benchmark
// (https://github.com/huggingface/peft, method_comparison).
func (*Prefix) About() About {
	return About{Summary: "keys and values of each layer ahead of every sequence", Source: "Li and Liang 2021, https://arxiv.org/abs/2101.00190", Rate: 5e-3, PEFT: "PREFIX_TUNING", Size: "prefix_tokens",
		Changes: true, Merges: "no: what it learns is keys and values ahead of a text, not weights"}
}

// Reach is ToInputs.
func (*Prefix) Reach() Reach { return ToInputs }

// Ahead is the prefix.
func (p *Prefix) Ahead() model.Ahead { return model.Ahead{Prefix: p.Tokens} }

// Text is the text that the prefix begins as, "" for none.
func (p *Prefix) Text() string { return p.InitText }

// Take notes the tokens of the text.
func (p *Prefix) Take(ids []int32) { p.text = ids }

// Check compares the settings with the model.
func (p *Prefix) Check(c model.Config) error {
	var hidden error
	if p.Hidden < 0 || p.Hidden > 0 && !p.Projects {
		hidden = fmt.Errorf("encoder_hidden_size is %d, wants a width with prefix_projection, or 0", p.Hidden)
	}
	return errors.Join(
		oneOf("prefix_init", p.Init, FromVocabulary, FromText, FromRandom, FromZero),
		checkAhead("prefix_tokens", p.Tokens, "prefix_init", p.Init, p.InitText, c),
		hidden,
	)
}

// Flops is the attention of a token to the prefix: scores and sums forward, and
// twice as much backward.
func (p *Prefix) Flops(c model.Config) float64 {
	return 3 * 4 * float64(c.Heads*c.HeadDim*c.Layers*p.Tokens)
}

// Attach gives the model its prefix. A model without gradients has no
// projection: files hold what it computes.
func (p *Prefix) Attach(m *model.Model, a *tensor.Arena, seed uint64) (*param.Set, error) {
	if err := p.Check(m.Config); err != nil {
		return nil, err
	}
	if m.Prefix != nil {
		return nil, fmt.Errorf("the model has a prefix already; attach one method to one model")
	}
	c := m.Config
	width := c.KVHeads * c.HeadDim
	shape := [2]int{p.Tokens * 2 * c.Layers, width}
	p.model, p.seed = m, seed
	if p.Projects && m.Size.Grad {
		hidden := p.Hidden
		if hidden == 0 {
			hidden = width
		}
		p.layers = newProjection(m, a, p.Tokens, width, hidden, shape)
		m.Prefix = p.layers
		return p.layers.set(), a.Err()
	}
	p.plain = newPlainRows(m, a, p.Tokens, 2*c.Layers*width, shape)
	m.Prefix = p.plain
	return &param.Set{Dense: []*param.Dense{p.plain.rows}}, a.Err()
}

// real reports whether the prefix begins as that of real tokens.
func (p *Prefix) real() bool { return p.Init == FromVocabulary || p.Init == FromText }

// Start sets the first values. The sample of the vocabulary begins with the
// token that sequences begin with, if the model has one: much attention goes to
// the first of a text.
func (p *Prefix) Start() error {
	c := p.model.Config
	if p.layers != nil {
		p.layers.start(p.Init == FromRandom, p.seed)
	}
	if p.real() {
		ids, err := firstTokens(p.Tokens, p.Init, p.text, c.Vocab, prefixTokens.stream(p.seed, 0, 0))
		if err != nil {
			return fmt.Errorf("prefix_init_text: %w", err)
		}
		if p.Init == FromVocabulary && c.BOS >= 0 && int(c.BOS) < c.Vocab {
			ids[0] = c.BOS
		}
		p.model.Remember(p.beginning().View(p.Tokens*2*c.Layers, c.KVHeads*c.HeadDim), ids)
	} else if p.plain != nil && p.Init == FromRandom {
		p.plain.rows.Fill(normal(p.plain.rows.W.Len(), prefixTokens.stream(p.seed, 1, 0)))
	}
	return p.model.Device().Sync()
}

// beginning is where the prefix of real tokens goes.
func (p *Prefix) beginning() tensor.Tensor {
	if p.layers != nil {
		return p.layers.first
	}
	return p.plain.rows.W
}

// Projected is the prefix as PEFT's files hold it, nil without a projection.
func (p *Prefix) Projected() *param.Set {
	if p.layers == nil {
		return nil
	}
	return &param.Set{Dense: []*param.Dense{p.layers.all}}
}

// Project computes it.
func (p *Prefix) Project() { p.layers.Forward() }

// projection is a prefix that two layers compute. C is 2·layers·width.
type projection struct {
	dev            tensor.Device
	shape          [2]int        // in which the model sees it
	embedding      *param.Dense  // E  [p, width]
	weight1, bias1 *param.Dense  // W1 [hidden, width], b1 [hidden]
	weight2, bias2 *param.Dense  // W2 [C, hidden], b2 [C]
	first          tensor.Tensor // R  [p, C]
	all            *param.Dense  // P  [p, C], computed
	dall           tensor.Tensor // [p, C] its gradient
	u, z           tensor.Tensor // [p, hidden] before and after tanh, kept for Backward
	dz             tensor.Tensor // [p, hidden]
}

func newProjection(m *model.Model, a *tensor.Arena, p, width, hidden int, shape [2]int) *projection {
	c := shape[0] / p * width
	dense := func(name string, dims ...int) *param.Dense { return param.NewDense(a, "prefix."+name, dims...) }
	room := func(name string, dims ...int) tensor.Tensor { return a.New("prefix."+name, tensor.F32, dims...) }
	return &projection{
		dev: m.Device(), shape: shape, embedding: dense("embedding.weight", p, width),
		weight1: dense("transform.0.weight", hidden, width), bias1: dense("transform.0.bias", hidden),
		weight2: dense("transform.2.weight", c, hidden), bias2: dense("transform.2.bias", c),
		first: room("first", p, c), all: param.NewFixed(a, promptTensor, p, c), dall: room("projected.grad", p, c),
		u: room("u", p, hidden), z: room("z", p, hidden), dz: room("du", p, hidden),
	}
}

func (l *projection) set() *param.Set {
	return &param.Set{Dense: []*param.Dense{l.embedding, l.weight1, l.bias1, l.weight2, l.bias2}}
}

// start sets the first values as PyTorch does, those of the second layer only if
// they are to be random.
func (l *projection) start(random bool, seed uint64) {
	r := prefixLayers.stream(seed, 0, 0)
	e := normal(l.embedding.W.Len(), r)
	for i := range e {
		e[i] /= keyDeviation
	}
	l.embedding.Fill(e)
	trained := []*param.Dense{l.weight1, l.bias1, l.weight2, l.bias2}
	for i, in := range []int{l.weight1.W.Dim(1), l.weight1.W.Dim(1), l.weight2.W.Dim(1), l.weight2.W.Dim(1)} {
		if i < 2 || random {
			trained[i].Fill(uniform(trained[i].W.Len(), 1/math.Sqrt(float64(in)), r))
		}
	}
}

// Forward computes P.
func (l *projection) Forward() tensor.Tensor {
	p := l.all.W
	l.dev.MatMul(l.u, l.embedding.W, l.weight1.W, tensor.MatMulOpts{TransB: true})
	l.dev.AddBias(l.u, l.bias1.W) // u = E·W1ᵀ + b1
	l.dev.Act(l.z, l.u, tensor.Tanh)
	l.dev.Convert(p, l.first)
	l.dev.MatMul(p, l.z, l.weight2.W, tensor.MatMulOpts{TransB: true, Accumulate: true})
	l.dev.AddBias(p, l.bias2.W) // P = R + z·W2ᵀ + b2
	return p.View(l.shape[0], l.shape[1])
}

// Grad is the gradient of P, cleared.
func (l *projection) Grad() tensor.Tensor {
	l.dev.Fill(l.dall, 0)
	return l.dall.View(l.shape[0], l.shape[1])
}

// Backward mirrors Forward.
func (l *projection) Backward() {
	l.dev.BiasGrad(l.bias2.D, l.dall)
	l.dev.MatMul(l.weight2.D, l.dall, l.z, tensor.MatMulOpts{TransA: true, Accumulate: true}) // dW2 += dPᵀ·z
	l.dev.MatMul(l.dz, l.dall, l.weight2.W, tensor.MatMulOpts{})                              // dz = dP·W2
	l.dev.ActGrad(l.dz, l.dz, l.u, tensor.Tanh)                                               // du
	l.dev.BiasGrad(l.bias1.D, l.dz)
	l.dev.MatMul(l.weight1.D, l.dz, l.embedding.W, tensor.MatMulOpts{TransA: true, Accumulate: true}) // dW1 += duᵀ·E
	l.dev.MatMul(l.embedding.D, l.dz, l.weight1.W, tensor.MatMulOpts{Accumulate: true})               // dE += du·W1
}
