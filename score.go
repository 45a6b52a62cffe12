package meft

import (
	"context"
	"fmt"

	"meft/model"
)

// ScoreInput is a text to be judged as the model's own.
type ScoreInput struct {
	IDs  []int32 // at least two
	From int     // first index that counts for NLL; 1 or less for all but the first
}

// ScoreOutput is how likely the model finds a text.
type ScoreOutput struct {
	LogProbs []float32 // natural log, one per id after the first
	NLL      float64   // mean of the negated log probabilities that count
}

// Score computes log probabilities of texts, several in one pass where they
// fit, and calls emit in their order. An error of emit stops it, and so does that
// of ctx.
func (s *Session) Score(ctx context.Context, in []ScoreInput, emit func(i int, o ScoreOutput) error) error {
	longest := 0
	for i, t := range in {
		if len(t.IDs) < 2 || max(t.From, 1) >= len(t.IDs) {
			return fmt.Errorf("text %d has %d tokens, of which none is left to score; give it more text", i+1, len(t.IDs))
		}
		if err := s.known(t.IDs); err != nil {
			return fmt.Errorf("text %d: %w", i+1, err)
		}
		longest = max(longest, len(t.IDs))
	}
	ahead := s.ahead().Len()
	longest += ahead
	if len(in) == 0 {
		return nil
	}
	if err := s.need(model.Size{Rows: max(inferRows, longest), Context: longest}); err != nil {
		return err
	}
	for at := 0; at < len(in); {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, rows := 0, 0
		for at+n < len(in) && rows+ahead+len(in[at+n].IDs)-1 <= s.size.Rows {
			rows += ahead + len(in[at+n].IDs) - 1
			n++
		}
		if err := s.scoreBatch(in[at:at+n], at, emit); err != nil {
			return err
		}
		at += n
	}
	return s.engine.dev.Sync()
}

// scoreBatch packs texts into one forward pass.
func (s *Session) scoreBatch(in []ScoreInput, first int, emit func(i int, o ScoreOutput) error) error {
	var b model.Batch
	for _, t := range in {
		start := int32(len(b.IDs))
		for p, id := range t.IDs[:len(t.IDs)-1] {
			b.IDs = append(b.IDs, id)
			b.Targets = append(b.Targets, t.IDs[p+1])
			b.Pos = append(b.Pos, int32(p))
			b.Start = append(b.Start, start)
		}
	}
	losses := make([]float32, len(b.IDs))
	s.engine.model.Forward(b)
	s.engine.model.Losses(losses)
	for i, t := range in {
		own := losses[:len(t.IDs)-1]
		losses = losses[len(own):]
		out := ScoreOutput{LogProbs: make([]float32, len(own))}
		var sum float64
		for j, l := range own {
			out.LogProbs[j] = -l
			if j+1 >= t.From {
				sum += float64(l)
			}
		}
		out.NLL = sum / float64(len(t.IDs)-max(t.From, 1))
		if err := emit(first+i, out); err != nil {
			return err
		}
	}
	return nil
}
