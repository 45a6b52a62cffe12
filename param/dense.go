// Package param has what a method trains: tensors on the device (Dense), wide
// adapters in host memory of which a step touches a few rows (Table), the AdamW
// optimizer of both, and learning rate schedules. It knows nothing of models or
// files.
package param

import (
	"fmt"

	"meft/tensor"
)

// Dense is a trained tensor on the device.
type Dense struct {
	Name    string
	W       tensor.Tensor // value
	D       tensor.Tensor // gradient, accumulates; none when Fixed
	M, V    tensor.Tensor // AdamW moments, made by NewOptimizer; none when Fixed or offloaded
	NoDecay bool          // weight decay leaves it alone
	Still   bool          // steps leave it and its moments as they are
	Turned  bool          // files hold the transpose of the matrix and of its moments
	Rate    float32       // multiplies the learning rate; 0 stands for 1

	Home *Home // of a weight that only visits the device; nil for one that stays there

	away    *away         // what is in host memory: see NewOffloaded; nil for nothing
	dev     tensor.Device // nil while planning
	changes int
}

// Home is where the weight and the gradient of a Dense live that others have to
// make room for on the device: W and D of the Dense are then of no use but for
// their shape.
type Home struct {
	W, D tensor.Tensor // F32, in host memory; D none when Fixed
	Sum  tensor.Tensor // [1] on the device: the sum of squares of D
	Zero *bool         // D and Sum stand for zeros; whoever fills them makes it false
}

// NewDense allocates a zeroed F32 tensor with a gradient.
func NewDense(a *tensor.Arena, name string, dims ...int) *Dense {
	w := a.New(name, tensor.F32, dims...)
	return Adopt(a, name, w, a.New(name+".grad", tensor.F32, dims...), false)
}

// NewFixed allocates a zeroed F32 tensor that is only used, not trained.
func NewFixed(a *tensor.Arena, name string, dims ...int) *Dense {
	return &Dense{Name: name, W: a.New(name, tensor.F32, dims...), dev: a.Device()}
}

// Adopt makes a Dense of a weight and a gradient that something else allocated,
// in the memory of a. With d none the result is Fixed. It panics unless both are
// F32 and of one shape.
func Adopt(a *tensor.Arena, name string, w, d tensor.Tensor, noDecay bool) *Dense {
	if d.None() {
		return &Dense{Name: name, W: w, NoDecay: noDecay, dev: a.Device()}
	}
	if w.DType != tensor.F32 || d.DType != tensor.F32 || !w.SameShape(d) {
		panic(fmt.Sprintf("param: %s is %v, its gradient %v", name, w, d))
	}
	return &Dense{Name: name, W: w, D: d, NoDecay: noDecay, dev: a.Device()}
}

// Fixed reports whether d has no gradient.
func (d *Dense) Fixed() bool { return d.D.None() }

// Fill sets the value from x, in row-major order. It waits for the copy and does
// nothing while planning.
func (d *Dense) Fill(x []float32) {
	d.set()
	if d.Home != nil {
		if d.Home.W.Buf != nil {
			copy(d.Home.W.Float32(), x)
		}
		return
	}
	if d.dev != nil && d.W.Buf != nil {
		d.dev.Await(d.dev.Upload(d.W, tensor.Bytes(x)))
	}
}

// set notes that the value is another.
func (d *Dense) set() {
	d.changes++
	if d.away != nil {
		d.away.stale = true
	}
}

// Changes counts how often the value was set: by Fill, from a file, by a step.
func (d *Dense) Changes() int { return d.changes }

// Set is everything a method trains, in a fixed order.
type Set struct {
	Dense  []*Dense
	Tables []*Table
}

// Parameters is the number of values in the set; integers, which say where values
// belong, are not counted.
func (s *Set) Parameters() int64 {
	n := int64(0)
	for _, d := range s.Dense {
		if d.W.DType != tensor.I32 {
			n += int64(d.W.Len())
		}
	}
	for _, t := range s.Tables {
		for i := range t.parts {
			if t.parts[i].there {
				n += int64(t.Rows) * int64(t.Dim)
			}
		}
	}
	return n
}
