package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"meft/model"
	"meft/task"
)

// words is the text of ids in tests: each id as a number.
func words(ids []int32) string { return strings.Trim(fmt.Sprint(ids), "[]") }

// questions ask the model to go on, three times about its own answer and once
// about another.
func questions(t *testing.T, m *model.Model, d model.Decoding) []Question {
	t.Helper()
	prompts := [][]int32{{5, 6, 7}, {9}, {11, 12, 13, 14, 15}, {20, 21}}
	qs := make([]Question, len(prompts))
	if err := m.Generate(t.Context(), prompts, d, func(i int, c model.Continuation) error {
		qs[i] = Question{ID: fmt.Sprint("q", i), Prompt: prompts[i], Answers: []string{words(c.IDs)}}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	qs[2].Answers = []string{"something else"}
	return qs
}

func TestValidationLossIsTheMeanOverLearnedTokens(t *testing.T) {
	r := recipe{method: "full", steps: 4}.build(t)
	d := examples(9, 4)
	sum, n := 0.0, 0
	one := planned(t, d, BatchOptions{Size: 1, MaxLength: 12, Ordered: true})
	for step := range one.StepsPerEpoch() {
		b := one.Batch(step, 0)
		b.Scale = 0
		r.Model.Forward(b)
		losses := make([]float32, len(b.IDs))
		r.Model.Losses(losses)
		for i, l := range losses {
			if b.Targets[i] >= 0 {
				sum += float64(l)
				n++
			}
		}
	}
	before := r.weights(t)
	for _, size := range []int{1, 2} {
		e := Evaluator{Model: r.Model, Batches: planned(t, d, BatchOptions{Size: size, MaxLength: 12, Ordered: true})}
		m, err := e.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		// The reference device computes in float64; losses are rounded to float32.
		if want := sum / float64(n); math.Abs(m.Loss-want) > 1e-6 || m.Supervised != int64(n) || m.Perplexity() != math.Exp(m.Loss) {
			t.Errorf("batches of %d: %+v, wanted loss %v over %d", size, m, want, n)
		}
	}
	mustEqual(t, "evaluated", r.weights(t), before)
	if norm, err := r.Optimizer.Norm(); norm != 0 || err != nil {
		t.Errorf("evaluation leaves a gradient of norm %v: %v", norm, err)
	}
}

func TestPerplexityOfAHugeLossIsFinite(t *testing.T) {
	if p := (Measured{Loss: 1e4}).Perplexity(); p != math.MaxFloat64 {
		t.Error(p)
	}
}

func TestAnswersAreMarkedAndStreamed(t *testing.T) {
	r := recipe{method: "full", threads: 1, steps: 4}.build(t)
	d := model.Decoding{MaxNew: 6}
	e := Evaluator{Model: r.Model, Questions: questions(t, r.Model, d), Decoding: d, Text: words}
	var got []Prediction
	e.Predicted = func(p Prediction) error { got = append(got, p); return nil }
	m, err := e.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s := m.Scores; s == nil || s.N != 4 || s.Exact.Value != 0.75 || s.Contains.Value != 0.75 || s.F1.Value != 0.75 {
		t.Errorf("%+v", s)
	}
	if len(got) != 4 {
		t.Fatalf("%d predictions", len(got))
	}
	for _, p := range got {
		q := e.Questions[p.Index]
		if p.ID != q.ID || p.Text != words(p.IDs) || p.Reason != "length" && p.Reason != "stop" || p.Score != task.Mark(p.Text, q.Answers) {
			t.Errorf("%+v", p)
		}
	}
	for metric, want := range map[string]float64{"exact_match": 0.75, "f1": 0.75, "contains": 0.75} {
		if v, ok := m.Value(metric); !ok || v != want {
			t.Errorf("%s is %v, %v", metric, v, ok)
		}
	}
	if _, ok := m.Value("loss"); ok {
		t.Error("a loss without validation data")
	}
	full := errors.New("disk full")
	e.Predicted = func(Prediction) error { return full }
	if _, err := e.Run(t.Context()); !errors.Is(err, full) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestValidationLossThatIsNotANumberNamesTheExample(t *testing.T) {
	r := recipe{method: "full", threads: 1, steps: 4}.build(t)
	d := examples(9, 4)
	from, _ := d.span(5)
	d.ids[from] = 0
	r.poison("model.embed_tokens.weight", 0, float32(math.NaN()))
	e := Evaluator{Model: r.Model, Batches: planned(t, d, BatchOptions{Size: 2, MaxLength: 12, Ordered: true})}
	if _, err := e.Run(t.Context()); err == nil || !strings.HasSuffix(err.Error(), "is NaN in rows.jsonl: row 6") {
		t.Error(err)
	}
}
