package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"meft"
	"meft/model"
	"meft/train"
)

// base is a model that facts are taught to.
type base struct {
	name, model, facts, questions string
	batch                         int
}

// bases are the demonstration's and the small checkpoint, taught the same facts.
func bases(o *options) []base {
	at := func(name string) string { return filepath.Join(o.work, name) }
	return []base{
		{name: "demo", model: at("model"), facts: at("facts.jsonl"), questions: at("questions.jsonl"), batch: 48},
		{name: "stories260K", model: o.stories, facts: at("facts.jsonl"), questions: at("questions.jsonl"), batch: 48},
	}
}

// entry is a method with settings, at the learning rates it is tried with.
type entry struct {
	name   string
	method string
	dtype  string // of the frozen weights; "" for bf16
	args   map[string]string
	rates  []float64
}

// entries are the rows of the table. Sizes are those a user would begin with;
// rates are higher than what the methods' papers use, for models this small.
func entries() []entry {
	meftArgs := func(more ...string) map[string]string {
		return settings(append([]string{"meft_top_k", "32"}, more...)...)
	}
	wide := func(more ...string) map[string]string {
		return meftArgs(append([]string{"meft_neurons", "2048"}, more...)...)
	}
	return []entry{
		{name: "MEFT 2048", method: "meft", args: wide(), rates: []float64{2e-3, 4e-3, 8e-3}},
		{name: "MEFT 2048, NF4 base", method: "meft", dtype: "nf4", args: wide(), rates: []float64{4e-3}},
		{name: "MEFT 2048, all keys scored", method: "meft", args: wide("meft_router", "exact"), rates: []float64{4e-3}},
		{name: "MEFT 2025, product keys", method: "meft", args: meftArgs("meft_neurons", "2025", "meft_router", "product-key"), rates: []float64{4e-3}},
		{name: "MEFT 2048, switch", method: "meft", args: wide("meft_router", "switch", "meft_experts", "64"), rates: []float64{4e-3, 1e-2}},
		{name: "MEFT 2048, stable", method: "meft", args: wide("meft_router", "stable", "meft_experts", "64"), rates: []float64{4e-3, 2e-2}},
		{name: "MEFT 2048, SwiGLU", method: "meft", args: wide("meft_activation", "swiglu", "meft_experts", "64"), rates: []float64{4e-3}},
		{name: "parallel 256", method: "parallel", args: settings("parallel_bottleneck", "256", "parallel_activation", "silu"), rates: []float64{1e-2, 2e-2, 4e-2}},
		{name: "parallel 256, SwiGLU", method: "parallel", args: settings("parallel_bottleneck", "256", "parallel_activation", "swiglu"), rates: []float64{1e-2}},
		{name: "parallel 256, state offloaded", method: "parallel", args: settings("parallel_bottleneck", "256", "parallel_activation", "silu", "offload_optimizer", "true"), rates: []float64{2e-2}},
		{name: "series 128", method: "series", args: settings("series_bottleneck", "128"), rates: []float64{4e-3}},
		{name: "LoRA 8, all layers", method: "lora", args: settings("lora_r", "8"), rates: []float64{6e-3}},
		{name: "QLoRA 8, NF4 base", method: "lora", dtype: "nf4", args: settings("lora_r", "8"), rates: []float64{6e-3}},
		{name: "DoRA 8", method: "lora", args: settings("lora_r", "8", "use_dora", "true"), rates: []float64{6e-3}},
		{name: "LoRA+ 8", method: "lora", args: settings("lora_r", "8", "loraplus_lr_ratio", "4"), rates: []float64{3e-3}},
		{name: "SHiRA as LoRA 8", method: "shira", args: settings("shira_r", "8"), rates: []float64{4e-3}},
		{name: "prompt 20", method: "prompt", args: settings("prompt_tokens", "20"), rates: []float64{1e-2}},
		{name: "prefix 20", method: "prefix", args: settings("prefix_tokens", "20"), rates: []float64{1e-2}},
		{name: "LST 8", method: "lst", args: settings(), rates: []float64{1e-2}},
		{name: "full", method: "full", dtype: "f32", args: settings(), rates: []float64{1e-3}},
		{name: "full, state offloaded", method: "full", dtype: "f32", args: settings("offload_optimizer", "true"), rates: []float64{1e-3}},
		{name: "full, state and weights offloaded", method: "full", dtype: "f32", args: settings("offload_optimizer", "true", "offload_weights", "true"), rates: []float64{1e-3}},
	}
}

// settings are names and values in turn.
func settings(pairs ...string) map[string]string {
	m := map[string]string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return m
}

// config is the run of an entry on a base.
func (o *options) config(b base, e entry, rate float64) (meft.Config, error) {
	c := meft.Defaults()
	c.Model, c.Data, c.OutputDir, c.Overwrite = b.model, b.facts, filepath.Join(o.work, "run"), true
	c.Method, c.LearningRate, c.BaseDType = e.method, rate, "bf16"
	if e.dtype != "" {
		c.BaseDType = e.dtype
	}
	c.MaxSteps, c.Batch, c.Scheduler, c.WarmupSteps, c.SaveStrategy, c.Threads = o.steps, b.batch, "cosine", 10, "no", o.threads
	for _, name := range slices.Sorted(maps.Keys(e.args)) {
		if err := c.Set(name, e.args[name]); err != nil {
			return c, err
		}
	}
	return c, nil
}

// measure trains, asks the questions and fills in r.
func (o *options) measure(ctx context.Context, b base, e entry, r *record) error {
	c, err := o.config(b, e, r.Rate)
	if err != nil {
		return err
	}
	r.Command = command(c, e)
	plan, err := meft.MakePlan(c)
	if err != nil {
		return err
	}
	r.Trained = plan.Trained
	var speeds, losses []float64
	var moved int64
	out, err := meft.Train(ctx, c, func(ev train.Event) {
		s, ok := ev.(train.Step)
		if !ok {
			return
		}
		speeds, losses = append(speeds, s.TokensPerSecond), append(losses, s.Loss)
		moved += s.BytesToDevice + s.BytesToHost
	})
	if err != nil {
		return err
	}
	r.Device, r.Host, r.Speed = out.Device, out.Host, median(speeds)
	r.Moved = moved / int64(len(losses))
	for _, l := range losses[len(losses)*9/10:] { // the last tenth of the steps
		r.Loss += l / float64(len(losses)-len(losses)*9/10)
	}
	r.EM, err = o.exactMatch(ctx, b, c, out.Output)
	return err
}

// exactMatch asks all questions.
func (o *options) exactMatch(ctx context.Context, b base, c meft.Config, output string) (float64, error) {
	s := meft.SessionOptions{Model: b.model, Adapter: output, BaseDType: c.BaseDType, Threads: o.threads}
	if _, err := os.Stat(filepath.Join(output, "config.json")); err == nil { // a model of its own
		s.Model, s.Adapter = output, ""
	}
	session, err := meft.Open(s)
	if err != nil {
		return 0, err
	}
	defer session.Close()
	r, err := session.Evaluate(ctx, meft.EvalOptions{Data: b.questions, Decoding: model.Decoding{MaxNew: 24}}, nil)
	if err != nil {
		return 0, err
	}
	for _, m := range r.Metrics {
		if m.Name == "strict_match" {
			return m.Value, nil
		}
	}
	return 0, fmt.Errorf("no questions were asked")
}

// command is how a user says the same.
func command(c meft.Config, e entry) string {
	s := "meft train --model MODEL --data facts.jsonl --method " + c.Method + " --base-dtype " + c.BaseDType
	for _, name := range slices.Sorted(maps.Keys(e.args)) {
		s += " --" + name + " " + e.args[name]
	}
	return s + " --learning-rate " + strconv.FormatFloat(c.LearningRate, 'g', -1, 64)
}

func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return x[len(x)/2]
}
