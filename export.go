package meft

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"meft/gguf"
	"meft/model"
)

// ExportOptions say what becomes a GGUF file.
type ExportOptions struct {
	Model       string // folder of a Hugging Face checkpoint
	Adapter     string // folder of an adapter or of a run, folded in; "" for none
	AdapterOnly bool   // the adapter alone, for the model's own GGUF file
	Output      string // file that is made
	DType       string // f32, f16, bf16 or q8_0 of matrices; "" for f16, of an adapter alone f32
	Overwrite   bool   // replace a file that is there
	OtherBase   bool   // take an adapter that was trained on another model
}

// ExportResult is what an export has written.
type ExportResult struct {
	Output       string   `json:"output"`
	Kind         string   `json:"kind"`         // model or adapter
	Architecture string   `json:"architecture"` // as llama.cpp names it
	Tokenizer    string   `json:"tokenizer,omitempty"`
	DType        string   `json:"dtype"`
	Tensors      int      `json:"tensors"`
	Parameters   int64    `json:"parameters"`
	Bytes        int64    `json:"bytes"`           // of the tensors
	Notes        []string `json:"notes,omitempty"` // what is not as in the model
}

func (r *ExportResult) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// Export writes a model, with an adapter folded in, or a LoRA adapter alone, as a
// GGUF file that llama.cpp loads. Weights are made one at a time; the file
// appears complete or not at all.
func Export(ctx context.Context, o ExportOptions) (*ExportResult, error) {
	for _, p := range []struct{ flag, kind, value string }{{"gguf", "FILE", o.Output}, {"model", "FOLDER", o.Model}} {
		if p.value == "" {
			return nil, &UsageError{fmt.Errorf("no %s: give --%[1]s %s", p.flag, p.kind)}
		}
	}
	if o.AdapterOnly && o.Adapter == "" {
		return nil, &UsageError{fmt.Errorf("adapter_only without an adapter: give --adapter FOLDER")}
	}
	t, err := exportType(o)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(o.Output)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	case err == nil && info.IsDir():
		return nil, fmt.Errorf("%s: is a folder, wanted the name of a file to make", o.Output)
	case err == nil && !o.Overwrite:
		return nil, fmt.Errorf("%s: is there already; choose another --gguf, or --overwrite to replace it", o.Output)
	}
	f, err := openFolded(o.Model, o.Adapter, o.OtherBase)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	e := &exporter{folded: f, ctx: ctx, t: t, result: ExportResult{Output: o.Output, Kind: "model", DType: strings.ToLower(t.String())}}
	if e.arch, err = architecture(f.config); err != nil {
		return nil, fmt.Errorf("%s: %w", f.dir, err)
	}
	e.result.Architecture = e.arch
	if o.AdapterOnly {
		err = e.adapterAlone()
	} else {
		if dtype, _ := f.origin.quantised(); dtype != "" {
			e.result.note("the adapter was trained on the model in %s, and is folded into its weights as they are stored", f.origin.BaseDType)
		}
		if p := e.filled(); p != "" {
			e.result.note("the model is pruned (%s), and the adapter fills its zeros", p)
		}
		err = e.model()
	}
	if err != nil {
		return nil, err
	}
	err = e.write()
	return &e.result, err
}

func exportType(o ExportOptions) (gguf.Type, error) {
	name := o.DType
	if name == "" {
		name = "f16"
		if o.AdapterOnly {
			name = "f32"
		}
	}
	for _, t := range []gguf.Type{gguf.F32, gguf.F16, gguf.BF16, gguf.Q8_0} {
		if strings.EqualFold(t.String(), name) {
			return t, nil
		}
	}
	return 0, &UsageError{fmt.Errorf("dtype is %q, wanted f32, f16, bf16 or q8_0", name)}
}

// exporter gathers what goes into a file.
type exporter struct {
	*folded
	ctx     context.Context
	arch    string    // llama.cpp's name of the architecture
	t       gguf.Type // of matrices
	keys    []gguf.KV
	tensors []gguf.Tensor
	halves  []string // tensors whose rows are not whole blocks
	result  ExportResult
}

func (e *exporter) key(name string, value any) {
	e.keys = append(e.keys, gguf.KV{Key: name, Value: value})
}

// quantVersion is ggml's GGML_QNT_VERSION: of the layout of quantised blocks.
const quantVersion = 2

// general are the keys that every file has.
func (e *exporter) general(kind string) {
	e.key("general.architecture", e.arch)
	e.key("general.type", kind)
	e.key("general.name", filepath.Base(filepath.Clean(e.dir)))
	e.key("general.file_type", map[gguf.Type]uint32{gguf.F32: 0, gguf.F16: 1, gguf.Q8_0: 7, gguf.BF16: 32}[e.t])
	e.key("general.quantization_version", uint32(quantVersion))
}

// model makes the file of a model.
func (e *exporter) model() error {
	e.general("model")
	c := e.config
	number := func(name string, v int) { e.key(e.arch+"."+name, uint32(v)) }
	number("vocab_size", c.Vocab)
	number("context_length", c.MaxPositions)
	number("embedding_length", c.Dim)
	number("block_count", c.Layers)
	number("feed_forward_length", c.Hidden)
	number("attention.head_count", c.Heads)
	number("attention.head_count_kv", c.KVHeads)
	number("attention.key_length", c.HeadDim)
	number("attention.value_length", c.HeadDim)
	number("rope.dimension_count", c.HeadDim)
	e.key(e.arch+".attention.layer_norm_rms_epsilon", c.Eps)
	e.key(e.arch+".rope.freq_base", float32(c.Theta))
	if err := e.scaling(); err != nil {
		return err
	}
	if w := slices.Max(c.Window); w > 0 {
		e.result.note("llama.cpp's %s sees whole texts: beyond the sliding window of %d tokens it computes something else", e.arch, w)
	}
	if err := e.tokenizer(); err != nil {
		return err
	}
	for _, w := range c.WeightShapes() {
		t := e.weight(w)
		t.Rows = e.rows(w)
		e.add(t)
	}
	return nil
}

// scaling writes how rotary frequencies are stretched.
func (e *exporter) scaling() error {
	switch s := e.config.Scaling; s.Kind {
	case "linear":
		e.key(e.arch+".rope.scaling.type", "linear")
		e.key(e.arch+".rope.scaling.factor", float32(s.Factor))
	case "dynamic":
		e.result.note("llama.cpp has no dynamic rope scaling: texts longer than %d tokens are computed without it", e.config.MaxPositions)
	case "llama3":
		if e.arch != "llama" {
			return fmt.Errorf("%s: rope_scaling llama3 with architecture %s, which llama.cpp does not compute", e.dir, e.config.Architecture)
		}
		factors := e.config.RopeFactors()
		e.add(gguf.Tensor{Name: "rope_freqs.weight", Type: gguf.F32, Shape: []int{len(factors)}, Rows: func(dst []float32, _ int) error {
			copy(dst, factors)
			return nil
		}})
	}
	return nil
}

// add takes a tensor. Matrices get the type that is wanted, or halves where their
// rows are not whole blocks of it; vectors are F32, as llama.cpp wants them.
func (e *exporter) add(t gguf.Tensor) {
	columns := t.Shape[len(t.Shape)-1]
	t.Type = e.t
	if len(t.Shape) < 2 {
		t.Type = gguf.F32
	} else if !e.t.Fits(columns) {
		t.Type = gguf.F16
		e.halves = append(e.halves, t.Name)
	}
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	e.tensors = append(e.tensors, t)
	e.result.Tensors++
	e.result.Parameters += int64(n)
	e.result.Bytes += t.Type.Bytes(n)
}

// rows reads the rows of a weight in the order that the file has them.
func (e *exporter) rows(w model.WeightShape) func(dst []float32, row int) error {
	heads := e.permuted(w.Name)
	columns := 1
	if len(w.Dims) > 1 {
		columns = w.Dims[1]
	}
	var values []float32
	return func(dst []float32, row int) (err error) {
		if row == 0 { // the weight at hand stays until the next is read
			if err = e.ctx.Err(); err == nil {
				values, err = e.read(w)
			}
			if err != nil {
				return err
			}
		}
		pick(dst, values, row, columns, heads, e.config.HeadDim)
		return nil
	}
}

// pick copies rows from row on. With heads, the file has the two halves of each
// head's rows in turn: llama.cpp rotates neighbours where Hugging Face rotates
// a row with that half a head further.
func pick(dst, src []float32, row, columns int, heads bool, width int) {
	for i := 0; i < len(dst); i += columns {
		from := row + i/columns
		if heads {
			head, r := from/width, from%width
			from = head*width + r%2*(width/2) + r/2
		}
		copy(dst[i:i+columns], src[from*columns:])
	}
}

func (e *exporter) write() error {
	if n := len(e.halves); n > 0 {
		e.result.note("%d tensors (%s ...) are F16: their rows are not whole blocks of %v", n, e.halves[0], e.t)
	}
	if free, ok := freeAt(e.result.Output); ok && free < e.result.Bytes {
		return fmt.Errorf("%s: the disk has %v free, the file is %v: %v missing; free some, or choose a --gguf on another disk", e.result.Output, Size(free), Size(e.result.Bytes), Size(e.result.Bytes-free))
	}
	if err := os.MkdirAll(filepath.Dir(e.result.Output), 0o755); err != nil {
		return err
	}
	return gguf.Write(e.result.Output, e.keys, e.tensors)
}
