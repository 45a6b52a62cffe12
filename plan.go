package meft

import (
	"fmt"
	"math"
	"strings"

	"meft/method"
	"meft/task"
	"meft/tensor"
)

// Plan is what a run will take, known before anything is allocated.
type Plan struct {
	Model       string
	Method      string
	Parameters  int64          // of the base model
	Trained     int64          // of the method
	Projected   int64          // numbers of its adapter where that is computed of what is trained, else 0
	Ledger      *tensor.Ledger // every tensor by name
	Device      int64          // bytes of device memory
	Pinned      int64
	Host        int64
	Disk        int64        // bytes of a file for host tables, with host_store disk
	Fixed       int64        // bytes of the program itself, on the host
	Tokens      int          // most tokens of an optimizer step
	Steps       int          // 0 without data
	StepSeconds float64      // predicted for a full step
	Data        *task.Report // nil without data
	Validation  *task.Report
	KeepsZeros  string   // pattern of a pruned base that a method trains without its zeros; "" for none
	Problems    []string // budgets that would be broken, and what would fit
}

// MakePlan predicts the memory of a run to the byte, and its speed roughly. A
// broken budget is not an error but a Problem.
func MakePlan(c Config) (*Plan, error) {
	j, err := newJob(c)
	if err != nil {
		return nil, err
	}
	p, err := j.plan()
	if err != nil {
		return nil, err
	}
	supervised := p.Tokens
	if j.data != nil && j.data.Tokens() > 0 {
		supervised = int(float64(p.Tokens) * float64(j.data.Supervised()) / float64(j.data.Tokens()))
	}
	p.StepSeconds = j.stepSeconds(p.Tokens, supervised)
	return p, nil
}

// plan makes the ledger and checks the budgets.
func (j *job) plan() (*Plan, error) {
	var p pieces
	l, trained, err := j.ledger(&p)
	if err != nil {
		return nil, err
	}
	c := j.config
	out := &Plan{Model: j.base.name, Method: c.Method, Parameters: j.base.config.Parameters(), Trained: trained, Ledger: l,
		Device: l.Used(tensor.OnDevice), Pinned: l.Used(tensor.Pinned), Host: l.Used(tensor.OnHost), Disk: l.Used(tensor.OnDisk), Fixed: programSize(c.Model),
		KeepsZeros: j.keepsZeros(), Tokens: c.Batch * j.length * c.Accumulation, Steps: p.steps, Data: j.report, Validation: j.vreport}
	if projected := method.Projected(j.method); projected != nil {
		out.Projected = projected.Parameters()
	}
	out.Problems = overBudget(c, l)
	if len(out.Problems) > 0 {
		out.Problems = append(out.Problems, j.suggestion())
	}
	return out, nil
}

func (j *job) ledger(p *pieces) (*tensor.Ledger, int64, error) {
	l, parts, err := j.recipe(p).planned()
	if err != nil {
		return nil, 0, err
	}
	return l, parts.params.Parameters(), nil
}

// suggestion names the mildest settings that would fit.
func (j *job) suggestion() string {
	fits := fitting(j.config, func(c Config) (*tensor.Ledger, error) {
		other := *j
		other.config = c
		var err error
		if other.method, err = newMethod(c.Method, c.Settings); err != nil {
			return nil, err
		}
		if err := other.method.Check(j.base.config); err != nil {
			return nil, err
		}
		b := *j.base
		other.base = &b
		if err := b.chooseType(c); err != nil {
			return nil, err
		}
		if err := b.suits(c.Method, other.method); err != nil {
			return nil, err
		}
		if c.MaxLength < j.config.MaxLength && (j.data != nil && j.data.Longest() > c.MaxLength) {
			return nil, fmt.Errorf("shorter rows would cut the data")
		}
		other.resize()
		l, _, err := other.ledger(&pieces{})
		return l, err
	})
	if fits == "" {
		return "no setting of batch, length, buffer or adapter size makes this model fit; use a smaller model or a larger budget"
	}
	return "this would fit: " + fits
}

// Groups sums the ledger under the names people look for, largest first by pool.
func (p *Plan) Groups() []tensor.Group { return p.Ledger.Groups(memoryGroup) }

// moments is the bytes of the optimizer's moments in all pools, in the form that
// a checkpoint keeps them in.
func (p *Plan) moments() (bytes int64) {
	for _, g := range p.Groups() {
		if g.Name == momentGroup {
			bytes += g.Bytes
		}
	}
	return bytes
}

// memoryGroup is the part of a run that a tensor belongs to.
func memoryGroup(e tensor.Entry) string {
	switch {
	case strings.HasPrefix(e.Name, "host.weights."):
		return "model weights"
	case strings.HasPrefix(e.Name, "host.grads."):
		return "weight gradients"
	case e.Pool == tensor.Pinned:
		return "staging"
	case strings.HasPrefix(e.Name, "optimizer.") && isMoment(e.Name):
		return momentGroup
	case strings.HasPrefix(e.Name, "optimizer.") && strings.HasSuffix(e.Name, ".w"):
		return "weights of the optimizer"
	}
	name := strings.TrimPrefix(e.Name, "side.") // blocks of a ladder are blocks too
	for _, g := range []struct{ prefix, name string }{
		{"weights.", "model weights"}, {"grads.", "weight gradients"}, {"acts.", "activations"}, {"overlay acts", "activations"},
		{"cache.", "keys and values of generation"}, {"scratch.", "scratch"}, {"overlay branch", "method scratch"}, {"branch.", "method scratch"},
		{"batch.", "batch"}, {"loss.", "logits and loss"}, {"rope", "rotary table"}, {"data.", "data"}, {"optimizer", "optimizer"},
	} {
		if strings.HasPrefix(name, g.prefix) {
			return g.name
		}
	}
	switch {
	case isMoment(e.Name): // of a table
		return momentGroup
	case strings.HasSuffix(e.Name, ".grad"):
		return "adapter gradients"
	case strings.HasPrefix(e.Name, "method."):
		return "adapter"
	}
	return e.Name
}

// momentGroup is what a checkpoint keeps beside the values.
const momentGroup = "optimizer moments"

func isMoment(name string) bool {
	name = strings.TrimSuffix(name, ".scale")
	return strings.HasSuffix(name, ".m") || strings.HasSuffix(name, ".v") || strings.HasSuffix(name, ".steps")
}

// perplexity is e to the loss, held in range.
func perplexity(loss float64) float64 { return min(math.Exp(loss), math.MaxFloat64) }
