package model

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"sort"

	"meft/internal/simd"
)

// sampler chooses tokens from logits. What it needs room for is kept, so that a
// token costs no allocation.
type sampler struct {
	d     Decoding
	level simd.Level
	exps  []float32 // [v] exponentials of logits
	ids   []int32   // tokens in order, likeliest first
	seen  []uint32  // [v] the call of penalise that met the token last
	call  uint32
}

func newSampler(d Decoding, vocab int) sampler {
	s := sampler{d: d, level: simd.Best()}
	if d.Temperature > 0 || d.Beams > 1 {
		s.exps = make([]float32, vocab)
	}
	if s.penalises() {
		s.seen = make([]uint32, vocab)
	}
	return s
}

// pick chooses the next token from logits, which it may overwrite.
func (s *sampler) pick(row []float32, rng *rand.Rand) int32 {
	if s.d.Temperature == 0 {
		return s.argmax(row)
	}
	if k := s.d.TopK; k > 0 && k < len(row) {
		ids, sum := s.largest(row, k), 0.0
		for _, id := range ids {
			s.exps[id] = float32(math.Exp(float64(row[id]-row[ids[0]]) / s.d.Temperature))
			sum += float64(s.exps[id])
		}
		return s.pickOf(ids, sum, rng)
	}
	s.level.Scale(float32(1/s.d.Temperature), row)
	sum := s.level.Exp(s.exps, row, s.level.Max(row))
	if p := s.d.TopP; p > 0 && p < 1 {
		return s.pickOf(s.nucleus(row, sum), sum, rng)
	}
	at, last := rng.Float64()*sum, 0
	for i, w := range s.exps {
		if w == 0 {
			continue
		}
		if at -= float64(w); at < 0 {
			return int32(i)
		}
		last = i // the sum may have been rounded up
	}
	return int32(last)
}

// nucleus is a list of tokens, likeliest first, that begins with the shortest
// one that has the share TopP of sum. All tokens below (1-p)/v of it have less
// together than may be missing, so only the others are put in order.
func (s *sampler) nucleus(row []float32, sum float64) []int32 {
	least := float32((1 - s.d.TopP) * sum / float64(len(row)))
	s.ids = s.ids[:0]
	for i, w := range s.exps {
		if w >= least {
			s.ids = append(s.ids, int32(i))
		}
	}
	s.order(row)
	return s.ids
}

// order puts ids in order, ties to the lower id, so that a cut is well defined.
func (s *sampler) order(row []float32) {
	slices.SortFunc(s.ids, func(a, b int32) int { return cmp.Or(cmp.Compare(row[b], row[a]), cmp.Compare(a, b)) })
}

// pickOf chooses among tokens in order, whose exps have that sum; with TopP
// among the first that make up that share of it.
func (s *sampler) pickOf(ids []int32, sum float64, rng *rand.Rand) int32 {
	if p := s.d.TopP; p > 0 && p < 1 {
		mass := 0.0
		for i, id := range ids {
			mass += float64(s.exps[id])
			if mass >= p*sum {
				ids, sum = ids[:i+1], mass
				break
			}
		}
	}
	at := rng.Float64() * sum
	for _, id := range ids {
		if at -= float64(s.exps[id]); at < 0 {
			return id
		}
	}
	return ids[len(ids)-1]
}

// fewLargest is up to how many the largest are kept in order one by one; for
// more, sorting all is cheaper.
const fewLargest = 1024

// largest is the ids of the k largest values, in order.
func (s *sampler) largest(row []float32, k int) []int32 {
	k = min(k, len(row))
	s.ids = s.ids[:0]
	if k > fewLargest {
		for i := range row {
			s.ids = append(s.ids, int32(i))
		}
		s.order(row)
		return s.ids[:k]
	}
	least := float32(math.Inf(-1))
	for i, v := range row {
		if v <= least && len(s.ids) == k {
			continue
		}
		if len(s.ids) < k {
			s.ids = append(s.ids, 0)
		}
		top := s.ids[:len(s.ids)-1]
		at := sort.Search(len(top), func(j int) bool { return row[top[j]] < v })
		copy(s.ids[at+1:], s.ids[at:])
		s.ids[at] = int32(i)
		least = row[s.ids[len(s.ids)-1]]
	}
	return s.ids
}

// argmax is the first index of the largest value.
func (s *sampler) argmax(row []float32) int32 {
	top := s.level.Max(row)
	for i, v := range row {
		if v == top {
			return int32(i)
		}
	}
	return 0 // not a number
}

// logSum is the logarithm of the sum of the exponentials of a row.
func (s *sampler) logSum(row []float32) float64 {
	top := s.level.Max(row)
	return float64(top) + math.Log(s.level.Exp(s.exps, row, top))
}

func (s *sampler) penalises() bool { return s.d.RepetitionPenalty != 0 && s.d.RepetitionPenalty != 1 }

// penalise applies the repetition penalty (Keskar et al. 2019,
// https://arxiv.org/abs/1909.05858, section 4.1) to every token seen.
func (s *sampler) penalise(row []float32, seen []int32) {
	p := float32(s.d.RepetitionPenalty)
	s.call++
	for _, id := range seen {
		if s.seen[id] == s.call {
			continue
		}
		s.seen[id] = s.call
		if row[id] < 0 {
			row[id] *= p
		} else {
			row[id] /= p
		}
	}
}
