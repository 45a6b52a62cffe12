package meft

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"meft/internal/simd"
	"meft/model"
	"meft/prune"
	"meft/safetensors"
	"meft/tensor"
	"meft/train"
)

// PruneOptions say what is pruned, how, and with which text.
type PruneOptions struct {
	Model      string // folder of a Hugging Face checkpoint
	Output     string // folder that is made
	Overwrite  bool   // delete the model that is at Output
	Method     string // sparsegpt or magnitude
	Sparsity   float64
	Pattern    string // "2:4" and the like; "" for Sparsity
	Data       string // calibration text
	DataFormat string // "" for auto
	Limit      int    // calibration rows
	Held       int    // rows held out, on which the perplexity is measured
	MaxLength  int    // tokens of a row; 0 for the model's context
	Threads    int    // 0 for all
	Seed       uint64 // of the choice of rows held out
}

// PruneResult is what pruning came to.
type PruneResult struct {
	Output  string       `json:"output"`
	Method  string       `json:"method"`
	Pattern string       `json:"pattern"`                     // "0.5", or "2:4"
	Zeros   int64        `json:"zeros"`                       // weights that are 0
	Weights int64        `json:"weights"`                     // of the pruned matrices
	Rows    int          `json:"rows"`                        // of calibration
	Tokens  int64        `json:"tokens"`                      // of those
	Before  *float64     `json:"perplexity_before,omitempty"` // of the rows held out
	After   *float64     `json:"perplexity_after,omitempty"`
	Layers  []PruneLayer `json:"layers"`
}

// PruneLayer is one pruned matrix.
type PruneLayer struct {
	Name  string  `json:"name"`
	Error float64 `json:"error"` // mean squared change of an output, in shares of its mean square, on calibration inputs
}

// sparsityKey is the key of config.json that tells how a model was pruned.
const sparsityKey = "meft_sparsity"

// sparsityRecord is its value.
type sparsityRecord struct {
	Method  string `json:"method"`
	Pattern string `json:"pattern"`
}

// readSparsity is the pattern that a model folder's config.json records, "" if it
// records none.
func readSparsity(dir string) (string, error) {
	path := filepath.Join(dir, "config.json")
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var c struct {
		Record *sparsityRecord `json:"meft_sparsity"`
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return "", fmt.Errorf("%s: %s: %w; wanted what meft prune writes, or no such key", path, sparsityKey, err)
	}
	if c.Record == nil {
		return "", nil
	}
	if c.Record.Pattern == "" {
		return "", fmt.Errorf("%s: %s has no pattern, wanted a share of zeros or one such as 2:4; take the key out to train the zeros too", path, sparsityKey)
	}
	return c.Record.Pattern, nil
}

// pattern parses what goes.
func (o PruneOptions) pattern() (prune.Pattern, string, error) {
	if o.Method != "sparsegpt" && o.Method != "magnitude" {
		return prune.Pattern{}, "", fmt.Errorf("method is %q, wanted sparsegpt or magnitude", o.Method)
	}
	if o.Pattern == "" {
		if !(o.Sparsity > 0 && o.Sparsity < 1) {
			return prune.Pattern{}, "", fmt.Errorf("sparsity is %v, wanted a share above 0 and below 1", o.Sparsity)
		}
		return prune.Pattern{Sparsity: o.Sparsity}, fmt.Sprint(o.Sparsity), nil
	}
	p, ok := map[string]prune.Pattern{"2:4": {N: 2, M: 4}, "4:8": {N: 4, M: 8}}[o.Pattern]
	if !ok {
		return p, "", fmt.Errorf("pattern is %q, wanted 2:4 or 4:8", o.Pattern)
	}
	return p, o.Pattern, nil
}

// pruner is a model whose blocks are pruned one after the other.
type pruner struct {
	*engine
	o       PruneOptions
	pattern prune.Pattern
	pool    *simd.Pool
	rows    *train.Batches
	held    *train.Batches // nil without rows held out
	stream  []float32      // residual stream of all calibration rows, one after the other
	inputs  [4]tensor.Tensor
	weight  tensor.Tensor // [largest matrix] as float32
	result  *PruneResult
}

// sources are the layers whose inputs are looked at, and those that share them,
// as places among Block.Linears.
var sources = [4][]int{{0, 1, 2}, {3}, {4, 5}, {6}}

// Prune sets weights of every block's linear layers to zero, block by block:
// calibration rows run through the blocks that were pruned before, a block's
// inputs are summed up, its matrices pruned, and the rows run on through what is
// left. It writes a checkpoint of the same files and types, with the zeros and a
// note of them in config.json. say gets a line for every matrix; nil is allowed.
func Prune(ctx context.Context, o PruneOptions, say func(PruneLayer)) (*PruneResult, error) {
	pattern, name, err := o.pattern()
	if err != nil {
		return nil, &UsageError{err}
	}
	if err := checkOutput(o.Output, o.Overwrite, o.Model); err != nil {
		return nil, err
	}
	c := Defaults()
	c.Model, c.Data, c.MaxLength, c.Threads, c.Seed, c.Method, c.TrainOnInputs = o.Model, o.Data, o.MaxLength, o.Threads, o.Seed, "lora", true
	c.Limit, c.ValSize, c.MaxLostSupervision = o.Limit+o.Held, float64(o.Held), 1
	if o.DataFormat != "" {
		c.DataFormat = o.DataFormat
	}
	j, err := newJob(c)
	if err != nil {
		return nil, err
	}
	for _, w := range []int{j.base.config.Dim, j.base.config.Hidden, j.base.config.Heads * j.base.config.HeadDim} {
		if m := pattern.M; m > 0 && w%m != 0 {
			return nil, fmt.Errorf("pattern %s: the model has layers of %d inputs, no multiple of %d; use --sparsity", o.Pattern, w, m)
		}
	}
	p := &pruner{o: o, pattern: pattern, result: &PruneResult{Output: o.Output, Method: o.Method, Pattern: name, Rows: j.data.Len(), Tokens: j.data.Tokens()}}
	if err := p.build(j); err != nil {
		return nil, err
	}
	defer p.engine.Close()
	if p.result.Before, err = p.perplexity(ctx); err != nil {
		return nil, err
	}
	if err := p.blocks(ctx, say); err != nil {
		return nil, err
	}
	if p.result.After, err = p.perplexity(ctx); err != nil {
		return nil, err
	}
	return p.result, makeFolder(o.Output, func(tmp string) error { return p.write(tmp, j.base) })
}

// build makes the model and room for the inputs of a block.
func (p *pruner) build(j *job) error {
	c := j.base.config
	longest := j.data.Longest()
	if j.valid != nil {
		longest = max(longest, j.valid.Longest())
	}
	r := &recipe{base: j.base, size: model.Size{Rows: longest, Context: longest, Frozen: j.base.frozen}, first: j.place}
	r.more = func(a *tensor.Arena, _ *parts) (err error) {
		one := train.BatchOptions{Size: 1, MaxLength: longest, Ordered: true}
		if p.rows, err = train.NewBatches(a.Sub("data.train"), j.data, one); err != nil {
			return err
		}
		if j.valid != nil {
			if p.held, err = train.NewBatches(a.Sub("data.validation"), j.valid, one); err != nil {
				return err
			}
		}
		wide := c.Heads * c.HeadDim
		for i, in := range [4]int{c.Dim, wide, c.Dim, c.Hidden} {
			p.inputs[i] = a.New(fmt.Sprintf("prune.inputs.%d", i), tensor.F32, in, in)
		}
		p.weight = a.New("prune.weight", tensor.F32, c.Dim*max(wide, c.Hidden))
		p.stream = a.Float32("prune.stream", tensor.OnHost, int(j.data.Tokens())*c.Dim)
		return nil
	}
	plan, err := r.plan()
	if err != nil {
		return err
	}
	dev := j.base.device(p.o.Threads)
	p.pool = dev.Pool()
	p.engine, err = r.buildOn(dev, plan)
	return err
}

// perplexity is that of the rows held out, nil without any.
func (p *pruner) perplexity(ctx context.Context) (*float64, error) {
	if p.held == nil {
		return nil, nil
	}
	e := &train.Evaluator{Model: p.model, Batches: p.held}
	m, err := e.Run(ctx)
	ppl := m.Perplexity()
	return &ppl, err
}

// gram sums x·xᵀ of the inputs of a layer.
type gram struct {
	dev   tensor.Device
	h     tensor.Tensor // [in, in]
	alpha float32
}

// Forward adds the rows of x.
func (g *gram) Forward(_, x tensor.Tensor) {
	x = x.View(x.Dim(0), x.Width())
	g.dev.MatMul(g.h, x, x, tensor.MatMulOpts{TransA: true, Alpha: g.alpha, Accumulate: true})
}

// Backward is not called: the model has no gradients.
func (g *gram) Backward(_, _, _ tensor.Tensor) { panic("meft: gradient of a model that is pruned") }

// through runs all calibration rows through block i, and keeps what comes out if
// wanted.
func (p *pruner) through(ctx context.Context, i int, keep bool) error {
	var room []float32
	at := 0
	for r := range p.rows.StepsPerEpoch() {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := p.rows.Batch(r, 0)
		x := p.stream[at:][:len(b.IDs)*p.model.Config.Dim]
		at += len(x)
		if i == 0 && !keep {
			p.model.Enter(b, x)
		}
		if !keep {
			room = append(room[:0], x...)
			x = room
		}
		p.model.Through(i, b, x)
	}
	return p.dev.Sync()
}

// blocks prunes every block.
func (p *pruner) blocks(ctx context.Context, say func(PruneLayer)) error {
	for i, b := range p.model.Blocks {
		all := b.Linears()
		for k, group := range sources {
			p.dev.Fill(p.inputs[k], 0)
			all[group[0]].Branch = &gram{dev: p.dev, h: p.inputs[k], alpha: 2 / float32(p.result.Tokens)}
		}
		if err := p.through(ctx, i, false); err != nil {
			return err
		}
		for k, group := range sources {
			all[group[0]].Branch = nil
			if err := p.group(k, group, all, say); err != nil {
				return fmt.Errorf("block %d: %w", i, err)
			}
		}
		if err := p.through(ctx, i, true); err != nil {
			return err
		}
	}
	return nil
}

// group prunes the layers that share an input.
func (p *pruner) group(k int, group []int, all []*model.Linear, say func(PruneLayer)) error {
	in := p.inputs[k].Dim(0)
	h := make([]float32, in*in)
	p.dev.Await(p.dev.Download(tensor.Bytes(h), p.inputs[k]))
	var solver *prune.Solver
	if p.o.Method == "sparsegpt" {
		var err error
		if solver, err = prune.NewSolver(p.pool, slices.Clone(h), in); err != nil {
			return fmt.Errorf("%s: %w", all[group[0]].W.Name, err)
		}
	}
	for _, g := range group {
		l := all[g]
		out := l.Out()
		t := p.weight.Rows(0, out*in).View(out, in)
		p.dev.Convert(t, l.W.W)
		w := make([]float32, out*in)
		p.dev.Await(p.dev.Download(tensor.Bytes(w), t))
		before := slices.Clone(w)
		if solver != nil {
			solver.Prune(w, out, p.pattern)
		} else {
			prune.Magnitude(w, out, in, p.pattern)
		}
		p.dev.After(p.dev.Upload(t, tensor.Bytes(w)))
		p.dev.Convert(l.W.W, t)
		if err := p.dev.Sync(); err != nil {
			return err
		}
		for i, v := range w {
			if v == 0 {
				p.result.Zeros++
			}
			w[i] = before[i] - v
		}
		p.result.Weights += int64(len(w))
		layer := PruneLayer{Name: strings.TrimSuffix(l.W.Name, ".weight"), Error: p.energy(w, h, in) / p.energy(before, h, in)}
		p.result.Layers = append(p.result.Layers, layer)
		if say != nil {
			say(layer)
		}
	}
	return nil
}

// energy is the sum of w·H·wᵀ over the rows of w.
func (p *pruner) energy(w, h []float32, in int) (sum float64) {
	out := len(w) / in
	product := make([]float32, len(w))
	p.pool.MatMul(simd.NN, out, in, in, 1, simd.Mat{F32: w, Stride: in}, simd.Mat{F32: h, Stride: in}, product, in, false)
	for i, v := range product {
		sum += float64(v) * float64(w[i])
	}
	return sum
}

// write writes the files of the checkpoint again, pruned matrices with the values
// they have and everything else as it is.
func (p *pruner) write(dir string, b *base) error {
	set, err := safetensors.Open(b.dir)
	if err != nil {
		return err
	}
	defer set.Close()
	pruned := map[string]*model.Weight{}
	for _, block := range p.model.Blocks {
		for _, l := range block.Linears() {
			pruned[l.W.Name] = l.W
		}
	}
	files := map[string][]safetensors.Tensor{}
	for _, name := range set.Names() {
		info, _ := set.Info(name)
		t := safetensors.Tensor{Name: name, DType: info.DType, Shape: info.Shape}
		t.Fill = func(dst []byte) error {
			w := pruned[name]
			if w == nil {
				data, err := set.Bytes(name)
				copy(dst, data)
				return err
			}
			return p.fill(dst, w, info.DType)
		}
		file := filepath.Base(info.File)
		files[file] = append(files[file], t)
	}
	for file, tensors := range files {
		if err := safetensors.Write(filepath.Join(dir, file), tensors, set.Metadata()); err != nil {
			return err
		}
	}
	if len(files) > 1 {
		index := "model.safetensors.index.json"
		data, err := os.ReadFile(filepath.Join(b.dir, index))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, index), data, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return copyModelFiles(dir, b.dir, func(data []byte) ([]byte, error) { return recordSparsity(data, p.result) })
}

// fill writes a pruned matrix in the type of the file.
func (p *pruner) fill(dst []byte, w *model.Weight, t safetensors.DType) error {
	f := p.weight.Rows(0, w.W.Len()).View(w.W.Dim(0), w.W.Dim(1))
	p.dev.Convert(f, w.W)
	values := make([]float32, w.W.Len())
	p.dev.Await(p.dev.Download(tensor.Bytes(values), f))
	return narrow(dst, values, t)
}

// recordSparsity adds the note to a config.json.
func recordSparsity(data []byte, r *PruneResult) ([]byte, error) {
	var c map[string]json.RawMessage
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	note, err := json.Marshal(sparsityRecord{Method: r.Method, Pattern: r.Pattern})
	if err != nil {
		return nil, err
	}
	c[sparsityKey] = note
	out, err := json.MarshalIndent(c, "", "  ")
	return append(out, '\n'), err
}
