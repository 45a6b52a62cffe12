package train

import (
	"fmt"
	"math"
	"strings"

	"meft/model"
	"meft/tensor"
)

// BatchOptions say how Data is cut into batches.
type BatchOptions struct {
	Size         int    // examples of a micro-batch; with Packing, bins
	Accumulation int    // micro-batches of a step; 0 stands for 1
	MaxLength    int    // most tokens of an example; with Ahead, rows of a bin
	Ahead        int    // rows that the model takes for each example beside its tokens; see model.Ahead
	Packing      bool   // put examples together into bins of MaxLength + Ahead rows
	Ordered      bool   // take the examples as they come, every epoch, for evaluation
	Seed         uint64 // of the order
}

// Rows is the most rows of one micro-batch: what the model is built for.
func (o BatchOptions) Rows() int { return o.Size * (o.MaxLength + o.Ahead) }

// fit reports how batches are larger than what a model is built for. A bin with
// one example has the most tokens, and any bin the same rows at most.
func (o BatchOptions) fit(s model.Size) error {
	if o.Ahead == s.Ahead.Len() && s.Fits(o.Size, o.Size*o.MaxLength) {
		return nil
	}
	return fmt.Errorf("a batch may have %d rows, %d ahead of each example, the model is built for %d and %d", o.Rows(), o.Ahead, max(s.Rows, s.Keys), s.Ahead.Len())
}

// Batches cuts Data into micro-batches. What a batch holds is a pure function of
// (seed, step): there is no state, and any step can be asked for. Examples lie
// end to end in a batch, each with its own positions and seeing only itself, so
// there is no padding.
//
// Every epoch visits every example once, in an order of its own. With packing
// the bins are made once and every epoch shuffles the bins, so that all epochs
// have the same number of steps.
type Batches struct {
	data  *Data
	o     BatchOptions
	bins  bins    // empty without packing
	units int     // bins or examples
	order []int32 // [units] of epoch
	epoch int     // of order; -1 for none

	batch    model.Batch // whole buffers, Rows long
	examples []int32     // [examples] those of the last batch; only the first picked are set
	picked   int
	scaled   int     // step that scale is of; -1 for none
	scale    float32 // 1/(supervised tokens of the step)
}

// NewBatches plans the batches of d; its memory, but for a moment while packing,
// is taken from a, which may be planning. The error lists every setting and
// every example (up to ten) that does not fit.
func NewBatches(a *tensor.Arena, d *Data, o BatchOptions) (*Batches, error) {
	o.Accumulation = max(o.Accumulation, 1)
	if err := checkBatches(d, o); err != nil {
		return nil, err
	}
	b := &Batches{data: d, o: o, units: d.Len(), epoch: -1, scaled: -1}
	host := func(name string, n int) []int32 { return a.Int32(name, tensor.OnHost, n) }
	if o.Packing {
		b.bins = pack(d, o.MaxLength+o.Ahead, o.Ahead, o.Seed)
		b.units = len(b.bins.ends)
		if items, ends := host("bins", d.Len()), host("bin ends", b.units); ends != nil {
			copy(items, b.bins.items)
			copy(ends, b.bins.ends)
			b.bins = bins{items, ends}
		}
	}
	b.order = host("order", b.units)
	b.examples = host("picked", min(d.Len(), o.Rows()))
	rows := func(name string) []int32 { return host(name, o.Rows()) }
	b.batch = model.Batch{IDs: rows("rows"), Targets: rows("targets"), Pos: rows("positions"), Start: rows("starts")}
	return b, a.Err()
}

func checkBatches(d *Data, o BatchOptions) error {
	var problems []string
	if o.Size < 1 || o.MaxLength < 1 {
		problems = append(problems, fmt.Sprintf("a batch of %d examples of up to %d tokens; wanted 1 or more", o.Size, o.MaxLength))
	}
	if d.Len() == 0 {
		problems = append(problems, "there are no examples")
	} else if d.supervised == 0 {
		problems = append(problems, fmt.Sprintf("none of the %d tokens is learned: every answer is empty or masked", len(d.ids)))
	}
	long := 0
	for i := range d.Len() {
		from, to := d.span(i)
		if to-from <= o.MaxLength {
			continue
		}
		if long++; long <= 10 {
			problems = append(problems, fmt.Sprintf("%s has %d tokens, the longest allowed is %d", d.Where(i), to-from, o.MaxLength))
		}
	}
	if long > 10 {
		problems = append(problems, fmt.Sprintf("and %d more examples that are too long", long-10))
	}
	if problems == nil {
		return nil
	}
	return fmt.Errorf("batches: %s", strings.Join(problems, "\n  "))
}

// Data is what the batches are cut from.
func (b *Batches) Data() *Data { return b.data }

// MicroPerEpoch is the number of micro-batches of an epoch, the last of which
// may be smaller.
func (b *Batches) MicroPerEpoch() int { return (b.units + b.o.Size - 1) / b.o.Size }

// StepsPerEpoch is the number of optimizer steps of an epoch. As in Hugging
// Face's trainer, what is left of an epoch makes a shorter last step.
func (b *Batches) StepsPerEpoch() int {
	return (b.MicroPerEpoch() + b.o.Accumulation - 1) / b.o.Accumulation
}

// Steps is the number of steps of a run, as Hugging Face counts them: maxSteps
// if above 0, else epochs times the steps of an epoch, rounded up.
func (b *Batches) Steps(epochs float64, maxSteps int) int {
	if maxSteps > 0 {
		return maxSteps
	}
	return int(math.Ceil(epochs * float64(b.StepsPerEpoch())))
}

// Epoch is the number of epochs done after the first steps steps, a fraction of
// the micro-batches.
func (b *Batches) Epoch(steps int) float64 {
	per := b.StepsPerEpoch()
	return float64(steps/per) + float64(steps%per*b.o.Accumulation)/float64(b.MicroPerEpoch())
}

// Micros is the number of micro-batches of a step.
func (b *Batches) Micros(step int) int {
	first := step % b.StepsPerEpoch() * b.o.Accumulation
	return min(b.o.Accumulation, b.MicroPerEpoch()-first)
}

// EpochEnd reports whether step is the last of its epoch.
func (b *Batches) EpochEnd(step int) bool { return (step+1)%b.StepsPerEpoch() == 0 }

// Batch is micro-batch micro of a step. Its Scale is 1/(supervised tokens of
// the whole step), so that the gradient is that of the mean loss. The slices
// are used again by the next call.
func (b *Batches) Batch(step, micro int) model.Batch {
	b.scaleOf(step)
	b.pick(step, micro)
	n := 0
	for _, e := range b.examples[:b.picked] {
		n = b.lay(n, int(e))
	}
	return model.Batch{IDs: b.batch.IDs[:n], Targets: b.batch.Targets[:n], Pos: b.batch.Pos[:n], Start: b.batch.Start[:n], Scale: b.scale}
}

// Examples are the indices of the examples in the last batch, in order. The
// slice is used again by the next call of Batch.
func (b *Batches) Examples() []int32 { return b.examples[:b.picked] }

// lay puts the rows of an example at row n on and returns where the next goes.
func (b *Batches) lay(n, example int) int {
	d := b.data
	from, to := d.span(example)
	for t := from; t < to; t++ {
		i := n + t - from
		b.batch.IDs[i] = d.ids[t]
		b.batch.Pos[i] = int32(t - from)
		b.batch.Start[i] = int32(n)
		b.batch.Targets[i] = -1
		if t+1 < to && d.learned(t+1) {
			b.batch.Targets[i] = d.ids[t+1]
		}
	}
	return n + to - from
}

// pick sets examples to those of a micro-batch.
func (b *Batches) pick(step, micro int) {
	b.arrange(step / b.StepsPerEpoch())
	first := (step%b.StepsPerEpoch()*b.o.Accumulation + micro) * b.o.Size
	b.picked = 0
	for _, unit := range b.order[first:min(first+b.o.Size, b.units)] {
		if b.bins.ends == nil {
			b.examples[b.picked] = unit
			b.picked++
			continue
		}
		b.picked += copy(b.examples[b.picked:], b.bins.of(unit))
	}
}

// arrange sets order to that of an epoch.
func (b *Batches) arrange(epoch int) {
	if b.epoch == epoch || b.o.Ordered && b.epoch >= 0 {
		return
	}
	b.epoch = epoch
	if b.o.Ordered {
		for i := range b.order {
			b.order[i] = int32(i)
		}
		return
	}
	shuffle(b.order, b.o.Seed, uint64(epoch))
}

// scaleOf sets scale to that of a step; 0 where nothing is learned.
func (b *Batches) scaleOf(step int) {
	if b.scaled == step {
		return
	}
	_, supervised := b.Count(step)
	b.scaled, b.scale = step, 0
	if supervised > 0 {
		b.scale = float32(1 / float64(supervised))
	}
}

// Count is the number of tokens of a step and of those that are learned.
func (b *Batches) Count(step int) (tokens, supervised int) {
	for micro := range b.Micros(step) {
		b.pick(step, micro)
		for _, e := range b.examples[:b.picked] {
			from, to := b.data.span(int(e))
			tokens += to - from
			supervised += b.data.supervisedIn(int(e))
		}
	}
	return tokens, supervised
}
