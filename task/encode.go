package task

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"meft/token"
)

// EncodeOptions say how examples become token ids. The zero value trains on
// answers only and cuts nothing.
type EncodeOptions struct {
	// MaxLength is the most ids of a row; the start is kept. 0 is no limit.
	MaxLength int
	// TrainOnInputs trains on the prompt too.
	TrainOnInputs bool
	// Now is the time that chat templates with a date print; zero is the time
	// of NewEncoder. Set it where the same data must give the same ids on
	// another day.
	Now time.Time
	// Extra is a JSON object with more variables for the chat template, such as
	// {"enable_thinking": false}.
	Extra json.RawMessage
}

// Encoder makes token ids with a mask of examples. It is safe for concurrent
// use if the tokenizer and the chat template are.
type Encoder struct {
	tok  tokenizer
	chat renderer // nil when the model has no chat template
	o    EncodeOptions
	name struct{ bos, eos string } // spellings, for chat templates
}

// tokenizer and renderer are what the encoder uses of package token.
type tokenizer interface {
	Encode(text string, special bool) []int32
	Decode(ids []int32, skipSpecial bool) string
	Piece(id int32) string
	BOS() int32
	EOS() int32
	AddsBOS() bool
	IsSpecial(id int32) bool
}

type renderer interface {
	Render([]token.Message, token.ChatOptions) (string, error)
}

// Encoded is an example as token ids.
type Encoded struct {
	IDs   []int32
	Train []bool // Train[i]: id i is a target; never the first id, which nothing predicts

	Supervised     int  // targets among IDs
	Cut            int  // ids cut off behind MaxLength
	LostSupervised int  // targets among those
	EOS            bool // the last answer's end token is a target
	Empty          bool // the answer has no text of its own
	Blank          bool // the row has no text at all, and so no ids
	DoubleBOS      int  // BOS ids left out because the data spells BOS itself
	Apart          bool // prompt and answer had to be encoded apart
	Turns          int  // turns that are trained
	SkippedTurns   int  // turns the template renders differently as history: not trained
}

// NewEncoder returns an encoder. chat may be nil: then an example with messages
// is an error.
func NewEncoder(tok *token.Tokenizer, chat *token.ChatTemplate, o EncodeOptions) *Encoder {
	if chat == nil {
		return newEncoder(tok, nil, o)
	}
	return newEncoder(tok, chat, o)
}

func newEncoder(tok tokenizer, chat renderer, o EncodeOptions) *Encoder {
	if o.Now.IsZero() {
		o.Now = time.Now() // one date for the whole data set
	}
	e := &Encoder{tok: tok, chat: chat, o: o}
	if id := tok.BOS(); id >= 0 {
		e.name.bos = tok.Piece(id)
	}
	if id := tok.EOS(); id >= 0 {
		e.name.eos = tok.Piece(id)
	}
	return e
}

// Encode returns the ids of an example.
//
//   - text: BOS, the text, EOS; everything is trained.
//   - prompt and completion: BOS, the prompt, the completion, EOS; completion and
//     EOS are trained.
//   - messages: the chat template's text; the assistant's turns up to and with
//     their end token are trained. EOS is put behind the last turn only if the
//     template ends it with no special token.
//
// An example without any text has no ids. BOS is there exactly once if the tokenizer wants it or the template writes it.
// Errors name file and row.
func (e *Encoder) Encode(x Example) (Encoded, error) {
	var out Encoded
	var err error
	switch {
	case x.Messages != nil:
		out, err = e.conversation(x)
	case x.Text != "":
		out = e.document(x.Text)
	case x.Prompt == "" && x.Completion == "":
		out.Blank = true // data sets of documents hold empty rows
	default:
		out = e.pair(x.Prompt, x.Completion)
	}
	if err != nil {
		return Encoded{}, fmt.Errorf("%s: %w", x.Where(), err)
	}
	out.finish(e.o)
	return out, nil
}

// Prompt returns the ids that a model is given to answer x: exactly those that
// stand before the answer in training. Of a conversation it is everything before
// the assistant's last turn, when the assistant has the last word.
func (e *Encoder) Prompt(x Example) ([]int32, error) {
	switch {
	case x.Messages != nil:
		ms := x.Messages
		if len(ms) > 1 && ms[len(ms)-1].Role == "assistant" {
			ms = ms[:len(ms)-1]
		}
		s, err := e.render(ms, x, true)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", x.Where(), err)
		}
		ids, _ := e.begin(s)
		return ids, nil
	case x.Text != "":
		ids, _ := e.begin(x.Text)
		return ids, nil
	}
	ids, _ := e.begin(x.Prompt)
	return ids, nil
}

// begin returns the ids of a text that begins a row: BOS once, and never the
// EOS that some tokenizers put behind every text, which would end a prompt.
// double tells how many BOS too many the row would have had.
func (e *Encoder) begin(s string) (ids []int32, double int) {
	bos := e.tok.BOS()
	ids = e.tok.Encode(s, false)
	if bos < 0 {
		return ids, 0
	}
	n := 0
	for n < len(ids) && ids[n] == bos {
		n++
	}
	adds := e.tok.AddsBOS()
	switch {
	case n == 0 && adds:
		return slices.Insert(ids, 0, bos), 0
	case n == 0:
		return ids, 0
	case adds:
		double = n // the tokenizer's own would have come on top
	default:
		double = n - 1
	}
	return ids[n-1:], double
}

// document encodes a text that is learned whole.
func (e *Encoder) document(s string) Encoded {
	ids, double := e.begin(s)
	out := Encoded{IDs: ids, DoubleBOS: double, Turns: 1}
	out.end(e.tok.EOS())
	out.Train = marks(0, len(out.IDs))
	return out
}

// end appends EOS unless the ids end with it.
func (x *Encoded) end(eos int32) {
	if eos < 0 {
		return
	}
	if n := len(x.IDs); n == 0 || x.IDs[n-1] != eos {
		x.IDs = append(x.IDs, eos)
	}
	x.EOS = true
}

// marks returns a mask of n ids of which those from the given one on are targets.
func marks(from, n int) []bool {
	m := make([]bool, n)
	for i := max(from, 0); i < n; i++ {
		m[i] = true
	}
	return m
}

// pair encodes a prompt with its completion.
//
// Generation starts from the ids of the prompt alone, so training must too. The
// ids of prompt+completion usually begin with them, and then the split is exact
// and the completion's first id is the one that belongs there. Where a token
// would run over the boundary ("Answer: " with "Paris" gives "▁Paris", whose
// blank is in the prompt), that token exists in no generated text: prompt and
// completion are encoded apart. Splitting the joint ids there instead would hide
// a part of the answer in the masked prompt.
func (e *Encoder) pair(prompt, completion string) Encoded {
	head, double := e.begin(prompt)
	out := Encoded{DoubleBOS: double, Turns: 1, Empty: strings.TrimSpace(completion) == ""}
	out.IDs, out.Apart = e.extend(head, prompt, completion)
	out.end(e.tok.EOS())
	out.Train = marks(len(head), len(out.IDs))
	return out
}

// extend returns head, the ids of the text before, followed by the ids of more,
// and whether these had to be encoded apart.
func (e *Encoder) extend(head []int32, before, more string) (ids []int32, apart bool) {
	whole, _ := e.begin(before + more)
	if len(whole) >= len(head) && slices.Equal(whole[:len(head)], head) {
		return whole, false
	}
	return append(slices.Clip(head), e.continuation(head, more)...), true
}

// continuation returns the ids of a text that goes on behind the ids before. A
// SentencePiece tokenizer puts a blank before every text it encodes, which must
// not be there inside one: encoded behind a line end, which no piece of those
// vocabularies crosses, the text comes without it. What decodes to the right
// text wins.
func (e *Encoder) continuation(before []int32, more string) []int32 {
	ids := e.tok.Encode(more, false)
	if more == "" {
		return nil
	}
	want := e.tok.Decode(before, false) + more
	if e.tok.Decode(slices.Concat(before, ids), false) == want {
		return ids
	}
	for _, lead := range []string{"\n", "."} {
		a, b := e.tok.Encode(lead, false), e.tok.Encode(lead+more, false)
		if len(b) <= len(a) || !slices.Equal(b[:len(a)], a) {
			continue
		}
		if e.tok.Decode(slices.Concat(before, b[len(a):]), false) == want {
			return b[len(a):]
		}
	}
	return ids
}

// finish masks what cannot be a target, applies the options and counts.
func (x *Encoded) finish(o EncodeOptions) {
	if o.TrainOnInputs {
		x.Train = marks(0, len(x.IDs))
	}
	if len(x.Train) > 0 {
		x.Train[0] = false // nothing stands before it to predict it from
	}
	if n := len(x.IDs); o.MaxLength > 0 && n > o.MaxLength {
		for _, t := range x.Train[o.MaxLength:] {
			if t {
				x.LostSupervised++
			}
		}
		x.Cut = n - o.MaxLength
		x.IDs, x.Train = x.IDs[:o.MaxLength], x.Train[:o.MaxLength]
		x.EOS = x.EOS && x.LostSupervised == 0
	}
	for _, t := range x.Train {
		if t {
			x.Supervised++
		}
	}
}
