package train

import (
	"context"
	"errors"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"meft/model"
)

func (r *run) evals() (steps []int, best []bool) {
	for _, e := range r.events {
		if v, ok := e.(Eval); ok {
			steps = append(steps, v.Step)
			best = append(best, v.Best)
		}
	}
	return steps, best
}

func TestEvaluationComesWhenItIsDue(t *testing.T) {
	for _, c := range []struct {
		when When
		want []int
	}{
		{When{Steps: 3}, []int{3, 6, 9, 10}},
		{When{Epoch: true}, []int{4, 8, 10}}, // 13 examples in batches of 2 times 2
		{When{}, nil},
	} {
		r := recipe{method: "parallel", threads: 1, steps: 10, when: c.when}.build(t)
		if _, err := r.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if steps, _ := r.evals(); !slices.Equal(steps, c.want) {
			t.Errorf("%+v: evaluated after %v, wanted %v", c.when, steps, c.want)
		}
	}
}

// With a rate of 0 no evaluation after the first improves.
func TestPatienceRunsOut(t *testing.T) {
	r := recipe{method: "parallel", threads: 1, steps: 20, rate: 1e-30, when: When{Steps: 2}, patience: 3, save: When{Steps: 100}, dir: t.TempDir()}
	b := r.build(t)
	res, err := b.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	steps, best := b.evals()
	if res.Reason != "early stop" || res.Step != 8 || !slices.Equal(steps, []int{2, 4, 6, 8}) || !slices.Equal(best, []bool{true, false, false, false}) {
		t.Errorf("%+v, evaluated after %v: %v", res, steps, best)
	}
	// A stopped run has a checkpoint, and stays stopped.
	again := resumed(t, r)
	if res, err := again.Run(t.Context()); err != nil || res.Reason != "early stop" || res.Step != 8 || len(again.losses()) != 0 {
		t.Errorf("%+v, %v", res, err)
	}
	// The count is part of a checkpoint.
	r.dir = t.TempDir()
	first := r.build(t)
	if _, err := first.Run(stopAfter(first, 5)); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if res, err := resumed(t, r).Run(t.Context()); err != nil || res.Step != 8 {
		t.Errorf("stopped after step 5: %+v, %v", res, err)
	}
}

func TestBetterIsLowerForLossAndHigherElse(t *testing.T) {
	for _, c := range []struct {
		metric              string
		value, best, margin float64
		want                bool
	}{
		{"loss", 1, 2, 0, true}, {"loss", 2, 2, 0, false}, {"loss", 3, 2, 0, false}, {"loss", 1.95, 2, 0.1, false}, {"loss", 1.8, 2, 0.1, true},
		{"f1", 1, 2, 0, false}, {"f1", 2, 2, 0, false}, {"f1", 3, 2, 0, true}, {"exact_match", 2.05, 2, 0.1, false}, {"exact_match", 2.2, 2, 0.1, true},
	} {
		if got := better(c.metric, c.value, c.best, c.margin); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// The run ends with the weights of its best checkpoint, which SaveLimit has
// spared. Replayed rows that had put off steps do not make them on the restored
// weights.
func TestRunEndsWithTheBestWeights(t *testing.T) {
	for _, c := range []struct{ method, settings string }{
		{"full", ""},
		{"meft", `{"meft_neurons":24,"meft_top_k":3}`},
		{"meft", `{"meft_neurons":24,"meft_top_k":3,"meft_idle":"replay"}`},
	} {
		r := recipe{method: c.method, settings: c.settings, threads: 1, steps: 12, when: When{Steps: 2}, save: When{Steps: 6}, limit: 1, loadBest: true, dir: t.TempDir()}.build(t)
		observe, loss := r.Observe, 0.0
		r.Observe = func(e Event) {
			observe(e)
			if v, ok := e.(Eval); ok && v.Step == 4 {
				loss = *v.Loss
				r.state.Best.Value = -1 // no later evaluation is better
			}
		}
		res, err := r.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if res.Best == nil || res.Best.Step != 4 || !res.Restored {
			t.Fatalf("%s %s: %+v: the best of this test is step 4", c.method, c.settings, res)
		}
		m, err := r.Evaluation.Evaluator.Run(t.Context())
		if err != nil || m.Loss != loss {
			t.Errorf("%s %s: the loss is %v at the end, was %v after step 4: %v", c.method, c.settings, m.Loss, loss, err)
		}
		ends := read(t, r.Params.Weights()...)
		if found, _ := Checkpoints(r.Dir); !slices.Equal(found, []int{4, 12}) {
			t.Errorf("%s %s: checkpoints %v", c.method, c.settings, found)
		}
		if err := r.Load(filepath.Join(r.Dir, name(4))); err != nil {
			t.Fatal(err)
		}
		mustEqual(t, c.method+" "+c.settings, ends, read(t, r.Params.Weights()...))
	}
}

// An evaluation that is cut off is made again: the resumed run knows the same
// best and the same misses as the uninterrupted one.
func TestEvaluationThatIsCutOffIsMadeAgain(t *testing.T) {
	r := recipe{method: "parallel", settings: `{"parallel_bottleneck":6}`, threads: 1, steps: 8, when: When{Steps: 2}, save: When{Steps: 4}, dir: t.TempDir()}
	d := model.Decoding{MaxNew: 4}
	asking := func(b *run) *run {
		e := b.Evaluation.Evaluator
		e.Questions, e.Decoding, e.Text = questions(t, b.Model, d), d, words
		b.Evaluation.Metric = "f1"
		return b
	}
	whole := asking(r.build(t))
	whole.Dir = t.TempDir()
	if _, err := whole.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := asking(r.build(t))
	ctx, cancel := context.WithCancel(t.Context())
	asked := 0
	first.Evaluation.Evaluator.Predicted = func(Prediction) error {
		if asked++; asked == 6 { // the second of the second evaluation
			cancel()
		}
		return nil
	}
	if _, err := first.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	c, err := Newest(r.dir)
	if err != nil || c.State.Step != 4 || c.State.Evaluated != 2 {
		t.Fatalf("step %d, evaluated %d: %v", c.State.Step, c.State.Evaluated, err)
	}
	second := asking(r.build(t))
	second.Evaluation.Evaluator.Questions = whole.Evaluation.Evaluator.Questions
	if err := second.Resume(c); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if steps, _ := second.evals(); !slices.Equal(steps, []int{4, 6, 8}) {
		t.Errorf("evaluated after %v", steps)
	}
	if a, b := comparable(second), comparable(whole); !reflect.DeepEqual(a, b) {
		t.Errorf("state %+v, wanted %+v", a, b)
	}
	mustEqual(t, "cut off in the evaluation", second.weights(t), whole.weights(t))
}
