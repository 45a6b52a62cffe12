package method

import (
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"

	"meft/internal/simd"
	"meft/model"
	"meft/safetensors"
)

// A Folder is a method whose adapters can become part of the weights of a model,
// which then is a plain one again.
type Folder interface {
	Method
	// Fold says what an adapter does to the weights of a model of that
	// configuration. a has the adapter's tensors, by the names of its files, and
	// is read until the Fold is done with. The error says why these settings do
	// not fold, and which would.
	Fold(c model.Config, a *safetensors.Set) (*Fold, error)
}

// Fold is what becomes of a model's weights. Weights come in the order of the
// checkpoint, one at a time: no function is called while another one runs.
type Fold struct {
	// Weights change the values of a weight, [out, in], in place. They go by the
	// names of the checkpoint; lm_head.weight makes a head of its own where the
	// model has tied it to the embedding.
	Weights map[string]func(w []float32) error
	// FFN are neurons added to the feed-forward layers, by block: each row is one
	// more row of gate_proj, of up_proj, and column of down_proj.
	FFN map[int]FFNeurons
	// Neurons is the largest number of them that a block has.
	Neurons int
	// Gap says why the folded model does not compute what model and adapter do,
	// "" where it does up to rounding.
	Gap string
}

// FFNeurons reads the neurons added to one feed-forward layer. All three are
// [rows, d], with the same number of rows.
type FFNeurons struct {
	Gate, Up, Down func() ([]float32, error)
}

// readMatrix reads a tensor of two dimensions.
func readMatrix(a *safetensors.Set, name string) (values []float32, rows, cols int, err error) {
	info, ok := a.Info(name)
	if !ok || len(info.Shape) != 2 {
		return nil, 0, 0, fmt.Errorf("tensor %q is %v, wanted two dimensions", name, info.Shape)
	}
	values = make([]float32, info.Len())
	return values, info.Shape[0], info.Shape[1], a.ReadF32(values, name)
}

// eachRow calls do for every row below n, rows side by side.
func eachRow(n int, do func(row int)) {
	workers := min(runtime.GOMAXPROCS(0), n)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for row := w * n / workers; row < (w+1)*n/workers; row++ {
				do(row)
			}
		})
	}
	wg.Wait()
}

// Fold adds s·B·A to the weights that have an update.
func (l *LoRA) Fold(_ model.Config, a *safetensors.Set) (*Fold, error) {
	f := &Fold{Weights: map[string]func(w []float32) error{}}
	for _, name := range a.Names() {
		if layer, ok := strings.CutSuffix(name, ".lora_A.weight"); ok {
			weight := strings.TrimPrefix(layer, "base_model.model.") + ".weight"
			f.Weights[weight] = func(w []float32) error { return l.fold(w, a, layer) }
		}
	}
	return f, nil
}

// fold changes the weight of one layer. The update of a row is summed before it
// is added, so that the large weight is rounded once.
func (l *LoRA) fold(w []float32, a *safetensors.Set, layer string) error {
	down, r, in, err := readMatrix(a, layer+".lora_A.weight")
	if err != nil {
		return err
	}
	up, out, _, err := readMatrix(a, layer+".lora_B.weight")
	if err != nil {
		return err
	}
	var lengths []float32 // of DoRA
	if l.DoRA {
		lengths = make([]float32, out)
		if err := a.ReadF32(lengths, layer+".lora_magnitude_vector"); err != nil {
			return err
		}
	}
	level, s := simd.Best(), l.scale()
	eachRow(out, func(i int) {
		delta := make([]float32, in)
		for k := range r {
			level.Axpy(up[i*r+k], down[k*in:(k+1)*in], delta)
		}
		row := w[i*in : (i+1)*in]
		level.Axpy(s, delta, row)
		if lengths != nil {
			level.Scale(float32(float64(lengths[i])/math.Sqrt(level.SumSquares(row))), row)
		}
	})
	return nil
}

// addNeurons makes a Fold of gated neurons beside the feed-forward layers of some
// blocks, from tensors .gate, .key and .value: silu(g_i·h) (k_i·h) v_i is what a
// row of gate_proj, a row of up_proj and a column of down_proj compute.
func addNeurons(blocks []int, neurons int, a *safetensors.Set) *Fold {
	f := &Fold{FFN: map[int]FFNeurons{}, Neurons: neurons}
	for _, i := range blocks {
		part := func(name string) func() ([]float32, error) {
			return func() ([]float32, error) {
				rows, _, _, err := readMatrix(a, blockName(i)+name)
				return rows, err
			}
		}
		f.FFN[i] = FFNeurons{Gate: part(".gate"), Up: part(".key"), Down: part(".value")}
	}
	return f
}

// Fold adds gated neurons to the feed-forward layers. Others have no place there.
func (p *Parallel) Fold(c model.Config, a *safetensors.Set) (*Fold, error) {
	if p.Activation != SwiGLU {
		return nil, fmt.Errorf("an adapter with parallel_activation %s does not fold: a feed-forward layer of the model has gated neurons, one with %s would fold", p.Activation, SwiGLU)
	}
	blocks, err := parseLayers("parallel_layers", p.Layers, c.Layers)
	return addNeurons(blocks, p.Bottleneck, a), err
}

// Fold adds gated neurons to the feed-forward layers, where each token then uses
// all of them. Neurons whose scores are multiplied by a router's have no place
// there.
func (f *MEFT) Fold(c model.Config, a *safetensors.Set) (*Fold, error) {
	if f.Activation != SwiGLU {
		return nil, fmt.Errorf("an adapter with meft_activation %s does not fold: a feed-forward layer of the model has gated neurons, one with %s and meft_gate %s would fold", f.Activation, SwiGLU, GateNone)
	}
	s := f.sizes(&model.Model{Config: c, Size: model.Size{Rows: 1}})
	if s.gated() {
		return nil, fmt.Errorf("an adapter with meft_gate %s does not fold: the router's part in a neuron's score has no place in a feed-forward layer, one with meft_gate %s would fold", f.Gate, GateNone)
	}
	blocks, err := parseLayers("meft_layers", f.Layers, c.Layers)
	fold := addNeurons(blocks, f.Neurons, a)
	if s.top < s.m {
		fold.Gap = fmt.Sprintf("the merged model uses all %d neurons of a layer for each token, the adapter only the %d it keeps", s.m, s.top)
	}
	return fold, err
}
