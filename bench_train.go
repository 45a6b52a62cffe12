package meft

import (
	"context"
	"errors"
	"math"
	"reflect"
	"sort"
	"strings"
	"time"

	"meft/cpu"
	"meft/internal/simd"
	"meft/tensor"
	"meft/train"
)

// TrainBench is the speed of training on rows of random tokens.
type TrainBench struct {
	BenchCase
	Method        string      `json:"method"`
	Batch         int         `json:"batch"` // rows of a micro-batch
	Seq           int         `json:"seq"`   // tokens of a row
	Accumulation  int         `json:"accumulation"`
	Steps         int         `json:"steps"` // that were measured
	TokS          float64     `json:"tok_s"` // tokens a second: the median of the steps
	MinTokS       float64     `json:"min_tok_s"`
	MaxTokS       float64     `json:"max_tok_s"`
	StepSeconds   float64     `json:"step_s"`          // median
	FlopsPerToken float64     `json:"flops_per_token"` // that the method needs
	GFlops        float64     `json:"gflops"`          // a second, at tok_s
	PeakGFlops    float64     `json:"peak_gflops"`     // measured between the steps, median
	Utilisation   float64     `json:"utilisation"`     // share of the peak, median of the steps
	Trained       int64       `json:"trained_parameters"`
	DeviceBytes   int64       `json:"device_bytes"` // largest, by the ledger
	PinnedBytes   int64       `json:"pinned_bytes"`
	HostBytes     int64       `json:"host_bytes"`
	RSSMiB        int64       `json:"rss_mib"`                   // largest resident memory of the process, 0 where unknown
	UnionShare    float64     `json:"union_share,omitempty"`     // of a block's rows that a micro-batch brought in
	BytesToDevice int64       `json:"bytes_to_device,omitempty"` // by the method, a step
	BytesToHost   int64       `json:"bytes_to_host,omitempty"`
	Parts         []BenchPart `json:"parts"`
}

// BenchPart is one kind of work in a training step.
type BenchPart struct {
	Name    string  `json:"name"`
	Where   string  `json:"where"` // device or host
	Calls   float64 `json:"calls"` // a step
	Seconds float64 `json:"seconds"`
	Share   float64 `json:"share"`            // of the step
	GFlops  float64 `json:"gflops,omitempty"` // a second, of products
}

// meter is the processor as a device that is measured. What its threads do
// between kernels is counted by the type of the task.
type meter struct {
	tensor.Timed
	cpu  *cpu.Device
	host map[reflect.Type]*tensor.Spent
}

func newMeter(dev *cpu.Device) *meter {
	m := &meter{cpu: dev, host: map[reflect.Type]*tensor.Spent{}}
	m.Device = m.cpu
	m.cpu.Pool().Watch(func(t simd.Task, took time.Duration) {
		typ := reflect.TypeOf(t).Elem()
		if strings.HasSuffix(typ.PkgPath(), "/cpu") {
			return // a kernel of the device
		}
		if m.host[typ] == nil {
			m.host[typ] = &tensor.Spent{}
		}
		m.host[typ].Calls++
		m.host[typ].Time += took
	})
	return m
}

// Pool is the processor's, for work on host memory.
func (m *meter) Pool() *simd.Pool { return m.cpu.Pool() }

// clear starts the counts over.
func (m *meter) clear() {
	m.Spent = [tensor.Ops]tensor.Spent{}
	clear(m.host)
}

// hostNames are the tasks on the host as people know them; others go by the
// name of their type.
var hostNames = map[string]string{"method.probeTask": "choose experts", "method.scoreTask": "score keys", "method.keepTask": "choose neurons", "param.gatherTask": "gather rows", "param.scatterTask": "scatter rows",
	"param.stepTask": "optimizer of rows", "param.sumTask": "norm of rows"}

// parts are shares of what the steps took together, largest first.
func (m *meter) parts(steps int, took time.Duration) []BenchPart {
	var out []BenchPart
	rest := took
	add := func(name, where string, s tensor.Spent) {
		p := BenchPart{Name: name, Where: where, Calls: float64(s.Calls) / float64(steps), Seconds: s.Time.Seconds() / float64(steps), Share: s.Time.Seconds() / took.Seconds()}
		if s.Flops > 0 && s.Time > 0 {
			p.GFlops = s.Flops / s.Time.Seconds() / 1e9
		}
		out = append(out, p)
		rest -= s.Time
	}
	for o, s := range m.Spent {
		if s.Calls > 0 {
			add(tensor.Op(o).String(), "device", s)
		}
	}
	for typ, s := range m.host {
		name, known := hostNames[typ.String()]
		if !known {
			name = typ.String()
		}
		add(name, "host", *s)
	}
	add("other work", "host", tensor.Spent{Calls: int64(steps), Time: max(rest, 0)})
	sort.SliceStable(out, func(i, j int) bool { return out[i].Seconds > out[j].Seconds })
	return out
}

// BenchTrain measures training as c describes it, on random tokens: the model,
// method, optimizer and loop are those of Train, with random weights for a
// built-in shape. It reads no rows and writes nothing.
func BenchTrain(ctx context.Context, c Config, o BenchOptions) (*TrainBench, error) {
	o, err := o.filled()
	if err != nil {
		return nil, err
	}
	j, err := benchJob(c)
	if err != nil {
		return nil, err
	}
	plan, err := j.plan()
	if err == nil {
		err = overBudgetError(plan)
	}
	if err != nil {
		return nil, err
	}
	rss := forgetPeakRSS()
	m := newMeter(j.base.device(c.Threads))
	var p pieces
	e, err := j.recipe(&p).buildOn(m, plan.Ledger)
	if err != nil {
		return nil, err
	}
	defer e.Close()
	t := j.trainer("", e, &p)
	s, err := measureSteps(ctx, t, m, o)
	if err != nil {
		return nil, err
	}
	b := &TrainBench{BenchCase: benchCase("train", j.base, m.cpu), Method: c.Method, Batch: c.Batch, Seq: j.length, Accumulation: c.Accumulation,
		Trained: e.params.Parameters(), FlopsPerToken: trainFlops(j.base.config, j.method, e.params, j.length),
		DeviceBytes: e.ledger.Peak(tensor.OnDevice), PinnedBytes: e.ledger.Peak(tensor.Pinned), HostBytes: e.ledger.Peak(tensor.OnHost)}
	if rss {
		b.RSSMiB = peakRSS() >> 20
	}
	s.report(b, m)
	return b, nil
}

// benchJob is a job on random tokens that leaves nothing behind.
func benchJob(c Config) (*job, error) {
	c.RandomWeights = c.Shape != ""
	c.Data, c.ValidationData, c.ValSize = "", "", 0
	c.EvalStrategy, c.SaveStrategy, c.Resume = "no", "no", ""
	c.KeepBest, c.Patience = false, 0
	c.Packing = false
	c.MaxSteps = math.MaxInt32 // whoever measures ends it
	j, err := newJob(c)
	if err != nil {
		return nil, err
	}
	if j.data == nil {
		j.data, j.report = randomRows(j.base.config, j.context(), c)
		j.resize()
	}
	return j, nil
}

// steps are measured steps of training.
type steps struct {
	tokens   int
	seconds  []float64
	peaks    []float64 // FLOP/s after each step
	together time.Duration
	last     train.Step
}

// measureSteps trains until enough has been measured. The peak is measured
// between steps, and does not count.
func measureSteps(ctx context.Context, t *train.Trainer, m *meter, o BenchOptions) (*steps, error) {
	ctx, enough := context.WithCancelCause(ctx)
	defer enough(nil)
	s := &steps{}
	probe := probe{dev: m.cpu}
	var start time.Time
	t.Observe = func(e train.Event) {
		step, ok := e.(train.Step)
		if !ok || context.Cause(ctx) != nil {
			return
		}
		took := time.Since(start)
		if step.Step > o.Warmup {
			s.tokens, s.last = step.Tokens, step
			s.seconds = append(s.seconds, took.Seconds())
			s.together += took
			s.peaks = append(s.peaks, probe.peak())
		}
		if len(s.seconds) >= o.Repeats && s.together.Seconds() >= o.Seconds {
			enough(errMeasured)
		}
		if step.Step == o.Warmup {
			m.clear()
		}
		start = time.Now()
	}
	m.clear()
	start = time.Now()
	_, err := t.Run(ctx)
	if context.Cause(ctx) != errMeasured {
		return nil, err
	}
	return s, nil
}

// errMeasured ends training when enough has been measured.
var errMeasured = errors.New("measured")

// report fills in what the steps came to.
func (s *steps) report(b *TrainBench, m *meter) {
	b.Steps = len(s.seconds)
	b.Parts = m.parts(b.Steps, s.together)
	shares := make([]float64, b.Steps)
	for i, took := range s.seconds {
		shares[i] = b.FlopsPerToken * float64(s.tokens) / took / s.peaks[i]
	}
	took := spreadOf(s.seconds)
	b.StepSeconds = took.median
	b.TokS, b.MinTokS, b.MaxTokS = float64(s.tokens)/took.median, float64(s.tokens)/took.most, float64(s.tokens)/took.least
	b.GFlops = b.FlopsPerToken * b.TokS / 1e9
	b.PeakGFlops = spreadOf(s.peaks).median / 1e9
	b.Utilisation = spreadOf(shares).median
	b.UnionShare, b.BytesToDevice, b.BytesToHost = s.last.UnionShare, s.last.BytesToDevice, s.last.BytesToHost
}
