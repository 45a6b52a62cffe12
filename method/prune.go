package method

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"meft/model"
	"meft/param"
	"meft/tensor"
)

// Start gives the side network its first values: those of the model's weights
// that matter most, or random ones.
func (f *LST) Start() error {
	l := f.ladder
	if f.Init == InitRandom {
		l.randomise(f.seed)
		return l.dev.Sync()
	}
	p := newPruner(l)
	p.measure()
	p.choose()
	p.fill()
	return l.dev.Sync()
}

// lstWeights keeps the random streams of a side network apart from others.
const lstWeights purpose = 0x6c737457

// randomise draws matrices uniformly in ±1/√in; norms are 1, biases 0.
func (l *ladder) randomise(seed uint64) {
	for i, d := range l.all {
		x := make([]float32, d.W.Len())
		switch {
		case d.W.Rank == 2 && d != l.gates:
			x = uniform(len(x), 1/math.Sqrt(float64(d.W.Dim(1))), lstWeights.stream(seed, i, 0))
		case strings.HasSuffix(d.Name, "norm.weight"):
			for j := range x {
				x[j] = 1
			}
		}
		d.Fill(x)
	}
}

// pruner chooses the part of a model that a side network begins as. The
// authors prune by Fisher information, which takes gradients of data; without
// data their code goes by magnitudes, as this does. What is connected is chosen
// together: elements of the residual stream for all blocks at once, and in each
// block heads and neurons. The importance of
//
//   - an element of the stream: the sum of |weight| that read it, times the norm
//     before them, and of those that write it
//   - a neuron: the product of the sums of |weight| of its row of gate_proj, its
//     row of up_proj and its column of down_proj
//   - a query head: the product of those of q_proj and o_proj; a key and value
//     head: of k_proj and v_proj times the sum over its query heads
//
// D_i and U begin as the choice of elements, so that at the start the side
// computes on parts of the model's own states.
type pruner struct {
	*ladder
	weights map[string]*model.Weight
	buffer  []float32               // rows of weights on the host
	sums    map[string][2][]float64 // by weight: Σ|w| of each row, and of each column
	dims    []int                   // chosen elements of the stream, ascending
	parts   []part                  // by chosen block
}

// part is what is chosen of a block: rows of its matrices, ascending.
type part struct {
	queries []int // of q_proj, columns of o_proj
	keys    []int // of k_proj and v_proj
	neurons []int // of gate_proj and up_proj, columns of down_proj
}

func newPruner(l *ladder) *pruner {
	p := &pruner{ladder: l, weights: map[string]*model.Weight{}, sums: map[string][2][]float64{}}
	for _, w := range l.model.Weights() {
		p.weights[w.Name] = w
	}
	p.buffer = make([]float32, l.staging.Len())
	return p
}

// weight is one of a block of the model.
func (p *pruner) weight(layer int, name string) *model.Weight {
	full := fmt.Sprintf("model.layers.%d.%s", layer, name)
	w := p.weights[full]
	if w == nil {
		panic("method: no weight " + full)
	}
	return w
}

// rows calls f with the rows of a weight that ids name, all for nil, as float32.
func (p *pruner) rows(w *model.Weight, ids []int, f func(i int, x []float32)) {
	p.model.Show(w)
	n, width := w.W.Dim(0), w.W.Width()
	read := func(from, to int) {
		t := p.staging.Rows(0, (to-from)*width).View(to-from, width)
		p.dev.Convert(t, w.W.Rows(from, to))
		host := p.buffer[:t.Len()]
		p.dev.Await(p.dev.Download(tensor.Bytes(host), t))
		for i := range to - from {
			f(from+i, host[i*width:(i+1)*width])
		}
	}
	for _, i := range ids {
		read(i, i+1)
	}
	if ids == nil {
		for from, step := 0, p.staging.Len()/width; from < n; from += step {
			read(from, min(from+step, n))
		}
	}
}

// vector is a weight of one dimension.
func (p *pruner) vector(w *model.Weight) []float32 {
	p.model.Show(w)
	host := make([]float32, w.W.Len())
	p.dev.Await(p.dev.Download(tensor.Bytes(host), w.W))
	return host
}

// measure sums up the magnitudes of all matrices of the chosen blocks.
func (p *pruner) measure() {
	for _, layer := range p.layers {
		for _, linear := range p.model.Blocks[layer].Linears() {
			rows, cols := make([]float64, linear.Out()), make([]float64, linear.In())
			p.rows(linear.W, nil, func(i int, x []float32) {
				for j, v := range x {
					a := math.Abs(float64(v))
					rows[i] += a
					cols[j] += a
				}
			})
			p.sums[linear.W.Name] = [2][]float64{rows, cols}
		}
	}
}

// of are the sums over rows (0) or columns (1) of a matrix of a block.
func (p *pruner) of(layer int, name string, axis int) []float64 {
	return p.sums[p.weight(layer, name+".weight").Name][axis]
}

// choose picks elements, heads and neurons.
func (p *pruner) choose() {
	stream := make([]float64, p.model.Config.Dim)
	for _, layer := range p.layers {
		for _, reads := range [][2]string{
			{"input_layernorm", "self_attn.q_proj"}, {"input_layernorm", "self_attn.k_proj"}, {"input_layernorm", "self_attn.v_proj"},
			{"post_attention_layernorm", "mlp.gate_proj"}, {"post_attention_layernorm", "mlp.up_proj"},
		} {
			scale := p.vector(p.weight(layer, reads[0]+".weight"))
			for c, sum := range p.of(layer, reads[1], 1) {
				stream[c] += sum * math.Abs(float64(scale[c]))
			}
		}
		for _, name := range []string{"self_attn.o_proj", "mlp.down_proj"} {
			for c, sum := range p.of(layer, name, 0) {
				stream[c] += sum
			}
		}
		p.parts = append(p.parts, p.choosePart(layer))
	}
	p.dims = heaviest(stream, p.config.Dim)
}

func (p *pruner) choosePart(layer int) part {
	c, side := p.model.Config, p.config
	q, o := perHead(p.of(layer, "self_attn.q_proj", 0), c.HeadDim), perHead(p.of(layer, "self_attn.o_proj", 1), c.HeadDim)
	k, v := perHead(p.of(layer, "self_attn.k_proj", 0), c.HeadDim), perHead(p.of(layer, "self_attn.v_proj", 0), c.HeadDim)
	group := c.Heads / c.KVHeads
	query, shared := make([]float64, c.Heads), make([]float64, c.KVHeads)
	for h := range query {
		query[h] = q[h] * o[h]
		shared[h/group] += query[h]
	}
	for h := range shared {
		shared[h] *= k[h] * v[h]
	}
	var out part
	for _, kv := range heaviest(shared, side.KVHeads) {
		out.keys = append(out.keys, headRows(kv, c.HeadDim)...)
		for _, h := range heaviest(query[kv*group:(kv+1)*group], side.Heads/side.KVHeads) {
			out.queries = append(out.queries, headRows(kv*group+h, c.HeadDim)...)
		}
	}
	gate, up, down := p.of(layer, "mlp.gate_proj", 0), p.of(layer, "mlp.up_proj", 0), p.of(layer, "mlp.down_proj", 1)
	neurons := make([]float64, c.Hidden)
	for i := range neurons {
		neurons[i] = gate[i] * up[i] * down[i]
	}
	out.neurons = heaviest(neurons, side.Hidden)
	return out
}

// perHead sums up the rows of each head.
func perHead(rows []float64, width int) []float64 {
	out := make([]float64, len(rows)/width)
	for i, v := range rows {
		out[i/width] += v
	}
	return out
}

// headRows are the rows of a head.
func headRows(head, width int) []int {
	rows := make([]int, width)
	for i := range rows {
		rows[i] = head*width + i
	}
	return rows
}

// heaviest are the places of the k highest scores, ascending; of equal ones the
// first.
func heaviest(score []float64, k int) []int {
	places := make([]int, len(score))
	for i := range places {
		places[i] = i
	}
	slices.SortStableFunc(places, func(a, b int) int { return cmp.Compare(score[b], score[a]) })
	places = places[:k]
	slices.Sort(places)
	return places
}

// fill gives every tensor of the side its values.
func (p *pruner) fill() {
	for _, d := range p.blocks {
		layer, name := p.layers[0], ""
		if _, err := fmt.Sscanf(d.Name, "side.%d.%s", &layer, &name); err != nil {
			panic(fmt.Sprintf("method: a weight of a side network is called %s", d.Name))
		}
		p.take(d, p.weight(layer, name), name, p.parts[slices.Index(p.layers, layer)])
	}
	w, d := p.config.Dim, p.model.Config.Dim
	down, up := make([]float32, w*d), make([]float32, d*w)
	for i, c := range p.dims {
		down[i*d+c], up[c*w+i] = 1, 1
	}
	for i := range p.rungs {
		p.rungs[i].down.Fill(down)
	}
	p.up.Fill(up)
	p.norm.Fill(picked(p.vector(p.weights["model.norm.weight"]), p.dims))
}

// take copies the chosen rows and columns of a weight of a block.
func (p *pruner) take(d *param.Dense, w *model.Weight, name string, of part) {
	rows, cols := p.dims, p.dims // of norms, the rows
	switch module := strings.TrimSuffix(strings.TrimSuffix(name, ".weight"), ".bias"); module {
	case "self_attn.q_proj":
		rows = of.queries
	case "self_attn.k_proj", "self_attn.v_proj":
		rows = of.keys
	case "self_attn.o_proj":
		cols = of.queries
	case "mlp.gate_proj", "mlp.up_proj":
		rows = of.neurons
	case "mlp.down_proj":
		cols = of.neurons
	case "self_attn.q_norm", "self_attn.k_norm":
		rows = headRows(0, p.config.HeadDim)
	}
	if w.W.Rank == 1 {
		d.Fill(picked(p.vector(w), rows))
		return
	}
	values := make([]float32, 0, d.W.Len())
	p.rows(w, rows, func(_ int, x []float32) { values = append(values, picked(x, cols)...) })
	d.Fill(values)
}

// picked are the elements of x at places.
func picked(x []float32, places []int) []float32 {
	out := make([]float32, len(places))
	for i, at := range places {
		out[i] = x[at]
	}
	return out
}
