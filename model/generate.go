package model

import (
	"fmt"
	"math/rand/v2"
)

// Decoding says how text is continued. Its zero value with MaxNew set is greedy
// decoding.
type Decoding struct {
	MaxNew            int     // most new tokens
	Temperature       float64 // 0: greedy; else sampling from softmax(logits/temperature)
	TopK              int     // sample among the k likeliest; 0 for all
	TopP              float64 // sample among the likeliest that make up this mass; 0 or 1 for all
	Beams             int     // beam search with so many beams; 0 or 1 for none
	LengthPenalty     float64 // beams: sum of log probabilities over length^penalty; 0 stands for 1
	RepetitionPenalty float64 // divides positive and multiplies negative scores of tokens seen; 0 or 1 for none
	Stops             []int32 // ids that end a text; they are not part of the result
	Seed              uint64  // of sampling; each prompt has its own stream
}

// Check reports settings that contradict each other.
func (d Decoding) Check() error {
	switch {
	case d.MaxNew < 1:
		return fmt.Errorf("max_new_tokens is %d, wanted 1 or more", d.MaxNew)
	case d.Temperature < 0 || d.TopP < 0 || d.TopP > 1 || d.TopK < 0 || d.RepetitionPenalty < 0:
		return fmt.Errorf("temperature %v, top_p %v, top_k %d, repetition_penalty %v: wanted none below 0, and top_p up to 1", d.Temperature, d.TopP, d.TopK, d.RepetitionPenalty)
	case d.Beams > 1 && d.Temperature > 0:
		return fmt.Errorf("num_beams %d and temperature %v: beam search does not sample; set one of them", d.Beams, d.Temperature)
	}
	return nil
}

func (d Decoding) stop(id int32) bool {
	for _, s := range d.Stops {
		if s == id {
			return true
		}
	}
	return false
}

// slots is how many cached sequences one prompt needs.
func (d Decoding) slots() int {
	if d.Beams > 1 {
		return 2 * d.Beams // a bank of beams, and the bank the next ones are copied to
	}
	return 1
}

// CacheRows is how many cache rows a model needs to continue that many prompts
// of up to length tokens, new ones included, at once.
func (d Decoding) CacheRows(prompts, length int) int { return prompts * d.slots() * length }

// Continuation is a prompt's new tokens.
type Continuation struct {
	IDs    []int32 // new tokens, without the one that stopped it
	Reason string  // "stop" or "length"
}

// sequence is a cached sequence that grows.
type sequence struct {
	prompt  int     // its index among the prompts
	ids     []int32 // prompt and new tokens
	fed     int     // tokens in the cache
	start   int     // length of the prompt
	base    int     // first cache row
	rng     *rand.Rand
	beam    *beamSearch // of which it is a part, nil without
	logProb float64     // of the new tokens, for beams
}

// Generate continues every prompt and calls emit as each one ends, in the order
// they end. Prompts share the model's cache: as many run at once as fit. An
// error of emit stops everything and is returned.
func (m *Model) Generate(prompts [][]int32, d Decoding, emit func(i int, c Continuation) error) error {
	if err := d.Check(); err != nil {
		return err
	}
	g := &generator{m: m, d: d, prompts: prompts, emit: emit}
	if err := g.plan(); err != nil {
		return err
	}
	for g.next < len(prompts) || len(g.live) > 0 {
		g.admit()
		if err := g.step(); err != nil {
			return err
		}
	}
	return m.dev.Sync()
}

// generator runs prompts through the cache: a sequence that ends makes room for
// the next prompt, and tokens of old and new sequences share one step.
type generator struct {
	m       *Model
	d       Decoding
	prompts [][]int32
	emit    func(int, Continuation) error

	length int         // cache rows of one slot
	free   []int       // first cache rows of free groups of slots
	next   int         // first prompt not admitted
	live   []*sequence // in order of admission
	steps  Step
	wanted []*sequence // whose logits the step asks for
	logits []float32
}

func (g *generator) plan() error {
	longest := 0
	for i, p := range g.prompts {
		if len(p) == 0 {
			return fmt.Errorf("prompt %d has no tokens; the tokenizer adds no BOS: give it some text", i+1)
		}
		longest = max(longest, len(p))
	}
	g.length = longest + g.d.MaxNew
	if g.length > g.m.Size.Context {
		return fmt.Errorf("a prompt of %d tokens and %d new ones need a context of %d, the model was opened with %d", longest, g.d.MaxNew, g.length, g.m.Size.Context)
	}
	group := g.d.slots() * g.length
	n := min(g.m.Size.CacheRows/max(group, 1), g.m.Size.Rows/max(1, g.d.Beams))
	if n == 0 {
		return fmt.Errorf("a prompt needs %d cache rows, the model has %d", group, g.m.Size.CacheRows)
	}
	for i := range n {
		g.free = append(g.free, (n-1-i)*group)
	}
	g.logits = make([]float32, min(n*max(1, g.d.Beams), g.m.Size.Rows)*g.m.Config.Vocab)
	return nil
}

// admit starts prompts while there are free slots.
func (g *generator) admit() {
	for g.next < len(g.prompts) && len(g.free) > 0 {
		base := g.free[len(g.free)-1]
		g.free = g.free[:len(g.free)-1]
		p := g.prompts[g.next]
		s := &sequence{prompt: g.next, ids: append(make([]int32, 0, len(p)+g.d.MaxNew), p...), start: len(p), base: base}
		s.rng = rand.New(rand.NewPCG(g.d.Seed, uint64(g.next)))
		if g.d.Beams > 1 {
			s.beam = newBeamSearch(g, s)
		}
		g.live = append(g.live, s)
		g.next++
	}
}

// step feeds tokens of the live sequences, as many as fit, and extends those
// that are fed completely.
func (g *generator) step() error {
	s := &g.steps
	s.IDs, s.Pos, s.Base, s.Want = s.IDs[:0], s.Pos[:0], s.Base[:0], s.Want[:0]
	g.wanted = g.wanted[:0]
	for _, q := range g.live {
		for room := g.m.Size.Rows - len(s.IDs); room > 0 && q.fed < len(q.ids); room-- {
			s.IDs = append(s.IDs, q.ids[q.fed])
			s.Pos = append(s.Pos, int32(q.fed))
			s.Base = append(s.Base, int32(q.base))
			q.fed++
			if q.fed == len(q.ids) {
				s.Want = append(s.Want, int32(len(s.IDs)-1))
				g.wanted = append(g.wanted, q)
			}
		}
	}
	v := g.m.Config.Vocab
	g.m.Infer(*s, g.logits[:len(s.Want)*v])
	for i, q := range g.wanted {
		row := g.logits[i*v : (i+1)*v]
		g.penalise(row, q.ids)
		if q.beam != nil {
			q.beam.candidates(q, row)
			continue
		}
		if err := g.extend(q, g.pick(row, q.rng)); err != nil {
			return err
		}
	}
	return g.advanceBeams()
}

// extend adds a token to a sequence, or ends it.
func (g *generator) extend(q *sequence, id int32) error {
	if g.d.stop(id) {
		return g.end(q, "stop")
	}
	q.ids = append(q.ids, id)
	if len(q.ids)-q.start == g.d.MaxNew {
		return g.end(q, "length")
	}
	return nil
}

func (g *generator) end(q *sequence, reason string) error {
	g.remove(q)
	g.free = append(g.free, q.base)
	return g.emit(q.prompt, Continuation{IDs: q.ids[q.start:], Reason: reason})
}

func (g *generator) remove(q *sequence) {
	for i, s := range g.live {
		if s == q {
			g.live = append(g.live[:i], g.live[i+1:]...)
			return
		}
	}
}

// penalise applies the repetition penalty (Keskar et al. 2019,
// https://arxiv.org/abs/1909.05858, section 4.1) to every token seen.
func (g *generator) penalise(row []float32, seen []int32) {
	p := float32(g.d.RepetitionPenalty)
	if p == 0 || p == 1 {
		return
	}
	if g.d.Beams > 1 {
		logSoftmax(row) // Hugging Face penalises log probabilities in beam search
	}
	done := make(map[int32]bool, len(seen))
	for _, id := range seen {
		if done[id] {
			continue
		}
		done[id] = true
		if row[id] < 0 {
			row[id] *= p
		} else {
			row[id] /= p
		}
	}
}
