package meft

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"meft/method"
	"meft/model"
	"meft/train"
)

func open(t *testing.T, o SessionOptions) *Session {
	t.Helper()
	if o.Threads == 0 {
		o.Threads = 1
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// scored are the outputs of Score, which has to emit them in order.
func scored(t *testing.T, s *Session, in []ScoreInput) []ScoreOutput {
	t.Helper()
	var out []ScoreOutput
	err := s.Score(t.Context(), in, func(i int, o ScoreOutput) error {
		if i != len(out) {
			t.Errorf("text %d came as number %d", i, len(out))
		}
		out = append(out, o)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) != len(in) {
		t.Fatalf("%d of %d texts came back", len(out), len(in))
	}
	return out
}

// expectedScore is a case of the checkpoint's logits.json.
type expectedScore struct {
	Name, Text string
	IDs        []int32
	NLL        []float64 `json:"nll_per_token"`
}

func expectedScores(t *testing.T) []expectedScore {
	t.Helper()
	var file struct{ Cases []expectedScore }
	if err := json.Unmarshal(get(t, filepath.Join(stories(t), "expected", "logits.json")), &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) == 0 {
		t.Fatal("logits.json has no cases")
	}
	return file.Cases
}

// Texts packed into one pass, each several times, score as the float64 reference
// scores them alone.
func TestPackedScoresAreThoseOfTheReference(t *testing.T) {
	cases := expectedScores(t)
	for _, threads := range []int{1, 2} {
		s := open(t, SessionOptions{Model: stories(t), Threads: threads})
		var in []ScoreInput
		for n := range 3 * len(cases) {
			in = append(in, ScoreInput{IDs: cases[n%len(cases)].IDs, From: n / len(cases) * 2})
		}
		for n, out := range scored(t, s, in) {
			c := cases[n%len(cases)]
			if len(out.LogProbs) != len(c.NLL) {
				t.Fatalf("%s: %d log probabilities, wanted %d", c.Name, len(out.LogProbs), len(c.NLL))
			}
			sum, from := 0.0, max(in[n].From, 1)
			for i, want := range c.NLL {
				if got := -float64(out.LogProbs[i]); !(math.Abs(got-want) < 1e-4) { // float32 through 5 blocks
					t.Errorf("%s: token %d: %v, wanted %v", c.Name, i+1, got, want)
				}
				if i+1 >= from {
					sum += want
				}
			}
			if want := sum / float64(len(c.IDs)-from); !(math.Abs(out.NLL-want) < 1e-4) {
				t.Errorf("%s from %d: mean %v, wanted %v", c.Name, from, out.NLL, want)
			}
		}
	}
}

func TestTextIsTokenizedAsExpected(t *testing.T) {
	cases := expectedScores(t)
	s := open(t, SessionOptions{Model: stories(t)})
	for _, c := range cases {
		if c.Text == "" {
			continue
		}
		if got := s.Tokenizer().Encode(c.Text, true); !slices.Equal(got, c.IDs) {
			t.Errorf("%s: %v, wanted %v", c.Name, got, c.IDs)
		}
	}
}

// A session grows with what it is given, and what it was before does not show.
func TestScoresDoNotDependOnWhatWasScoredBefore(t *testing.T) {
	dir := newModel(t, small())
	short, long := ScoreInput{IDs: []int32{0, 5, 9, 70}}, ScoreInput{IDs: make([]int32, 60)}
	for i := range long.IDs {
		long.IDs[i] = int32(3 + i*7%250)
	}
	want := scored(t, open(t, SessionOptions{Model: dir}), []ScoreInput{short})[0]
	s := open(t, SessionOptions{Model: dir, Threads: 2})
	for _, in := range [][]ScoreInput{{short}, {long, short}, {short, long, short}, {short}} {
		for i, out := range scored(t, s, in) {
			if len(in[i].IDs) == len(short.IDs) && !slices.Equal(out.LogProbs, want.LogProbs) {
				t.Errorf("%v, alone %v", out.LogProbs, want.LogProbs)
			}
		}
	}
}

func TestTextsThatCannotBeScoredAreRefused(t *testing.T) {
	s := open(t, SessionOptions{Model: newModel(t, small())})
	emit := func(int, ScoreOutput) error { t.Error("something was emitted"); return nil }
	for _, c := range []struct {
		in    ScoreInput
		words []string
	}{
		{ScoreInput{IDs: []int32{1}}, []string{"text 1", "1 tokens"}},
		{ScoreInput{}, []string{"text 1", "0 tokens"}},
		{ScoreInput{IDs: []int32{1, 2, 3}, From: 3}, []string{"text 1", "none is left"}},
		{ScoreInput{IDs: make([]int32, 65)}, []string{"65 tokens", "64"}},
		{ScoreInput{IDs: []int32{1, 280}}, []string{"280"}},
		{ScoreInput{IDs: []int32{-1, 2}}, []string{"-1"}},
	} {
		mustSay(t, s.Score(t.Context(), []ScoreInput{c.in}, emit), c.words...)
	}
	for _, prompt := range [][]int32{{1, 280}, {-1}, {}} {
		err := s.Generate(t.Context(), [][]int32{prompt}, model.Decoding{MaxNew: 2}, func(int, model.Continuation) error { return nil })
		if err == nil {
			t.Errorf("prompt %v was accepted", prompt)
		}
	}
}

func TestCacheHasRoomForTheBatchAndNoMore(t *testing.T) {
	c := model.Config{Layers: 2, KVHeads: 4, HeadDim: 8} // 512 bytes a row
	prompts := make([][]int32, 100)
	for i := range prompts {
		prompts[i] = make([]int32, 1+i)
	}
	for _, x := range []struct {
		d                    model.Decoding
		rows, context, cache int
	}{
		{model.Decoding{MaxNew: 1, Batch: 1}, 256, 101, 100},
		{model.Decoding{MaxNew: 11, Batch: 2}, 256, 111, 110 + 109},
		{model.Decoding{MaxNew: 11, Batch: 2, Beams: 3}, 256, 111, 3 * (110 + 109)},
		{model.Decoding{MaxNew: 1, Batch: 300}, 300, 101, 5050},
		{model.Decoding{MaxNew: 1}, 256, 101, (100 + 37) * 64 / 2},                 // 64 prompts
		{model.Decoding{MaxNew: 1, Beams: 16}, 256, 101, 16 * (100 + 85) * 8},      // 16 prompts of 16 beams fill the rows
		{model.Decoding{MaxNew: 1<<20 - 100}, 256, 1 << 20, 1<<20 - 1 + 1<<20 - 2}, // two fill 1 GiB
		{model.Decoding{MaxNew: 1 << 22}, 256, 100 + 1<<22, 99 + 1<<22},            // more than 1 GiB, but one must fit
	} {
		s := generateSize(c, model.Ahead{}, prompts, x.d)
		if s.Rows != x.rows || s.Context != x.context || s.CacheRows != x.cache {
			t.Errorf("%+v: %+v, wanted %d rows, context %d, cache %d", x.d, s, x.rows, x.context, x.cache)
		}
	}
}

// trained is a finished run with the loss of its last evaluation.
func trained(t *testing.T, c Config) (loss float64) {
	t.Helper()
	_, err := Train(t.Context(), c, func(e train.Event) {
		if e, ok := e.(train.Eval); ok {
			loss = *e.Loss
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return loss
}

// metric is a number of an evaluation.
func metric(t *testing.T, r *EvalResult, name string) Metric {
	t.Helper()
	for _, m := range r.Metrics {
		if m.Name == name {
			return m
		}
	}
	t.Fatalf("no %s among %+v", name, r.Metrics)
	return Metric{}
}

// What a run ends with, and what is loaded from its folder, are one model: the
// loss on the validation rows is that of the run's last evaluation.
func TestLoadedAdapterIsTheTrainedOne(t *testing.T) {
	for _, m := range append(method.Names(), "meft adapter_activation=swiglu", "meft meft_router=exact", "meft meft_router=switch", "meft meft_router=stable", "meft meft_router=product-key meft_neurons=100", "parallel adapter_activation=swiglu learning_rate=0.03") {
		c := newRun(t, m)
		c.ValidationData, c.EvalStrategy, c.EvalSteps = c.Data, "steps", 6
		if m == "prefix" {
			c.LearningRate = 0.1 // three tokens move the loss little in so few steps
		}
		want := trained(t, c)
		o := SessionOptions{Model: c.Model, Adapter: c.OutputDir}
		if m == "full" {
			o = SessionOptions{Model: filepath.Join(c.OutputDir, "model")}
		}
		eval := EvalOptions{Data: c.Data, SkipAnswers: true}
		got, err := open(t, o).Evaluate(t.Context(), eval, nil)
		if err != nil {
			t.Fatal(err)
		}
		before, err := open(t, SessionOptions{Model: c.Model}).Evaluate(t.Context(), eval, nil)
		if err != nil {
			t.Fatal(err)
		}
		// The same bits are added up in another order.
		if loss := metric(t, got, "loss").Value; !(math.Abs(loss-want) < 1e-6*want) {
			t.Errorf("%s: loss %v, in the run %v", m, loss, want)
		}
		if untrained := metric(t, before, "loss").Value; !(untrained > want*1.01) {
			t.Errorf("%s: loss %v before, %v after: the adapter does nothing", m, untrained, want)
		}
	}
}

func TestSavedAdapterLoadsToTheBit(t *testing.T) {
	for _, m := range append(adapters(), "meft adapter_activation=swiglu meft_master=split") {
		c := newRun(t, m)
		mustTrain(t, c)
		s := open(t, SessionOptions{Model: c.Model, Adapter: c.OutputDir})
		scored(t, s, []ScoreInput{{IDs: []int32{0, 7, 8}}}) // builds it
		dir := t.TempDir()
		if err := saveAdapter(dir, s.base, s.method, c.Method, s.tok, s.engine.params); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{adapterConfigFile, adapterWeightsFile} {
			if !bytes.Equal(get(t, filepath.Join(dir, name)), get(t, filepath.Join(c.OutputDir, "adapter", name))) {
				t.Errorf("%s: %s has other bytes when it is loaded and saved", m, name)
			}
		}
	}
}

// Settings go through JSON, where a million is a float.
func TestAdapterOfAMillionNeuronsIsRead(t *testing.T) {
	c := newRun(t, "meft")
	c.MaxSteps, c.SaveStrategy = 1, "no"
	mustTrain(t, c)
	path := filepath.Join(c.OutputDir, "adapter", adapterConfigFile)
	edit(t, path, func(b []byte) []byte {
		return bytes.Replace(b, []byte(`"meft_neurons": 96`), []byte(`"meft_neurons": 1000000`), 1)
	})
	_, m, err := readAdapterConfig(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if n := m.(*method.MEFT).Neurons; n != 1000000 {
		t.Errorf("read %d", n)
	}
}

func TestWrongAdaptersAreRefused(t *testing.T) {
	c := newRun(t, "meft")
	c.MaxSteps, c.SaveStrategy = 1, "no"
	mustTrain(t, c)
	adapter := filepath.Join(c.OutputDir, "adapter")
	wide := small()
	wide.dim, wide.layers = 32, 3
	other := newModel(t, wide)
	_, err := Open(SessionOptions{Model: other, Adapter: adapter})
	mustSay(t, err, adapter, "16", "32", "layers")

	renamed := newModel(t, small())
	edit(t, filepath.Join(renamed, "tokenizer.json"), func(b []byte) []byte {
		return bytes.ReplaceAll(bytes.ReplaceAll(bytes.ReplaceAll(b, []byte(`"A": `), []byte(`"%%": `)), []byte(`"B": `), []byte(`"A": `)), []byte(`"%%": `), []byte(`"B": `))
	})
	_, err = Open(SessionOptions{Model: renamed, Adapter: adapter})
	mustSay(t, err, adapter, "tokenizer")

	_, err = Open(SessionOptions{Model: c.Model, Adapter: c.Model})
	mustSay(t, err, c.Model, adapterConfigFile)

	for name, spoil := range map[string]func(b []byte) []byte{
		"truncated": func(b []byte) []byte { return b[:len(b)/2] },
		"no number": func(b []byte) []byte { copy(b[len(b)-4:], "\xff\xff\xff\xff"); return b },
	} {
		dir := t.TempDir()
		put(t, filepath.Join(dir, adapterConfigFile), string(get(t, filepath.Join(adapter, adapterConfigFile))))
		put(t, filepath.Join(dir, adapterWeightsFile), string(spoil(get(t, filepath.Join(adapter, adapterWeightsFile)))))
		err := open(t, SessionOptions{Model: c.Model, Adapter: dir}).Score(t.Context(), []ScoreInput{{IDs: []int32{1, 2}}}, nil)
		if err == nil || !strings.Contains(err.Error(), adapterWeightsFile) {
			t.Errorf("%s adapter: got %v", name, err)
		}
	}
}

func TestBuiltInShapeHasNoWeightsUnlessRandom(t *testing.T) {
	s := open(t, SessionOptions{Shape: "llama-15m"})
	in := []ScoreInput{{IDs: []int32{1, 2, 3}}}
	mustSay(t, s.Score(t.Context(), in, nil), "llama-15m", "--random-weights")
	s = open(t, SessionOptions{Shape: "llama-15m", RandomWeights: true, BaseDType: "bf16", Seed: 4})
	if out := scored(t, s, in)[0]; !(out.NLL > 9 && out.NLL < 12) { // ln 32000 is 10.4
		t.Errorf("random weights of 32000 words give %v nats a token", out.NLL)
	}
	_, err := Open(SessionOptions{Shape: "llama-16m"})
	mustSay(t, err, "llama-16m", "llama-15m")
}

// An adapter that has learned a few rows by heart answers them, its evaluation
// says so, and marking the file it wrote gives the same numbers without it.
func TestEvaluationOfAMemorizedSet(t *testing.T) {
	c := newRun(t, "parallel")
	c.MaxSteps, c.Batch, c.SaveStrategy, c.LearningRate = 120, 8, "no", 2e-2
	if err := c.Set("parallel_bottleneck", "48"); err != nil {
		t.Fatal(err)
	}
	c.Limit = 8
	mustTrain(t, c)
	s := open(t, SessionOptions{Model: c.Model, Adapter: c.OutputDir})
	o := EvalOptions{Data: c.Data, Limit: 8, Decoding: model.Decoding{MaxNew: 6}, Output: filepath.Join(t.TempDir(), "predictions.jsonl")}
	calls := 0
	r, err := s.Evaluate(t.Context(), o, func(done, total int) {
		if calls++; done != calls || total != 8 {
			t.Errorf("progress %d of %d after %d calls", done, total, calls)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if em := metric(t, r, "exact_match"); em.Value < 0.9 || em.N != 8 || calls != 8 {
		t.Errorf("exact match %+v after %d answers; the loss is %+v", em, calls, metric(t, r, "loss"))
	}
	o.Predictions, o.Output = o.Output, ""
	again, err := ScorePredictions(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"exact_match", "f1", "contains"} {
		if a, b := metric(t, r, name), metric(t, again, name); a != b {
			t.Errorf("%+v while answering, %+v from the file", a, b)
		}
	}
	if loss, p := metric(t, r, "loss"), metric(t, r, "perplexity"); math.Abs(p.Value-math.Exp(loss.Value)) > 1e-9*p.Value || loss.N == 0 {
		t.Errorf("loss %+v, perplexity %+v", loss, p)
	}
}

func TestEvaluationErrorsNameTheFile(t *testing.T) {
	s := open(t, SessionOptions{Model: newModel(t, small())})
	dir := t.TempDir()
	empty, broken := filepath.Join(dir, "empty.jsonl"), filepath.Join(dir, "broken.jsonl")
	put(t, empty, "")
	put(t, broken, "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\n")
	for _, c := range []struct {
		o     EvalOptions
		words []string
	}{
		{EvalOptions{}, []string{"--data"}},
		{EvalOptions{Data: empty}, []string{"empty.jsonl"}},
		{EvalOptions{Data: broken}, []string{"broken.jsonl:2"}},
		{EvalOptions{Data: broken, Task: "poetry"}, []string{"poetry", "qa"}},
	} {
		_, err := s.Evaluate(t.Context(), c.o, nil)
		mustSay(t, err, c.words...)
	}
	if _, err := os.Stat(filepath.Join(dir, "predictions.jsonl")); err == nil {
		t.Error("a file was made")
	}
}
