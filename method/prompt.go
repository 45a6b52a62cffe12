package method

import (
	"errors"
	"fmt"
	"math"

	"meft/model"
	"meft/param"
	"meft/tensor"
)

// Prompt is prompt tuning: p learned input embeddings P ahead of every sequence
// x, which goes through a frozen model,
//
//	f([P; embed(x)])
//
// P is [p, d]. It begins as embeddings of real tokens, which is what makes it
// learn at the rates of other methods: from random numbers PEFT's benchmark gets
// a sixth of the answers.
//
// Lester et al. 2021, https://arxiv.org/abs/2104.08691, sections 2 and 3.2.
type Prompt struct {
	Tokens   int    `json:"prompt_tokens" help:"learned rows ahead of every sequence; the context counts them"`
	Init     string `json:"prompt_tuning_init" help:"what they begin as: SAMPLE_VOCAB (embeddings of random tokens), TEXT (those of a text), RANDOM (random numbers of that size)" choices:"SAMPLE_VOCAB,TEXT,RANDOM"`
	InitText string `json:"prompt_tuning_init_text" help:"with prompt_tuning_init TEXT: the text, repeated or cut to prompt_tokens tokens"`

	model *model.Model
	rows  *param.Dense // [p, d]
	text  []int32
	seed  uint64
}

// About names the rate of the better runs of PEFT's benchmark
// (https://github.com/huggingface/peft, method_comparison).
func (*Prompt) About() About {
	return About{Summary: "input embeddings ahead of every sequence", Source: "Lester et al. 2021, https://arxiv.org/abs/2104.08691", Rate: 1e-3, PEFT: "PROMPT_TUNING", Size: "prompt_tokens",
		Changes: true, Merges: "no: what it learns is input ahead of a text, not weights"}
}

// Reach is ToInputs.
func (*Prompt) Reach() Reach { return ToInputs }

// Ahead is the prompt.
func (p *Prompt) Ahead() model.Ahead { return model.Ahead{Prompt: p.Tokens} }

// Text is the text that the prompt begins as, "" for none.
func (p *Prompt) Text() string { return p.InitText }

// Take notes the tokens of the text.
func (p *Prompt) Take(ids []int32) { p.text = ids }

// Check compares the settings with the model.
func (p *Prompt) Check(c model.Config) error {
	return errors.Join(
		oneOf("prompt_tuning_init", p.Init, FromVocabulary, FromText, FromRandom),
		checkAhead("prompt_tokens", p.Tokens, "prompt_tuning_init", p.Init, p.InitText, c),
	)
}

// Flops is nothing: a prompt has no products of its own, only rows.
func (*Prompt) Flops(model.Config) float64 { return 0 }

// Attach gives the model its prompt.
func (p *Prompt) Attach(m *model.Model, a *tensor.Arena, seed uint64) (*param.Set, error) {
	if err := p.Check(m.Config); err != nil {
		return nil, err
	}
	if m.Prompt != nil {
		return nil, fmt.Errorf("the model has a prompt already; attach one method to one model")
	}
	d := m.Config.Dim
	v := newPlainRows(m, a, p.Tokens, d, [2]int{p.Tokens, d})
	p.model, p.rows, p.seed, m.Prompt = m, v.rows, seed, v
	return &param.Set{Dense: []*param.Dense{v.rows}}, a.Err()
}

// Start sets the prompt to embeddings of tokens, or to normal numbers of the
// root mean square that those of a sample of the vocabulary have.
func (p *Prompt) Start() error {
	c := p.model.Config
	r := promptTokens.stream(p.seed, 0, 0)
	ids, err := firstTokens(p.Tokens, p.Init, p.text, c.Vocab, r)
	if err != nil {
		return fmt.Errorf("prompt_tuning_init_text: %w", err)
	}
	p.model.Embed(p.rows.W, ids)
	if p.Init != FromRandom {
		return p.model.Device().Sync()
	}
	x := make([]float32, p.rows.W.Len())
	dev := p.model.Device()
	dev.Await(dev.Download(tensor.Bytes(x), p.rows.W))
	sum := 0.0
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	size := math.Sqrt(sum / float64(len(x)))
	for i := range x {
		x[i] = float32(size * r.NormFloat64())
	}
	p.rows.Fill(x)
	return dev.Sync()
}
