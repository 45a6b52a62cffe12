package model

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
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
	Batch             int     // most prompts at once; 0 for as many as the cache has room for
}

// Check reports settings that contradict each other.
func (d Decoding) Check() error {
	switch {
	case d.MaxNew < 1:
		return fmt.Errorf("max_new_tokens is %d, wanted 1 or more", d.MaxNew)
	case d.Temperature < 0 || d.TopP < 0 || d.TopP > 1 || d.TopK < 0 || d.RepetitionPenalty < 0:
		return fmt.Errorf("temperature %v, top_p %v, top_k %d, repetition_penalty %v: wanted none below 0, and top_p up to 1", d.Temperature, d.TopP, d.TopK, d.RepetitionPenalty)
	case d.Batch < 0:
		return fmt.Errorf("a batch of %d prompts: wanted 1 or more, or 0 for as many as there is room for", d.Batch)
	case d.Beams > 1 && d.Temperature > 0:
		return fmt.Errorf("num_beams %d and temperature %v: beam search does not sample; set one of them", d.Beams, d.Temperature)
	}
	return nil
}

func (d Decoding) stop(id int32) bool { return slices.Contains(d.Stops, id) }

// CacheRows is how many cache rows a prompt of so many tokens takes while it is
// continued, what is ahead of it counted among them. The last new token needs none.
func (d Decoding) CacheRows(prompt int) int { return d.beams() * (prompt + d.MaxNew - 1) }

func (d Decoding) beams() int { return max(1, d.Beams) }

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
	room    room    // cache rows of the prompt
	rng     *rand.Rand
	beam    *beamSearch // of which it is a part, nil without
	logProb float64     // of the new tokens, for beams
}

// Generate continues every prompt and calls emit as each one ends, in the order
// they end. Prompts share the model's cache: as many run at once as fit, and
// what comes out does not depend on which. An error of emit stops everything and
// is returned; so is that of ctx, which is asked before every new token.
func (m *Model) Generate(ctx context.Context, prompts [][]int32, d Decoding, emit func(i int, c Continuation) error) error {
	if err := d.Check(); err != nil {
		return err
	}
	g := &generator{m: m, d: d, prompts: prompts, emit: emit, rooms: rooms{rows: m.Size.CacheRows}, sampler: newSampler(d, m.Config.Vocab)}
	if err := g.check(); err != nil {
		return err
	}
	for g.next < len(prompts) || len(g.live) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
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
	sampler sampler
	rooms   rooms

	next   int         // first prompt not admitted
	live   []*sequence // in order of admission
	steps  Step
	wanted []*sequence // whose logits the step asks for
}

// check refuses prompts that cannot be continued.
func (g *generator) check() error {
	size := g.m.Size
	if g.d.beams() > size.Rows {
		return fmt.Errorf("%d beams need as many rows, the model was opened with %d", g.d.Beams, size.Rows)
	}
	for i, p := range g.prompts {
		n := len(p)
		switch {
		case n == 0:
			return fmt.Errorf("prompt %d has no tokens; the tokenizer adds no BOS: give it some text", i+1)
		case n+g.d.MaxNew > size.Context-g.ahead():
			return fmt.Errorf("a prompt of %d tokens and %d new ones need a context of %d, the model was opened with %d", n, g.d.MaxNew, n+g.d.MaxNew+g.ahead(), size.Context)
		case g.cacheRows(n) > size.CacheRows:
			return fmt.Errorf("a prompt of %d tokens and %d new ones need %d cache rows, the model has %d", n, g.d.MaxNew, g.cacheRows(n), size.CacheRows)
		}
	}
	return nil
}

// ahead is how many positions and cache rows a sequence has before its tokens.
func (g *generator) ahead() int { return g.m.Size.Ahead.Len() }

// cacheRows is how many cache rows a prompt of n tokens takes.
func (g *generator) cacheRows(n int) int { return g.d.CacheRows(g.ahead() + n) }

// admit starts prompts while there is room.
func (g *generator) admit() {
	most := g.m.Size.Rows / g.d.beams()
	if g.d.Batch > 0 {
		most = min(most, g.d.Batch)
	}
	for g.next < len(g.prompts) && len(g.rooms.taken) < most {
		p := g.prompts[g.next]
		space, ok := g.rooms.take(g.cacheRows(len(p)))
		if !ok {
			return
		}
		s := &sequence{prompt: g.next, ids: append(make([]int32, 0, len(p)+g.d.MaxNew), p...), start: len(p), base: space.from, room: space}
		if g.d.Temperature > 0 {
			s.rng = rand.New(rand.NewPCG(g.d.Seed, uint64(g.next)))
		}
		if g.d.Beams > 1 {
			s.beam = newBeamSearch(g, s)
		}
		g.live = append(g.live, s)
		g.next++
	}
}

// step feeds tokens of the live sequences, as many as fit, and extends those
// that are fed completely. The oldest come first, so that new prompts, which
// fill what is left, do not hold them up.
func (g *generator) step() error {
	s := &g.steps
	s.IDs, s.Pos, s.Base, s.Want = s.IDs[:0], s.Pos[:0], s.Base[:0], s.Want[:0]
	g.wanted = g.wanted[:0]
	room := g.m.Size.Rows
	for _, q := range g.live {
		for q.fed < len(q.ids) {
			if q.fed == 0 {
				room -= g.m.Size.Ahead.Prompt
			}
			if room--; room < 0 {
				break
			}
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
	var err error
	g.m.Infer(*s, func(i int, logits []float32) {
		if err == nil {
			err = g.use(g.wanted[i], logits)
		}
	})
	if err != nil {
		return err
	}
	return g.advanceBeams()
}

// use extends a sequence by what its logits say.
func (g *generator) use(q *sequence, logits []float32) error {
	if q.beam != nil {
		q.beam.candidates(q, logits)
		return nil
	}
	if g.sampler.penalises() {
		g.sampler.penalise(logits, q.ids)
	}
	return g.extend(q, g.sampler.pick(logits, q.rng))
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
	i := slices.Index(g.live, q)
	g.live = slices.Delete(g.live, i, i+1)
	g.rooms.give(q.room)
	return g.emit(q.prompt, Continuation{IDs: q.ids[q.start:], Reason: reason})
}
