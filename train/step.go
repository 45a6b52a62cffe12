package train

import (
	"context"
	"fmt"
	"strings"
	"time"

	"meft/tensor"
)

// step makes one optimizer step. When it returns an error nothing that is
// trained has changed, but that host tables may have made up for steps they had
// put off.
func (t *Trainer) step(ctx context.Context) error {
	start := time.Now()
	step := t.state.Step // made so far, and the number of this one from 0
	t.Optimizer.ZeroGrad()
	up, down := t.moved()
	if t.Reporter != nil {
		t.Reporter.ResetTraffic()
	}
	if t.Scheduled != nil {
		t.Scheduled.At(step, t.Steps)
	}
	loss, err := t.gradients(ctx, step)
	if err != nil {
		return err
	}
	norm, err := t.Optimizer.Norm()
	if err != nil {
		return fmt.Errorf("step %d: %w", step+1, err)
	}
	if !finite(norm) {
		return t.diverged("norm of the gradient", norm, t.stepNames(step))
	}
	t.Optimizer.Step(step, t.clipScale(norm))

	tokens, supervised := t.Batches.Count(step)
	s := &t.state
	s.Step++
	s.LossSum += loss
	s.LogSum += loss
	s.LogSteps++
	s.Tokens += int64(tokens)
	s.Learned += int64(supervised)
	rate := float64(t.Optimizer.Rate(step))
	t.logStep(norm, rate)
	if t.Observe == nil {
		return nil
	}
	took := max(time.Since(start).Seconds(), 1e-9)
	dev := t.Model.Device()
	e := Step{
		Step: s.Step, Steps: t.Steps, Epoch: t.Batches.Epoch(s.Step),
		Loss: loss, LearningRate: rate, GradNorm: norm,
		Tokens: tokens, SupervisedTokens: supervised,
		TokensPerSecond: float64(tokens) / took, SupervisedTokensPerSecond: float64(supervised) / took,
		DeviceBytes: dev.Allocated(tensor.OnDevice),
		HostBytes:   dev.Allocated(tensor.Pinned) + dev.Allocated(tensor.OnHost),
		Seconds:     t.seconds(),
	}
	if t.Reporter != nil {
		r := t.Reporter.Traffic()
		e.RowsTouched, e.UnionShare, e.BytesToDevice, e.BytesToHost = r.RowsTouched, r.UnionShare(), r.UpBytes, r.DownBytes
		e.DeadNeurons, e.DroppedTokens, e.AuxiliaryLoss, e.LoadMax, e.LoadEntropy = r.Dead, r.Dropped, r.Auxiliary, r.LoadMax, r.LoadEntropy
	}
	nowUp, nowDown := t.moved()
	e.BytesToDevice += nowUp - up
	e.BytesToHost += nowDown - down
	t.Observe(e)
	return nil
}

// moved is what model and optimizer have copied so far, in bytes.
func (t *Trainer) moved() (up, down int64) {
	up, down = t.Optimizer.Moved()
	u, d := t.Model.Moved()
	return up + u, down + d
}

// gradients runs the micro-batches of a step and returns the mean loss of its
// supervised tokens.
func (t *Trainer) gradients(ctx context.Context, step int) (float64, error) {
	sum := 0.0
	for micro := range t.Batches.Micros(step) {
		// A step cut off here is made again from its beginning.
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		b := t.Batches.Batch(step, micro)
		b.Draw = uint64(step)<<32 + uint64(micro) + 1
		t.Model.Forward(b)
		loss := t.Model.Loss()
		if !finite(loss) {
			if err := t.Model.Device().Sync(); err != nil {
				return 0, fmt.Errorf("step %d: %w", step+1, err)
			}
			return 0, t.diverged("loss", loss, notFinite(t.Model, t.Batches, b))
		}
		sum += loss
		t.Model.Backward()
	}
	if _, supervised := t.Batches.Count(step); supervised > 0 {
		return sum / float64(supervised), nil
	}
	return 0, nil
}

// clipScale is what gradients of that norm are multiplied by, as
// torch.nn.utils.clip_grad_norm_ does it.
func (t *Trainer) clipScale(norm float64) float32 {
	if t.Clip <= 0 {
		return 1
	}
	return float32(min(1, t.Clip/(norm+1e-6)))
}

// Diverged is the error of a run whose loss or gradient is not finite. The
// parameters are those of the step before.
type Diverged struct {
	Step       int      // that could not be made, from 1
	What       string   // "loss" or "norm of the gradient"
	Value      float64  // NaN or an infinity
	Examples   []string // where the batch came from, up to ten
	Checkpoint string   // the last one, "" for none
	Clip       float64  // Trainer.Clip
}

// Error names the step, the examples and what to do.
func (d *Diverged) Error() string {
	clip := fmt.Sprintf("lower max_grad_norm (%v)", d.Clip)
	if d.Clip == 0 {
		clip = "set max_grad_norm (there is no limit)"
	}
	last := "there is no checkpoint yet"
	if d.Checkpoint != "" {
		last = d.Checkpoint + " is good"
	}
	return fmt.Sprintf("step %d: the %s is %v with the examples %s; nothing was updated and %s: lower learning_rate, use more warmup_steps, %s, or look at these examples",
		d.Step, d.What, d.Value, strings.Join(d.Examples, ", "), last, clip)
}

func (t *Trainer) diverged(what string, value float64, examples []string) error {
	d := &Diverged{Step: t.state.Step + 1, What: what, Value: value, Examples: examples, Clip: t.Clip}
	if t.Dir != "" {
		// The folder could be read at the start; if it cannot be any more, the
		// divergence is still what the user has to know.
		if found, err := Checkpoints(t.Dir); err == nil && len(found) > 0 {
			d.Checkpoint = name(found[len(found)-1])
		}
	}
	return d
}

// stepNames are the examples of all micro-batches of a step, up to ten.
func (t *Trainer) stepNames(step int) []string {
	var names []string
	for micro := range t.Batches.Micros(step) {
		t.Batches.pick(step, micro)
		for _, e := range t.Batches.Examples() {
			names = append(names, t.Batches.data.Where(int(e)))
		}
	}
	return firstTen(names)
}
