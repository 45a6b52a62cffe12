package methodtest

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"meft/method"
	"meft/param"
	"meft/ref"
	"meft/tensor"
)

// watch is a reference device that adds up losses in full width.
type watch struct {
	*ref.Device
	sum float64
}

// CrossEntropy is tensor.Kernels.CrossEntropy.
func (w *watch) CrossEntropy(loss, logits, targets tensor.Tensor, scale float32) {
	w.Device.CrossEntropy(loss, logits, targets, scale)
	for _, v := range w.Read(loss) {
		w.sum += v
	}
}

// loss is the scaled loss of the batch in float64.
func (r *Rig) loss() float64 {
	w := r.Dev.(*watch)
	w.sum = 0
	b := Batch()
	b.Draw = draw
	r.Model.Forward(b)
	return w.sum * float64(b.Scale)
}

// Differences on float64 with a step of 1e-5 are good to about 1e-9 of numbers
// of size 1. Gradients of tables are rounded to float32 on their way to the
// host, once by batch.
const (
	denseStep      = 1e-6
	denseTolerance = 1e-6
	tableStep      = 0x1p-16
	tableTolerance = 1e-5
	floor          = 1e-8
)

// gradients compares the gradients of everything the method trains, and with an
// F32 base of every weight of the model, if they flow through it, with central
// differences. Embeddings are among them: they see the gradient of the input.
func (s *suite) gradients(t *testing.T) {
	size := s.size()
	size.Weights = !size.Aside && s.base == tensor.F32
	dev := &watch{Device: ref.New()}
	settings := s.settings
	if f, ok := settings.(*method.MEFT); ok {
		// An auxiliary loss is no part of the loss; package method checks its gradient.
		plain := *f
		plain.Balance, plain.StableLoss, settings = 0, 0, &plain
	}
	r := Build(t, dev, s.name, settings, size, 0.02)
	r.Noise()
	if s, ok := r.Method.(method.Scheduled); ok {
		s.At(0, steps)
	}
	r.Pass(Batch())
	if h, ok := r.Method.(interface{ Hold(bool) }); ok {
		h.Hold(true)
	}
	grads := r.Grads()
	tensors := map[string]tensor.Tensor{}
	for _, w := range r.Model.Weights() {
		if size.Weights {
			grads[w.Name], tensors[w.Name] = dev.Read(w.D), w.W
		}
	}
	for _, d := range r.Set.Dense {
		if !d.Fixed() {
			tensors[d.Name] = d.W
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, name := range slices.Sorted(maps.Keys(tensors)) { // the same places every time
		checkDense(t, r, rnd, name, tensors[name], grads[name])
	}
	for _, tab := range r.Set.Tables {
		// The device sees a split master rounded, on which no small change shows.
		if tab.K == nil {
			continue
		}
		checkTable(t, r, rnd, tab.Name+".key", tab.K, grads[tab.Name+".key"], tab)
		checkTable(t, r, rnd, tab.Name+".value", tab.V, grads[tab.Name+".value"], tab)
		if tab.G != nil {
			checkTable(t, r, rnd, tab.Name+".gate", tab.G, grads[tab.Name+".gate"], tab)
		}
	}
}

func checkDense(t *testing.T, r *Rig, rnd *rand.Rand, name string, w tensor.Tensor, grad []float64) {
	t.Helper()
	dev := r.Dev.(*watch)
	values := dev.Read(w)
	at := func(i int, by float64) float64 {
		old := values[i]
		values[i] += by
		dev.Write(w, values)
		values[i] = old
		return r.loss()
	}
	checked := places(rnd, grad)
	worst := 0.0
	for _, i := range checked {
		numeric := (at(i, denseStep) - at(i, -denseStep)) / (2 * denseStep)
		if math.Abs(grad[i]-numeric) > denseTolerance*math.Abs(numeric) {
			// Where the loss bends much, or its last digits are lost in large
			// activations: ten times the step has a tenth of that loss, and the
			// error of the step's square goes out of two differences.
			const step = 10 * denseStep
			near, wide := (at(i, step)-at(i, -step))/(2*step), (at(i, 2*step)-at(i, -2*step))/(4*step)
			numeric = near + (near-wide)/3
		}
		dev.Write(w, values)
		worst = max(worst, compare(t, name, i, grad[i], numeric, denseTolerance))
	}
	t.Logf("%s %v: %d elements, relative difference up to %.1e", name, w.Dims[:w.Rank], len(checked), worst)
}

func checkTable(t *testing.T, r *Rig, rnd *rand.Rand, name string, x []float32, grad []float64, tab *param.Table) {
	t.Helper()
	if f, ok := r.Method.(*method.MEFT); ok && f.FrozenKeys && &x[0] != &tab.V[0] {
		return
	}
	checked := places(rnd, grad)
	worst := 0.0
	for _, i := range checked {
		old := x[i]
		x[i] = old + tableStep
		up, high := r.loss(), x[i]
		x[i] = old - tableStep
		down, low := r.loss(), x[i]
		x[i] = old
		numeric := (up - down) / (float64(high) - float64(low))
		worst = max(worst, compare(t, name, i, grad[i], numeric, tableTolerance))
	}
	t.Logf("%s: %d elements, relative difference up to %.1e", name, len(checked), worst)
}

// places are a few elements to check: some with a gradient and one of any kind.
func places(rnd *rand.Rand, grad []float64) []int {
	out := []int{rnd.IntN(len(grad))}
	for try := 0; len(out) < 5 && try < 1000; try++ {
		if i := rnd.IntN(len(grad)); grad[i] != 0 {
			out = append(out, i)
		}
	}
	return out
}

// compare returns the relative difference, 0 where both are 0.
func compare(t *testing.T, name string, i int, got, want, tolerance float64) float64 {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance*math.Abs(want)+floor) {
		t.Errorf("%s[%d]: gradient %v, central difference %v", name, i, got, want)
	}
	if want == 0 {
		return math.Abs(got)
	}
	return math.Abs(got-want) / math.Abs(want)
}

// lowestBlock compares the gradients of a model whose weights are frozen, where
// the lowest branch gets no dx, with those where they are trained.
func (s *suite) lowestBlock(t *testing.T) {
	both := [2]*Rig{}
	for i, weights := range []bool{true, false} {
		size := s.size()
		size.Weights = weights
		both[i] = s.build(t, cpuDevice(), size)
		both[i].Noise()
		both[i].Pass(Batch())
	}
	SameGrads(t, both[1], both[0], 0)
}

// SameGrads compares all gradients; they may differ by tolerance of the largest
// of the tensor.
func SameGrads(t testing.TB, got, want *Rig, tolerance float64) {
	t.Helper()
	a, b := got.Grads(), want.Grads()
	if len(a) != len(b) {
		t.Errorf("%d gradients against %d", len(a), len(b))
	}
	for name, w := range b {
		largest := 0.0
		for _, v := range w {
			largest = max(largest, math.Abs(v))
		}
		if largest == 0 {
			continue
		}
		for i, v := range w {
			if g := a[name]; i >= len(g) || !(math.Abs(g[i]-v) <= tolerance*largest) {
				t.Errorf("gradient of %s differs at %d: %v against %v", name, i, g[min(i, len(g)-1)], v)
				break
			}
		}
	}
}
