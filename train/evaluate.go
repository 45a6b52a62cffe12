package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"meft/model"
	"meft/task"
)

// Evaluator measures a model: the loss on validation data, the answers to
// questions, or both. Its fields are set once, by hand.
type Evaluator struct {
	Model *model.Model

	// Batches are the validation data, made with Ordered and an Accumulation of
	// 1; nil measures no loss.
	Batches *Batches

	// Questions are asked with Decoding, and Text turns the ids of an answer into
	// the text that is marked. No questions, no answers.
	Questions []Question
	Decoding  model.Decoding
	Text      func(ids []int32) string

	// Predicted is given every answer as it comes, in the order they end; an
	// error stops the evaluation. It may be nil.
	Predicted func(Prediction) error
}

// Question is a prompt whose answer is marked.
type Question struct {
	ID      string
	Prompt  []int32  // token ids
	Answers []string // references
}

// Prediction is the answer to a Question.
type Prediction struct {
	Index  int // of the question
	ID     string
	IDs    []int32 // new tokens
	Text   string
	Reason string // why it ended: "stop" or "length"
	Score  task.ItemScore
}

// Measured is what an Evaluator found.
type Measured struct {
	Loss       float64 // mean over supervised tokens, nats; NaN where there is no validation data
	Supervised int64   // how many those are
	Scores     *task.Scores
	Seconds    float64
}

// Perplexity is e to the power of the loss, cut at the largest float64.
func (m Measured) Perplexity() float64 { return min(math.Exp(m.Loss), math.MaxFloat64) }

// Value is the value of a metric: loss, exact_match, contains or f1. False where
// it was not measured.
func (m Measured) Value(metric string) (float64, bool) {
	switch {
	case metric == "loss":
		return m.Loss, !math.IsNaN(m.Loss)
	case m.Scores == nil:
		return 0, false
	case metric == "exact_match":
		return m.Scores.Exact.Value, true
	case metric == "contains":
		return m.Scores.Contains.Value, true
	case metric == "f1":
		return m.Scores.F1.Value, true
	}
	return 0, false
}

// metrics are the names Value knows.
func metrics() []string { return []string{"loss", "exact_match", "contains", "f1"} }

// Run measures everything there is to measure. It changes nothing that is
// trained. The error is that of ctx if it ended first; a loss that is not finite
// is an error that names the example.
func (e *Evaluator) Run(ctx context.Context) (Measured, error) {
	start := time.Now()
	m := Measured{Loss: math.NaN()}
	if e.Batches != nil {
		if err := e.loss(ctx, &m); err != nil {
			return m, err
		}
	}
	if len(e.Questions) > 0 {
		if err := e.ask(ctx, &m); err != nil {
			return m, err
		}
	}
	m.Seconds = time.Since(start).Seconds()
	return m, nil
}

func (e *Evaluator) loss(ctx context.Context, m *Measured) error {
	sum := 0.0
	for step := range e.Batches.StepsPerEpoch() {
		for micro := range e.Batches.Micros(step) {
			if err := ctx.Err(); err != nil {
				return err
			}
			b := e.Batches.Batch(step, micro)
			b.Scale = 0 // no gradients
			e.Model.Forward(b)
			loss := e.Model.Loss()
			if !finite(loss) {
				where := notFinite(e.Model, e.Batches, b)
				return fmt.Errorf("the validation loss is %v in %s", loss, strings.Join(where, ", "))
			}
			sum += loss
		}
	}
	m.Supervised = e.Batches.Data().Supervised()
	m.Loss = sum / float64(m.Supervised)
	return e.Model.Device().Sync()
}

func (e *Evaluator) ask(ctx context.Context, m *Measured) error {
	prompts := make([][]int32, len(e.Questions))
	for i, q := range e.Questions {
		prompts[i] = q.Prompt
	}
	marks := make([]task.ItemScore, len(e.Questions))
	err := e.Model.Generate(ctx, prompts, e.Decoding, func(i int, c model.Continuation) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		q := e.Questions[i]
		p := Prediction{Index: i, ID: q.ID, IDs: c.IDs, Text: e.Text(c.IDs), Reason: c.Reason}
		p.Score = task.Mark(p.Text, q.Answers)
		marks[i] = p.Score
		if e.Predicted == nil {
			return nil
		}
		return e.Predicted(p)
	})
	if err != nil {
		return err
	}
	var tally task.Tally
	for _, s := range marks { // in order of the questions, so that the sums are always the same
		tally.Add(s)
	}
	s := tally.Scores()
	m.Scores = &s
	return nil
}

// check reports what the evaluator lacks.
func (e *Evaluator) check() error {
	var problems []error
	if e.Batches == nil && len(e.Questions) == 0 {
		problems = append(problems, errors.New("evaluation: there is neither validation data nor a question to ask"))
	}
	if e.Batches != nil {
		if err := e.Batches.o.fit(e.Model.Size); err != nil {
			problems = append(problems, fmt.Errorf("evaluation: %w", err))
		}
	}
	if len(e.Questions) > 0 {
		if e.Text == nil {
			panic("train: an Evaluator with questions and no Text")
		}
		problems = append(problems, e.Decoding.Check())
	}
	return errors.Join(problems...)
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// notFinite names the examples of the last batch that have a row whose loss is
// not finite, up to ten; all of them where the sum alone is not.
func notFinite(m *model.Model, b *Batches, batch model.Batch) []string {
	losses := make([]float32, len(batch.IDs))
	m.Losses(losses)
	var names []string
	at := 0
	for _, e := range b.Examples() {
		from, to := b.data.span(int(e))
		for _, l := range losses[at : at+to-from] {
			if !finite(float64(l)) {
				names = append(names, b.data.Where(int(e)))
				break
			}
		}
		at += to - from
	}
	if names == nil {
		return b.names()
	}
	return firstTen(names)
}

// names are the examples of the last batch.
func (b *Batches) names() []string {
	var names []string
	for _, e := range b.Examples() {
		names = append(names, b.data.Where(int(e)))
	}
	return firstTen(names)
}

func firstTen(names []string) []string {
	if n := len(names); n > 10 {
		names = append(names[:10:10], fmt.Sprintf("and %d more", n-10))
	}
	return names
}
