package model

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// inOrder is every token, likeliest first, ties to the lower id.
func inOrder(row []float32) []int32 {
	ids := make([]int32, len(row))
	for i := range ids {
		ids[i] = int32(i)
	}
	slices.SortStableFunc(ids, func(a, b int32) int {
		switch {
		case row[a] > row[b]:
			return -1
		case row[a] < row[b]:
			return 1
		}
		return 0
	})
	return ids
}

func TestLargestAreTheFirstInOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 2, 9, 100, 5000} {
		row := make([]float32, n)
		for i := range row {
			row[i] = float32(rng.IntN(n)) // some are equal
		}
		row[rng.IntN(n)] = float32(math.Inf(-1))
		s := newSampler(Decoding{Temperature: 1}, n)
		want := inOrder(row)
		for _, k := range []int{1, 2, 5, fewLargest, fewLargest + 1, n} {
			if got := s.largest(row, k); !slices.Equal(got, want[:min(k, n)]) {
				t.Errorf("%d of %d: %v, wanted %v", k, n, got, want[:min(k, n)])
			}
		}
		if got := s.argmax(row); got != want[0] {
			t.Errorf("argmax of %d: %d, wanted %d", n, got, want[0])
		}
	}
}

// Every way to choose follows the probabilities of what it leaves to choose
// from: with 20000 draws a frequency's standard error is below 0.0036.
func TestEveryWayOfSamplingFollowsItsProbabilities(t *testing.T) {
	const draws = 20000
	logits := []float32{0.5, -1, 2, 2, -9, 1, 0, float32(math.Inf(-1)), 0.25}
	for _, d := range []Decoding{
		{Temperature: 1}, {Temperature: 0.6}, {Temperature: 1.7, TopK: 3}, {Temperature: 1.7, TopK: 100}, {Temperature: 1.3, TopP: 0.7},
		{Temperature: 1.3, TopP: 0.999}, {Temperature: 2, TopK: 4, TopP: 0.5}, {Temperature: 1, TopP: 1e-9}, {Temperature: 1, TopK: 1},
	} {
		s, rng := newSampler(d, len(logits)), rand.New(rand.NewPCG(3, 4))
		count := make([]float64, len(logits))
		for range draws {
			count[s.pick(slices.Clone(logits), rng)]++
		}
		for i, want := range probabilities(logits, d) {
			if got := count[i] / draws; math.Abs(got-want) > 0.018 || want == 0 && got > 0 {
				t.Errorf("%+v: token %d came in %v of the draws, wanted %v", d, i, got, want)
			}
		}
	}
}

// probabilities are what sampling must follow, in float64.
func probabilities(logits []float32, d Decoding) []float64 {
	ids := inOrder(logits)
	if d.TopK > 0 {
		ids = ids[:min(d.TopK, len(ids))]
	}
	out := make([]float64, len(logits))
	sum := 0.0
	for _, id := range ids {
		out[id] = math.Exp(float64(logits[id]) / d.Temperature)
		sum += out[id]
	}
	if d.TopP > 0 {
		mass := 0.0
		for _, id := range ids {
			if mass >= d.TopP*sum {
				out[id] = 0
			}
			mass += out[id]
		}
		sum = mass
	}
	for i := range out {
		out[i] /= sum
	}
	return out
}

func TestRoomsDoNotOverlapAndAreUsedAgain(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	r := rooms{rows: 100}
	for range 2000 {
		if len(r.taken) > 0 && rng.IntN(2) == 0 {
			r.give(r.taken[rng.IntN(len(r.taken))])
		}
		n := 1 + rng.IntN(40)
		got, ok := r.take(n)
		end, gap := 0, 0
		for _, x := range r.taken {
			if x.from < end {
				t.Fatalf("%v overlap", r.taken)
			}
			gap, end = max(gap, x.from-end), x.to
		}
		gap = max(gap, 100-end)
		if end > 100 || ok && got.to-got.from != n || !ok && gap >= n {
			t.Fatalf("%d rows of %v: %v, %v", n, r.taken, got, ok)
		}
	}
	for len(r.taken) > 0 {
		r.give(r.taken[0])
	}
	if _, ok := r.take(100); !ok {
		t.Error("not all rows came back")
	}
}
