package param

import (
	"math"

	"meft/internal/simd"
	"meft/tensor"
)

// scalars are the numbers of a step as the vector routine wants them, worked
// out in float64 and rounded once, as package cpu does, so that a table and a
// Dense of the same numbers stay bit for bit the same there.
func scalars(o tensor.AdamWOpts) simd.AdamW {
	return simd.AdamW{
		GradScale: o.Scale,
		Decay:     float32(1 - float64(o.Rate)*float64(o.Decay)),
		Beta1:     o.Beta1,
		Rest1:     1 - o.Beta1,
		Beta2:     o.Beta2,
		Rest2:     1 - o.Beta2,
		Step:      float32(float64(o.Rate) / float64(o.Correct1)),
		Eps:       o.Eps,
		Unbias:    float32(1 / math.Sqrt(float64(o.Correct2))),
	}
}

// zero reports whether every element is 0.
func zero[E float32 | uint16](x []E) bool {
	for _, v := range x {
		if v != 0 {
			return false
		}
	}
	return true
}
