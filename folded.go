package meft

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"meft/method"
	"meft/model"
	"meft/safetensors"
	"meft/tensor"
	"meft/train"
)

// ffnMultiple is what a feed-forward layer with added neurons is filled up to
// with zeros: kernels of other programs, and blocks of Q8_0, want multiples of 32.
const ffnMultiple = 32

// headName is the weight that a model whose head is its embedding does not have.
const headName = "lm_head.weight"

// folded is a checkpoint whose weights have an adapter folded in, each made when
// it is read.
type folded struct {
	dir     string // of config.json and tokenizer: the model, or what method full made of it
	stored  model.Config
	config  model.Config // of the result
	set     *safetensors.Set
	adapter *safetensors.Set // nil for none
	fold    method.Fold
	pruned  string        // pattern of a pruned model, "" for none
	method  method.Method // nil for none
	origin  origin        // of the adapter
	values  []float32     // memory of the weight at hand
}

// openFolded opens a model and, unless it is "", an adapter or a run, whose
// result may also be a model. With other it may be one of another model. Nothing
// large is read.
func openFolded(dir, adapter string, other bool) (f *folded, err error) {
	f = &folded{dir: dir}
	if f.stored, err = model.ReadConfig(dir); err != nil {
		return nil, err
	}
	if adapter != "" {
		if full := trainedModel(adapter); full != "" {
			if err := f.replace(full); err != nil {
				return nil, err
			}
			adapter = ""
		}
	}
	f.config = f.stored
	if f.pruned, err = readSparsity(f.dir); err != nil {
		return nil, err
	}
	if f.set, err = safetensors.Open(f.dir); err != nil {
		return nil, err
	}
	if err = model.CheckWeights(f.stored, f.set); err == nil && adapter != "" {
		err = f.openAdapter(adapter, other)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// trainedModel is the folder with the model that a run of method full, or a
// checkpoint of one, has made; "" if dir is neither.
func trainedModel(dir string) string {
	for _, d := range []string{filepath.Join(dir, "model"), dir} {
		if exists(filepath.Join(d, "config.json")) && exists(filepath.Join(d, "model.safetensors")) && !exists(filepath.Join(d, adapterConfigFile)) {
			return d
		}
	}
	return ""
}

// replace takes a model of the same shape in place of the one given.
func (f *folded) replace(dir string) error {
	c, err := model.ReadConfig(dir)
	if err != nil {
		return err
	}
	same := func(a, b model.WeightShape) bool { return a.Name == b.Name && slices.Equal(a.Dims, b.Dims) }
	if !slices.EqualFunc(c.WeightShapes(), f.stored.WeightShapes(), same) {
		return fmt.Errorf("%s: a model of hidden_size %d, %d layers, vocabulary %d, which %s (%d, %d, %d) did not begin as", dir, c.Dim, c.Layers, c.Vocab, f.dir, f.stored.Dim, f.stored.Layers, f.stored.Vocab)
	}
	f.dir, f.stored = dir, c
	return nil
}

func (f *folded) openAdapter(given string, other bool) error {
	dir, err := findAdapter(given)
	if err != nil {
		return err
	}
	ac, m, err := readAdapterConfig(dir)
	if err != nil {
		return err
	}
	if err := m.Check(f.stored); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if err := ac.fits(dir, &base{dir: f.dir, config: f.stored}, nil, other); err != nil {
		return err
	}
	folder, ok := m.(method.Folder)
	if !ok {
		return fmt.Errorf("%s: an adapter of method %s does not fold into a model (%s); load it as it is with --adapter", dir, ac.Method, why(m))
	}
	path := filepath.Join(dir, adapterWeightsFile)
	if f.adapter, err = safetensors.Open(path); err != nil {
		return err
	}
	r := recipe{base: &base{dir: f.dir, config: f.stored}, method: m, size: model.Size{Rows: 1, Context: 1}}
	_, parts, err := r.planned()
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if err := train.CheckBlobs(path, f.adapter, parts.params.Weights()); err != nil {
		return err
	}
	fold, err := folder.Fold(f.stored, f.adapter)
	if err != nil {
		return fmt.Errorf("%s: %w. Load it as it is with --adapter", dir, err)
	}
	f.method, f.fold, f.origin = m, *fold, ac.origin
	if fold.Neurons > 0 {
		f.config.Hidden = (f.stored.Hidden + fold.Neurons + ffnMultiple - 1) / ffnMultiple * ffnMultiple
	}
	if fold.Weights[headName] != nil {
		f.config.Tied = false
	}
	return nil
}

// why is what keeps a method's adapters from folding.
func why(m method.Method) string {
	if reason := strings.TrimPrefix(m.About().Merges, "no: "); reason != "" {
		return reason
	}
	return "it is not a change of the model's weights"
}

// Close unmaps the files.
func (f *folded) Close() error {
	var err error
	for _, s := range []*safetensors.Set{f.set, f.adapter} {
		if s != nil {
			err = errors.Join(err, s.Close())
		}
	}
	return err
}

// source is the weight of the checkpoint that a weight of the result begins as.
func (f *folded) source(name string) safetensors.Info {
	if name == headName && f.stored.Tied {
		name = "model.embed_tokens.weight"
	}
	info, _ := f.set.Info(name)
	return info
}

// changed reports whether a weight has other values than that of the checkpoint.
func (f *folded) changed(w model.WeightShape) bool {
	return f.fold.Weights[w.Name] != nil || !slices.Equal(f.source(w.Name).Shape, w.Dims)
}

// changes counts the weights that have.
func (f *folded) changes() (n int) {
	for _, w := range f.config.WeightShapes() {
		if f.changed(w) {
			n++
		}
	}
	return n
}

// read makes a weight's values, in memory that the next read takes again. They
// are finite.
func (f *folded) read(w model.WeightShape) ([]float32, error) {
	n := 1
	for _, d := range w.Dims {
		n *= d
	}
	f.values = slices.Grow(f.values[:0], n)[:n]
	info := f.source(w.Name)
	err := f.widen(f.values, w, info)
	f.set.Release(info.Name)
	if change := f.fold.Weights[w.Name]; err == nil && change != nil {
		err = change(f.values)
	}
	if err == nil {
		err = safetensors.CheckFinite(w.Name, f.values)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", info.File, err)
	}
	return f.values, nil
}

// widen reads a weight of the checkpoint into that of the result, which may have
// more neurons.
func (f *folded) widen(dst []float32, w model.WeightShape, info safetensors.Info) error {
	if slices.Equal(info.Shape, w.Dims) {
		return f.set.ReadF32(dst, info.Name)
	}
	var block int
	var part string
	if _, err := fmt.Sscanf(strings.ReplaceAll(w.Name, ".", " "), "model layers %d mlp %s", &block, &part); err != nil {
		panic(fmt.Sprintf("meft: weight %s is %v in the checkpoint and %v when it is merged", w.Name, info.Shape, w.Dims))
	}
	clear(dst)
	old := dst[:info.Len()]
	down := part == "down_proj" && len(w.Dims) == 2
	if down {
		old = make([]float32, info.Len())
	}
	if err := f.set.ReadF32(old, info.Name); err != nil {
		return err
	}
	added, ok := f.fold.FFN[block]
	if down {
		for i := range w.Dims[0] {
			copy(dst[i*w.Dims[1]:], old[i*info.Shape[1]:(i+1)*info.Shape[1]])
		}
		if !ok {
			return nil
		}
		rows, err := added.Down()
		for j := range len(rows) / w.Dims[0] {
			for i := range w.Dims[0] {
				dst[i*w.Dims[1]+info.Shape[1]+j] = rows[j*w.Dims[0]+i]
			}
		}
		return err
	}
	if !ok || len(w.Dims) == 1 { // added neurons have no bias
		return nil
	}
	read := added.Gate
	if part == "up_proj" {
		read = added.Up
	}
	rows, err := read()
	copy(dst[len(old):], rows)
	return err
}

// storedType is the type that all weights of the checkpoint are stored in, F32
// if they differ.
func (f *folded) storedType() safetensors.DType {
	var t safetensors.DType
	for _, w := range f.stored.WeightShapes() {
		info, _ := f.set.Info(w.Name)
		if t != "" && info.DType != t || info.DType == "F64" {
			return "F32"
		}
		t = info.DType
	}
	return t
}

// narrow puts values into a tensor of a type. The error is about a value that is
// too large for the type.
func narrow(dst []byte, values []float32, t safetensors.DType) error {
	if t == "F32" {
		copy(dst, tensor.Bytes(values))
		return nil
	}
	half := make([]uint16, min(len(values), 1<<16))
	for at := 0; at < len(values); at += len(half) {
		part := values[at:min(at+len(half), len(values))]
		half = half[:len(part)]
		if t == "BF16" {
			safetensors.BF16FromF32(half, part)
		} else {
			safetensors.F16FromF32(half, part)
		}
		if i := slices.IndexFunc(half, func(h uint16) bool { return isInf(h, t) }); i >= 0 {
			return fmt.Errorf("%v at index %d of %d is too large for %s; write f32, or bf16 unless it was that", part[i], at+i, len(values), strings.ToLower(string(t)))
		}
		copy(dst[2*at:], tensor.Bytes(half))
	}
	return nil
}

func isInf(h uint16, t safetensors.DType) bool {
	if t == "BF16" {
		return h&0x7fff == 0x7f80
	}
	return h&0x7fff == 0x7c00
}
