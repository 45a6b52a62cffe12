package param

import (
	"fmt"
	"math"

	"meft/internal/simd"
	"meft/tensor"
)

// Optimizer makes AdamW steps on a Set: on the device for Dense unless it was
// made by NewOffloaded, on the host for Tables. It allocates nothing after it was
// made.
type Optimizer struct {
	dev    tensor.Device
	dense  []*Dense // those of the set that are trained
	tables []*Table
	adamw  AdamW
	rate   func(step int) float32
	sums   tensor.Tensor // [len(dense)] sums of squares of the gradients
	host   []float32     // pinned copy of sums
	ferry  *ferry        // nil with the moments of Dense on the device
	hand   hand          // for steps of Dense on the host
}

// NewOptimizer makes the optimizer of what is trained in set, with the moments
// of every Dense where its weight lives; fixed members are left alone. a may be
// planning. rate is the learning rate by step, a pure function (see Schedule).
// pool is for the work on tables; nil leaves each table the pool it was made
// with. It panics on a set with nothing to train.
func NewOptimizer(a *tensor.Arena, pool *simd.Pool, set *Set, w AdamW, rate func(step int) float32) *Optimizer {
	o := newOptimizer(a, pool, set, w, rate)
	a = a.Sub("optimizer")
	for _, d := range o.dense {
		if d.Home != nil {
			continue
		}
		dims := d.W.Dims[:d.W.Rank]
		d.M, d.V = a.New(d.Name+".m", tensor.F32, dims...), a.New(d.Name+".v", tensor.F32, dims...)
	}
	return o
}

// newOptimizer has no moments but of what lives on the host.
func newOptimizer(a *tensor.Arena, pool *simd.Pool, set *Set, w AdamW, rate func(step int) float32) *Optimizer {
	o := &Optimizer{dev: a.Device(), adamw: w, rate: rate, hand: newHand(pool)}
	for _, d := range set.Dense {
		if !d.Fixed() {
			o.dense = append(o.dense, d)
		}
	}
	for _, t := range set.Tables {
		if t.Fixed() {
			continue
		}
		o.tables = append(o.tables, t)
		if pool != nil {
			t.o.Pool, t.level = pool, pool.Level()
		}
	}
	n := len(o.dense)
	if n+len(o.tables) == 0 {
		panic(fmt.Sprintf("param: nothing to train among %d tensors and %d tables", len(set.Dense), len(set.Tables)))
	}
	if n > 0 {
		o.sums = a.New("optimizer.norms", tensor.F32, n)
		o.host = a.Float32("optimizer.norms.host", tensor.Pinned, n)
	}
	for _, d := range o.dense {
		if d.Home != nil {
			d.away = newAway(a.Sub("optimizer"), d)
		}
	}
	return o
}

// Rate is the learning rate of a step, counted from 0.
func (o *Optimizer) Rate(step int) float32 { return o.rate(step) }

// Norm is the L2 norm of all gradients, summed in a fixed order. It waits for
// the device and returns its fault, if any. A norm that is not finite is
// returned as it is.
func (o *Optimizer) Norm() (float64, error) {
	for i, d := range o.dense {
		switch sum := o.sums.Rows(i, i+1); {
		case d.Home == nil:
			o.dev.SumSquares(sum, d.D)
		case *d.Home.Zero:
			o.dev.Fill(sum, 0)
		default:
			o.dev.Convert(sum, d.Home.Sum)
		}
	}
	sum := 0.0
	if len(o.dense) > 0 {
		o.dev.Await(o.dev.Download(tensor.Bytes(o.host), o.sums))
		for _, s := range o.host {
			sum += float64(s)
		}
	}
	for _, t := range o.tables {
		sum += t.SumSquares()
	}
	return math.Sqrt(sum), o.dev.Sync()
}

// Step makes step number step, counted from 0, with gradients multiplied by
// clipScale. They stay as they are until ZeroGrad.
func (o *Optimizer) Step(step int, clipScale float32) {
	opts := o.adamw.opts(step, o.rate(step), clipScale)
	for _, d := range o.dense {
		if d.Still {
			continue
		}
		switch {
		case d.Home != nil:
			o.hand.home(d, opts)
		case d.away == nil:
			o.dev.AdamW(d.W, d.D, d.M, d.V, d.own(opts))
		}
		d.changes++
	}
	if o.ferry != nil {
		o.ferry.step(&o.hand, opts)
	}
	for _, t := range o.tables {
		t.Step(step, o.adamw, o.rate, clipScale)
	}
}

// Moved is the number of bytes that steps have copied to the device and to the
// host, since the optimizer was made.
func (o *Optimizer) Moved() (up, down int64) {
	if o.ferry == nil {
		return 0, 0
	}
	return o.ferry.upBytes, o.ferry.downBytes
}

// ZeroGrad clears all gradients.
func (o *Optimizer) ZeroGrad() {
	for _, d := range o.dense {
		if d.Home != nil {
			*d.Home.Zero = true
		} else {
			o.dev.Fill(d.D, 0)
		}
	}
	for _, t := range o.tables {
		t.ZeroGrad()
	}
}
