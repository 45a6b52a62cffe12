package meft

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"meft/model"
)

// questionsFile is a file of rows of task nq.
func questionsFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "nq.jsonl")
	put(t, path, strings.Join([]string{`{"question":"who","answer":["Tom","Ann"]}`, `{"question":"where","answer":["home"]}`, `{"question":"when","answer":["now"]}`,
		`{"question":"why","answer":["fun"]}`, `{"question":"what","answer":["a cat"]}`, `{"question":"whom","answer":["Bob"]}`}, "\n")+"\n")
	return path
}

func TestTaskIsMarkedInBothFamilies(t *testing.T) {
	s := open(t, SessionOptions{Model: newModel(t, small())})
	out := filepath.Join(t.TempDir(), "p.jsonl")
	o := EvalOptions{Task: "nq", PromptTemplate: "plain", Data: questionsFile(t), Output: out, Decoding: model.Decoding{MaxNew: 5}}
	r, err := s.Evaluate(t.Context(), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"loss", "paper/contains", "standard/exact_match", "standard/f1"} {
		if m := metric(t, r, name); m.N == 0 {
			t.Errorf("%s: %+v", name, m)
		}
	}
	if strings.Contains(string(get(t, out)), "exact_match\":{") || !strings.Contains(string(get(t, out)), `"paper/contains":`) {
		t.Errorf("predictions: %s", get(t, out))
	}
	o.Predictions, o.Output = out, ""
	again, err := ScorePredictions(o)
	if err != nil || metric(t, again, "standard/f1") != metric(t, r, "standard/f1") {
		t.Errorf("from the file: %+v, %v", again, err)
	}
}

// The paper's protocol searches with beams and penalises repetition, and takes
// 501 rows.
func TestProtocolSaysHowAnswersAreMade(t *testing.T) {
	o := EvalOptions{Task: "nq", Protocol: "paper"}
	_, p, err := o.benchmark()
	if err != nil {
		t.Fatal(err)
	}
	if d := o.decoding(p); d.Beams != 4 || d.RepetitionPenalty != 2 || d.MaxNew != 256 || p.Limit != 501 {
		t.Errorf("%+v, %+v", d, p)
	}
	o.Decoding.Beams = 1
	if d := o.decoding(p); d.Beams != 1 || d.RepetitionPenalty != 2 {
		t.Errorf("with one beam asked for: %+v", d)
	}
	o.Protocol = "mine"
	if _, _, err := o.benchmark(); err == nil || !strings.Contains(err.Error(), "standard or paper") {
		t.Errorf("unknown protocol: %v", err)
	}
	if _, _, err := (EvalOptions{Protocol: "paper"}).benchmark(); err == nil || !strings.Contains(err.Error(), "--task nq") {
		t.Errorf("protocol without a task: %v", err)
	}
}

func TestInterruptedEvaluationGoesOn(t *testing.T) {
	s := open(t, SessionOptions{Model: newModel(t, small())})
	dir := t.TempDir()
	o := EvalOptions{Task: "nq", PromptTemplate: "plain", Data: questionsFile(t), Output: filepath.Join(dir, "whole.jsonl"), Decoding: model.Decoding{MaxNew: 5, Batch: 1}}
	whole, err := s.Evaluate(t.Context(), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(o.Output + ".how"); err == nil {
		t.Error("a complete evaluation leaves .how")
	}
	o.Resume = true
	if _, err := s.Evaluate(t.Context(), o, nil); err == nil || !strings.Contains(err.Error(), "complete") {
		t.Errorf("resumed when complete: %v", err)
	}
	o.Output = filepath.Join(dir, "parts.jsonl")
	ctx, stop := context.WithCancel(t.Context())
	if _, err := s.Evaluate(ctx, o, func(done, _ int) {
		if done == 2 {
			stop()
		}
	}); err == nil {
		t.Fatal("was not interrupted")
	}
	half := get(t, o.Output)
	put(t, o.Output, string(half[:len(half)-9])) // the process was killed in the middle of a line
	other := o
	other.Decoding.MaxNew = 6
	if _, err := s.Evaluate(t.Context(), other, nil); err == nil || !strings.Contains(err.Error(), "decoding") {
		t.Errorf("with another decoding: %v", err)
	}
	asked := 0
	parts, err := s.Evaluate(t.Context(), o, func(int, int) { asked++ })
	if err != nil {
		t.Fatal(err)
	}
	if asked == 0 || asked >= 6 {
		t.Errorf("%d of 6 questions were asked again", asked)
	}
	for i, m := range whole.Metrics {
		if parts.Metrics[i] != m {
			t.Errorf("%+v in parts, %+v at once", parts.Metrics[i], m)
		}
	}
	if a, b := string(get(t, o.Output)), string(get(t, filepath.Join(dir, "whole.jsonl"))); a != b {
		t.Errorf("predictions in parts:\n%s\nat once:\n%s", a, b)
	}
}
