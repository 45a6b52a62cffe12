package model

import (
	"math"
	"math/rand/v2"
	"sort"
)

// pick chooses the next token from logits, which it may overwrite.
func (g *generator) pick(row []float32, rng *rand.Rand) int32 {
	if g.d.Temperature == 0 {
		return argmax(row)
	}
	ids := make([]int32, len(row))
	for i := range ids {
		ids[i] = int32(i)
	}
	// The likeliest first, ties to the lower id, so that a cut is well defined.
	sort.SliceStable(ids, func(i, j int) bool { return row[ids[i]] > row[ids[j]] })
	if k := g.d.TopK; k > 0 && k < len(ids) {
		ids = ids[:k]
	}
	weights := make([]float64, len(ids))
	best := float64(row[ids[0]])
	var sum float64
	for i, id := range ids {
		weights[i] = math.Exp((float64(row[id]) - best) / g.d.Temperature)
		sum += weights[i]
	}
	if p := g.d.TopP; p > 0 && p < 1 {
		// Keep the shortest list whose mass reaches p.
		var mass float64
		for i, w := range weights {
			mass += w
			if mass >= p*sum {
				ids, weights, sum = ids[:i+1], weights[:i+1], mass
				break
			}
		}
	}
	at := rng.Float64() * sum
	for i, w := range weights {
		if at -= w; at < 0 {
			return ids[i]
		}
	}
	return ids[len(ids)-1]
}

// argmax is the first index of the largest value.
func argmax(row []float32) int32 {
	best := 0
	for i, v := range row {
		if v > row[best] {
			best = i
		}
	}
	return int32(best)
}

// logSoftmax turns logits into log probabilities in place.
func logSoftmax(row []float32) {
	top := float64(row[argmax(row)])
	var sum float64
	for _, v := range row {
		sum += math.Exp(float64(v) - top)
	}
	lse := top + math.Log(sum)
	for i, v := range row {
		row[i] = float32(float64(v) - lse)
	}
}
