package meft

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"

	"meft/method"
	"meft/model"
	"meft/token"
)

// SessionOptions say which model, with which adapter, answers.
type SessionOptions struct {
	Model         string // folder of a Hugging Face checkpoint
	Shape         string // or a built-in shape
	RandomWeights bool   // with Shape
	Adapter       string // folder of an adapter or of a run; "" for none
	OtherBase     bool   // take an adapter that was trained on another model
	BaseDType     string // auto, f32, bf16, nf4, fp4 or int8; "" for auto
	PlainScales   bool   // nf4 and fp4 without double quantisation
	ComputeDType  string // f32 or bf16; "" for f32
	ChatTemplate  string // file; "" for the tokenizer's own
	Threads       int    // 0 for all
	Seed          uint64 // of random weights
}

// Session is an opened model for answering and scoring. Its memory is taken at
// the first use and grows when a longer text comes. It is not safe for
// concurrent use.
type Session struct {
	base    *base
	tok     *token.Tokenizer // nil for a built-in shape
	chat    *token.ChatTemplate
	method  method.Method
	adapter string
	threads int
	engine  *engine
	size    model.Size
}

// Open reads and checks everything but the weights.
func Open(o SessionOptions) (*Session, error) {
	c := Defaults()
	c.Model, c.Shape, c.RandomWeights, c.Seed = o.Model, o.Shape, o.RandomWeights, o.Seed
	if o.BaseDType != "" {
		c.BaseDType = o.BaseDType
	}
	c.DoubleQuant = !o.PlainScales
	if o.ComputeDType != "" {
		c.ComputeDType = o.ComputeDType
	}
	b, err := openBase(c)
	if err != nil {
		return nil, err
	}
	s := &Session{base: b, threads: o.Threads}
	if b.dir != "" {
		if s.tok, err = b.tokenizer(); err != nil {
			return nil, err
		}
		if s.chat, err = chatTemplate(o.ChatTemplate, s.tok); err != nil {
			return nil, err
		}
	}
	if o.Adapter == "" {
		return s, nil
	}
	if s.adapter, err = findAdapter(o.Adapter); err != nil {
		return nil, err
	}
	ac, m, err := readAdapterConfig(s.adapter)
	if err != nil {
		return nil, err
	}
	s.method = m
	if err := m.Check(b.config); err != nil {
		return nil, fmt.Errorf("%s: %w", s.adapter, err)
	}
	if err := ac.fits(s.adapter, b, s.tok, o.OtherBase); err != nil {
		return nil, err
	}
	return s, checkPlaces(s.adapter, m, b.config)
}

// chatTemplate parses the template of a file, or the tokenizer's, if any.
func chatTemplate(path string, tok *token.Tokenizer) (*token.ChatTemplate, error) {
	if path != "" {
		src, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		return token.ParseChat(path, string(src))
	}
	if tok.ChatTemplate() == "" {
		return nil, nil
	}
	return token.ParseChat("chat_template", tok.ChatTemplate())
}

// Tokenizer is the model's, nil for a built-in shape.
func (s *Session) Tokenizer() *token.Tokenizer { return s.tok }

// Chat is the chat template, nil if there is none.
func (s *Session) Chat() *token.ChatTemplate { return s.chat }

// Config is the model's.
func (s *Session) Config() model.Config { return s.base.config }

// Close frees the model's memory.
func (s *Session) Close() error {
	if s.engine != nil {
		s.engine.Close()
		s.engine = nil
	}
	return nil
}

// ahead is what the adapter has learned ahead of every sequence.
func (s *Session) ahead() model.Ahead { return method.Ahead(s.method) }

// need builds the model if what is built is too small.
func (s *Session) need(size model.Size) error {
	if s.engine != nil && size.Rows <= s.size.Rows && size.Context <= s.size.Context && size.CacheRows <= s.size.CacheRows {
		return nil
	}
	size.Ahead = s.ahead()
	if size.Context > s.base.config.MaxPositions && s.base.config.Scaling.Kind != "dynamic" {
		virtual := ""
		if n := size.Ahead.Len(); n > 0 {
			virtual = fmt.Sprintf(" (%d of them ahead of the text, by the adapter)", n)
		}
		return fmt.Errorf("%d tokens%s, more than the %d the model was trained for (max_position_embeddings)", size.Context, virtual, s.base.config.MaxPositions)
	}
	size.Rows, size.Context, size.CacheRows = max(size.Rows, s.size.Rows), max(size.Context, s.size.Context), max(size.CacheRows, s.size.CacheRows)
	size.Frozen = s.base.frozen
	if err := s.Close(); err != nil {
		return err
	}
	r := recipe{base: s.base, method: s.method, size: size}
	plan, err := r.plan()
	if err != nil {
		return err
	}
	e, err := r.build(plan, s.threads)
	if err != nil {
		return err
	}
	if s.adapter != "" {
		if err := loadAdapter(s.adapter, e.params); err != nil {
			e.Close()
			return err
		}
	}
	s.engine, s.size = e, size
	return nil
}

// known refuses ids that are not in the model's vocabulary.
func (s *Session) known(ids []int32) error {
	for i, id := range ids {
		if id < 0 || int(id) >= s.base.config.Vocab {
			return fmt.Errorf("token %d has id %d, the model's vocabulary ends at %d; was it made by another tokenizer?", i+1, id, s.base.config.Vocab-1)
		}
	}
	return nil
}

// inferRows is how many token rows a model for answering takes at once: enough
// for the products to run at full speed, few enough to need little memory.
const inferRows = 256

// batch bounds how many prompts are answered at once, and cacheBytes the keys
// and values that are kept for them unless a single prompt needs more.
const (
	batch      = 64
	cacheBytes = 1 << 30
)

// Generate continues prompts; see model.Model.Generate.
func (s *Session) Generate(ctx context.Context, prompts [][]int32, d model.Decoding, emit func(i int, c model.Continuation) error) error {
	if len(prompts) == 0 {
		return nil
	}
	for i, p := range prompts {
		err := s.known(p)
		if len(p) == 0 {
			err = fmt.Errorf("no tokens; wanted at least one to go on from")
		}
		if err != nil {
			return fmt.Errorf("prompt %d: %w", i+1, err)
		}
	}
	if err := s.need(generateSize(s.base.config, s.ahead(), prompts, d)); err != nil {
		return err
	}
	return s.engine.model.Generate(ctx, prompts, d, emit)
}

// generateSize is what a model needs to continue the prompts: with room in the
// cache for the longest of them, and for as many more at once as Decoding.Batch
// and the bound on keys and values allow.
func generateSize(c model.Config, ahead model.Ahead, prompts [][]int32, d model.Decoding) model.Size {
	lengths := make([]int, len(prompts))
	for i, p := range prompts {
		lengths[i] = len(p) + ahead.Len()
	}
	slices.SortFunc(lengths, func(a, b int) int { return cmp.Compare(b, a) })
	beams := max(1, d.Beams)
	size := model.Size{Rows: max(inferRows, beams, beams*d.Batch, ahead.Prompt+1), Context: lengths[0] + d.MaxNew}
	most := d.Batch
	if most == 0 {
		most = min(batch, size.Rows/beams)
	}
	limit := cacheBytes / (2 * 4 * c.Layers * c.KVHeads * c.HeadDim)
	for i, n := range lengths[:min(len(lengths), most)] {
		if i > 0 && size.CacheRows+d.CacheRows(n) > limit {
			break
		}
		size.CacheRows += d.CacheRows(n)
	}
	return size
}
