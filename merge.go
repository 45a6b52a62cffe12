package meft

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"meft/model"
	"meft/safetensors"
	"meft/train"
)

// MergeOptions say which adapter becomes part of which model.
type MergeOptions struct {
	Model     string // folder of a Hugging Face checkpoint
	Adapter   string // folder of an adapter or of a run
	OtherBase bool   // take an adapter that was trained on another model
	Output    string // folder that is made
	DType     string // auto, f32, bf16 or f16; "" for auto: as the model is stored
	MaxShard  Size   // bytes of tensors in a file; 0 for 5 GB
	Overwrite bool   // delete the model that is at Output
	Compare   CompareOptions
}

// MergeResult is what a merge has written.
type MergeResult struct {
	Output       string      `json:"output"`
	Files        []string    `json:"files"` // with weights
	DType        string      `json:"dtype"`
	Tensors      int         `json:"tensors"`
	Changed      int         `json:"changed"` // tensors that the adapter is in
	Parameters   int64       `json:"parameters"`
	Bytes        int64       `json:"bytes"`
	Intermediate int         `json:"intermediate_size"`
	Neurons      int         `json:"added_neurons,omitempty"`         // of a feed-forward layer, those that fill up to a multiple of 32 among them
	Filled       string      `json:"fills_zeros_of,omitempty"`        // pattern of a pruned model whose zeros the adapter fills
	Gap          string      `json:"gap,omitempty"`                   // why the result is not model and adapter exactly
	Difference   *Difference `json:"difference,omitempty"`            // measured
	Base         string      `json:"base_dtype,omitempty"`            // quantised type of the model that the adapter was trained on
	Trained      *Difference `json:"difference_as_trained,omitempty"` // as Difference, from the adapter on the model in that type
}

// Merge folds an adapter into the weights of its model and writes the result as
// a plain Hugging Face checkpoint, one weight at a time. The folder appears
// complete or not at all. Then both are loaded, one after the other, and
// compared; the model also in the quantised type that the adapter was trained on,
// since it is folded into the weights that the checkpoint has.
func Merge(ctx context.Context, o MergeOptions) (*MergeResult, error) {
	for _, p := range []struct{ flag, value string }{{"model", o.Model}, {"adapter", o.Adapter}, {"output", o.Output}} {
		if p.value == "" {
			return nil, &UsageError{fmt.Errorf("no %s: give --%[1]s FOLDER", p.flag)}
		}
	}
	if err := checkOutput(o.Output, o.Overwrite, o.Model, o.Adapter); err != nil {
		return nil, err
	}
	f, err := openFolded(o.Model, o.Adapter, o.OtherBase)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	result, err := f.merge(ctx, o)
	if err != nil || o.Compare.Tokens == 0 {
		return result, err
	}
	// A run of method full has no adapter: its model is compared.
	before := SessionOptions{Model: f.dir, Threads: o.Compare.Threads}
	if f.method != nil {
		before.Adapter, before.OtherBase = o.Adapter, o.OtherBase
	}
	after := SessionOptions{Model: o.Output, Threads: o.Compare.Threads}
	result.Difference, err = compare(ctx, before, after, o.Compare)
	if dtype, plain := f.origin.quantised(); err == nil && dtype != "" {
		before.BaseDType, before.PlainScales = dtype, plain
		result.Trained, err = compare(ctx, before, after, o.Compare)
	}
	if err != nil {
		return nil, fmt.Errorf("%s is written, but could not be compared: %w", o.Output, err)
	}
	return result, nil
}

// checkOutput refuses a place where something is that is not to be replaced.
func checkOutput(out string, overwrite bool, sources ...string) error {
	info, err := os.Stat(out)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, source := range sources {
		if s, err := os.Stat(source); err == nil && os.SameFile(info, s) || within(source, out) {
			return fmt.Errorf("%s: is, or holds, what is read (%s); choose another --output", out, source)
		}
	}
	if !info.IsDir() {
		return fmt.Errorf("%s: is a file, wanted a folder to make; choose another --output", out)
	}
	entries, err := os.ReadDir(out)
	switch {
	case err != nil || len(entries) == 0:
		return err
	case !overwrite:
		return fmt.Errorf("%s: is there already; choose another --output, or --overwrite to replace it", out)
	case !exists(filepath.Join(out, "config.json")):
		return fmt.Errorf("%s: holds something that is not a model (no config.json), which --overwrite does not delete; choose another --output", out)
	}
	return nil
}

// within reports whether a path is inside a folder.
func within(path, dir string) bool {
	p, err1 := filepath.Abs(path)
	d, err2 := filepath.Abs(dir)
	rel, err3 := filepath.Rel(d, p)
	return err1 == nil && err2 == nil && err3 == nil && filepath.IsLocal(rel)
}

// merge writes the folder.
func (f *folded) merge(ctx context.Context, o MergeOptions) (*MergeResult, error) {
	t, err := f.outputType(o.DType)
	if err != nil {
		return nil, err
	}
	r := &MergeResult{Output: o.Output, DType: strings.ToLower(string(t)), Changed: f.changes(), Filled: f.filled(), Gap: f.fold.Gap, Intermediate: f.config.Hidden, Neurons: f.config.Hidden - f.stored.Hidden}
	if dtype, _ := f.origin.quantised(); dtype != "" {
		r.Base = f.origin.BaseDType
	}
	shapes := f.config.WeightShapes()
	for _, w := range shapes {
		n := int64(1)
		for _, d := range w.Dims {
			n *= int64(d)
		}
		r.Tensors++
		r.Parameters += n
		r.Bytes += n * int64(t.Size())
	}
	if free, ok := freeAt(o.Output); ok && free < r.Bytes {
		return nil, fmt.Errorf("%s: the disk has %v free, the model is %v: %v missing; free some, or choose an --output on another disk", o.Output, Size(free), Size(r.Bytes), Size(r.Bytes-free))
	}
	limit := int64(o.MaxShard)
	if limit == 0 {
		limit = defaultShard
	}
	err = makeFolder(o.Output, func(tmp string) error {
		if r.Files, err = f.writeShards(ctx, tmp, shapes, t, limit); err != nil {
			return err
		}
		return copyModelFiles(tmp, f.dir, func(data []byte) ([]byte, error) {
			return changeConfig(data, map[safetensors.DType]string{"F32": "float32", "BF16": "bfloat16", "F16": "float16"}[t], f.configChanges())
		})
	})
	return r, err
}

// defaultShard is transformers' max_shard_size.
const defaultShard = 5e9

func (f *folded) outputType(name string) (safetensors.DType, error) {
	switch name {
	case "", "auto":
		return f.storedType(), nil
	case "f32", "bf16", "f16":
		return safetensors.DType(strings.ToUpper(name)), nil
	}
	return "", &UsageError{fmt.Errorf("dtype is %q, wanted auto, f32, bf16 or f16", name)}
}

// configChanges are the keys of config.json that folding changes.
func (f *folded) configChanges() map[string]any {
	c := map[string]any{}
	if f.config.Hidden != f.stored.Hidden {
		c["intermediate_size"] = f.config.Hidden
	}
	if f.config.Tied != f.stored.Tied {
		c["tie_word_embeddings"] = f.config.Tied
	}
	if f.filled() != "" {
		c[sparsityKey] = nil // it is none any more, and method full would ask for its zeros
	}
	return c
}

// filled is the pattern of a pruned model that an adapter is folded into: a sum
// with an adapter's product leaves few zeros what they are. It is "" for another
// model, and for one with nothing folded in.
func (f *folded) filled() string {
	if f.method == nil {
		return ""
	}
	return f.pruned
}

// makeFolder makes a folder with what fill puts into it, whole or not at all, in
// place of one that is there.
func makeFolder(path string, fill func(tmp string) error) error {
	path = filepath.Clean(path)
	parent := filepath.Dir(path)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(parent, halfWritten(filepath.Base(path))+"*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp) // it is gone after the rename
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if err := fill(tmp); err != nil {
		return err
	}
	if err := train.SyncTree(tmp); err != nil {
		return err
	}
	if exists(path) {
		old := tmp + ".old"
		if err := os.Rename(path, old); err != nil {
			return err
		}
		defer os.RemoveAll(old)
	}
	return os.Rename(tmp, path)
}

// writeShards writes the weights in files of at most limit bytes (or one
// tensor) and, if there are several, their index. It returns the files' names.
func (f *folded) writeShards(ctx context.Context, dir string, shapes []model.WeightShape, t safetensors.DType, limit int64) ([]string, error) {
	var shards [][]safetensors.Tensor
	var total, room int64
	for _, w := range shapes {
		one := f.tensor(ctx, w, t)
		n := int64(t.Size())
		for _, d := range w.Dims {
			n *= int64(d)
		}
		if shards == nil || n > room {
			shards, room = append(shards, nil), limit
		}
		shards[len(shards)-1] = append(shards[len(shards)-1], one)
		total, room = total+n, room-n
	}
	metadata := map[string]string{"format": "pt"}
	if len(shards) == 1 {
		const name = "model.safetensors"
		return []string{name}, safetensors.Write(filepath.Join(dir, name), shards[0], metadata)
	}
	var index struct {
		Metadata struct {
			Total int64 `json:"total_size"`
		} `json:"metadata"`
		Map map[string]string `json:"weight_map"`
	}
	index.Metadata.Total, index.Map = total, map[string]string{}
	var names []string
	for i, tensors := range shards {
		name := fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		if err := safetensors.Write(filepath.Join(dir, name), tensors, metadata); err != nil {
			return nil, err
		}
		for _, one := range tensors {
			index.Map[one.Name] = name
		}
		names = append(names, name)
	}
	data, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return nil, err
	}
	return names, os.WriteFile(filepath.Join(dir, "model.safetensors.index.json"), append(data, '\n'), 0o644)
}

// tensor is a weight as it is written. One that is stored just so is copied.
func (f *folded) tensor(ctx context.Context, w model.WeightShape, t safetensors.DType) safetensors.Tensor {
	out := safetensors.Tensor{Name: w.Name, DType: t, Shape: w.Dims}
	info := f.source(w.Name)
	out.Fill = func(dst []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if info.DType == t && !f.changed(w) {
			data, err := f.set.Bytes(info.Name)
			copy(dst, data)
			f.set.Release(info.Name)
			return err
		}
		values, err := f.read(w)
		if err != nil {
			return err
		}
		return narrow(dst, values, t)
	}
	return out
}
