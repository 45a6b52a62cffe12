package meft

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"meft/cpu"
	"meft/tensor"
)

// BenchOptions say how long measurements go on, and what is generated. The
// zero value of a field stands for BenchDefaults.
type BenchOptions struct {
	Repeats   int     // rounds of every kernel and generation; measured steps of training, at least
	Warmup    int     // steps of training before the measured ones
	Seconds   float64 // that measured training takes, at least
	Prompt    int     // tokens of a prompt
	New       int     // tokens generated after a prompt of one token
	Sequences []int   // how many are generated at once
}

// BenchDefaults are the options of a run that takes a few seconds at a small
// shape.
func BenchDefaults() BenchOptions {
	return BenchOptions{Repeats: 5, Warmup: 1, Seconds: 5, Prompt: 128, New: 32, Sequences: []int{1, 4, 8}}
}

// filled puts the defaults where nothing is set, and refuses what cannot be.
func (o BenchOptions) filled() (BenchOptions, error) {
	d := BenchDefaults()
	for _, f := range []struct {
		v    *int
		d    int
		name string
	}{{&o.Repeats, d.Repeats, "repeats"}, {&o.Warmup, d.Warmup, "warmup"}, {&o.Prompt, d.Prompt, "prompt_tokens"}, {&o.New, d.New, "new_tokens"}} {
		if *f.v < 0 {
			return o, &UsageError{fmt.Errorf("%s is %d, wanted 1 or more", f.name, *f.v)}
		}
		if *f.v == 0 {
			*f.v = f.d
		}
	}
	if o.Seconds < 0 {
		return o, &UsageError{fmt.Errorf("seconds is %v, wanted 0 or more", o.Seconds)}
	}
	if o.Seconds == 0 {
		o.Seconds = d.Seconds
	}
	if len(o.Sequences) == 0 {
		o.Sequences = d.Sequences
	}
	for _, n := range o.Sequences {
		if n < 1 {
			return o, &UsageError{fmt.Errorf("sequences has %d, wanted 1 or more", n)}
		}
	}
	return o, nil
}

// BenchCase is what a measurement was made of; it begins every line of
// meft bench --json.
type BenchCase struct {
	Type      string `json:"type"`  // kernels, train or generate
	Shape     string `json:"shape"` // built-in shape, or model folder
	BaseDType string `json:"base_dtype"`
	Threads   int    `json:"threads"`
	Device    string `json:"device"`
	Version   string `json:"version"`
}

func benchCase(kind string, b *base, dev *cpu.Device) BenchCase {
	return BenchCase{Type: kind, Shape: b.name, BaseDType: b.frozen.String(), Threads: dev.Threads(), Device: dev.Name(), Version: Version}
}

// spread is a median with what it lies between.
type spread struct{ median, least, most float64 }

// spreadOf sorts the values; there is at least one.
func spreadOf(v []float64) spread {
	slices.Sort(v)
	return spread{median: (v[(len(v)-1)/2] + v[len(v)/2]) / 2, least: v[0], most: v[len(v)-1]}
}

// The machine is probed between measurements, for a few milliseconds each time,
// so that both meet the same conditions.
const (
	peakSpan   = 5 * time.Millisecond
	probeBytes = 256 << 20 // far more than a processor's caches
	probeParts = 8
)

// probe measures what the machine can do at best at the moment.
type probe struct {
	dev    *cpu.Device
	memory tensor.Tensor // F32 [n]; none if only arithmetic is measured
	part   int           // of memory, read last
}

func (p *probe) peak() float64 { return p.dev.PeakSpeed(peakSpan) }

// read goes through memory a part at a time, so that no part is in a cache when
// it comes round again.
func (p *probe) read() float64 {
	n := p.memory.Dim(0) / probeParts
	p.part = (p.part + 1) % probeParts
	return p.dev.ReadSpeed(p.memory.Rows(p.part*n, (p.part+1)*n))
}

// newProbe takes the memory of a probe from a, which is no run's.
func newProbe(dev *cpu.Device, a *tensor.Arena, bytes int64) (*probe, error) {
	p := &probe{dev: dev, memory: a.New("bench.memory", tensor.F32, int(max(bytes, probeBytes)/4))}
	if a.Err() != nil {
		return nil, fmt.Errorf("memory to measure with: %w", a.Err())
	}
	dev.Fill(p.memory, benchFill)
	return p, nil
}

// benchFill is a small number as F32 whose halves are two of it as BF16: memory
// filled with it holds ordinary numbers of either type.
const benchFill = 0x1.0078p-7

// overBudgetError is nil when a plan fits the budgets.
func overBudgetError(p *Plan) error {
	if len(p.Problems) == 0 {
		return nil
	}
	return fmt.Errorf("%s", strings.Join(p.Problems, "\n"))
}
