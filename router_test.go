package meft

import (
	"testing"

	"meft/train"
)

// Steps tell how the router did.
func TestStepsTellOfTheRouter(t *testing.T) {
	c := newRun(t, "meft meft_router=switch meft_capacity_factor=0.5 meft_balance_loss=0.2")
	steps := 0
	_, err := Train(t.Context(), c, func(e train.Event) {
		s, ok := e.(train.Step)
		if !ok {
			return
		}
		steps++
		// Half of an even spread drops half of the tokens at least. The loss is
		// its weight where spread is even, 8 times as much where it is not at all.
		if s.DroppedTokens < int64(s.Tokens)/2 || s.AuxiliaryLoss < 0.2 || s.AuxiliaryLoss > 2*8*0.2 {
			t.Errorf("step %d: %d dropped of %d tokens, auxiliary loss %v", s.Step, s.DroppedTokens, s.Tokens, s.AuxiliaryLoss)
		}
		if s.LoadMax < 1 || s.LoadEntropy <= 0 || s.LoadEntropy > 1 || s.DeadNeurons < 0 || s.DeadNeurons > 2*96 || s.UnionShare <= 0 {
			t.Errorf("step %d: %+v", s.Step, s)
		}
	})
	if err != nil || steps == 0 {
		t.Fatalf("%d steps: %v", steps, err)
	}
}
