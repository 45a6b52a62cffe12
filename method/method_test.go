package method

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"meft/model"
	"meft/tensor"
)

func TestSettingsSurviveJSON(t *testing.T) {
	for name, m := range All() {
		data, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Decode(name, data)
		if err != nil || !reflect.DeepEqual(back, m) {
			t.Errorf("%s: %s comes back as %+v, %v", name, data, back, err)
		}
		if err := m.Check(tinyConfigOfWidth(4096)); err != nil {
			t.Errorf("%s: defaults are refused: %v", name, err)
		}
	}
	f, err := Decode("meft", []byte(`{"meft_neurons": 100, "meft_idle": "replay"}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := f.(*MEFT); got.Neurons != 100 || got.Idle != "replay" || got.TopK != 64 {
		t.Errorf("settings over defaults are %+v", got)
	}
}

func tinyConfigOfWidth(d int) model.Config {
	c := tinyConfig()
	c.Dim, c.HeadDim, c.Hidden = d, d/c.Heads, 2*d
	return c
}

func TestDecodeNamesEveryMistake(t *testing.T) {
	for _, c := range []struct {
		name, settings string
		want           []string
	}{
		{"mefd", `{}`, []string{"mefd", "full, "}},
		{"meft", `{"meft_neuron": 1, "top_k": 2}`, []string{`"meft_neuron"`, `"top_k"`, "meft_neurons"}},
		{"meft", `{"meft_neurons": "many"}`, []string{"meft_neurons"}},
		{"meft", `[1]`, []string{"settings of method meft"}},
	} {
		_, err := Decode(c.name, []byte(c.settings))
		wantError(t, err, c.want...)
	}
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, wants one with %q", parts)
		return
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q lacks %q", err, p)
		}
	}
}

func TestCheckReportsAllProblems(t *testing.T) {
	bad := &MEFT{Neurons: 0, TopK: 3, Experts: 9, Probe: 0, Gate: "loud", Share: "all", Layers: "5", Idle: "sleep", Buffer: -1, Activation: "gelu", Master: "f16", Moments: "4bit"}
	wantError(t, bad.Check(tinyConfig()), "meft_neurons is 0", "meft_top_k is 3", "meft_experts is 9", "meft_probe is 0", `meft_gate is "loud"`,
		`meft_share is "all"`, `meft_layers is "5"`, `meft_idle is "sleep"`, "meft_buffer is -1", `meft_activation is "gelu"`, `meft_master is "f16"`, `meft_moments is "4bit"`)
	wantError(t, (&LoRA{Rank: 0, Alpha: -1, Dropout: 1, Targets: "q_proj,embed_tokens", Layers: "9"}).Check(tinyConfig()), "lora_r is 0", "lora_alpha is -1",
		"lora_dropout is 1", `"embed_tokens" is not a linear layer`, AllLinear, `lora_layers is "9"`)
	wantError(t, (&LoRA{Rank: 1, Targets: "q_proj,q_proj", Layers: "all"}).Check(tinyConfig()), "q_proj is named twice")
	wantError(t, (&LoRA{Rank: 1, Targets: "q_proj,lm_head", Layers: "0"}).Check(tinyConfig()), "lm_head", `lora_layers is "0"`, "layers_to_transform")
	wantError(t, (&Series{Bottleneck: 0, Position: "before", Activation: "sine", Layers: "2"}).Check(tinyConfig()), "series_bottleneck is 0", `series_position is "before"`,
		"both, attention, ffn, around", `series_activation is "sine"`, `series_layers is "2"`)
	wantError(t, (&LST{Reduction: 5, Temperature: 0, Init: "copied", Layers: "2"}).Check(tinyConfig()), "lst_reduction is 5", "width 12", "is 4",
		"lst_temperature is 0", `lst_init is "copied"`, "pruned, random", `lst_layers is "2"`)
	wantError(t, (&LST{Reduction: 0, Temperature: 1, Init: InitRandom, Layers: "0"}).Check(tinyConfig()), "lst_reduction is 0")
	wantError(t, (&LST{Reduction: 100, Temperature: 1, Init: InitRandom, Layers: "0"}).Check(tinyConfig()), "lst_reduction is 100", "is 12")
	wantError(t, (&Prompt{Tokens: 0, Init: "ZERO"}).Check(tinyConfig()), "prompt_tokens is 0", `prompt_tuning_init is "ZERO"`, "SAMPLE_VOCAB, TEXT, RANDOM")
	wantError(t, (&Prompt{Tokens: 1 << 30, Init: FromText}).Check(tinyConfig()), "the model's context is")
	wantError(t, (&Prompt{Tokens: 1, Init: FromText}).Check(tinyConfig()), "give prompt_tuning_init_text")
	wantError(t, (&Prefix{Tokens: 1, Init: FromZero, InitText: "a", Hidden: 3}).Check(tinyConfig()), "prefix_init TEXT, not ZERO", "encoder_hidden_size is 3", "prefix_projection")
	wantError(t, (&Prefix{Tokens: -1, Init: FromRandom, Projects: true, Hidden: -2}).Check(tinyConfig()), "prefix_tokens is -1", "encoder_hidden_size is -2")
	wantError(t, (&Parallel{Layers: "x"}).Check(tinyConfig()), "parallel_bottleneck is 0", "parallel_activation", "parallel_layers")
}

func TestLayersAreReadAsWritten(t *testing.T) {
	for s, want := range map[string][]int{
		"all": {0, 1, 2, 3, 4, 5}, "2-4": {2, 3, 4}, "0,3,5": {0, 3, 5}, "5, 0-1": {0, 1, 5}, "3": {3},
	} {
		if got, err := parseLayers("l", s, 6); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q gives %v, %v; wants %v", s, got, err, want)
		}
	}
	for s, part := range map[string]string{"": "not a layer", "6": "layers 0 to 5", "4-2": "range", "1,1": "twice", "0-3,2": "twice", "-1": "not a layer", "a-b": "range", "1-": "range"} {
		_, err := parseLayers("meft_layers", s, 6)
		wantError(t, err, "meft_layers", part)
	}
}

func TestOneModelTakesOneMethod(t *testing.T) {
	m := tinyModel(t, &Parallel{Bottleneck: 2, Activation: "relu", Layers: "1"}, model.Size{Rows: 4, Context: 4})
	a := tensor.NewPlan(&tensor.Ledger{})
	_, err := (&Parallel{Bottleneck: 2, Activation: "relu", Layers: "all"}).Attach(m, a, 1)
	wantError(t, err, "block 1", "branch already")
	ladder := &LST{Reduction: 2, Layers: "all", Temperature: 1, Init: InitRandom}
	m = tinyModel(t, ladder, model.Size{Rows: 4, Context: 4})
	_, err = ladder.Attach(m, a, 1)
	wantError(t, err, "a ladder already")
	s := &Series{Bottleneck: 2, Position: SeriesFFN, Activation: "tanh", Layers: "1"}
	m = tinyModel(t, s, model.Size{Rows: 4, Context: 4})
	if _, err = (&Series{Bottleneck: 2, Position: SeriesAttention, Activation: "tanh", Layers: "1"}).Attach(m, a, 1); err != nil {
		t.Errorf("attention beside ffn: %v", err)
	}
	_, err = s.Attach(m, a, 1)
	wantError(t, err, "ffn of block 1 has", "branch already")
}
