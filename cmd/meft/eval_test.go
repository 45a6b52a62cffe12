package main

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"meft"
)

// metric is one number of an evaluation.
func metric(t *testing.T, r meft.EvalResult, name string) meft.Metric {
	t.Helper()
	for _, m := range r.Metrics {
		if m.Name == name {
			return m
		}
	}
	t.Fatalf("no metric %s in %+v", name, r)
	return meft.Metric{}
}

func TestPredictionsAreMeasuredWithoutAModel(t *testing.T) {
	data := file(t, "qa.jsonl", `{"id":"a","question":"x?","answer":["red"]}`, `{"id":"b","question":"y?","answer":["blue"]}`, `{"id":"c","question":"z?","answer":["pink"]}`)
	for _, predictions := range []string{
		file(t, "p.jsonl", `{"id":"a","prediction":"Red."}`, `{"id":"b","prediction":"green"}`, `{"id":"z","prediction":"x"}`),
		file(t, "p.json", `{"a":"Red.","b":"green","z":"x"}`),
	} {
		o := must(t, "eval", "--predictions", predictions, "--data", data, "--json")
		r := decode[meft.EvalResult](t, o.out)
		if m := metric(t, r, "exact_match"); math.Abs(m.Value-1.0/3) > 1e-12 || m.N != 3 {
			t.Errorf("exact match %+v", m)
		}
		if r.Missing != 1 || r.Unused != 1 || !strings.Contains(o.err, "1 rows have no prediction") || !strings.Contains(o.err, "1 predictions are for no row") {
			t.Errorf("missing %d, unused %d, said %q", r.Missing, r.Unused, o.err)
		}
		if text := must(t, "eval", "--predictions", predictions, "--data", data).out; !strings.Contains(text, "exact_match") || !strings.Contains(text, "0.3333") {
			t.Errorf("table:\n%s", text)
		}
	}
	two := decode[meft.EvalResult](t, must(t, "eval", "--predictions", file(t, "p.json", `{"a":"red"}`), "--data", data, "--limit", "1", "--json").out)
	if two.Rows != 1 || metric(t, two, "exact_match").Value != 1 {
		t.Errorf("with --limit 1: %+v", two)
	}
}

func TestEvalAnswersAndStreamsPredictions(t *testing.T) {
	out := filepath.Join(t.TempDir(), "predictions.jsonl")
	data := colours(t)
	args := []string{"eval", "--model", stories(t), "--data", data, "--max-new-tokens", "4", "--json"}
	o := must(t, append(args, "--output", out)...)
	r := decode[meft.EvalResult](t, o.out)
	if m := metric(t, r, "loss"); m.N == 0 || m.Value <= 0 {
		t.Errorf("loss %+v", m)
	}
	written, err := os.ReadFile(out)
	if err != nil || len(decodeLines[struct{ Prediction string }](t, string(written))) != 4 {
		t.Errorf("%v: predictions\n%s", err, written)
	}
	again := decode[meft.EvalResult](t, must(t, "eval", "--predictions", out, "--data", data, "--json").out)
	if metric(t, again, "f1") != metric(t, r, "f1") {
		t.Errorf("measured again: %+v, at first %+v", metric(t, again, "f1"), metric(t, r, "f1"))
	}
	if !strings.Contains(o.err, "row 4/4") {
		t.Errorf("no progress: %s", o.err)
	}
	loss := decode[meft.EvalResult](t, must(t, append(args[:5:5], "--loss-only", "--json")...).out)
	if metric(t, loss, "loss") != metric(t, r, "loss") || len(loss.Metrics) >= len(r.Metrics) {
		t.Errorf("--loss-only: %+v", loss)
	}
	inputs := decode[meft.EvalResult](t, must(t, append(args[:5:5], "--loss-only", "--json", "--train-on-inputs", "--max-length", "20")...).out)
	if metric(t, inputs, "loss").N <= metric(t, loss, "loss").N || inputs.Report.CutRows == 0 {
		t.Errorf("--train-on-inputs --max-length: %+v", inputs)
	}
	renamed := file(t, "other.jsonl", `{"q":"What color is the ball of Tom?","a":["red"]}`)
	if r := decode[meft.EvalResult](t, must(t, "eval", "--model", stories(t), "--data", renamed, "--columns", "question=q,answer=a", "--data-format", "question", "--max-new-tokens", "2", "--json").out); r.Rows != 1 {
		t.Errorf("--columns: %+v", r)
	}
}

func TestEvalRefusesContradictions(t *testing.T) {
	refused(t, 2, []string{"one of --model and --predictions"}, "eval", "--data", "d")
	refused(t, 2, []string{"one of --model and --predictions"}, "eval", "--data", "d", "--model", "m", "--predictions", "p")
	refused(t, 2, []string{"computes nothing", "--adapter, --output, --num-beams"}, "eval", "--data", "d", "--predictions", "p", "--output", "o", "--adapter", "a", "--num-beams", "2")
	refused(t, 2, []string{"asks for no answers", "--output"}, "eval", "--data", "d", "--model", "m", "--loss-only", "--output", "o")
	refused(t, 2, []string{"--limit is -1"}, "eval", "--data", "d", "--model", "m", "--limit=-1")
	refused(t, 2, []string{`unknown task "sums"`}, "eval", "--data", colours(t), "--model", stories(t), "--task", "sums")
	refused(t, 1, []string{"no-such.jsonl"}, "eval", "--data", "no-such.jsonl", "--predictions", "p")
}

func TestInspectTellsWhatThingsAre(t *testing.T) {
	for path, want := range map[string][]string{
		stories(t): {"model", "260032", "LlamaForCausalLM", "model.embed_tokens.weight", "[512 64]", "F32"},
		filepath.Join(stories(t), "model.safetensors"): {"safetensors", "260032"},
		colours(t): {"data", "rows", "4", "question"},
	} {
		text := must(t, "inspect", path).out
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("inspect %s lacks %q:\n%s", path, w, text)
			}
		}
		if in := decode[meft.Inspection](t, must(t, "inspect", path, "--json").out); in.Kind != want[0] {
			t.Errorf("inspect %s: kind %q, want %q", path, in.Kind, want[0])
		}
	}
	counted := must(t, "inspect", colours(t), "--model", stories(t)).out
	if !strings.Contains(counted, "supervised_tokens") {
		t.Errorf("with --model:\n%s", counted)
	}
	refused(t, 2, []string{"data file"}, "inspect", stories(t), "--model", stories(t))
	refused(t, 1, []string{"no-such"}, "inspect", "no-such")
}
