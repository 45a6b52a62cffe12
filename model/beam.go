package model

import (
	"cmp"
	"math"
	"slices"
	"sort"
)

// beamSearch is the search for one prompt, as Hugging Face's BeamSearchScorer
// does it with early_stopping=False: at each step the 2B best extensions of the
// B beams are looked at in order; those that stop among the first B become
// hypotheses, the others become the next beams, until there are B.
type beamSearch struct {
	g     *generator
	beams []*sequence // best first
	spare []*sequence // cached sequences that are no beams; B with beams
	room  []*sequence // for the next beams
	next  []candidate // that become the beams
	found []candidate
	done  []hypothesis // best first, at most B
	ready bool         // all beams have reported their candidates
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
	b := &beamSearch{g: g, beams: []*sequence{first}}
	for i := range g.d.Beams - 1 {
		q := *first
		q.beam, q.ids = b, make([]int32, 0, cap(first.ids))
		q.base += (i + 1) * g.cacheRows(first.start) / g.d.Beams
		b.spare = append(b.spare, &q)
	}
	return b
}

// candidates notes the best extensions of one beam.
func (b *beamSearch) candidates(q *sequence, logits []float32) {
	s := &b.g.sampler
	total := s.logSum(logits)
	if s.penalises() { // log probabilities, as Hugging Face does
		for i, v := range logits {
			logits[i] = float32(float64(v) - total)
		}
		total = 0
		s.penalise(logits, q.ids)
	}
	at := slices.Index(b.beams, q)
	for _, id := range s.largest(logits, 2*b.g.d.Beams) {
		b.found = append(b.found, candidate{at, id, q.logProb + float64(logits[id]) - total})
	}
	b.ready = at == len(b.beams)-1
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
	slices.SortStableFunc(b.found, func(x, y candidate) int { return cmp.Compare(y.logProb, x.logProb) })
	found := b.found[:min(2*d.Beams, len(b.found))]
	b.ready = false
	first := b.beams[0]
	grown := len(first.ids) + 1 - first.start // new tokens after this step
	b.next = b.next[:0]
	for rank, c := range found {
		if len(b.next) == d.Beams {
			break
		}
		if !d.stop(c.id) {
			b.next = append(b.next, c)
		} else if rank < d.Beams {
			b.finish(b.beams[c.beam].ids, c.logProb, grown, "stop")
		}
	}
	best := found[0].logProb
	b.found = b.found[:0]
	full := len(b.done) == d.Beams && b.done[len(b.done)-1].score >= b.score(best, grown)
	if full || len(b.next) == 0 {
		return true, b.end()
	}
	b.move()
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
	h := hypothesis{ids: slices.Clone(ids[b.beams[0].start:]), score: b.score(logProb, length), reason: reason}
	at := sort.Search(len(b.done), func(i int) bool { return b.done[i].score < h.score })
	b.done = append(b.done, hypothesis{})
	copy(b.done[at+1:], b.done[at:])
	b.done[at] = h
	b.done = b.done[:min(len(b.done), b.g.d.Beams)]
}

// move makes the candidates the beams. The first candidate of a beam takes its
// place in the cache; a further one takes that of a sequence that is no beam any
// more, and copies from its parent what is not the same: sequences of one prompt
// have at least that in common, and equal beginnings have equal rows.
func (b *beamSearch) move() {
	old := b.beams
	n := len(old[0].ids)
	for i, q := range old {
		if !slices.ContainsFunc(b.next, func(c candidate) bool { return c.beam == i }) {
			b.spare = append(b.spare, q)
		}
	}
	beams := b.room[:0]
	for _, c := range b.next {
		q := old[c.beam]
		if slices.Contains(beams, q) {
			q = b.fork(q, n)
		}
		beams = append(beams, q)
	}
	for i, c := range b.next {
		beams[i].ids, beams[i].logProb = append(beams[i].ids[:n], c.id), c.logProb
	}
	b.replace(beams)
	b.room = old
}

// fork makes a spare sequence equal to the first n tokens of q.
func (b *beamSearch) fork(q *sequence, n int) *sequence {
	last := len(b.spare) - 1
	s := b.spare[last]
	b.spare = b.spare[:last]
	same := 0
	for same < s.fed && same < q.fed && s.ids[same] == q.ids[same] {
		same++
	}
	from, to := same, q.fed+b.g.ahead()
	if same > 0 { // so has what is ahead of them
		from += b.g.ahead()
	}
	b.g.m.copyCache(s.base+from, q.base+from, to-from)
	s.ids, s.fed = append(s.ids[:0], q.ids[:n]...), q.fed
	return s
}

// replace puts the new beams where the old ones are among the live sequences.
func (b *beamSearch) replace(beams []*sequence) {
	at := slices.Index(b.g.live, b.beams[0])
	b.g.live = slices.Replace(b.g.live, at, at+len(b.beams), beams...)
	b.beams = beams
}

func (b *beamSearch) end() error {
	first := b.beams[0]
	b.replace(nil)
	b.g.rooms.give(first.room)
	best := b.done[0]
	return b.g.emit(first.prompt, Continuation{IDs: best.ids, Reason: best.reason})
}
