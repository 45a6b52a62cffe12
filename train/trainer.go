package train

import (
	"context"
	"errors"
	"fmt"
	"time"

	"meft/method"
	"meft/model"
	"meft/param"
)

// When says how often something happens. The zero value is never; anything else
// includes the end of the run.
type When struct {
	Steps int  // every so many steps
	Epoch bool // at the end of every epoch
}

func (w When) never() bool { return w == When{} }

// Trainer is the loop. Its fields are set once, by hand, and never change.
type Trainer struct {
	Model     *model.Model
	Params    *param.Set // everything that is trained
	Optimizer *param.Optimizer
	Batches   *Batches

	Steps        int        // of the whole run: Batches.Steps
	Clip         float64    // largest norm of the gradient; 0 for no limit
	LoggingSteps int        // steps between entries of log_history; 0 for none
	Evaluation   Evaluation // never, if its When is zero

	Dir       string            // run folder, where checkpoints go; "" for none at all
	SaveWhen  When              // checkpoints
	SaveLimit int               // most checkpoints kept, the best among them; 0 for all
	Settings  map[string]string // that have to be the same for a run to go on, by the name users know

	// Save writes what is trained into a folder, every bit of it, and Load reads
	// it back. Both are needed with Dir.
	Save, Load func(dir string) error

	Observe   func(Event)      // nil for nobody
	Scheduled method.Scheduled // the method, if it changes with progress; or nil
	Reporter  method.Reporter  // the method, if it can tell what it moves; or nil

	state      State
	log        []LogEntry
	identified bool // state.Settings and state.Data are set
	resumed    bool
	saved      int       // step of the checkpoint on disk that is like state; -1 for none
	start      time.Time // of this session, earlier ones subtracted
}

// Result is how a run ended.
type Result struct {
	Step     int
	Epoch    float64
	Reason   string  // "done", or "early stop" after Evaluation.Patience
	Loss     float64 // mean over all steps
	Best     *Best   // nil without evaluation
	Restored bool    // the weights are those of Best
	Tokens   int64
	Seconds  float64 // of all sessions
}

// Run trains to the end. If ctx ends first it writes a checkpoint and returns an
// error that is ctx's and says how to go on. A loss or gradient that is not
// finite stops the run with a *Diverged before anything is updated. After an
// error the last good checkpoint is as it was.
func (t *Trainer) Run(ctx context.Context) (Result, error) {
	if err := t.begin(); err != nil {
		return Result{}, err
	}
	if t.resumed {
		// The evaluation or checkpoint of the last step may have been cut off.
		if err := t.after(ctx); err != nil {
			return t.result(""), t.interrupted(ctx, err)
		}
	}
	for t.state.Step < t.Steps && !t.exhausted() {
		if err := ctx.Err(); err != nil {
			return t.result(""), t.interrupted(ctx, err)
		}
		if err := t.step(ctx); err != nil {
			return t.result(""), t.interrupted(ctx, err)
		}
		if err := t.after(ctx); err != nil {
			return t.result(""), t.interrupted(ctx, err)
		}
	}
	return t.finish()
}

// begin checks the fields and the run folder.
func (t *Trainer) begin() error {
	if err := t.check(); err != nil {
		return err
	}
	t.start = time.Now().Add(-time.Duration(t.state.Seconds * float64(time.Second)))
	if t.resumed {
		return nil
	}
	t.saved = -1
	t.identify()
	if t.Dir == "" {
		return nil
	}
	if err := removeLeftovers(t.Dir); err != nil {
		return err
	}
	found, err := Checkpoints(t.Dir)
	if err == nil && len(found) > 0 {
		err = fmt.Errorf("%s: %s is there from another run; resume it, or choose another folder", t.Dir, name(found[len(found)-1]))
	}
	return err
}

// check reports every setting that cannot be.
func (t *Trainer) check() error {
	var problems []error
	add := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if t.Steps < 1 {
		add("a run of %d steps; wanted 1 or more: raise num_train_epochs or max_steps", t.Steps)
	}
	if err := t.Batches.o.fit(t.Model.Size); err != nil {
		problems = append(problems, err)
	}
	if t.Clip < 0 {
		add("max_grad_norm is %v; wanted 0 (no limit) or more", t.Clip)
	}
	if t.Dir != "" && (t.Save == nil || t.Load == nil) {
		panic("train: a Trainer with a folder and no Save or Load")
	}
	return errors.Join(append(problems, t.Evaluation.check(t.Dir))...)
}

// identify notes what this run is.
func (t *Trainer) identify() {
	if !t.identified {
		t.state.Format, t.state.Settings, t.state.Data = stateFormat, t.identity(), t.Batches.data.Fingerprint()
		t.identified = true
	}
}

// after does what follows a step: evaluate, then save.
func (t *Trainer) after(ctx context.Context) error {
	improved := false
	if t.due(t.Evaluation.When) && t.state.Evaluated < t.state.Step {
		var err error
		if improved, err = t.evaluate(ctx); err != nil {
			return err
		}
	}
	if t.Dir == "" || t.saved == t.state.Step {
		return nil
	}
	if t.due(t.SaveWhen) || !t.SaveWhen.never() && t.exhausted() || improved && t.Evaluation.LoadBest {
		return t.checkpoint()
	}
	return nil
}

// due reports whether it is time after the step just made.
func (t *Trainer) due(w When) bool {
	step := t.state.Step
	return !w.never() && (step == t.Steps || w.Steps > 0 && step%w.Steps == 0 || w.Epoch && t.Batches.EpochEnd(step-1))
}

// finish ends a run that needs no more steps.
func (t *Trainer) finish() (Result, error) {
	reason := "done"
	if t.state.Step < t.Steps {
		reason = "early stop"
	}
	r := t.result(reason)
	if b := t.state.Best; t.Evaluation.LoadBest && b != nil {
		if err := t.restoreBest(b.Step); err != nil {
			return r, err
		}
		r.Restored = true
	}
	t.logResult(r)
	t.emit(Done{Step: r.Step, Epoch: r.Epoch, Reason: reason, Loss: r.Loss, Tokens: r.Tokens, Best: r.Best, Restored: r.Restored, Seconds: r.Seconds})
	return r, t.Model.Device().Sync()
}

func (t *Trainer) result(reason string) Result {
	s := t.state
	r := Result{Step: s.Step, Epoch: t.Batches.Epoch(s.Step), Reason: reason, Best: s.Best, Tokens: s.Tokens, Seconds: t.seconds()}
	if s.Step > 0 {
		r.Loss = s.LossSum / float64(s.Step)
	}
	return r
}

// interrupted turns an error that is ctx's into one that says where the run can
// go on, after writing a checkpoint; any other is returned as it is.
func (t *Trainer) interrupted(ctx context.Context, err error) error {
	if ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
		return err
	}
	made := fmt.Sprintf("interrupted after step %d of %d", t.state.Step, t.Steps)
	if t.Dir == "" || t.state.Step == 0 {
		return fmt.Errorf("%s, nothing is saved: %w", made, err)
	}
	if t.saved != t.state.Step {
		if e := t.checkpoint(); e != nil {
			return fmt.Errorf("%s: %w; the checkpoint could not be written: %w", made, err, e)
		}
	}
	t.emit(Note{t.state.Step, made})
	return fmt.Errorf("%s; everything is in %s of %s, go on from there with --resume: %w", made, name(t.state.Step), t.Dir, err)
}

func (t *Trainer) seconds() float64 { return time.Since(t.start).Seconds() }

func (t *Trainer) emit(e Event) {
	if t.Observe != nil {
		t.Observe(e)
	}
}
