package meft

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"meft/method"
	"meft/model"
	"meft/param"
	"meft/train"
)

// peftConfig is adapter_config.json of LoRA as PEFT writes it: the keys that all
// its versions know, since older ones refuse others. Raw values are null where they are left out,
// and may be of any type in a file that is read.
type peftConfig struct {
	AlphaPattern  struct{}          `json:"alpha_pattern"`
	AutoMapping   json.RawMessage   `json:"auto_mapping"`
	Base          string            `json:"base_model_name_or_path"`
	Bias          string            `json:"bias"`
	FanInFanOut   bool              `json:"fan_in_fan_out"`
	InferenceMode bool              `json:"inference_mode"`
	Init          json.RawMessage   `json:"init_lora_weights"`
	Pattern       json.RawMessage   `json:"layers_pattern"`
	Layers        oneOrMore[int]    `json:"layers_to_transform"` // null for all
	Alpha         float64           `json:"lora_alpha"`
	Dropout       float64           `json:"lora_dropout"`
	ModulesToSave json.RawMessage   `json:"modules_to_save"`
	PeftType      string            `json:"peft_type"` // LORA
	Rank          int               `json:"r"`
	RankPattern   struct{}          `json:"rank_pattern"`
	Revision      json.RawMessage   `json:"revision"`
	Targets       oneOrMore[string] `json:"target_modules"`
	TaskType      string            `json:"task_type"`
	DoRA          bool              `json:"use_dora,omitempty"`
	RSLoRA        bool              `json:"use_rslora,omitempty"`
}

// oneOrMore is a list that may be written as its only item.
type oneOrMore[T any] []T

// UnmarshalJSON reads a list, an item, or null.
func (l *oneOrMore[T]) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(data, []byte("[")) || string(data) == "null" {
		return json.Unmarshal(data, (*[]T)(l))
	}
	var one T
	err := json.Unmarshal(data, &one)
	*l = oneOrMore[T]{one}
	return err
}

// savePEFT writes a LoRA adapter that PEFT loads.
func savePEFT(dir string, b *base, l *method.LoRA, set *param.Set) error {
	targets, err := l.Modules()
	if err != nil {
		return err
	}
	c := peftConfig{Base: b.name, Bias: "none", InferenceMode: true, Init: json.RawMessage("true"), DoRA: l.DoRA, Alpha: l.EffectiveAlpha(), Dropout: l.Dropout,
		PeftType: "LORA", Rank: l.Rank, Targets: targets, TaskType: "CAUSAL_LM", RSLoRA: l.RSLoRA}
	if l.Init == method.InitGaussian {
		c.Init = json.RawMessage(strconv.Quote(l.Init))
	}
	if l.Layers != "all" {
		if c.Layers, err = l.Blocks(b.config.Layers); err != nil {
			return err
		}
	}
	if err := writeJSON(filepath.Join(dir, adapterConfigFile), c); err != nil {
		return err
	}
	return train.WriteBlobs(filepath.Join(dir, adapterWeightsFile), set.Weights(), map[string]string{"format": "pt"})
}

// readPEFT makes the method of PEFT's adapter_config.json with peft_type LORA.
// What it asks for and this program does not do is named, all in one error.
func readPEFT(data []byte) (*method.LoRA, error) {
	if err := checkKeys(data, peftValues()); err != nil {
		return nil, err
	}
	c := peftConfig{Rank: 8, Alpha: 8, Targets: oneOrMore[string]{"q_proj", "v_proj"}} // PEFT's defaults for Llama
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	l := &method.LoRA{Rank: c.Rank, Alpha: c.Alpha, Dropout: c.Dropout, RSLoRA: c.RSLoRA, DoRA: c.DoRA, Ratio: 1, Init: method.InitUniform, Layers: "all"}
	if string(c.Init) == strconv.Quote(method.InitGaussian) {
		l.Init = method.InitGaussian
	}
	if c.Alpha <= 0 {
		return nil, fmt.Errorf("lora_alpha is %v, wanted a number above 0", c.Alpha)
	}
	var modules []string
	for _, t := range c.Targets {
		t = strings.TrimPrefix(strings.TrimPrefix(t, "self_attn."), "mlp.")
		modules = append(modules, t)
	}
	if len(c.Layers) > 0 { // PEFT then takes layers of those blocks only
		modules = slices.DeleteFunc(modules, func(name string) bool { return name == model.HeadName })
	}
	if len(modules) == 0 {
		return nil, fmt.Errorf("target_modules is %q with layers_to_transform %v: no layer is chosen", []string(c.Targets), []int(c.Layers))
	}
	l.Targets = strings.Join(modules, ",")
	if _, err := l.Modules(); err != nil {
		return nil, fmt.Errorf("target_modules: %w", err)
	}
	if len(c.Layers) > 0 {
		slices.Sort(c.Layers)
		l.Layers = strings.Join(strings.Fields(strings.Trim(fmt.Sprint(c.Layers), "[]")), ",")
	}
	return l, nil
}

// checkKeys goes through all keys. PEFT has new ones in every version, empty
// unless they are used: an unknown key is harmless as long as it is empty.
func checkKeys(data []byte, values map[string][]string) error {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(data, &keys); err != nil {
		return err
	}
	var problems []error
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		var compact bytes.Buffer
		if err := json.Compact(&compact, keys[key]); err != nil {
			return err
		}
		value := compact.String()
		wanted, known := values[key]
		if !known {
			wanted = empty()
		}
		if wanted != nil && !slices.Contains(wanted, value) {
			problems = append(problems, fmt.Errorf("%s is %s, which this program does not do; wanted %s", key, value, strings.Join(wanted, " or ")))
		}
	}
	return errors.Join(problems...)
}

// empty are the values that ask for nothing.
func empty() []string { return []string{"null", "false", "{}", "[]"} }

// peftValues are the values that keys of PEFT's LoRA and SHiRA may have here, as JSON; nil
// for any. Other keys have to be empty.
func peftValues() map[string][]string {
	return map[string][]string{
		// These are read by readPEFT.
		"peft_type": nil, "r": nil, "lora_alpha": nil, "lora_dropout": nil, "target_modules": nil, "layers_to_transform": nil, "use_rslora": nil, "use_dora": nil,
		// These say nothing of what the adapter computes.
		"auto_mapping": nil, "base_model_name_or_path": nil, "inference_mode": nil, "peft_version": nil, "revision": nil,
		"megatron_core": nil, "qalora_group_size": nil, "loftq_config": nil, "eva_config": nil, "runtime_config": nil,
		// Other ways to begin (PiSSA, OLoRA, LoftQ, CorDA) change the base model too.
		"init_lora_weights": {"true", "false", `"gaussian"`, `"eva"`, `"orthogonal"`},
		"bias":              {`"none"`},
		"random_seed":       nil, "mask_type": {`"random"`},
		"task_type":      {`"CAUSAL_LM"`, "null"},
		"layers_pattern": {"null", "[]", `"layers"`, `["layers"]`},
	}
}
