package train

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Evaluation says how a run is measured and what follows from it.
type Evaluation struct {
	Evaluator *Evaluator
	When      When
	Metric    string  // that counts: loss (also ""), exact_match, contains or f1
	Patience  int     // stop after so many evaluations in a row without improvement; 0 for never
	Threshold float64 // an improvement by less than this does not count for Patience
	LoadBest  bool    // keep a checkpoint of the best evaluation and end with its weights
}

func (e *Evaluation) metric() string {
	if e.Metric == "" {
		return "loss"
	}
	return strings.TrimPrefix(e.Metric, "eval_") // as Hugging Face spells it
}

// check reports every setting that cannot be; dir is the run folder or "".
func (e *Evaluation) check(dir string) error {
	var problems []error
	add := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if e.When.never() {
		if e.LoadBest {
			add("load_best_model_at_end needs an evaluation: set eval_strategy")
		}
		if e.Patience > 0 {
			add("early_stopping_patience needs an evaluation: set eval_strategy")
		}
		return errors.Join(problems...)
	}
	problems = append(problems, e.Evaluator.check())
	switch metric := e.metric(); {
	case !slices.Contains(metrics(), metric):
		add("metric_for_best_model is %q; wanted one of %s", e.Metric, strings.Join(metrics(), ", "))
	case metric == "loss" && e.Evaluator.Batches == nil:
		add("metric_for_best_model is loss and there is no validation data; give some, or choose exact_match, contains or f1")
	case metric != "loss" && len(e.Evaluator.Questions) == 0:
		add("metric_for_best_model is %s and there are no questions to ask; give some, or choose loss", metric)
	}
	if e.LoadBest && dir == "" {
		add("load_best_model_at_end needs a folder for checkpoints: set output_dir")
	}
	return errors.Join(problems...)
}

// exhausted reports whether patience has run out.
func (t *Trainer) exhausted() bool {
	p := t.Evaluation.Patience
	return p > 0 && t.state.Misses >= p
}

// evaluate measures, and reports whether it is the best so far.
func (t *Trainer) evaluate(ctx context.Context) (improved bool, err error) {
	t.flush() // what is measured is what would be saved
	m, err := t.Evaluation.Evaluator.Run(ctx)
	if err != nil {
		return false, fmt.Errorf("evaluation after step %d: %w", t.state.Step, err)
	}
	metric := t.Evaluation.metric()
	value, ok := m.Value(metric)
	if !ok {
		panic("train: the evaluation does not measure " + metric) // check asked
	}
	s := &t.state
	s.Evaluated = s.Step
	improved = s.Best == nil || better(metric, value, s.Best.Value, 0)
	if s.Best == nil || better(metric, value, s.Best.Value, t.Evaluation.Threshold) {
		s.Misses = 0
	} else {
		s.Misses++
	}
	if improved {
		s.Best = &Best{metric, value, s.Step}
	}
	t.saved = -1
	t.emit(t.evalEvent(m, improved))
	t.logEvaluation(m)
	return improved, nil
}

// better reports whether a value is better than the best by more than margin.
func better(metric string, value, best, margin float64) bool {
	if metric == "loss" {
		return value < best-margin
	}
	return value > best+margin
}

func (t *Trainer) evalEvent(m Measured, improved bool) Eval {
	e := Eval{Step: t.state.Step, Epoch: t.Batches.Epoch(t.state.Step), Best: improved, Duration: m.Seconds, Seconds: t.seconds()}
	if t.Evaluation.Evaluator.Batches != nil {
		loss, p := m.Loss, m.Perplexity()
		e.Loss, e.Perplexity, e.SupervisedTokens = &loss, &p, m.Supervised
	}
	if s := m.Scores; s != nil {
		e.Examples, e.ExactMatch, e.Contains, e.F1 = s.N, &s.Exact.Value, &s.Contains.Value, &s.F1.Value
	}
	return e
}
