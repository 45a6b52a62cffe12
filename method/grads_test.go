package method

import (
	"testing"

	"meft/model"
)

// TestGradientsTakeWhatAStepCanTouch: room for the neurons that all tokens of a
// step pick, for all where it is not known how many batches a step has.
func TestGradientsTakeWhatAStepCanTouch(t *testing.T) {
	f := &MEFT{Router: RouteKeyExperts, Neurons: 1000, TopK: 4, Experts: 10, Probe: 2}
	for micros, want := range map[int]int{0: 1000, 1: 40, 3: 120, 24: 960, 25: 1000, 1 << 40: 1000} {
		if got := f.sizes(&model.Model{Size: model.Size{Rows: 10, Micros: micros}}).grads; got != want {
			t.Errorf("%d batches of 10 tokens with 4 neurons each: room for %d gradients, wants %d", micros, got, want)
		}
	}
}
