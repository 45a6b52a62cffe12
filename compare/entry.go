package compare

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"meft"
	"meft/train"
)

// base asks the untrained model.
func (c *comparison) base(ctx context.Context) (Result, error) {
	const name = "base"
	if r, ok := c.had(name); ok {
		return r, nil
	}
	c.tell(name, "asking the model as it is")
	r := Result{Entry: name}
	if err := c.measure(ctx, &r, c.o.Config, ""); err != nil {
		return r, err
	}
	return r, c.keep(r)
}

// entry makes the result of one entry. A method that does not fit, or whose
// every rate diverges, has a Problem and no error.
func (c *comparison) entry(ctx context.Context, name string) (Result, error) {
	if r, ok := c.had(name); ok {
		return r, nil
	}
	r := Result{Entry: name, Run: filepath.Join(folder(name), "run")}
	cfg := c.config(name)
	size, problem, err := largest(cfg)
	if err != nil {
		return r, err
	}
	if problem != "" {
		r.Problem = problem
		c.tell(name, "%s", problem)
		return r, c.keep(r)
	}
	if size != nil {
		r.Size = size.String()
		cfg = size.in(cfg)
	}
	plan, err := meft.MakePlan(cfg)
	if err != nil {
		return r, err
	}
	r.Trained = plan.Trained
	c.tell(name, "%s: %d trained parameters, device %v, host %v", r.Size, plan.Trained, meft.Size(plan.Device), meft.Size(plan.Pinned+plan.Host))
	seconds, err := c.search(ctx, &r, cfg, plan.Steps)
	if err != nil || r.Problem != "" {
		return r, errors.Join(err, c.keepUnless(err, r))
	}
	cfg.LearningRate, cfg.OutputDir = r.Rate, c.path(r.Run)
	cfg.MaxSteps = plan.Steps
	if c.o.Time > 0 && seconds > 0 {
		cfg.MaxSteps = max(1, min(plan.Steps, int(c.o.Time.Seconds()/seconds)))
	}
	w := &watch{}
	out, err := c.train(ctx, name, cfg, w)
	if err != nil {
		return r, err
	}
	// A resumed run's earlier steps are in its events.
	if w, err = watched(cfg.OutputDir); err != nil {
		return r, err
	}
	r.Steps, r.Device, r.Host, r.Seconds = out.Step, out.Device, out.Host, out.Seconds
	r.Moved, r.Speed, r.Loss = w.moved(), w.speed(), w.loss()
	c.tell(name, "asking after training")
	if err := c.measure(ctx, &r, cfg, out.Output); err != nil {
		return r, err
	}
	return r, c.keep(r)
}

func (c *comparison) keepUnless(err error, r Result) error {
	if err != nil {
		return nil
	}
	return c.keep(r)
}

// folder is an entry's name as that of a folder.
func folder(name string) string { return strings.ReplaceAll(name, ":", "-") }

// config is the configuration of an entry at its default size.
func (c *comparison) config(name string) meft.Config {
	cfg := c.o.Config
	cfg.Settings = nil
	m, dtype, other := strings.Cut(name, ":")
	cfg.Method = m
	for _, o := range meft.Options() {
		if v, ok := c.o.Config.Settings[o.Name]; ok && o.Method == m {
			if cfg.Settings == nil {
				cfg.Settings = map[string]string{}
			}
			cfg.Settings[o.Name] = v
		}
	}
	if other {
		cfg.BaseDType = dtype
	}
	if m == "full" && !other {
		cfg.BaseDType = "f32"
	}
	return cfg
}

// search tries learning rates and sets r.Rate to the one of lowest loss. It
// begins with the method's own and goes in steps of four, up first, and down
// where up is worse. It returns the seconds of a step.
func (c *comparison) search(ctx context.Context, r *Result, cfg meft.Config, steps int) (float64, error) {
	rate := cfg.LearningRate
	for _, m := range meft.Methods() {
		if m.Name == cfg.Method && rate == 0 {
			rate = m.Rate
		}
	}
	seconds := 0.0
	try := func(rate float64) (float64, error) {
		for _, t := range r.Tries {
			if t.Rate == rate {
				return t.Loss, nil
			}
		}
		t := Try{Rate: rate}
		loss, took, err := c.try(ctx, r.Entry, cfg, rate, max(1, int(math.Ceil(float64(steps)*c.o.Trial))))
		var diverged *train.Diverged
		if errors.As(err, &diverged) {
			loss, t.Why, err = math.MaxFloat64, diverged.Error(), nil
		}
		if err != nil {
			return 0, err
		}
		if took > 0 {
			seconds = took
		}
		t.Loss = loss
		r.Tries = append(r.Tries, t)
		return loss, nil
	}
	best, err := try(rate)
	if err != nil {
		return 0, err
	}
	r.Rate = rate
	for _, factor := range []float64{4, 0.25} {
		for at := rate * factor; len(r.Tries) < c.o.Rates; at *= factor {
			loss, err := try(at)
			if err != nil {
				return 0, err
			}
			if loss >= best {
				break
			}
			best, r.Rate = loss, at
		}
		if r.Rate != rate {
			break // up was better: down is not
		}
	}
	if best == math.MaxFloat64 {
		r.Problem = "training diverges at every learning rate that was tried"
	}
	return seconds, nil
}

// try trains for some of the steps and returns the loss that counts and the
// seconds of a step.
func (c *comparison) try(ctx context.Context, name string, cfg meft.Config, rate float64, steps int) (loss, seconds float64, err error) {
	cfg.LearningRate, cfg.MaxSteps, cfg.SaveStrategy, cfg.EvalStrategy = rate, steps, "no", "no"
	cfg.Generate, cfg.KeepBest, cfg.Patience = false, false, 0
	valid := cfg.ValidationData
	cfg.ValidationData = ""
	cfg.OutputDir, cfg.Overwrite = c.path(folder(name), "rate-"+strconv.FormatFloat(rate, 'g', 4, 64)), true
	w := &watch{}
	out, err := c.train(ctx, name, cfg, w)
	if err != nil {
		return 0, 0, err
	}
	loss = w.loss()
	if valid != "" {
		o := meft.EvalOptions{Data: valid, DataFormat: cfg.DataFormat, Columns: cfg.Columns, PromptTemplate: cfg.PromptTemplate, SkipAnswers: true}
		if loss, err = c.lossOn(ctx, cfg, out.Output, o); err != nil {
			return 0, 0, err
		}
	}
	c.tell(name, "learning rate %g: loss %.4f after %d steps", rate, loss, steps)
	return loss, w.step(), os.RemoveAll(cfg.OutputDir)
}

// train trains, or goes on with a run that was interrupted.
func (c *comparison) train(ctx context.Context, name string, cfg meft.Config, w *watch) (*meft.Result, error) {
	if _, err := os.Stat(filepath.Join(cfg.OutputDir, "config.yaml")); err == nil && !cfg.Overwrite {
		cfg.Resume = "true"
	}
	return meft.Train(ctx, cfg, func(e train.Event) {
		if s, ok := e.(train.Step); ok {
			w.steps = append(w.steps, s)
			c.tell(name, "rate %g, step %d/%d: loss %.3f", cfg.LearningRate, s.Step, s.Steps, s.Loss)
		}
	})
}

// measure asks the model with an adapter and takes its loss on general text.
func (c *comparison) measure(ctx context.Context, r *Result, cfg meft.Config, output string) error {
	o := c.o.Eval
	o.Output = c.path(folder(r.Entry) + ".predictions.jsonl")
	if _, err := os.Stat(o.Output + ".how"); err == nil {
		o.Resume = true
	}
	s, err := open(cfg, output)
	if err != nil {
		return err
	}
	defer s.Close()
	e, err := s.Evaluate(ctx, o, func(done, total int) { c.tell(r.Entry, "answer %d/%d", done, total) })
	if err != nil {
		return err
	}
	r.Metrics = e.Metrics
	i := slices.IndexFunc(e.Metrics, func(m meft.Metric) bool {
		return m.Name == c.o.Score || c.o.Score == "" && m.Name != "loss" && m.Name != "perplexity"
	})
	if i < 0 {
		var names []string
		for _, m := range e.Metrics {
			names = append(names, m.Name)
		}
		return &meft.UsageError{Err: fmt.Errorf("the score %q is none of the metrics of %s: %s", c.o.Score, o.Data, strings.Join(names, ", "))}
	}
	r.Score = e.Metrics[i]
	if c.o.General == "" {
		return nil
	}
	general, err := c.lossOn(ctx, cfg, output, meft.EvalOptions{Data: c.o.General, SkipAnswers: true})
	r.General = &general
	return err
}

// lossOn is the loss of a model with an adapter on rows.
func (c *comparison) lossOn(ctx context.Context, cfg meft.Config, output string, o meft.EvalOptions) (float64, error) {
	s, err := open(cfg, output)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	e, err := s.Evaluate(ctx, o, nil)
	if err != nil {
		return 0, err
	}
	return e.Metrics[0].Value, nil
}

// open opens the base model, with an adapter or a model of its own.
func open(cfg meft.Config, output string) (*meft.Session, error) {
	s := meft.SessionOptions{Model: cfg.Model, Adapter: output, BaseDType: cfg.BaseDType, ComputeDType: cfg.ComputeDType, ChatTemplate: cfg.ChatTemplate, Threads: cfg.Threads}
	if _, err := os.Stat(filepath.Join(output, "config.json")); err == nil && output != "" {
		s.Model, s.Adapter = output, ""
	}
	return meft.Open(s)
}

// watch sees the steps of a run.
type watch struct{ steps []train.Step }

// watched are the steps that a run directory tells of.
func watched(dir string) (*watch, error) {
	events, err := train.ReadEvents(filepath.Join(dir, "events.jsonl"))
	if err != nil {
		return nil, err
	}
	w := &watch{}
	for _, e := range events {
		if s, ok := e.(train.Step); ok {
			w.steps = append(w.steps, s)
		}
	}
	if len(w.steps) == 0 {
		return nil, fmt.Errorf("%s: its events tell of no step", dir)
	}
	return w, nil
}

// loss is the mean of the last tenth of the steps.
func (w *watch) loss() float64 {
	last := w.steps[len(w.steps)-(len(w.steps)+9)/10:]
	sum := 0.0
	for _, s := range last {
		sum += s.Loss
	}
	return sum / float64(len(last))
}

// moved are the bytes that a step copied, mean.
func (w *watch) moved() int64 {
	var sum int64
	for _, s := range w.steps {
		sum += s.BytesToDevice + s.BytesToHost
	}
	return sum / int64(len(w.steps))
}

// speed is the median of tokens a second.
func (w *watch) speed() float64 {
	var x []float64
	for _, s := range w.steps {
		x = append(x, s.TokensPerSecond)
	}
	slices.Sort(x)
	return x[len(x)/2]
}

// step is the median of the seconds a step takes.
func (w *watch) step() float64 {
	var x []float64
	for _, s := range w.steps {
		x = append(x, float64(s.Tokens)/s.TokensPerSecond)
	}
	slices.Sort(x)
	return x[len(x)/2]
}
