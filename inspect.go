package meft

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"

	"meft/gguf"
	"meft/model"
	"meft/safetensors"
	"meft/task"
	"meft/train"
)

// Inspection is what a path turned out to be.
type Inspection struct {
	Path    string          `json:"path"`
	Kind    string          `json:"kind"` // model, adapter, checkpoint, run, safetensors, gguf or data
	Fields  []Field         `json:"fields"`
	Tensors []InspectTensor `json:"tensors,omitempty"`
}

// Field is one finding.
type Field struct {
	Name  string `json:"name"`
	Value any    `json:"value"`
}

// InspectTensor is one tensor of a file.
type InspectTensor struct {
	Name  string `json:"name"`
	DType string `json:"dtype"`
	Shape []int  `json:"shape"`
	File  string `json:"file"`
}

func (in *Inspection) add(name string, value any) {
	in.Fields = append(in.Fields, Field{name, value})
}

// Inspect says what a model, adapter, checkpoint, run, safetensors, GGUF or data
// file is.
func Inspect(path string) (*Inspection, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	in := &Inspection{Path: path}
	has := func(name string) bool { return exists(filepath.Join(path, name)) }
	switch {
	case !info.IsDir() && strings.HasSuffix(path, ".safetensors"):
		in.Kind = "safetensors"
		return in, in.tensors(path)
	case !info.IsDir() && strings.HasSuffix(path, ".gguf"):
		in.Kind = "gguf"
		return in, in.gguf(path)
	case !info.IsDir():
		return in, in.data(path)
	case has("trainer_state.json"):
		return in, in.checkpoint(path)
	case has(adapterConfigFile):
		return in, in.adapter(path)
	case has("config.yaml"):
		return in, in.run(path)
	case has("config.json"):
		return in, in.model(path)
	}
	return nil, fmt.Errorf("%s: neither a model (config.json), an adapter (%s), a checkpoint (trainer_state.json) nor a run (config.yaml)", path, adapterConfigFile)
}

func (in *Inspection) tensors(path string) error {
	set, err := safetensors.Open(path)
	if err != nil {
		return err
	}
	defer set.Close()
	types := map[string]int64{}
	var parameters, bytes int64
	for _, name := range set.Names() {
		t, _ := set.Info(name)
		in.Tensors = append(in.Tensors, InspectTensor{t.Name, string(t.DType), t.Shape, filepath.Base(t.File)})
		types[string(t.DType)]++
		parameters += int64(t.Len())
		bytes += int64(t.Len()) * int64(t.DType.Size())
	}
	in.add("tensors", len(in.Tensors))
	in.add("parameters", parameters)
	in.add("bytes", bytes)
	in.add("dtypes", types)
	if m := set.Metadata(); len(m) > 0 {
		in.add("metadata", m)
	}
	return nil
}

// gguf lists the keys of a file; of long lists it says how long they are.
func (in *Inspection) gguf(path string) error {
	f, err := gguf.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	types := map[string]int64{}
	var parameters int64
	for _, t := range f.Tensors {
		in.Tensors = append(in.Tensors, InspectTensor{t.Name, t.Type.String(), t.Shape, filepath.Base(path)})
		types[t.Type.String()]++
		parameters += int64(t.Len())
	}
	in.add("version", f.Version)
	for _, kv := range f.Keys {
		if v := reflect.ValueOf(kv.Value); v.Kind() == reflect.Slice && v.Len() > 8 {
			in.add(kv.Key, fmt.Sprintf("%d values", v.Len()))
		} else {
			in.add(kv.Key, kv.Value)
		}
	}
	in.add("tensors", len(in.Tensors))
	in.add("parameters", parameters)
	in.add("dtypes", types)
	return nil
}

func (in *Inspection) model(path string) error {
	in.Kind = "model"
	c, err := model.ReadConfig(path)
	if err != nil {
		return err
	}
	in.add("architecture", c.Architecture)
	in.add("hidden_size", c.Dim)
	in.add("num_hidden_layers", c.Layers)
	in.add("num_attention_heads", c.Heads)
	in.add("num_key_value_heads", c.KVHeads)
	in.add("head_dim", c.HeadDim)
	in.add("intermediate_size", c.Hidden)
	in.add("vocab_size", c.Vocab)
	in.add("max_position_embeddings", c.MaxPositions)
	in.add("tie_word_embeddings", c.Tied)
	if c.Scaling.Kind != "" {
		in.add("rope_scaling", c.Scaling.Kind)
	}
	set, err := safetensors.Open(path)
	if err != nil {
		return err
	}
	err = model.CheckWeights(c, set)
	set.Close()
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return in.tensors(path)
}

func (in *Inspection) adapter(path string) error {
	in.Kind = "adapter"
	c, _, err := readAdapterConfig(path)
	if err != nil {
		return err
	}
	in.add("method", c.Method)
	in.add("base_model", c.Base)
	if c.BaseDType != "" {
		in.add("base_dtype", c.BaseDType)
	}
	in.add("settings", c.Settings)
	return in.tensors(filepath.Join(path, adapterWeightsFile))
}

func (in *Inspection) checkpoint(path string) error {
	var state struct {
		Step  int     `json:"global_step"`
		Epoch float64 `json:"epoch"`
		Best  any     `json:"best_metric"`
	}
	if err := readJSON(filepath.Join(path, "trainer_state.json"), &state); err != nil {
		return err
	}
	if exists(filepath.Join(path, adapterConfigFile)) {
		if err := in.adapter(path); err != nil {
			return err
		}
	} else if err := in.model(path); err != nil {
		return err
	}
	in.Kind = "checkpoint"
	in.add("step", state.Step)
	in.add("epoch", state.Epoch)
	if state.Best != nil {
		in.add("best_metric", state.Best)
	}
	return nil
}

func (in *Inspection) run(path string) error {
	in.Kind = "run"
	c := Defaults()
	if err := c.SetFile(configPath(path)); err != nil {
		return err
	}
	in.add("model", c.Model)
	in.add("method", c.Method)
	in.add("data", c.Data)
	steps, err := train.Checkpoints(path)
	if err != nil {
		return err
	}
	in.add("checkpoints", steps)
	for _, sub := range []string{"adapter", "model"} {
		if exists(filepath.Join(path, sub)) {
			in.add("result", filepath.Join(path, sub))
		}
	}
	return nil
}

// data counts the rows of a data file and the columns they have.
func (in *Inspection) data(path string) error {
	in.Kind = "data"
	columns := map[string]int{}
	rows := 0
	for row, err := range task.Read(path, task.ReadOptions{}) {
		if err != nil {
			return err
		}
		rows++
		for _, name := range row.Names {
			columns[name]++
		}
	}
	in.add("rows", rows)
	in.add("columns", columns)
	for e, err := range task.Examples(path, task.ReadOptions{}) {
		if err != nil {
			in.add("form", "unknown: "+err.Error())
		} else {
			in.add("form", e.Form())
		}
		break
	}
	return nil
}

// Lines are the findings for people.
func (in *Inspection) Lines() []string {
	out := []string{fmt.Sprintf("%s: %s", in.Path, in.Kind)}
	for _, f := range in.Fields {
		out = append(out, fmt.Sprintf("  %-24s %v", f.Name, plain(f.Value)))
	}
	for _, t := range in.Tensors {
		out = append(out, fmt.Sprintf("  %-60s %-5s %v", t.Name, t.DType, t.Shape))
	}
	return out
}

// plain writes maps as "key value, key value".
func plain(v any) any {
	var items []string
	if raw, ok := v.(json.RawMessage); ok {
		var m map[string]any
		if json.Unmarshal(raw, &m) != nil {
			return string(raw)
		}
		v = m
	}
	switch m := v.(type) {
	case map[string]any:
		for k, x := range m {
			items = append(items, fmt.Sprintf("%s %v", k, x))
		}
	case map[string]int:
		for k, x := range m {
			items = append(items, fmt.Sprintf("%s %v", k, x))
		}
	case map[string]int64:
		for k, x := range m {
			items = append(items, fmt.Sprintf("%s %v", k, x))
		}
	case map[string]string:
		for k, x := range m {
			items = append(items, fmt.Sprintf("%s %v", k, x))
		}
	default:
		return v
	}
	sort.Strings(items)
	return strings.Join(items, ", ")
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return fmt.Errorf("%s: byte %d: %w", path, syntax.Offset, err)
		}
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
