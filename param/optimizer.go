package param

import (
	"fmt"
	"math"

	"meft/internal/simd"
	"meft/tensor"
)

// Optimizer makes AdamW steps on a Set: on the device for Dense, on the host
// for Tables. It allocates nothing after it was made.
type Optimizer struct {
	dev   tensor.Device
	set   *Set
	adamw AdamW
	rate  func(step int) float32
	sums  tensor.Tensor // [len(set.Dense)] sums of squares of the gradients
	host  []float32     // pinned copy of sums
}

// NewOptimizer makes the optimizer of set; a may be planning. rate is the
// learning rate by step, a pure function (see Schedule). pool is for the work on
// tables; nil leaves each table the pool it was made with. It panics on a set
// that was made without gradients.
func NewOptimizer(a *tensor.Arena, pool *simd.Pool, set *Set, w AdamW, rate func(step int) float32) *Optimizer {
	for _, d := range set.Dense {
		if d.Fixed() {
			panic(fmt.Sprintf("param: %s has no gradient", d.Name))
		}
	}
	for _, t := range set.Tables {
		if t.Fixed() {
			panic(fmt.Sprintf("param: %s has no gradient", t.Name))
		}
		if pool != nil {
			t.o.Pool, t.level = pool, pool.Level()
		}
	}
	o := &Optimizer{dev: a.Device(), set: set, adamw: w, rate: rate}
	if n := len(set.Dense); n > 0 {
		o.sums = a.New("optimizer.norms", tensor.F32, n)
		o.host = a.Float32("optimizer.norms", tensor.Pinned, n)
	}
	return o
}

// Rate is the learning rate of a step, counted from 0.
func (o *Optimizer) Rate(step int) float32 { return o.rate(step) }

// Norm is the L2 norm of all gradients, summed in a fixed order. It waits for
// the device and returns its fault, if any. A norm that is not finite is
// returned as it is.
func (o *Optimizer) Norm() (float64, error) {
	for i, d := range o.set.Dense {
		o.dev.SumSquares(o.sums.Rows(i, i+1), d.D)
	}
	sum := 0.0
	if len(o.set.Dense) > 0 {
		o.dev.Await(o.dev.Download(tensor.Bytes(o.host), o.sums))
		for _, s := range o.host {
			sum += float64(s)
		}
	}
	for _, t := range o.set.Tables {
		sum += t.SumSquares()
	}
	return math.Sqrt(sum), o.dev.Sync()
}

// Step makes step number step, counted from 0, with gradients multiplied by
// clipScale. They stay as they are until ZeroGrad.
func (o *Optimizer) Step(step int, clipScale float32) {
	opts := o.adamw.opts(step, o.rate(step), clipScale)
	for _, d := range o.set.Dense {
		p := opts
		if d.NoDecay {
			p.Decay = 0
		}
		o.dev.AdamW(d.W, d.D, d.M, d.V, p)
	}
	for _, t := range o.set.Tables {
		t.Step(step, o.adamw, o.rate, clipScale)
	}
}

// ZeroGrad clears all gradients of the set.
func (o *Optimizer) ZeroGrad() {
	for _, d := range o.set.Dense {
		o.dev.Fill(d.D, 0)
	}
	for _, t := range o.set.Tables {
		t.ZeroGrad()
	}
}
