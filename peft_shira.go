package meft

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"meft/method"
	"meft/model"
	"meft/param"
	"meft/safetensors"
	"meft/train"
)

// shiraConfig is adapter_config.json of SHiRA as PEFT writes it. Raw values are
// null where they are left out.
type shiraConfig struct {
	AutoMapping   json.RawMessage   `json:"auto_mapping"`
	Base          string            `json:"base_model_name_or_path"`
	FanInFanOut   bool              `json:"fan_in_fan_out"`
	InferenceMode bool              `json:"inference_mode"`
	Mask          string            `json:"mask_type"` // of elements that are drawn anew; files list theirs
	ModulesToSave json.RawMessage   `json:"modules_to_save"`
	PeftType      string            `json:"peft_type"` // SHIRA
	Rank          int               `json:"r"`
	Seed          json.RawMessage   `json:"random_seed"`
	Revision      json.RawMessage   `json:"revision"`
	Targets       oneOrMore[string] `json:"target_modules"`
	TaskType      string            `json:"task_type"`
}

// saveSHiRA writes a SHiRA adapter that PEFT loads.
func saveSHiRA(dir string, b *base, s *method.SHiRA, set *param.Set) error {
	targets, err := s.Modules()
	if err != nil {
		return err
	}
	c := shiraConfig{Base: b.name, InferenceMode: true, Mask: "random", PeftType: "SHIRA", Rank: s.Rank, Targets: targets, TaskType: "CAUSAL_LM"}
	if err := writeJSON(filepath.Join(dir, adapterConfigFile), c); err != nil {
		return err
	}
	return train.WriteBlobs(filepath.Join(dir, adapterWeightsFile), set.Weights(), map[string]string{"format": "pt"})
}

// readSHiRA makes the method of PEFT's adapter_config.json with peft_type SHIRA.
func readSHiRA(data []byte) (*method.SHiRA, error) {
	if err := checkKeys(data, peftValues()); err != nil {
		return nil, err
	}
	c := shiraConfig{Rank: 32, Targets: oneOrMore[string]{"q_proj", "v_proj"}} // PEFT's defaults for Llama
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	var modules []string
	for _, t := range c.Targets {
		modules = append(modules, strings.TrimPrefix(strings.TrimPrefix(t, "self_attn."), "mlp."))
	}
	s := &method.SHiRA{Rank: c.Rank, Targets: strings.Join(modules, ",")}
	if _, err := s.Modules(); err != nil {
		return nil, fmt.Errorf("target_modules: %w", err)
	}
	return s, nil
}

// checkPlaces refuses an adapter whose file lists elements of weights that its
// method cannot take.
func checkPlaces(dir string, m method.Method, c model.Config) (err error) {
	s, ok := m.(*method.SHiRA)
	if !ok {
		return nil
	}
	path := filepath.Join(dir, adapterWeightsFile)
	set, err := safetensors.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	if err := s.CheckPlaces(c, set); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
