package meft

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"meft/method"
	"meft/safetensors"
)

// The option that has PEFT's name is the setting of the method that is used.
func TestVirtualTokensAreThoseOfTheMethod(t *testing.T) {
	for _, name := range []string{"prompt", "prefix"} {
		m, err := newMethod(name, map[string]string{"num_virtual_tokens": "7"})
		if err != nil || method.Ahead(m).Len() != 7 {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
	_, err := newMethod("prefix", map[string]string{"num_virtual_tokens": "7", "prefix_tokens": "8"})
	mustSay(t, err, "num_virtual_tokens", "prefix_tokens")
	_, err = newMethod("lora", map[string]string{"num_virtual_tokens": "7"})
	mustSay(t, err, "num_virtual_tokens")
}

// Another reader than the program's own finds PEFT's names, shapes and keys; a
// projection is not in the files.
func TestPromptsAreWrittenAsPEFTReadsThem(t *testing.T) {
	s := small()
	width := s.kv * s.dim / s.heads
	for _, x := range []struct {
		method string
		shape  []int
		config map[string]any // beside what all have
	}{
		{"prompt", []int{3, s.dim}, map[string]any{"peft_type": "PROMPT_TUNING", "token_dim": s.dim, "num_attention_heads": s.heads, "prompt_tuning_init": "SAMPLE_VOCAB"}},
		{"prompt prompt_tuning_init=TEXT prompt_tuning_init_text=Colours:", []int{3, s.dim},
			map[string]any{"prompt_tuning_init": "TEXT", "prompt_tuning_init_text": "Colours:", "token_dim": s.dim}},
		{"prefix", []int{3, 2 * s.layers * width}, map[string]any{"peft_type": "PREFIX_TUNING", "token_dim": width, "num_attention_heads": s.kv, "encoder_hidden_size": width}},
		{"prefix prefix_projection=true encoder_hidden_size=5", []int{3, 2 * s.layers * width}, map[string]any{"prefix_projection": false, "encoder_hidden_size": width}},
	} {
		c := newRun(t, x.method)
		c.MaxSteps, c.SaveStrategy = 1, "no"
		mustTrain(t, c)
		adapter := filepath.Join(c.OutputDir, "adapter")
		got := header(t, filepath.Join(adapter, adapterWeightsFile))
		if w := got["prompt_embeddings"]; len(got) != 1 || w.DType != "F32" || !slices.Equal(w.Shape, x.shape) {
			t.Errorf("%s: tensors %v, wants prompt_embeddings %v", x.method, got, x.shape)
		}
		var config map[string]any
		if err := readJSON(filepath.Join(adapter, adapterConfigFile), &config); err != nil {
			t.Fatal(err)
		}
		for key, value := range map[string]any{"num_virtual_tokens": 3, "num_layers": s.layers, "num_transformer_submodules": 1, "task_type": "CAUSAL_LM", "inference_mode": true} {
			x.config[key] = value
		}
		for key, want := range x.config {
			if fmt.Sprint(config[key]) != fmt.Sprint(want) {
				t.Errorf("%s: %s is %v, wants %v", x.method, key, config[key], want)
			}
		}
	}
}

// foreignRows is a folder of prompt or prefix tuning as PEFT writes it for a model
// of the shape small, with values by foreignRow.
func foreignRows(t *testing.T, kind string, change func(map[string]any)) string {
	t.Helper()
	dir, s := t.TempDir(), small()
	config := map[string]any{"auto_mapping": nil, "base_model_name_or_path": "somebody/model", "inference_mode": true, "num_attention_heads": s.heads, "num_layers": s.layers,
		"num_transformer_submodules": 1, "num_virtual_tokens": 2, "peft_type": kind, "peft_version": "0.19.0", "revision": nil, "task_type": "CAUSAL_LM", "token_dim": s.dim}
	width := s.dim
	if kind == prefixType {
		config["token_dim"], config["num_attention_heads"] = s.kv*s.dim/s.heads, s.kv
		config["encoder_hidden_size"], config["prefix_projection"] = 8, false
		width = 2 * s.layers * s.kv * s.dim / s.heads
	} else {
		config["prompt_tuning_init"], config["tokenizer_kwargs"] = "RANDOM", nil
	}
	if change != nil {
		change(config)
	}
	data, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, adapterConfigFile), string(data))
	values := make([]float32, 2*width)
	for i := range values {
		values[i] = float32(i%7)/8 - 0.3
	}
	if err := safetensors.Write(filepath.Join(dir, adapterWeightsFile), []safetensors.Tensor{safetensors.F32("prompt_embeddings", values, 2, width)}, map[string]string{"format": "pt"}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// nll is the loss of a session on a few tokens.
func nll(t *testing.T, o SessionOptions, ids ...int32) float64 {
	t.Helper()
	return scored(t, open(t, o), []ScoreInput{{IDs: ids, From: 1}})[0].NLL
}

// A prompt made by hand of the embeddings of two tokens is those two tokens, and a
// folder that somebody else wrote changes what the model says.
func TestForeignPromptsLoad(t *testing.T) {
	base := newModel(t, small())
	plain := nll(t, SessionOptions{Model: base}, 0, 7, 8, 9)
	for _, kind := range []string{promptType, prefixType} {
		if got := nll(t, SessionOptions{Model: base, Adapter: foreignRows(t, kind, nil)}, 0, 7, 8, 9); math.IsNaN(got) || got == plain {
			t.Errorf("%s: loss %v, without the adapter %v", kind, got, plain)
		}
	}
	set, err := safetensors.Open(base)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	d := small().dim
	info, _ := set.Info("model.embed_tokens.weight")
	embedding := make([]float32, info.Len())
	if err := set.ReadF32(embedding, "model.embed_tokens.weight"); err != nil {
		t.Fatal(err)
	}
	dir := foreignRows(t, promptType, nil)
	rows := slices.Concat(embedding[5*d:6*d], embedding[11*d:12*d])
	if err := safetensors.Write(filepath.Join(dir, adapterWeightsFile), []safetensors.Tensor{safetensors.F32("prompt_embeddings", rows, 2, d)}, nil); err != nil {
		t.Fatal(err)
	}
	got := nll(t, SessionOptions{Model: base, Adapter: dir}, 0, 7, 8, 9)
	// The tokens behind the two are at the positions they have behind a text.
	whole := scored(t, open(t, SessionOptions{Model: base}), []ScoreInput{{IDs: []int32{5, 11, 0, 7, 8, 9}, From: 3}})[0].NLL
	if math.Abs(got-whole) > 1e-5*whole {
		t.Errorf("loss %v behind a prompt of embeddings, %v behind their tokens", got, whole)
	}
}

// What does not suit the model, and what this program does not do, is named.
func TestWrongPromptsAreRefused(t *testing.T) {
	base := newModel(t, small())
	for _, x := range []struct {
		kind, key string
		value     any
		words     []string
	}{
		{promptType, "num_virtual_tokens", 0, []string{"num_virtual_tokens is 0"}},
		{promptType, "num_virtual_tokens", 64, []string{"prompt_tokens is 64", "context is 64"}},
		{promptType, "num_virtual_tokens", 3, []string{"prompt_embeddings", "[3 16]", "[2 16]"}},
		{promptType, "token_dim", 32, []string{"token_dim is 32", "16", "somebody/model"}},
		{promptType, "num_layers", 7, []string{"num_layers is 7", "2"}},
		{promptType, "num_transformer_submodules", 2, []string{"num_transformer_submodules is 2"}},
		{promptType, "of_next_year", 5, []string{"of_next_year is 5"}},
		{prefixType, "num_attention_heads", 2, []string{"num_attention_heads is 2", "1"}},
		{prefixType, "token_dim", 16, []string{"token_dim is 16", "8"}},
		{prefixType, "task_type", "SEQ_CLS", []string{"task_type", "SEQ_CLS"}},
	} {
		dir := foreignRows(t, x.kind, func(config map[string]any) { config[x.key] = x.value })
		s, err := Open(SessionOptions{Model: base, Adapter: dir})
		if err == nil {
			err = s.Score(t.Context(), []ScoreInput{{IDs: []int32{0, 7}, From: 1}}, func(int, ScoreOutput) error { return nil })
		}
		if err == nil {
			t.Errorf("%s with %s %v is accepted", x.kind, x.key, x.value)
			continue
		}
		mustSay(t, err, append(x.words, dir)...)
	}
	for setting, words := range map[string][]string{"prompt_tokens=0": {"prompt_tokens is 0"}, "prompt_tokens=64": {"prompt_tokens is 64", "context is 64"},
		"prompt_tuning_init=TEXT": {"give prompt_tuning_init_text"}} {
		_, err := Train(t.Context(), newRun(t, "prompt "+setting), nil)
		mustSay(t, err, words...)
	}
}

// A process that ends and another one that loads what it has left give the run
// that was not cut, and the layers of a projection are in checkpoints only.
func TestProjectionIsInCheckpointsOnly(t *testing.T) {
	c := newRun(t, "prefix prefix_projection=true")
	mustTrain(t, c)
	if !exists(filepath.Join(c.OutputDir, "checkpoint-3", projectedFile)) || exists(filepath.Join(c.OutputDir, "adapter", projectedFile)) {
		t.Errorf("%s has %v", c.OutputDir, names(t, c.OutputDir))
	}
	if err := os.Truncate(filepath.Join(c.OutputDir, "checkpoint-12", projectedFile), 40); err != nil {
		t.Fatal(err)
	}
	want := result(t, c)
	c.Resume = "true"
	mustTrain(t, c)
	if !slices.Equal(result(t, c), want) {
		t.Error("a run that goes on from the checkpoint before a damaged one ends otherwise")
	}
}
