package meft

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"meft/method"
	"meft/param"
	"meft/safetensors"
	"meft/tensor"
	"meft/token"
	"meft/train"
)

// The two files of an adapter folder, named as PEFT names them.
const (
	adapterConfigFile  = "adapter_config.json"
	adapterWeightsFile = "adapter_model.safetensors"
)

// adapterConfig is adapter_config.json of the methods PEFT does not have, and
// what is known of an adapter of a method it has. Keys that PEFT has too mean the
// same.
type adapterConfig struct {
	Base string `json:"base_model_name_or_path"`
	origin
	Method   string          `json:"method"`
	PeftType string          `json:"peft_type"` // About.PEFT of the method
	Settings json.RawMessage `json:"settings"`
	TaskType string          `json:"task_type"`

	// Of prompt and prefix tuning in PEFT's files.
	TokenDim int `json:"token_dim,omitempty"`
	Heads    int `json:"num_attention_heads,omitempty"`
	Layers   int `json:"num_layers,omitempty"`
}

// adapterShape is what a base model must have for the adapter to fit.
type adapterShape struct {
	Hidden int `json:"hidden_size"`
	Layers int `json:"num_hidden_layers"`
	Vocab  int `json:"vocab_size"`
}

// saveAdapter writes the files of an adapter into dir, which exists. The caller makes dir
// appear atomically.
func saveAdapter(dir string, b *base, m method.Method, name string, tok *token.Tokenizer, set *param.Set) error {
	set = method.Adapter(m, set)
	from, err := b.origin(tok)
	if err == nil {
		err = from.write(dir, m)
	}
	if err != nil {
		return err
	}
	if l, ok := m.(*method.LoRA); ok {
		return savePEFT(dir, b, l, set)
	}
	if s, ok := m.(*method.SHiRA); ok {
		return saveSHiRA(dir, b, s, set)
	}
	if method.Ahead(m).Len() > 0 {
		return savePrompt(dir, b, m, set)
	}
	settings, err := json.Marshal(m)
	if err != nil {
		return err
	}
	c := adapterConfig{Base: b.name, origin: from, Method: name, PeftType: m.About().PEFT, Settings: settings, TaskType: "CAUSAL_LM"}
	if err := writeJSON(filepath.Join(dir, adapterConfigFile), c); err != nil {
		return err
	}
	return train.WriteBlobs(filepath.Join(dir, adapterWeightsFile), set.Weights(), map[string]string{"format": "pt", "method": name})
}

// writeJSON writes a file for people and programs.
func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

// saveFull writes a Hugging Face checkpoint: all weights, with the files of the
// base model's folder beside them.
func saveFull(dir string, b *base, set *param.Set) error {
	if err := train.WriteBlobs(filepath.Join(dir, "model.safetensors"), set.Weights(), map[string]string{"format": "pt"}); err != nil {
		return err
	}
	if b.dir == "" {
		return nil // a built-in shape has no files
	}
	values := map[string]any{}
	if b.pruned == "" {
		values[sparsityKey] = nil // random weights in the shape of a pruned model
	}
	return copyModelFiles(dir, b.dir, func(data []byte) ([]byte, error) { return changeConfig(data, "float32", values) })
}

// copyModelFiles copies what belongs to a model but its weights, the config.json
// through a function.
func copyModelFiles(to, from string, config func([]byte) ([]byte, error)) error {
	for _, name := range modelFiles {
		data, err := os.ReadFile(filepath.Join(from, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && name == "config.json" {
			data, err = config(data)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(to, name), data, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// modelFiles are the files of a checkpoint that belong to the model and not to
// how it was stored or trained.
var modelFiles = []string{"config.json", "generation_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
	"special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json"}

// changeConfig makes a config.json say in what type, by PyTorch's name, the
// weights are stored, and gives other keys other values; nil takes a key out.
func changeConfig(data []byte, stored string, values map[string]any) ([]byte, error) {
	var c map[string]json.RawMessage
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	key := "torch_dtype"
	if _, ok := c["dtype"]; ok { // its name in recent versions
		key = "dtype"
		delete(c, "torch_dtype")
	}
	c[key] = json.RawMessage(strconv.Quote(stored))
	for key, v := range values {
		if v == nil {
			delete(c, key)
			continue
		}
		raw, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		c[key] = raw
	}
	out, err := json.MarshalIndent(c, "", "  ")
	return append(out, '\n'), err
}

// findAdapter accepts an adapter folder, a checkpoint folder, or a run folder.
func findAdapter(dir string) (string, error) {
	for _, d := range []string{dir, filepath.Join(dir, "adapter")} {
		if exists(filepath.Join(d, adapterConfigFile)) {
			return d, nil
		}
	}
	if exists(filepath.Join(dir, "model", "model.safetensors")) {
		return "", fmt.Errorf("%s: that run trained all weights; use its folder %s as --model", dir, filepath.Join(dir, "model"))
	}
	return "", fmt.Errorf("%s: no %s there; wanted an adapter folder or a run directory", dir, adapterConfigFile)
}

// readAdapterConfig reads and checks what an adapter is.
func readAdapterConfig(dir string) (*adapterConfig, method.Method, error) {
	path := filepath.Join(dir, adapterConfigFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("%s: no %s there", dir, adapterConfigFile)
	}
	if err != nil {
		return nil, nil, err
	}
	var c adapterConfig
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	if inPEFTsForm(c.PeftType) {
		if c.origin, err = readOrigin(dir); err != nil {
			return nil, nil, err
		}
	}
	if c.PeftType == "LORA" {
		l, err := readPEFT(data)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", path, err)
		}
		c.Method = "lora"
		c.Settings, err = json.Marshal(l)
		return &c, l, err
	}
	if c.PeftType == "SHIRA" {
		s, err := readSHiRA(data)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", path, err)
		}
		c.Method = "shira"
		c.Settings, err = json.Marshal(s)
		return &c, s, err
	}
	if c.PeftType == promptType || c.PeftType == prefixType {
		m, err := readPrompt(data)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", path, err)
		}
		c.Method = map[string]string{promptType: "prompt", prefixType: "prefix"}[c.PeftType]
		c.Settings, err = json.Marshal(m)
		return &c, m, err
	}
	if m, ok := method.All()[c.Method]; !ok || m.About().PEFT == "" || m.About().PEFT != c.PeftType {
		return nil, nil, fmt.Errorf("%s: peft_type %q, method %q; wanted one of %s, with its method", path, c.PeftType, c.Method, strings.Join(method.PEFTTypes(), ", "))
	}
	m, err := method.Decode(c.Method, c.Settings)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return &c, m, nil
}

// fits reports why an adapter does not belong to a base model; with other, only
// what cannot work.
func (c *adapterConfig) fits(dir string, b *base, tok *token.Tokenizer, other bool) error {
	// PEFT's files do not say; there the shapes of the tensors have to do.
	if !other {
		if err := c.madeFor(dir, c.Base, b, tok); err != nil {
			return err
		}
	}
	return c.fitsRows(dir, b.config)
}

// loadAdapter fills a method's parameters from an adapter folder. All missing,
// surplus and misshapen tensors are reported in one error.
func loadAdapter(dir string, set *param.Set) error {
	path := filepath.Join(dir, adapterWeightsFile)
	if err := train.ReadBlobs(path, set.Weights()); err != nil {
		return err
	}
	return checkFinite(path, set)
}

// checkFinite refuses parameters, read from path, with a value that is not a
// number. Tables may be as large as host memory and are looked at piece by piece.
func checkFinite(path string, set *param.Set) error {
	for _, b := range set.Weights() {
		if b.DType == tensor.I32 {
			continue
		}
		n := b.Bytes() / 4
		if b.OfTable() {
			n = min(n, 1<<18)
		}
		values := make([]float32, n)
		for at := int64(0); at < b.Bytes(); at += int64(4 * len(values)) {
			values = values[:min(int64(len(values)), (b.Bytes()-at)/4)]
			if b.OfTable() {
				b.Part(tensor.Bytes(values), at)
			} else if err := b.Read(tensor.Bytes(values)); err != nil {
				return err
			}
			if err := safetensors.CheckFinite(b.Name, values); err != nil {
				return fmt.Errorf("%s: from element %d on: %w", path, at/4, err)
			}
		}
	}
	return nil
}

// loadFull fills all weights from a folder that saveFull wrote.
func loadFull(dir string, set *param.Set) error {
	return train.ReadBlobs(filepath.Join(dir, "model.safetensors"), set.Weights())
}
