package meft

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"meft/method"
	"meft/tensor"
	"meft/train"
)

// Result is how a training run ended.
type Result struct {
	train.Result
	Dir     string // run directory
	Output  string // folder of the adapter, or of the model for method full
	Device  int64  // bytes of device memory used
	Host    int64  // bytes of pinned and host memory used
	PeakRSS int64  // largest resident memory of the process in bytes, 0 where unknown
}

// Train does the run that c describes. It writes output_dir: config.yaml,
// events.jsonl, checkpoints, and adapter/ (or model/ for method full). Nothing
// is written before all inputs have been checked and the plan fits the budgets.
// observe gets every event; nil is allowed.
func Train(ctx context.Context, c Config, observe func(train.Event)) (*Result, error) {
	d := runDir{dir: c.OutputDir}
	if err := d.check(&c); err != nil {
		return nil, err
	}
	j, err := newJob(c)
	if err != nil {
		return nil, err
	}
	if j.data == nil {
		return nil, &UsageError{fmt.Errorf("no training rows: give --model FOLDER and --data FILE (or --shape NAME --random_weights for a measurement)")}
	}
	plan, err := j.plan()
	if err != nil {
		return nil, err
	}
	if len(plan.Problems) > 0 {
		return nil, fmt.Errorf("%s", strings.Join(plan.Problems, "\n"))
	}
	if err := d.room(plan, j); err != nil {
		return nil, err
	}
	var p pieces
	e, err := j.recipe(&p).build(plan.Ledger, c.Threads)
	if err != nil {
		return nil, err
	}
	defer e.Close()
	return j.run(ctx, d, e, &p, plan, observe)
}

// run trains with everything built.
func (j *job) run(ctx context.Context, d runDir, e *engine, p *pieces, plan *Plan, observe func(train.Event)) (*Result, error) {
	release, err := d.claim()
	if err != nil {
		return nil, err
	}
	defer release()
	t := j.trainer(d.dir, e, p)
	from, passed := -1, []string(nil)
	if j.config.Resume != "" {
		if from, passed, err = resume(t, d); err != nil {
			return nil, err
		}
	} else if err := d.begin(j.config); err != nil {
		return nil, err
	}
	events, err := train.OpenWriter(filepath.Join(d.dir, "events.jsonl"), from)
	if err != nil {
		return nil, err
	}
	t.Observe = train.Tee(events.Observe, observe)
	j.announce(t.Observe, plan, p, from)
	for _, damage := range passed {
		t.Observe(train.Note{Step: from, Text: fmt.Sprintf("%s; going on from checkpoint-%d", damage, from)})
	}
	r, err := t.Run(ctx)
	out := &Result{Result: r, Dir: d.dir, Device: e.ledger.Peak(tensor.OnDevice), Host: e.ledger.Peak(tensor.Pinned) + e.ledger.Peak(tensor.OnHost)}
	if err != nil {
		return out, errors.Join(err, events.Close())
	}
	out.Output = filepath.Join(d.dir, j.outputName())
	err = replaceFolder(out.Output, func(dir string) error { return j.save(dir, e) })
	out.PeakRSS = peakRSS()
	return out, errors.Join(err, events.Close())
}

// resume sets the trainer to the newest good checkpoint and returns its step,
// -1 if the run was ended before it had one, so that it begins anew; and what
// is wrong with newer checkpoints that were passed over.
func resume(t *train.Trainer, d runDir) (from int, passed []string, err error) {
	c, err := train.Newest(d.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return -1, nil, d.sweep()
	}
	if err != nil {
		return 0, nil, err
	}
	if err := t.Resume(c); err != nil {
		return 0, nil, err
	}
	return c.State.Step, c.Damaged, d.sweep()
}

// outputName is the folder a run's result is in.
func (j *job) outputName() string {
	if j.method.Reach() == method.ToWeights {
		return "model"
	}
	return "adapter"
}

// announce sends what is known before the first step.
func (j *job) announce(observe func(train.Event), plan *Plan, p *pieces, from int) {
	if pattern := j.keepsZeros(); pattern != "" {
		observe(train.Note{Step: from, Text: fmt.Sprintf("the model is pruned (%s): zeros of its linear layers stay 0", pattern)})
	}
	if from > 0 {
		observe(train.Note{Step: from, Text: fmt.Sprintf("resumed after step %d", from)})
		return
	}
	m := train.NewMemory(plan.Ledger, memoryGroup)
	m.DeviceBudget, m.HostBudget = int64(j.config.DeviceMemory), int64(j.config.HostMemory)
	observe(m)
	observe(train.NewDataset("train", p.batches, j.report))
	if j.valid != nil {
		observe(train.NewDataset("validation", p.validation, j.vreport))
	}
}

// trainer puts the loop together.
func (j *job) trainer(dir string, e *engine, p *pieces) *train.Trainer {
	c := j.config
	t := &train.Trainer{
		Model: e.model, Params: e.params, Optimizer: e.optimizer, Batches: p.batches,
		Steps: p.steps, Clip: c.MaxGradNorm, LoggingSteps: c.LoggingSteps,
		Dir: dir, SaveWhen: when(c.SaveStrategy, c.SaveSteps), SaveLimit: c.SaveLimit, Settings: c.identity(),
		Save: func(dir string) error { return j.saveAll(dir, e) },
		Load: func(dir string) error { return j.load(dir, e) },
	}
	t.Reporter, _ = j.method.(method.Reporter)
	t.Scheduled, _ = j.method.(method.Scheduled)
	if j.valid == nil || c.EvalStrategy == "no" {
		return t
	}
	ev := &train.Evaluator{Model: e.model, Batches: p.validation, Questions: j.ask, Decoding: j.decoding()}
	ev.Text = func(ids []int32) string { return strings.TrimSpace(j.tok.Decode(ids, true)) }
	t.Evaluation = train.Evaluation{Evaluator: ev, When: when(c.EvalStrategy, c.EvalSteps), Metric: c.BestMetric, Patience: c.Patience, LoadBest: c.KeepBest}
	return t
}

func when(strategy string, steps int) train.When {
	switch strategy {
	case "steps":
		return train.When{Steps: steps}
	case "epoch":
		return train.When{Epoch: true}
	}
	return train.When{}
}

// identity is what must be the same for a run to go on.
func (c Config) identity() map[string]string {
	out := map[string]string{}
	for _, kv := range c.pairs() {
		if !transient[kv[0]] {
			out[kv[0]] = kv[1]
		}
	}
	return out
}

func (j *job) save(dir string, e *engine) error {
	if j.method.Reach() == method.ToWeights {
		return saveFull(dir, j.base, e.params)
	}
	return saveAdapter(dir, j.base, j.method, j.config.Method, j.tok, e.params)
}

// saveAll is save, with what has to be there for the run to go on.
func (j *job) saveAll(dir string, e *engine) error {
	return errors.Join(j.save(dir, e), saveTrained(dir, j.method, e.params))
}

func (j *job) load(dir string, e *engine) error {
	if j.method.Reach() == method.ToWeights {
		return loadFull(dir, e.params)
	}
	return loadTrained(dir, j.method, e.params)
}

// replaceFolder writes a folder beside its place and puts it there when it is
// complete.
func replaceFolder(path string, write func(dir string) error) error {
	tmp, err := os.MkdirTemp(filepath.Dir(path), halfWritten(filepath.Base(path))+"*")
	if err != nil {
		return err
	}
	if err = os.Chmod(tmp, 0o755); err == nil { // MkdirTemp makes folders for the owner alone
		err = write(tmp)
	}
	if err == nil {
		err = train.SyncTree(tmp)
	}
	old := tmp + "-old"
	if err == nil {
		if err = os.Rename(path, old); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	return os.RemoveAll(old)
}

// today is the date chat templates print in runs begun today.
func today() string { return time.Now().Format(time.DateOnly) }
