package model

import (
	"math"
	"sort"
)

// beamSearch is the search for one prompt, as Hugging Face's BeamSearchScorer
// does it with early_stopping=False: at each step the 2B best extensions of the
// B beams are looked at in order; those that stop among the first B become
// hypotheses, the others become the next beams, until there are B.
type beamSearch struct {
	g      *generator
	prompt int
	start  int // length of the prompt
	base   int // first cache row of the group of slots
	bank   int // half of the slots the beams are in: 0 or 1
	beams  []*sequence
	found  []candidate
	done   []hypothesis // best first, at most B
	ready  bool         // all beams have reported their candidates
}

// candidate is a beam and a token that may extend it.
type candidate struct {
	beam    int
	id      int32
	logProb float64
}

// hypothesis is a finished text.
type hypothesis struct {
	ids    []int32
	score  float64
	reason string
}

func newBeamSearch(g *generator, first *sequence) *beamSearch {
	return &beamSearch{g: g, prompt: first.prompt, start: first.start, base: first.base, beams: []*sequence{first}}
}

// candidates notes the best extensions of one beam.
func (b *beamSearch) candidates(q *sequence, row []float32) {
	if p := b.g.d.RepetitionPenalty; p == 0 || p == 1 {
		logSoftmax(row) // else penalise did it
	}
	at := 0
	for i, s := range b.beams {
		if s == q {
			at = i
		}
	}
	for _, id := range largest(row, 2*b.g.d.Beams) {
		b.found = append(b.found, candidate{at, id, q.logProb + float64(row[id])})
	}
	b.ready = at == len(b.beams)-1
}

// largest is the ids of the k largest values, ties to the lower id.
func largest(row []float32, k int) []int32 {
	k = min(k, len(row))
	top := make([]int32, 0, k+1)
	for i, v := range row {
		if len(top) == k && v <= row[top[k-1]] {
			continue
		}
		at := sort.Search(len(top), func(j int) bool { return row[top[j]] < v })
		top = append(top, 0)
		copy(top[at+1:], top[at:])
		top[at] = int32(i)
		top = top[:min(len(top), k)]
	}
	return top
}

// advanceBeams moves every search whose beams have all been looked at.
func (g *generator) advanceBeams() error {
	for i := 0; i < len(g.live); {
		q := g.live[i]
		if q.beam == nil || !q.beam.ready {
			i++
			continue
		}
		search := q.beam
		ended, err := search.advance()
		if err != nil {
			return err
		}
		if !ended {
			for i < len(g.live) && g.live[i].beam == search {
				i++
			}
		}
	}
	return nil
}

// advance makes the next beams, or ends the search and emits its best text.
func (b *beamSearch) advance() (ended bool, err error) {
	d := b.g.d
	sort.SliceStable(b.found, func(i, j int) bool { return b.found[i].logProb > b.found[j].logProb })
	found := b.found[:min(2*d.Beams, len(b.found))]
	b.ready = false
	grown := len(b.beams[0].ids) + 1 - b.start // new tokens after this step
	var next []candidate
	for rank, c := range found {
		if len(next) == d.Beams {
			break
		}
		if !d.stop(c.id) {
			next = append(next, c)
		} else if rank < d.Beams {
			b.finish(b.beams[c.beam].ids, c.logProb, grown, "stop")
		}
	}
	best := found[0].logProb
	b.found = b.found[:0]
	full := len(b.done) == d.Beams && b.done[len(b.done)-1].score >= b.score(best, grown)
	if full || len(next) == 0 {
		return true, b.end()
	}
	b.move(next)
	if grown == d.MaxNew {
		for _, q := range b.beams {
			b.finish(q.ids, q.logProb, grown, "length")
		}
		return true, b.end()
	}
	return false, nil
}

func (b *beamSearch) score(logProb float64, length int) float64 {
	p := b.g.d.LengthPenalty
	if p == 0 {
		p = 1
	}
	return logProb / math.Pow(float64(length), p)
}

// finish keeps a text if it is among the best B.
func (b *beamSearch) finish(ids []int32, logProb float64, length int, reason string) {
	h := hypothesis{ids: append([]int32(nil), ids[b.start:]...), score: b.score(logProb, length), reason: reason}
	at := sort.Search(len(b.done), func(i int) bool { return b.done[i].score < h.score })
	b.done = append(b.done, hypothesis{})
	copy(b.done[at+1:], b.done[at:])
	b.done[at] = h
	b.done = b.done[:min(len(b.done), b.g.d.Beams)]
}

// move makes the candidates the beams: each copies its parent's cached rows to
// the other bank of slots, since several may have the same parent.
func (b *beamSearch) move(next []candidate) {
	g := b.g
	b.bank = 1 - b.bank
	beams := make([]*sequence, len(next))
	for i, c := range next {
		parent := b.beams[c.beam]
		q := &sequence{prompt: b.prompt, start: b.start, beam: b, fed: parent.fed, logProb: c.logProb}
		q.ids = append(append(make([]int32, 0, cap(parent.ids)), parent.ids...), c.id)
		q.base = b.base + (b.bank*g.d.Beams+i)*g.length
		g.m.copyCache(q.base, parent.base, parent.fed)
		beams[i] = q
	}
	b.replace(beams)
}

// replace puts the new beams where the old ones are among the live sequences.
func (b *beamSearch) replace(beams []*sequence) {
	g := b.g
	at := 0
	for at < len(g.live) && g.live[at].beam != b {
		at++
	}
	var live []*sequence
	live = append(live, g.live[:at]...)
	live = append(live, beams...)
	live = append(live, g.live[at+len(b.beams):]...)
	g.live, b.beams = live, beams
}

func (b *beamSearch) end() error {
	b.replace(nil)
	b.g.free = append(b.g.free, b.base)
	best := b.done[0]
	return b.g.emit(b.prompt, Continuation{IDs: best.ids, Reason: best.reason})
}
