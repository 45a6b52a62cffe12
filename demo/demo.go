// Package demo shows what the program does with nothing but the binary: a small
// base model, made by this project, that knows a synthetic world is embedded,
// and adapters teach it facts about people it never heard of. It uses the
// library as a user would: a model folder, a JSONL file, Train, Evaluate.
package demo

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"meft"
	"meft/model"
	"meft/task/world"
	"meft/train"
)

// base is the model folder that the recipe in _recipe makes.
//
//go:embed base
var base embed.FS

// Options of a demonstration. The zero value is what the documentation shows.
type Options struct {
	Threads int // 0 for all
	People  int // whose facts are taught; 0 for the default
	Steps   int // optimizer steps of each method; 0 for the default
}

// The size of the default demonstration: two cores need about a minute, and the
// facts are more than a narrow adapter learns in that many steps.
const (
	people = 80
	steps  = 240
)

// The world the base model was trained on; see _recipe.
const WorldSeed = 1

// WorldSize is the size of that world.
var WorldSize = world.Size{People: 400, Places: 120, Works: 80}

// oldFacts is how many of that world's facts are asked to see what is forgotten.
const oldFacts = 200

// Row is what one method learned and took.
type Row struct {
	Method      string  `json:"method"`
	EMBefore    float64 `json:"em_before"` // share of questions answered exactly before training
	EMAfter     float64 `json:"em_after"`
	OldAfter    float64 `json:"old_em_after"` // share of questions about the base model's own world, after
	DeviceBytes int64   `json:"device_bytes"` // model and activations included
	HostBytes   int64   `json:"host_bytes"`
	Seconds     float64 `json:"seconds"` // of training
	Trained     int64   `json:"trained_parameters"`
}

// Table is the result, the flagship's row first.
type Table struct {
	Rows      []Row   `json:"rows"`
	Facts     int     `json:"facts"`
	Questions int     `json:"questions"`
	Chance    float64 `json:"chance"`        // share a guesser of the commonest answers gets right
	OldBefore float64 `json:"old_em_before"` // share of questions about the base model's own world it answers untrained
	Base      int64   `json:"base_parameters"`
}

// Event is progress: Done of Total steps of all methods together.
type Event struct {
	Done, Total int
	Detail      string
}

// entry is one method of the comparison, at the best of the learning rates (and
// of the activations, for the parallel adapter) that were tried; see
// docs/benchmarks.md.
type entry struct {
	name     string
	method   string
	dtype    string // of the frozen weights
	settings map[string]string
	size     string // setting that is raised as far as the flagship's device memory allows; "" for none
	rate     float64
}

// entries are all methods, the flagship first.
func entries() []entry {
	return []entry{
		{"meft", "meft", "bf16", map[string]string{"meft_neurons": "2048", "meft_top_k": "32", "meft_buffer": "512"}, "", 4e-3},
		{"lora", "lora", "bf16", map[string]string{}, "lora_r", 6e-3},
		{"qlora", "lora", "nf4", map[string]string{}, "lora_r", 6e-3},
		{"parallel", "parallel", "bf16", map[string]string{"parallel_activation": "silu"}, "parallel_bottleneck", 4e-2},
	}
}

// Run teaches the facts with each method and returns the comparison. It works
// in a temporary folder, which it removes.
func Run(ctx context.Context, o Options, observe func(Event)) (*Table, error) {
	if o.People == 0 {
		o.People = people
	}
	if o.Steps == 0 {
		o.Steps = steps
	}
	dir, err := os.MkdirTemp("", "meft-demo-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	d := &demonstration{o: o, dir: dir, observe: observe, facts: Facts(o.People)}
	if err := WriteFiles(dir, d.facts); err != nil {
		return nil, err
	}
	return d.run(ctx)
}

// Facts are those taught about so many people, 0 for the default.
func Facts(n int) []world.Fact {
	const seed = 7
	if n == 0 {
		n = people
	}
	return world.Injection(seed, n)
}

// demonstration is one run of the demo.
type demonstration struct {
	o       Options
	dir     string
	observe func(Event)
	facts   []world.Fact
	done    int // steps made
	total   int
}

func (d *demonstration) path(name string) string { return filepath.Join(d.dir, name) }

// WriteFiles writes what the demonstration works on into dir: the base model
// (model), the training rows (facts.jsonl), and the questions about the same
// facts in other words (questions.jsonl) and about the base model's own world
// (old.jsonl).
func WriteFiles(dir string, facts []world.Fact) error {
	sub, err := fs.Sub(base, "base")
	if err != nil {
		return err
	}
	if err := os.CopyFS(filepath.Join(dir, "model"), sub); err != nil {
		return err
	}
	old := world.New(WorldSeed, WorldSize).Facts()[:oldFacts]
	for _, file := range []struct {
		name  string
		facts []world.Fact
		forms []int
	}{
		{"facts.jsonl", facts, world.TrainQuestions()},
		{"questions.jsonl", facts, []int{world.HeldOutQuestion}},
		{"old.jsonl", old, []int{world.HeldOutQuestion}},
	} {
		f, err := os.Create(filepath.Join(dir, file.name))
		if err != nil {
			return err
		}
		err = world.WriteQA(f, file.facts, file.forms...)
		if e := f.Close(); err == nil {
			err = e
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *demonstration) run(ctx context.Context) (*Table, error) {
	list := entries()
	plan, err := meft.MakePlan(d.config(list[0]))
	if err != nil {
		return nil, err
	}
	for i := range list {
		if err := d.sameMemory(&list[i], plan.Device); err != nil {
			return nil, err
		}
	}
	t := &Table{Facts: len(d.facts), Questions: len(d.facts), Chance: world.Chance(d.facts), Base: plan.Parameters}
	d.total = d.o.Steps * len(list)
	d.tell("asking the base model")
	before := map[string]float64{} // by type of the frozen weights
	for _, e := range list {
		if _, ok := before[e.dtype]; ok {
			continue
		}
		if before[e.dtype], err = d.exactMatch(ctx, e, "", "questions.jsonl"); err != nil {
			return nil, err
		}
	}
	if t.OldBefore, err = d.exactMatch(ctx, list[0], "", "old.jsonl"); err != nil {
		return nil, err
	}
	for _, e := range list {
		row, err := d.teach(ctx, e)
		if err != nil {
			return nil, err
		}
		row.EMBefore = before[e.dtype]
		t.Rows = append(t.Rows, *row)
	}
	return t, nil
}

// config is the run of one method.
func (d *demonstration) config(e entry) meft.Config {
	c := meft.Defaults()
	c.Model, c.Data, c.OutputDir = d.path("model"), d.path("facts.jsonl"), d.path(e.name)
	c.Method, c.Settings, c.LearningRate, c.BaseDType = e.method, e.settings, e.rate, e.dtype
	c.MaxSteps, c.Batch, c.Scheduler, c.WarmupSteps = d.o.Steps, 48, "cosine", 10
	c.SaveStrategy, c.Threads = "no", d.o.Threads
	return c
}

// sameMemory sets the size of e to the largest with which it needs no more
// device memory.
func (d *demonstration) sameMemory(e *entry, device int64) error {
	if e.size == "" {
		return nil
	}
	low, high := 1, 2048
	for low < high {
		mid := (low + high + 1) / 2
		e.settings[e.size] = fmt.Sprint(mid)
		p, err := meft.MakePlan(d.config(*e))
		if err != nil {
			return err
		}
		if p.Device <= device {
			low = mid
		} else {
			high = mid - 1
		}
	}
	e.settings[e.size] = fmt.Sprint(low)
	return nil
}

// teach trains one method and asks the questions again.
func (d *demonstration) teach(ctx context.Context, e entry) (*Row, error) {
	c := d.config(e)
	plan, err := meft.MakePlan(c)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	r, err := meft.Train(ctx, c, func(ev train.Event) {
		if s, ok := ev.(train.Step); ok {
			d.done++
			d.tell(fmt.Sprintf("%s: loss %.3f", e.name, s.Loss))
		}
	})
	if err != nil {
		return nil, err
	}
	row := &Row{Method: e.name, DeviceBytes: r.Device, HostBytes: r.Host, Seconds: time.Since(start).Seconds(), Trained: plan.Trained}
	d.tell("asking " + e.name)
	if row.EMAfter, err = d.exactMatch(ctx, e, r.Output, "questions.jsonl"); err != nil {
		return nil, err
	}
	row.OldAfter, err = d.exactMatch(ctx, e, r.Output, "old.jsonl")
	return row, err
}

// exactMatch asks every question of a file, of the base as e has it.
func (d *demonstration) exactMatch(ctx context.Context, e entry, adapter, file string) (float64, error) {
	s, err := meft.Open(meft.SessionOptions{Model: d.path("model"), Adapter: adapter, BaseDType: e.dtype, Threads: d.o.Threads})
	if err != nil {
		return 0, err
	}
	defer s.Close()
	r, err := s.Evaluate(ctx, meft.EvalOptions{Data: d.path(file), Decoding: model.Decoding{MaxNew: 12}}, nil)
	if err != nil {
		return 0, err
	}
	for _, m := range r.Metrics {
		if m.Name == "strict_match" {
			return m.Value, nil
		}
	}
	return 0, fmt.Errorf("demo: no questions were asked")
}

func (d *demonstration) tell(detail string) {
	if d.observe != nil {
		d.observe(Event{d.done, d.total, detail})
	}
}
