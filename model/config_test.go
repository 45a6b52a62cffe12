package model

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
)

// raw is a valid configuration with some keys changed or taken away (nil).
func raw(changes map[string]any) []byte {
	c := map[string]any{"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2,
		"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 100, "max_position_embeddings": 512,
		"rms_norm_eps": 1e-5, "bos_token_id": 1, "eos_token_id": []int{2, 3}}
	for k, v := range changes {
		if v == nil {
			delete(c, k)
		} else {
			c[k] = v
		}
	}
	data, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return data
}

func TestConfigKeysAreUnderstood(t *testing.T) {
	cases := []struct {
		name    string
		changes map[string]any
		holds   func(c Config) bool
	}{
		{"plain", nil, func(c Config) bool {
			return c.HeadDim == 16 && c.KVHeads == 2 && c.Theta == 10000 && len(c.EOS) == 2 && c.BOS == 1 && !c.QKVBias
		}},
		{"no key heads named", map[string]any{"num_key_value_heads": nil}, func(c Config) bool { return c.KVHeads == 4 }},
		{"own head width", map[string]any{"head_dim": 32}, func(c Config) bool { return c.HeadDim == 32 }},
		{"single eos", map[string]any{"eos_token_id": 7}, func(c Config) bool { return len(c.EOS) == 1 && c.EOS[0] == 7 }},
		{"llama bias", map[string]any{"attention_bias": true, "mlp_bias": true}, func(c Config) bool { return c.QKVBias && c.OBias && c.MLPBias }},
		{"llama ignores a window", map[string]any{"sliding_window": 8}, func(c Config) bool { return c.Window[0] == 0 }},
		{"mistral window", map[string]any{"architectures": []string{"MistralForCausalLM"}, "sliding_window": 8}, func(c Config) bool { return c.Window[0] == 8 && c.Window[1] == 8 }},
		{"qwen2 bias, window off", map[string]any{"architectures": []string{"Qwen2ForCausalLM"}, "sliding_window": 8, "use_sliding_window": false}, func(c Config) bool { return c.QKVBias && !c.OBias && c.Window[0] == 0 }},
		{"qwen2 window from a layer on", map[string]any{"architectures": []string{"Qwen2ForCausalLM"}, "sliding_window": 8, "use_sliding_window": true, "max_window_layers": 1}, func(c Config) bool { return c.Window[0] == 0 && c.Window[1] == 8 }},
		{"qwen3 norms", map[string]any{"architectures": []string{"Qwen3ForCausalLM"}}, func(c Config) bool { return c.QKNorm && !c.QKVBias }},
		{"by model_type", map[string]any{"architectures": nil, "model_type": "mistral"}, func(c Config) bool { return c.Architecture == "MistralForCausalLM" }},
		{"rope_parameters", map[string]any{"rope_parameters": map[string]any{"rope_theta": 5e5, "rope_type": "linear", "factor": 2}}, func(c Config) bool { return c.Theta == 5e5 && c.Scaling.Kind == "linear" }},
	}
	for _, k := range cases {
		c, err := ParseConfig("config.json", raw(k.changes))
		if err != nil {
			t.Errorf("%s: %v", k.name, err)
		} else if !k.holds(c) {
			t.Errorf("%s: got %+v", k.name, c)
		}
	}
}

func TestConfigProblemsAreAllReported(t *testing.T) {
	_, err := ParseConfig("here/config.json", raw(map[string]any{"architectures": []string{"GPT2LMHeadModel"}, "model_type": "gpt2",
		"hidden_act": "gelu", "num_key_value_heads": 3, "partial_rotary_factor": 0.5, "eos_token_id": 1000, "head_dim": 514,
		"rope_scaling": map[string]any{"type": "yarn", "factor": 2}, "quantization_config": map[string]any{"bits": 4}}))
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"here/config.json", "GPT2LMHeadModel", "gelu", "num_key_value_heads 3", "head_dim is 514", "partial_rotary", "1000", "yarn", "quantization_config"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not named in: %v", want, err)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add(raw(nil))
	f.Add([]byte(`{"num_hidden_layers": 1e9}`))
	f.Add([]byte(`{"architectures":["LlamaForCausalLM"],"num_hidden_layers":-1,"sliding_window":3}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfig("config.json", data)
		if err == nil && (c.Dim <= 0 || c.Heads%c.KVHeads != 0 || len(c.Window) != c.Layers) {
			t.Errorf("accepted %+v", c)
		}
	})
}

// The parameter counts are those the models' pages state.
func TestShapesHaveThePublishedSizes(t *testing.T) {
	want := map[string]int64{"llama-2-7b": 6738415616, "llama-3.1-8b": 8030261248, "mistral-7b-v0.1": 7241732096,
		"tinyllama-1.1b": 1100048384, "qwen2.5-0.5b": 494032768, "qwen3-0.6b": 596049920, "llama-3.2-1b": 1235814400, "llama-2-13b": 13015864320}
	for name, n := range want {
		if got := Shapes()[name].Parameters(); got != n {
			t.Errorf("%s has %d parameters, want %d", name, got, n)
		}
	}
	for name, c := range Shapes() {
		if p := c.check(); len(p) > 0 || len(c.Window) != c.Layers {
			t.Errorf("%s: %v", name, p)
		}
	}
}

func near(got, want, tolerance float64) bool { return math.Abs(got-want) <= tolerance*math.Abs(want) }

// Each kind is checked against its defining property rather than against a
// second copy of the formula.
func TestRotaryFrequenciesFollowTheirKind(t *testing.T) {
	base := Config{HeadDim: 128, Theta: 500000, MaxPositions: 8192}
	plain := base.frequencies(8192)
	if plain[0] != 1 || !near(plain[63], math.Pow(500000, -126.0/128), 1e-12) {
		t.Errorf("plain frequencies start %v, end %v", plain[0], plain[63])
	}

	linear := base
	linear.Scaling = Scaling{Kind: "linear", Factor: 4}
	for j, f := range linear.frequencies(8192) {
		if !near(f*4, plain[j], 1e-12) {
			t.Errorf("linear %d is %v", j, f)
		}
	}

	llama := base
	llama.Scaling = Scaling{Kind: "llama3", Factor: 8, Low: 1, High: 4, Original: 8192}
	last := math.Inf(1)
	for j, f := range llama.frequencies(8192) {
		wave := 2 * math.Pi / plain[j]
		ratio := plain[j] / f
		switch {
		case wave < 8192/4 && !near(ratio, 1, 1e-12), wave > 8192 && !near(ratio, 8, 1e-12), ratio < 1-1e-9, ratio > 8+1e-9, f >= last:
			t.Errorf("llama3 %d: wave %v is stretched by %v", j, wave, ratio)
		}
		last = f
	}

	dynamic := base
	dynamic.Scaling = Scaling{Kind: "dynamic", Factor: 2}
	if got := dynamic.frequencies(8192); !near(got[63], plain[63], 1e-12) {
		t.Errorf("dynamic changes the trained context: %v against %v", got[63], plain[63])
	}
	// At twice the context with factor 2 the base grows by 3^(d/(d-2)): the
	// longest wave is stretched three times, the shortest stays.
	if got := dynamic.frequencies(16384); got[0] != 1 || !near(plain[63]/got[63], 3, 1e-9) {
		t.Errorf("dynamic at twice the context: %v, stretched %v", got[0], plain[63]/got[63])
	}
}
