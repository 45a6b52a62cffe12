package meft

import (
	"fmt"
	"os"
	"sort"
	"strings"

	"meft/cpu"
	"meft/method"
	"meft/model"
	"meft/safetensors"
	"meft/tensor"
	"meft/token"
)

// base is the frozen model a run starts from, before anything is allocated.
type base struct {
	dir     string // model folder, "" for a built-in shape
	name    string // for messages and adapter files
	config  model.Config
	frozen  tensor.DType
	compute tensor.DType // of the products
	random  bool         // weights are made, not read
	seed    uint64
	pruned  string // how: its sparsityRecord's pattern; "" for a base that has none, or that gets random weights
	hash    string // see fingerprint; "" until it is asked for
}

// openBase reads what a model is, and checks its files, without its weights.
func openBase(c Config) (*base, error) {
	b := &base{dir: c.Model, name: c.Model, seed: c.Seed, random: c.Init == "random" || c.RandomWeights}
	if c.ComputeDType == "bf16" {
		b.compute = tensor.BF16
	}
	switch {
	case c.Model != "" && c.Shape != "":
		return nil, fmt.Errorf("model %q and shape %q: set one of them", c.Model, c.Shape)
	case c.Shape != "":
		shape, ok := model.Shapes()[c.Shape]
		if !ok {
			return nil, fmt.Errorf("unknown shape %q; known: %s", c.Shape, strings.Join(shapeNames(), ", "))
		}
		b.name, b.config = c.Shape, shape
	case c.Model == "":
		return nil, fmt.Errorf("no model: give --model FOLDER (or --shape NAME)")
	default:
		var err error
		if b.config, err = model.ReadConfig(c.Model); err != nil {
			return nil, err
		}
		if b.pruned, err = readSparsity(c.Model); err != nil {
			return nil, err
		}
		if b.random {
			b.pruned = ""
		}
	}
	return b, b.chooseType(c)
}

// device opens the device that the model is put on.
func (b *base) device(threads int) *cpu.Device {
	d := cpu.New(threads)
	d.SetCompute(b.compute)
	return d
}

// chooseType resolves --base-dtype auto: bf16 where all matrices are stored so
// (or there are none), else f32, so that auto never rounds.
func (b *base) chooseType(c Config) error {
	if t, ok := baseTypes(c.DoubleQuant)[c.BaseDType]; ok {
		b.frozen = t
		return b.check(model.CheckFrozen(b.config, t))
	}
	b.frozen = tensor.BF16
	if b.dir == "" || b.random {
		return nil
	}
	set, err := safetensors.Open(b.dir)
	if err != nil {
		return err
	}
	defer set.Close()
	for _, name := range set.Names() {
		if info, _ := set.Info(name); len(info.Shape) > 1 && info.DType != "BF16" {
			b.frozen = tensor.F32
		}
	}
	return model.CheckWeights(b.config, set)
}

// baseTypes are the values of --base-dtype but auto.
func baseTypes(double bool) map[string]tensor.DType {
	t := map[string]tensor.DType{"f32": tensor.F32, "bf16": tensor.BF16, "nf4": tensor.NF4, "fp4": tensor.FP4, "int8": tensor.INT8}
	if double {
		t["nf4"], t["fp4"] = tensor.NF4DQ, tensor.FP4DQ
	}
	return t
}

// check adds which model an error is about.
func (b *base) check(err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", b.name, err)
	}
	return nil
}

// suits refuses a quantised base for a method that trains the weights
// themselves: its steps would vanish between two codes.
func (b *base) suits(name string, m method.Method) error {
	if b.frozen.Quantised() && m.Reach() == method.ToWeights {
		return &UsageError{fmt.Errorf("base_dtype %v: method %s trains the model's own weights, in f32; leave base_dtype out, or train beside frozen weights, as --method lora or meft do", b.frozen, name)}
	}
	return nil
}

// fill gives the weights of a built model their values.
func (b *base) fill(m *model.Model) error {
	if b.random {
		m.Init(b.seed)
		return m.Device().Sync()
	}
	if b.dir == "" {
		return fmt.Errorf("shape %s has no weights; add --random-weights to compute with random ones", b.name)
	}
	set, err := safetensors.Open(b.dir)
	if err != nil {
		return err
	}
	defer set.Close()
	return m.Load(set)
}

// tokenizer reads the model's tokenizer and checks that it fits the vocabulary.
func (b *base) tokenizer() (*token.Tokenizer, error) {
	if b.dir == "" {
		return nil, fmt.Errorf("shape %s has no tokenizer; give --model FOLDER", b.name)
	}
	tok, err := token.Load(b.dir)
	if err != nil {
		return nil, err
	}
	return tok, checkVocabulary(b.dir, tok.Size(), b.config.Vocab)
}

// checkVocabulary refuses a tokenizer made for another model. Embeddings are
// often padded up to a multiple, so a somewhat smaller tokenizer is right.
func checkVocabulary(dir string, tokens, vocab int) error {
	if tokens <= vocab && vocab-tokens <= max(1024, vocab/16) {
		return nil
	}
	return fmt.Errorf("%s: the tokenizer has %d tokens, the model's vocabulary %d: they belong to different models; copy tokenizer.json or tokenizer.model from this model's folder", dir, tokens, vocab)
}

func shapeNames() []string {
	var names []string
	for name := range model.Shapes() {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// exists reports whether a path is there.
func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
