package param

import (
	"math"

	"meft/tensor"
)

// AdamW are the constants of Loshchilov and Hutter 2019, algorithm 2, computed
// as PyTorch does.
type AdamW struct {
	Beta1, Beta2, Eps float32
	Decay             float32 // weight decay, multiplied by the learning rate
}

// opts are the scalars of the step that follows after done steps.
func (a AdamW) opts(done int, rate, scale float32) tensor.AdamWOpts {
	t := float64(done) + 1
	return tensor.AdamWOpts{
		Rate: rate, Beta1: a.Beta1, Beta2: a.Beta2, Eps: a.Eps, Decay: a.Decay,
		Correct1: float32(1 - math.Pow(float64(a.Beta1), t)),
		Correct2: float32(1 - math.Pow(float64(a.Beta2), t)),
		Scale:    scale,
	}
}
