package compare

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"meft"
	"meft/demo"
	"meft/model"
)

// options are a comparison of two methods on the demonstration's model, in a few
// steps.
func options(t *testing.T) Options {
	t.Helper()
	dir := t.TempDir()
	if err := demo.WriteFiles(dir, demo.Facts(2)); err != nil {
		t.Fatal(err)
	}
	c := meft.Defaults()
	c.Model, c.Data, c.OutputDir = filepath.Join(dir, "model"), filepath.Join(dir, "facts.jsonl"), filepath.Join(dir, "compare")
	c.MaxSteps, c.Batch, c.SaveSteps, c.Threads = 8, 8, 3, 2
	return Options{Config: c, Entries: []string{"meft", "lora"}, General: filepath.Join(dir, "old.jsonl"), Rates: 3, Trial: 0.25,
		Eval: meft.EvalOptions{Data: filepath.Join(dir, "questions.jsonl"), Limit: 4, Decoding: model.Decoding{MaxNew: 3}}}
}

func TestComparisonGoesOnWhereItWasInterrupted(t *testing.T) {
	o := options(t)
	whole, err := Run(t.Context(), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := o.Config.OutputDir
	o.Config.OutputDir = filepath.Join(t.TempDir(), "parts")
	// Once in a try, once in a run behind its checkpoint.
	for _, at := range []string{"rate 0.0001, step 2/", "step 5/8"} {
		ctx, stop := context.WithCancel(t.Context())
		_, err := Run(ctx, o, func(e Event) {
			if strings.Contains(e.Text, at) {
				stop()
			}
		})
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("interrupted at %q: %v", at, err)
		}
	}
	parts, err := Run(t.Context(), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range whole.Rows {
		p := parts.Rows[i]
		if p.Loss != r.Loss || p.Score != r.Score || *p.General != *r.General || p.Rate != r.Rate || !slices.Equal(p.Tries, r.Tries) {
			t.Errorf("in parts %+v, at once %+v", p, r)
		}
		if r.Steps != 8 || r.Trained == 0 || r.Device == 0 || r.Speed == 0 || len(r.Tries) < 2 || r.Problem != "" {
			t.Errorf("%+v", r)
		}
	}
	page, err := os.ReadFile(filepath.Join(dir, "report.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<svg", ">meft<", ">lora<", "Forgotten", "per_device_train_batch_size"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	again, err := Run(t.Context(), o, func(e Event) { t.Errorf("made again: %v", e) })
	if err != nil || len(again.Rows) != 2 {
		t.Errorf("%+v, %v", again, err)
	}
	o.Config.Seed++
	if _, err := Run(t.Context(), o, nil); err == nil || !strings.Contains(err.Error(), "another --output-dir") {
		t.Errorf("other options in the same folder: %v", err)
	}
}

func TestLargestSizeFitsTheBudget(t *testing.T) {
	o := options(t)
	for _, name := range []string{"meft", "lora", "parallel"} {
		c := (&comparison{o: o}).config(name)
		start, err := sizeOf(name)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := meft.MakePlan(start.in(c))
		if err != nil {
			t.Fatal(err)
		}
		for _, times := range []int64{1, 2} {
			c.DeviceMemory = meft.Size(plan.Device * times)
			c.HostMemory = meft.Size((plan.Pinned+plan.Host)*times + plan.Fixed)
			s, problem, err := largest(c)
			if err != nil || problem != "" {
				t.Fatalf("%s: %s, %v", name, problem, err)
			}
			if at, _ := meft.MakePlan(s.in(c)); len(at.Problems) > 0 {
				t.Errorf("%s: %v does not fit: %v", name, s, at.Problems)
			}
			more := size{s.setting, s.value + max(1, s.value/15)}
			if at, err := meft.MakePlan(more.in(c)); err == nil && len(at.Problems) == 0 {
				t.Errorf("%s: %v fits, and %v does too", name, s, more)
			}
		}
		c.DeviceMemory = 1000
		if s, problem, err := largest(c); err != nil || problem == "" {
			t.Errorf("%s in 1000 bytes: %v, %q, %v", name, s, problem, err)
		}
	}
}

func TestComparisonRefusesWhatCannotBe(t *testing.T) {
	for _, c := range []struct {
		change func(*Options)
		want   string
	}{
		{func(o *Options) { o.Entries = []string{"meft", "cooking:bf16"} }, "meft methods"},
		{func(o *Options) { o.Entries = []string{"meft", "meft"} }, "twice"},
		{func(o *Options) { o.Eval.Data = "" }, "--eval-data"},
		{func(o *Options) { o.Rates = 0 }, "rates"},
		{func(o *Options) { o.Trial = 2 }, "trial"},
		{func(o *Options) { o.Config.Overwrite = true }, "overwrite"},
		{func(o *Options) { o.Score = "beauty" }, "exact_match"},
	} {
		o := options(t)
		c.change(&o)
		if _, err := Run(t.Context(), o, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v lacks %q", err, c.want)
		}
	}
}
