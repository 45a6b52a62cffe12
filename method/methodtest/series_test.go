package methodtest

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"meft/method"
	"meft/ref"
)

// A neuron relu(a·h) b and its opposite, -a and -b, add the linear map
// h ↦ (a·h) b. An adapter of such pairs after a linear layer W is
// W + Σ b aᵀ W, before it W + Σ W b aᵀ. On package ref only the order of sums of float64 differs.
func TestSeriesOfOppositeNeuronsIsALinearMap(t *testing.T) {
	for _, position := range []string{method.SeriesBoth, method.SeriesAttention, method.SeriesFFN, method.SeriesAround} {
		s := &method.Series{Bottleneck: 8, Position: position, Activation: "relu", Layers: "0,2"}
		r := Build(t, &watch{Device: ref.New()}, "series", s, grad(), 0)
		plain := Build(t, &watch{Device: ref.New()}, "series", s, grad(), 0)
		base := plain.loss()
		r.Noise()
		values := map[string][]float64{}
		for _, d := range r.Set.Dense {
			x := Values(r.Dev, d.W)
			half := len(x) / 2
			for i := range x {
				switch {
				case d.W.Rank == 1:
					x[i] = 0 // no bias
				case i >= half:
					x[i] = -x[i-half]
				}
			}
			r.Dev.(*watch).Write(d.W, x)
			values[d.Name] = x
		}
		fold(plain, values)
		if got, want := r.loss(), plain.loss(); math.Abs(got-want) > 1e-12 || math.Abs(want-base) < 0.01 {
			t.Errorf("%s: loss %v, folded %v, of the base model %v", position, got, want, base)
		}
	}
}

// fold adds Σ b aᵀ W to the layers W before adapters of opposite neurons, and
// Σ W b aᵀ to those behind.
func fold(plain *Rig, values map[string][]float64) {
	dev := plain.Dev.(*watch)
	for i, b := range plain.Model.Blocks {
		down, up := values[fmt.Sprintf("blocks.%d.ffn_input.down", i)], values[fmt.Sprintf("blocks.%d.ffn_input.up", i)]
		for _, linear := range b.Linears()[4:6] {
			w := linear.W.W
			d := w.Dim(1)
			x := dev.Read(w)
			for row := range w.Dim(0) {
				at := x[row*d : (row+1)*d]
				before := slices.Clone(at)
				for k := range len(down) / d / 2 {
					dot := 0.0
					for j := range d {
						dot += before[j] * up[k*d+j]
					}
					for j := range d {
						at[j] += dot * down[k*d+j]
					}
				}
			}
			dev.Write(w, x)
		}
		for site, linear := range map[string]int{method.SeriesAttention: 3, method.SeriesFFN: 6} {
			down, up := values[fmt.Sprintf("blocks.%d.%s.down", i, site)], values[fmt.Sprintf("blocks.%d.%s.up", i, site)]
			if down == nil {
				continue
			}
			w := b.Linears()[linear].W.W
			d, in := w.Dim(0), w.Dim(1)
			x := dev.Read(w)
			sum := make([]float64, len(x))
			for k := range len(down) / d / 2 {
				for col := range in {
					dot := 0.0
					for j := range d {
						dot += down[k*d+j] * x[j*in+col]
					}
					for row := range d {
						sum[row*in+col] += up[k*d+row] * dot
					}
				}
			}
			for j := range x {
				x[j] += sum[j]
			}
			dev.Write(w, x)
		}
	}
}

// The biases are those of the formula: with all weights 0 an adapter adds bu.
func TestSeriesBiasesAreAdded(t *testing.T) {
	r := Build(t, &watch{Device: ref.New()}, "series", &method.Series{Bottleneck: 1, Position: "ffn", Activation: "tanh", Layers: "2"}, grad(), 0)
	base := r.loss()
	set := func(name string, v float64) {
		for _, d := range r.Set.Dense {
			if d.Name == "blocks.2.ffn."+name {
				x := make([]float64, d.W.Len())
				for i := range x {
					x[i] = v * float64(i+1)
				}
				r.Dev.(*watch).Write(d.W, x)
			}
		}
	}
	set("down", 0)
	set("down_bias", 0.5)
	if got := r.loss(); got != base {
		t.Errorf("loss %v with only the lower bias, %v without", got, base)
	}
	set("up", 0.1)
	neuron := r.loss()
	set("up", 0)
	set("up_bias", 0.1*math.Tanh(0.5)) // what the one neuron gives every token
	if got := r.loss(); math.Abs(got-neuron) > 1e-12 || neuron == base {
		t.Errorf("loss %v with a bias, %v with a neuron of the same output, %v without either", got, neuron, base)
	}
}
