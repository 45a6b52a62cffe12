package method

import (
	"fmt"
	"math/rand/v2"

	"meft/model"
	"meft/param"
	"meft/tensor"
)

// A Leader is a method that learns rows ahead of every sequence. The model is
// built with them in Size.Ahead.
type Leader interface {
	Ahead() model.Ahead
}

// Ahead is what a method learns ahead of every sequence: nothing, mostly.
func Ahead(m Method) model.Ahead {
	if l, ok := m.(Leader); ok {
		return l.Ahead()
	}
	return model.Ahead{}
}

// A Texter is a method that may begin as a text.
type Texter interface {
	// Text is the text, "" for none.
	Text() string
	// Take is given the text's tokens before Start.
	Take(ids []int32)
}

// A Projector is a method whose adapter files hold other tensors than those it
// trains.
type Projector interface {
	// Projected are those tensors, nil where files hold what is trained.
	Projected() *param.Set
	// Project computes them of the trained ones, as they are at that moment.
	Project()
}

// Projected are the tensors that the files of a method's adapter hold instead of
// what Attach returned, nil where they hold that.
func Projected(m Method) *param.Set {
	if p, ok := m.(Projector); ok {
		return p.Projected()
	}
	return nil
}

// Adapter is what the files of a method's adapter hold, computed, of the set that
// its Attach returned.
func Adapter(m Method, set *param.Set) *param.Set {
	if projected := Projected(m); projected != nil {
		m.(Projector).Project()
		return projected
	}
	return set
}

// What the rows ahead of sequences begin as; the names are PEFT's.
const (
	FromVocabulary = "SAMPLE_VOCAB" // tokens drawn from the vocabulary
	FromText       = "TEXT"         // the tokens of a text, again and again until there are enough
	FromRandom     = "RANDOM"       // random numbers
	FromZero       = "ZERO"         // zeros
)

// promptTensor is what PEFT calls the tensor of prompts and of prefixes.
const promptTensor = "prompt_embeddings"

// checkAhead checks the settings that the methods of rows ahead share. count is
// the name of that for their number, setting of that for the beginning.
func checkAhead(count string, tokens int, setting, init, text string, c model.Config) error {
	switch {
	case tokens < 1:
		return fmt.Errorf("%s is %d, wants at least 1", count, tokens)
	case tokens >= c.MaxPositions:
		return fmt.Errorf("%s is %d: the model's context is %d, and sequences need room behind them", count, tokens, c.MaxPositions)
	case init == FromText && text == "":
		return fmt.Errorf("%s is %s: give %s_text", setting, FromText, setting)
	case init != FromText && text != "":
		return fmt.Errorf("%s_text is %q: it is for %s %s, not %s", setting, text, setting, FromText, init)
	}
	return nil
}

// firstTokens are n tokens to begin from: of a text, or drawn from a vocabulary.
func firstTokens(n int, init string, text []int32, vocab int, r *rand.Rand) ([]int32, error) {
	ids := make([]int32, n)
	if init == FromText && len(text) == 0 {
		return nil, fmt.Errorf("the text to begin from has no tokens; give another, or begin from %s", FromVocabulary)
	}
	for i := range ids {
		if init == FromText {
			ids[i] = text[i%len(text)]
		} else {
			ids[i] = int32(r.IntN(vocab))
		}
	}
	return ids, nil
}

// plainRows are rows ahead of sequences that are learned themselves, seen in the
// shape that the model wants.
type plainRows struct {
	rows  *param.Dense
	shape [2]int
}

// Forward is model.Virtual.Forward.
func (p *plainRows) Forward() tensor.Tensor { return p.rows.W.View(p.shape[0], p.shape[1]) }

// Grad is model.Virtual.Grad.
func (p *plainRows) Grad() tensor.Tensor { return p.rows.D.View(p.shape[0], p.shape[1]) }

// Backward has nothing left to do.
func (p *plainRows) Backward() {}

// newPlainRows allocates [n, width] under PEFT's name.
func newPlainRows(m *model.Model, a *tensor.Arena, n, width int, shape [2]int) *plainRows {
	dense := param.NewDense
	if !m.Size.Grad {
		dense = param.NewFixed
	}
	return &plainRows{rows: dense(a, promptTensor, n, width), shape: shape}
}
