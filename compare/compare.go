// Package compare answers which method is best on a machine: it gives each the
// same data, model, seed and budget of memory and time, finds the largest size
// that fits, looks for a learning rate, trains, evaluates, and measures what was
// forgotten. It uses the library as a user would; every run is a run directory.
package compare

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"meft"
)

// Options of a comparison.
type Options struct {
	// Config is what all runs share: model, data, batches, steps, seed, budgets.
	// OutputDir is the folder of the comparison. Method, its settings and the
	// learning rate come from the comparison.
	Config  meft.Config
	Entries []string         // methods, or method:base_dtype; nil for Defaults
	Eval    meft.EvalOptions // what is asked of every method; Data is needed
	Score   string           // name of the metric that counts; "" for the first that is none of loss and perplexity
	General string           // held-out text in the forms of training data, whose loss tells what is forgotten; "" for none
	Rates   int              // learning rates tried, at most
	Trial   float64          // share of the steps that such a try takes
	Time    time.Duration    // of each method's training; 0 for no limit
}

// Defaults are the entries where none are named: the flagship, what it is
// compared with, and the pairing of MEFT with a 4-bit base.
func Defaults() []string {
	return []string{"meft", "meft:nf4", "lora", "lora:nf4", "parallel", "series", "full"}
}

// Try is a learning rate that was tried.
type Try struct {
	Rate float64 `json:"learning_rate"`
	Loss float64 `json:"loss"`            // of the validation rows, or of the last tenth of the steps
	Why  string  `json:"error,omitempty"` // of a run that diverged
}

// Result is what one entry came to.
type Result struct {
	Entry   string        `json:"entry"`
	Size    string        `json:"size"` // setting=value that was fitted to the budget, "" for none
	Trained int64         `json:"trained_parameters"`
	Tries   []Try         `json:"tries"`
	Rate    float64       `json:"learning_rate"`
	Steps   int           `json:"steps"`
	Device  int64         `json:"device_bytes"`
	Host    int64         `json:"host_bytes"`
	Moved   int64         `json:"bytes_moved_per_step"`
	Speed   float64       `json:"tokens_per_second"` // median of the steps
	Seconds float64       `json:"seconds"`           // of training, the tries not counted
	Loss    float64       `json:"train_loss"`        // mean of the last tenth of the steps
	Metrics []meft.Metric `json:"metrics"`
	Score   meft.Metric   `json:"score"`
	General *float64      `json:"general_loss,omitempty"` // after training
	Run     string        `json:"run"`                    // folder of the run, in that of the comparison
	Problem string        `json:"problem,omitempty"`      // why there is nothing else
}

// Table is a comparison.
type Table struct {
	Options map[string]string `json:"options"`
	Base    Result            `json:"base"` // untrained: its metrics and its general loss
	Rows    []Result          `json:"rows"`
}

// Event is progress.
type Event struct{ Entry, Text string }

// comparison is one that runs.
type comparison struct {
	o       Options
	dir     string
	observe func(Event)
	done    []Result // of earlier sessions and this one
}

// Run makes the comparison, or what is left of it: results that the folder has
// are not made again, and an interrupted run is resumed. It writes
// comparison.json and report.html there. observe may be nil.
func Run(ctx context.Context, o Options, observe func(Event)) (*Table, error) {
	if observe == nil {
		observe = func(Event) {}
	}
	c := &comparison{o: o, dir: o.Config.OutputDir, observe: observe}
	if err := c.prepare(); err != nil {
		return nil, err
	}
	base, err := c.base(ctx)
	if err != nil {
		return nil, err
	}
	t := &Table{Options: c.identity(), Base: base}
	for _, name := range c.o.Entries {
		r, err := c.entry(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		t.Rows = append(t.Rows, r)
		if err := c.write(t); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// prepare checks the options and reads what there is.
func (c *comparison) prepare() error {
	o := &c.o
	if o.Entries == nil {
		o.Entries = Defaults()
	}
	var problems []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, &meft.UsageError{Err: fmt.Errorf(format, args...)})
		}
	}
	need(o.Eval.Data != "", "a comparison needs rows to evaluate on: give --eval-data FILE")
	need(o.Rates > 0, "rates is %d, wanted 1 or more", o.Rates)
	need(o.Trial > 0 && o.Trial <= 1, "trial is %v, wanted a share above 0, up to 1", o.Trial)
	need(o.Config.Resume == "" && !o.Config.Overwrite, "a comparison goes on by itself with what output_dir has; leave resume and overwrite_output_dir out")
	seen := map[string]bool{}
	for _, e := range o.Entries {
		need(!seen[e], "%s is named twice", e)
		seen[e] = true
		name, _, _ := strings.Cut(e, ":")
		known := slices.ContainsFunc(meft.Methods(), func(m meft.MethodInfo) bool { return m.Name == name })
		need(known, "%s: there is no method %q; meft methods lists all", e, name)
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return err
	}
	return c.read()
}

// identity is what has to be the same for results to stand side by side.
func (c *comparison) identity() map[string]string {
	cfg := c.o.Config
	cfg.Method, cfg.Settings, cfg.OutputDir, cfg.LearningRate, cfg.Threads = "", nil, "", 0, 0
	return map[string]string{"config": string(cfg.YAML()), "eval_data": c.o.Eval.Data, "protocol": c.o.Eval.Protocol, "eval_limit": fmt.Sprint(c.o.Eval.Limit),
		"decoding": fmt.Sprintf("%+v", c.o.Eval.Decoding), "score": c.o.Score, "general": c.o.General, "rates": fmt.Sprint(c.o.Rates), "trial": fmt.Sprint(c.o.Trial), "time": c.o.Time.String()}
}

// The files of a comparison.
const (
	identityFile = "options.json"
	resultsFile  = "results.jsonl"
	tableFile    = "comparison.json"
	reportFile   = "report.html"
)

func (c *comparison) path(names ...string) string {
	return filepath.Join(append([]string{c.dir}, names...)...)
}

// read reads the results there are, and refuses those of another comparison.
func (c *comparison) read() error {
	data, err := os.ReadFile(c.path(identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return writeJSON(c.path(identityFile), c.identity())
	}
	if err != nil {
		return err
	}
	var before map[string]string
	if err := json.Unmarshal(data, &before); err != nil {
		return fmt.Errorf("%s: %w", c.path(identityFile), err)
	}
	for name, v := range c.identity() {
		if before[name] != v {
			return fmt.Errorf("%s: holds a comparison with %s %q, here it is %q; choose another --output-dir", c.dir, name, before[name], v)
		}
	}
	data, err = os.ReadFile(c.path(resultsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		var r Result
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return fmt.Errorf("%s:%d: %w", c.path(resultsFile), n, err)
		}
		c.done = append(c.done, r)
	}
	return nil
}

// had is the result of an entry that was made before.
func (c *comparison) had(name string) (Result, bool) {
	i := slices.IndexFunc(c.done, func(r Result) bool { return r.Entry == name })
	if i < 0 {
		return Result{}, false
	}
	return c.done[i], true
}

// keep appends a result to the file of results.
func (c *comparison) keep(r Result) error {
	c.done = append(c.done, r)
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(c.path(resultsFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Sync(), f.Close())
}

// write writes the table and the report.
func (c *comparison) write(t *Table) error {
	if err := writeJSON(c.path(tableFile), t); err != nil {
		return err
	}
	page, err := Report(c.dir, t)
	if err != nil {
		return err
	}
	return replace(c.path(reportFile), page)
}

func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return replace(path, append(data, '\n'))
}

// replace makes a file appear whole or not at all.
func replace(path string, data []byte) error {
	if err := os.WriteFile(path+".new", data, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func (c *comparison) tell(entry, format string, args ...any) {
	c.observe(Event{entry, fmt.Sprintf(format, args...)})
}
