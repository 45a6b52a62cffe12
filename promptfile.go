package meft

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"meft/method"
	"meft/model"
	"meft/param"
	"meft/train"
)

// The values of peft_type for what is learned ahead of sequences.
const (
	promptType = "PROMPT_TUNING"
	prefixType = "PREFIX_TUNING"
)

// promptConfig is adapter_config.json of prompt and prefix tuning as PEFT writes
// it, with the keys that all its versions know. Those of one of the two are left
// out of the other's.
type promptConfig struct {
	AutoMapping json.RawMessage `json:"auto_mapping"`
	Base        string          `json:"base_model_name_or_path"`
	Encoder     int             `json:"encoder_hidden_size,omitempty"` // prefix
	Inference   bool            `json:"inference_mode"`
	Heads       int             `json:"num_attention_heads"` // prefix: of keys
	Layers      int             `json:"num_layers"`
	Submodules  int             `json:"num_transformer_submodules"` // 1: there is no encoder
	Tokens      int             `json:"num_virtual_tokens"`
	PeftType    string          `json:"peft_type"`
	Projection  *bool           `json:"prefix_projection,omitempty"`       // prefix: false, files hold what it computes
	Init        string          `json:"prompt_tuning_init,omitempty"`      // prompt
	InitText    *string         `json:"prompt_tuning_init_text,omitempty"` // prompt
	Revision    json.RawMessage `json:"revision"`
	TaskType    string          `json:"task_type"`
	Dim         int             `json:"token_dim"`                        // of a row: d, or prefix: kv·d/h
	Tokenizer   *string         `json:"tokenizer_name_or_path,omitempty"` // prompt
}

// savePrompt writes an adapter of prompt or prefix tuning that PEFT loads.
func savePrompt(dir string, b *base, m method.Method, set *param.Set) error {
	m0 := b.config
	c := promptConfig{Base: b.name, Inference: true, Heads: m0.Heads, Layers: m0.Layers, Submodules: 1,
		Tokens: method.Ahead(m).Len(), PeftType: m.About().PEFT, TaskType: "CAUSAL_LM", Dim: m0.Dim}
	switch m := m.(type) {
	case *method.Prompt:
		c.Init = m.Init
		if m.Init == method.FromText { // PEFT wants both
			c.InitText, c.Tokenizer = &m.InitText, &b.name
		}
	case *method.Prefix:
		c.Heads, c.Dim, c.Projection = m0.KVHeads, m0.KVHeads*m0.HeadDim, new(bool)
		c.Encoder = c.Dim
	}
	if err := writeJSON(filepath.Join(dir, adapterConfigFile), c); err != nil {
		return err
	}
	return train.WriteBlobs(filepath.Join(dir, adapterWeightsFile), set.Weights(), map[string]string{"format": "pt"})
}

// readPrompt makes the method of PEFT's adapter_config.json with peft_type
// PROMPT_TUNING or PREFIX_TUNING. What it asks for and this program does not do
// is named, all in one error.
func readPrompt(data []byte) (method.Method, error) {
	if err := checkKeys(data, promptValues()); err != nil {
		return nil, err
	}
	var c promptConfig
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	if c.Tokens < 1 {
		return nil, fmt.Errorf("num_virtual_tokens is %d, wanted 1 or more", c.Tokens)
	}
	if c.PeftType == prefixType {
		return &method.Prefix{Tokens: c.Tokens, Init: method.FromZero}, nil
	}
	return &method.Prompt{Tokens: c.Tokens, Init: method.FromVocabulary}, nil
}

// promptValues are the values that PEFT's keys of prompt and prefix tuning may
// have here, as peftValues.
func promptValues() map[string][]string {
	return map[string][]string{
		// These are read by readPrompt, or compared with the model.
		"peft_type": nil, "num_virtual_tokens": nil, "token_dim": nil, "num_attention_heads": nil, "num_layers": nil,
		// These say nothing of what the adapter computes: what it began as, and a
		// projection that files hold the result of.
		"auto_mapping": nil, "base_model_name_or_path": nil, "inference_mode": nil, "peft_version": nil, "revision": nil,
		"prompt_tuning_init": nil, "prompt_tuning_init_text": nil, "tokenizer_name_or_path": nil, "tokenizer_kwargs": nil,
		"encoder_hidden_size": nil, "prefix_projection": nil, "init_weights": nil,
		"num_transformer_submodules": {"1", "null"},
		"task_type":                  {`"CAUSAL_LM"`, "null"},
	}
}

// fitsRows compares what PEFT's files say of the model with a model. The shape of
// the tensor has to be right as well, but does not say what is wrong.
func (c *adapterConfig) fitsRows(dir string, m model.Config) error {
	wanted := map[string]int{"token_dim": m.Dim, "num_layers": m.Layers}
	if c.PeftType == prefixType {
		wanted = map[string]int{"token_dim": m.KVHeads * m.HeadDim, "num_layers": m.Layers, "num_attention_heads": m.KVHeads}
	}
	var problems []error
	for _, key := range []struct {
		name string
		has  int
	}{{"token_dim", c.TokenDim}, {"num_attention_heads", c.Heads}, {"num_layers", c.Layers}} {
		if want, ok := wanted[key.name]; ok && key.has != 0 && key.has != want {
			problems = append(problems, fmt.Errorf("%s: made for another model (%s): %s is %d, this model's is %d", dir, c.Base, key.name, key.has, want))
		}
	}
	return errors.Join(problems...)
}

// takeText gives a method that begins as a text the tokens of it.
func takeText(m method.Method, b *base) error {
	t, ok := m.(method.Texter)
	if !ok || t.Text() == "" {
		return nil
	}
	tok, err := b.tokenizer()
	if err != nil {
		return fmt.Errorf("a prompt or prefix that begins as a text: %w; or let it begin from %s", err, method.FromVocabulary)
	}
	t.Take(tok.Encode(t.Text(), true))
	return nil
}

// projectedFile is what a checkpoint has beside the adapter when that is computed
// of what is trained: the latter.
const projectedFile = "adapter_trained.safetensors"

// saveTrained writes what is trained where the adapter's file does not hold it.
func saveTrained(dir string, m method.Method, set *param.Set) error {
	if method.Projected(m) == nil {
		return nil
	}
	return train.WriteBlobs(filepath.Join(dir, projectedFile), set.Weights(), map[string]string{"format": "pt"})
}

// loadTrained is loadAdapter for a checkpoint.
func loadTrained(dir string, m method.Method, set *param.Set) error {
	if method.Projected(m) == nil {
		return loadAdapter(dir, set)
	}
	path := filepath.Join(dir, projectedFile)
	if err := train.ReadBlobs(path, set.Weights()); err != nil {
		return err
	}
	return checkFinite(path, set)
}
