// Package method has the ways to fine-tune a model, one file each. A method
// hangs branches on the model's seams and says what is trained; it never edits
// the model and knows nothing of data, batches or files.
//
// The names in a method's param.Set are the tensor names of its adapter files:
// blocks.<i>.ffn.key [M,d] and .value [M,d] for MEFT and the parallel adapter, with
// gated neurons .gate [M,d] (.key is what Llama calls up),
// blocks.<i>.ffn.router [N,d] for MEFT, those of PEFT for LoRA, the names of the
// checkpoint for full.
package method

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"meft/model"
	"meft/param"
	"meft/tensor"
)

// Reach is how far gradients flow.
type Reach uint8

// The reaches.
const (
	ToInputs  Reach = iota // through every block down to the lowest branch
	ToWeights              // and to every weight: the model is built with Size.Weights
	ToTop                  // into a ladder and no block: the model is built with Size.Aside
)

// Size is the size of a model to train with such a reach.
func (r Reach) Size(s model.Size) model.Size {
	s.Grad, s.Weights, s.Aside = true, r == ToWeights, r == ToTop
	return s
}

// About says what a method is, for lists, files and defaults.
type About struct {
	Summary string  // what it trains, in a line
	Source  string  // where it is from
	Rate    float64 // peak learning rate where none is set
	PEFT    string  // peft_type of its adapter folders: PEFT's own, or ours where PEFT has no such method; "" for a method that writes a model
	Changes bool    // with its initial values the model does not compute what it did before
	Size    string  // setting, a whole number, that makes its adapter larger; "" for none
	Merges  string  // "exactly" where every adapter folds into the weights of a plain model, else when it does or why it does not
}

// Exactly is About.Merges of methods whose adapters always fold.
const Exactly = "exactly"

// A Method turns a frozen model into a trainable one. Its exported fields are
// its settings, and their JSON names are the names users type. A Method serves
// one model at a time.
type Method interface {
	// About is the same whatever the settings.
	About() About
	// Reach says what to build the model for.
	Reach() Reach
	// Check compares the settings with the model and returns all problems in
	// one error.
	Check(c model.Config) error
	// Attach allocates the parameters in a, which may be planning, hangs the
	// branches on m's seams and returns what is trained. With the initial
	// values, a function of seed, m computes what it did before, unless
	// About.Changes. In a model
	// built without gradients nothing for Backward is allocated.
	Attach(m *model.Model, a *tensor.Arena, seed uint64) (*param.Set, error)
}

// A Starter is a method whose initial values are not all there after Attach.
// Start sets the rest when the model has its weights, before training; it is
// not called where the values of an adapter are loaded.
type Starter interface {
	Method
	Start() error
}

// All returns every method under its name, with default settings. It is the one
// list to extend, and the only place a default is written.
func All() map[string]Method {
	return map[string]Method{
		"full": &Full{},
		"parallel": &Parallel{
			Bottleneck: 256,
			Activation: "relu",
			Layers:     "all",
		},
		"series": &Series{
			Bottleneck: 128, // at two places of a block: as many neurons as the parallel adapter's
			Position:   SeriesBoth,
			Activation: "tanh",
			Layers:     "all",
		},
		"lst": &LST{
			Reduction:   8,
			Layers:      "all",
			Temperature: 0.1,
			Init:        InitPruned,
		},
		"shira": &SHiRA{
			Rank:    32,
			Targets: AllLinear,
		},
		"lora": &LoRA{
			Rank:    8,
			Targets: AllLinear,
			Ratio:   1,
			Init:    InitUniform,
			Layers:  "all",
		},
		"prompt": &Prompt{
			Tokens: 50,
			Init:   FromVocabulary,
		},
		"prefix": &Prefix{
			Tokens: 50,
			Init:   FromVocabulary,
		},
		"meft": &MEFT{
			Neurons:     4096,
			TopK:        64,
			Probe:       8,
			Router:      RouteKeyExperts,
			Gate:        GateAuto,
			Balance:     0.01,
			Capacity:    1.25,
			StableShare: 0.1,
			StableLoss:  0.3,
			Share:       ShareToken,
			Layers:      "all",
			Idle:        param.Lazy,
			Master:      param.WholeMaster,
			Moments:     param.WholeMoments,
			Activation:  "relu",
		},
	}
}

// Names are the names of all methods, sorted.
func Names() []string { return slices.Sorted(maps.Keys(All())) }

// PEFTTypes are the values of peft_type that adapters have, sorted.
func PEFTTypes() []string {
	var types []string
	for _, m := range All() {
		if t := m.About().PEFT; t != "" {
			types = append(types, t)
		}
	}
	slices.Sort(types)
	return types
}

// Decode is the method of that name with the settings of a JSON object over its
// defaults; empty settings change nothing. The error names every unknown
// setting or the one whose value has the wrong type. json.Marshal of a Method
// is the way back.
func Decode(name string, settings []byte) (Method, error) {
	m, ok := All()[name]
	if !ok {
		return nil, fmt.Errorf("method %q is unknown, wants one of %s", name, strings.Join(Names(), ", "))
	}
	if len(bytes.TrimSpace(settings)) == 0 {
		return m, nil
	}
	var given map[string]json.RawMessage
	if err := json.Unmarshal(settings, &given); err != nil {
		return nil, fmt.Errorf("settings of method %s: %w", name, err)
	}
	known := Settings(m)
	var problems []error
	for _, k := range slices.Sorted(maps.Keys(given)) {
		if !slices.Contains(known, k) {
			problems = append(problems, fmt.Errorf("settings of method %s: %q is unknown, wants one of %s", name, k, strings.Join(known, ", ")))
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	if err := json.Unmarshal(settings, m); err != nil {
		return nil, fmt.Errorf("settings of method %s: %w", name, err)
	}
	return m, nil
}

// Settings are the names of a method's settings, sorted.
func Settings(m Method) []string {
	data, err := json.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("method: settings of %T: %v", m, err))
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		panic(fmt.Sprintf("method: settings of %T: %v", m, err))
	}
	return slices.Sorted(maps.Keys(fields))
}

// oneOf is nil if value is among the allowed ones, else an error naming the
// setting.
func oneOf(setting, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("%s is %q, wants %s", setting, value, strings.Join(allowed, ", "))
}

// atLeast is nil if value is not below least, else an error naming the setting.
func atLeast(setting string, value, least int) error {
	if value >= least {
		return nil
	}
	return fmt.Errorf("%s is %d, wants at least %d", setting, value, least)
}

// hang puts a branch on a block that has none yet.
func hang(m *model.Model, block int, b model.Branch) error {
	if m.Blocks[block].FFN != nil {
		return fmt.Errorf("block %d of the model has a branch already; attach one method to one model", block)
	}
	m.Blocks[block].FFN = b
	return nil
}

// blockName is the prefix of the tensor names of block i.
func blockName(i int) string { return fmt.Sprintf("blocks.%d.ffn", i) }
