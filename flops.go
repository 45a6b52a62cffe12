package meft

import (
	"math"
	"time"

	"meft/method"
	"meft/model"
	"meft/param"
	"meft/tensor"
)

// stepFlops is the number of floating point operations of one optimizer step
// over the model's matrices and attention: two a weight and token forward, two
// for the gradient of inputs (not with Size.Aside, but in the head), two for that
// of weights where they are trained, and two more where activations are rebuilt. Embeddings are looked up, and the
// head only sees supervised tokens.
func stepFlops(c model.Config, s model.Size, tokens, supervised, context int) float64 {
	head := float64(c.Vocab) * float64(c.Dim)
	body := float64(c.Parameters()) - head
	if !c.Tied {
		body -= head
	}
	passes := 4.0
	if s.Weights {
		passes += 2
	}
	headPasses := passes
	if s.Aside {
		passes = 2
	}
	if s.Rebuild {
		passes += 2
	}
	attention := 2 * float64(c.Layers*c.Heads*c.HeadDim) * float64(context) // causal: half of 4
	return float64(tokens)*(passes*body+(passes/2)*attention) + float64(supervised)*headPasses*head
}

// trainFlops is the number of floating point operations that training on a
// token needs, the measure of utilisation that measurements of other programs
// share: six for each trained weight in a product, four for a frozen one (the
// embedding is looked up, the head is a product), and the half of attention
// that causality leaves, forward and backward; through blocks that no gradient
// enters, forward only, two for a weight. What is computed again does not count. rows is the tokens of a sequence.
func trainFlops(c model.Config, m method.Method, trained *param.Set, rows int) float64 {
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	weights := c.Layers*(2*c.Dim*(q+kv)+3*c.Dim*c.Hidden) + c.Vocab*c.Dim
	attention := 0.0
	for _, window := range c.Window {
		keys := float64(rows+1) / 2 // that a query sees, on average
		if window > 0 && window < rows {
			keys = float64(window) * (float64(rows) - float64(window-1)/2) / float64(rows)
		}
		attention += 3 * 4 * float64(q) * keys
	}
	if m.Reach() == method.ToWeights {
		return 6*float64(weights) + attention
	}
	beside := 0.0
	if f, ok := m.(interface{ Flops(model.Config) float64 }); ok {
		beside = f.Flops(c)
	} else {
		for _, d := range trained.Dense {
			if d.W.Rank > 1 && !d.Fixed() {
				beside += 6 * float64(d.W.Len())
			}
		}
	}
	if m.Reach() == method.ToTop {
		head := float64(c.Vocab * c.Dim)
		return 2*(float64(weights)-head) + 4*head + attention/3 + beside
	}
	return 4*float64(weights) + attention + beside
}

// stepEfficiency is the share of the speed of a large product that a whole
// training step reached on the machines it was measured on (docs/benchmarks.md).
const stepEfficiency = 0.7

// copyShare is the share of the speed of reading at which copies and the step of
// rows go: 14 to 24 GB/s, counting what they read and write, where reading gives
// 25 to 30 (docs/benchmarks.md).
const copyShare = 0.6

// stepSeconds predicts an optimizer step from what this machine does for a
// moment; 0 if it cannot be measured.
func (j *job) stepSeconds(tokens, supervised int) float64 {
	c := j.config
	speed := productSpeed(c.Threads, j.base)
	if speed == 0 {
		return 0
	}
	ahead := j.size.Ahead // a row of a prompt is as much work as that of a token, a prefix is only attended to
	tokens += c.Batch * c.Accumulation * ahead.Prompt
	seconds := stepFlops(j.base.config, j.size, tokens, supervised, j.length+ahead.Prompt+2*ahead.Prefix) / (speed * stepEfficiency)
	if m, ok := j.method.(method.Worker); ok {
		work := m.Work(j.base.config, c.Batch*j.length, c.Accumulation)
		seconds += work.Ops / speed
		if read := readSpeed(c.Threads, j.base); read > 0 {
			seconds += work.Bytes / (read * copyShare)
		}
	}
	return seconds
}

// readSpeed measures this machine's memory for a moment, in bytes per second;
// the fastest counts.
func readSpeed(threads int, of *base) float64 {
	dev := of.device(threads)
	defer dev.Close()
	var plan, used tensor.Ledger
	planned := tensor.NewPlan(&plan)
	planned.New("bench.memory", tensor.F32, probeBytes/4)
	a := tensor.NewArena(dev, &used, &plan)
	defer a.Close()
	p, err := newProbe(dev, a, probeBytes)
	if err != nil {
		return 0
	}
	best := 0.0
	for range probeParts {
		best = max(best, p.read())
	}
	return best
}

// productSpeed measures this machine's matrix products for a moment, in
// operations per second. The fastest counts: others were disturbed.
func productSpeed(threads int, of *base) float64 {
	c, dev := of.config, of.device(threads)
	defer dev.Close()
	var plan, used tensor.Ledger
	n, in, out := 256, min(c.Dim, 2048), min(c.Hidden, 4096)
	alloc := func(a *tensor.Arena) (y, x, w tensor.Tensor) {
		return a.New("y", tensor.F32, n, out), a.New("x", tensor.F32, n, in), a.New("w", tensor.F32, out, in)
	}
	alloc(tensor.NewPlan(&plan))
	a := tensor.NewArena(dev, &used, &plan)
	defer a.Close()
	y, x, w := alloc(a)
	if a.Err() != nil {
		return 0
	}
	dev.Fill(x, 1)
	dev.Fill(w, 1)
	product := func() { dev.MatMul(y, x, w, tensor.MatMulOpts{TransB: true}) }
	product()
	const span = 100 * time.Millisecond
	best := time.Duration(math.MaxInt64)
	for start := time.Now(); time.Since(start) < span; {
		t := time.Now()
		product()
		best = min(best, time.Since(t))
	}
	return 2 * float64(n) * float64(in) * float64(out) / best.Seconds()
}
