package method

import (
	"math"
	"slices"
	"testing"

	"meft/model"
)

// The part that a side network begins as is worked out here from the weights as
// prune's comment says.
func TestPrunedPartIsTheHeaviest(t *testing.T) {
	f := &LST{Reduction: 3, Layers: "1", Temperature: 1, Init: InitPruned}
	m := tinyModel(t, f, ToTop.Size(model.Size{Rows: 4, Context: 4}))
	if err := f.Start(); err != nil {
		t.Fatal(err)
	}
	w := map[string][]float32{}
	for _, x := range m.Weights() {
		w[x.Name] = x.W.Float32()
	}
	const d, hidden, head = 12, 16, 6
	sum := func(name string, by int, at func(i int) int) []float64 {
		out := make([]float64, by)
		for i, v := range w["model.layers.1."+name+".weight"] {
			out[at(i)] += math.Abs(float64(v))
		}
		return out
	}
	col := func(width int) func(int) int { return func(i int) int { return i % width } }
	row := func(width int) func(int) int { return func(i int) int { return i / width } }
	stream, neurons := make([]float64, d), make([]float64, hidden)
	for _, name := range []string{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj"} {
		for i, v := range sum(name, d, col(d)) { // norms are 1
			stream[i] += v
		}
	}
	for i, v := range sum("self_attn.o_proj", d, row(d)) {
		stream[i] += v
	}
	for i, v := range sum("mlp.down_proj", d, row(hidden)) {
		stream[i] += v
	}
	gate, up, down := sum("mlp.gate_proj", hidden, row(d)), sum("mlp.up_proj", hidden, row(d)), sum("mlp.down_proj", hidden, col(hidden))
	for i := range neurons {
		neurons[i] = gate[i] * up[i] * down[i]
	}
	q, o := sum("self_attn.q_proj", 2, row(d*head)), sum("self_attn.o_proj", 2, func(i int) int { return i % d / head })
	best := 0
	if q[1]*o[1] > q[0]*o[0] {
		best = 1
	}
	dims, kept := heaviest(stream, 4), heaviest(neurons, 5)
	side := map[string][]float32{}
	for _, x := range f.ladder.all {
		side[x.Name] = x.W.Float32()
	}
	for name, want := range map[string]func(i, j int) float32{ // by row and column of the side's matrix
		"side.1.self_attn.q_proj.weight": func(i, j int) float32 { return w["model.layers.1.self_attn.q_proj.weight"][(best*head+i)*d+dims[j]] },
		"side.1.mlp.up_proj.weight":      func(i, j int) float32 { return w["model.layers.1.mlp.up_proj.weight"][kept[i]*d+dims[j]] },
		"side.1.mlp.down_proj.weight":    func(i, j int) float32 { return w["model.layers.1.mlp.down_proj.weight"][dims[i]*hidden+kept[j]] },
		"side.down.1.weight": func(i, j int) float32 {
			if dims[i] == j {
				return 1
			}
			return 0
		},
		"side.up.weight": func(i, j int) float32 {
			if dims[j] == i {
				return 1
			}
			return 0
		},
	} {
		got := side[name]
		width := map[string]int{"side.1.mlp.down_proj.weight": 5, "side.down.1.weight": d}[name]
		if width == 0 {
			width = 4
		}
		for i, v := range got {
			if v != want(i/width, i%width) {
				t.Errorf("%s has %v at %d, want %v", name, v, i, want(i/width, i%width))
				break
			}
		}
		if len(got) == 0 {
			t.Errorf("there is no %s: %v", name, slices.Sorted(func(yield func(string) bool) {
				for k := range side {
					if !yield(k) {
						return
					}
				}
			}))
		}
	}
}

// Heads become r times fewer in groups that divide, whatever the model has.
func TestSideHeadsAreWholeGroups(t *testing.T) {
	for _, c := range []struct{ heads, kv, r, wantHeads, wantKV int }{
		{32, 32, 8, 4, 4}, {32, 8, 8, 4, 1}, {28, 4, 8, 3, 1}, {14, 2, 4, 3, 1}, {28, 4, 3, 7, 1}, {8, 4, 8, 1, 1}, {8, 4, 2, 4, 2}, {2, 1, 16, 1, 1},
	} {
		f := &LST{Reduction: c.r}
		got := f.config(model.Config{Dim: 16 * c.r, Heads: c.heads, KVHeads: c.kv, Hidden: 5})
		if got.Heads != c.wantHeads || got.KVHeads != c.wantKV || got.Dim != 16 || got.Hidden != max(1, 5/c.r) {
			t.Errorf("%+v: %d heads with %d keys, width %d, %d neurons", c, got.Heads, got.KVHeads, got.Dim, got.Hidden)
		}
	}
}
