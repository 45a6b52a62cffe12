package meft

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"meft/method"
	"meft/model"
	"meft/safetensors"
	"meft/tensor"
	"meft/token"
)

// shape is a made-up model's.
type shape struct{ dim, layers, heads, kv, hidden, context int }

// small takes milliseconds to train.
func small() shape { return shape{dim: 16, layers: 2, heads: 2, kv: 1, hidden: 24, context: 64} }

// newModel writes a folder with random weights, a tokenizer of its own and a
// config.json, as a download of such a model would have them.
func newModel(t testing.TB, s shape) string {
	t.Helper()
	dir := t.TempDir()
	trained, err := token.Train(slices.Values(sentences()), 280, []string{"<s>", "</s>"})
	if err != nil {
		t.Fatal(err)
	}
	if err := trained.WriteJSON(filepath.Join(dir, "tokenizer.json")); err != nil {
		t.Fatal(err)
	}
	writeConfig(t, dir, s, trained.Size())
	writeRandom(t, dir)
	return dir
}

func writeConfig(t testing.TB, dir string, s shape, vocab int) {
	t.Helper()
	text, err := json.MarshalIndent(map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "hidden_act": "silu",
		"hidden_size": s.dim, "num_hidden_layers": s.layers, "num_attention_heads": s.heads, "num_key_value_heads": s.kv,
		"intermediate_size": s.hidden, "max_position_embeddings": s.context, "vocab_size": vocab,
		"rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true,
		"initializer_range": 0.2, "bos_token_id": 0, "eos_token_id": 1,
	}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "config.json"), string(text))
}

// writeRandom writes model.safetensors to suit the folder's config.json.
func writeRandom(t testing.TB, dir string) {
	t.Helper()
	config, err := model.ReadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := recipe{base: &base{dir: dir, config: config, frozen: tensor.F32, random: true, seed: 3}, size: model.Size{Rows: 1, Context: 1, Frozen: tensor.F32}}
	plan, err := r.plan()
	if err != nil {
		t.Fatal(err)
	}
	e, err := r.build(plan, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	var tensors []safetensors.Tensor
	for _, w := range e.model.Weights() {
		tensors = append(tensors, safetensors.F32(w.Name, w.W.Float32(), w.W.Dims[:w.W.Rank]...))
	}
	if err := safetensors.Write(filepath.Join(dir, "model.safetensors"), tensors, nil); err != nil {
		t.Fatal(err)
	}
}

func sentences() []string {
	var out []string
	for _, who := range []string{"Ann", "Bob", "Cleo", "Dan", "Eve", "Fay"} {
		for i, what := range []string{"red", "blue", "green", "grey"} {
			out = append(out, fmt.Sprintf("What is the colour of the %s of %s?", []string{"hat", "house", "boat", "door"}[i], who), what)
		}
	}
	return out
}

// newRows writes rows with a prompt and a completion.
func newRows(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	s := sentences()
	for i := 0; i < len(s); i += 2 {
		fmt.Fprintf(&b, "{\"prompt\": %q, \"completion\": %q}\n", s[i]+" ", s[i+1])
	}
	path := filepath.Join(t.TempDir(), "rows.jsonl")
	put(t, path, b.String())
	return path
}

// adapters are the methods that write an adapter.
func adapters() []string {
	var names []string
	for _, name := range method.Names() {
		if method.All()[name].About().PEFT != "" {
			names = append(names, name)
		}
	}
	return names
}

// newRun is the configuration of a short run of a small model. Settings may
// follow the method: "meft meft_gate=none".
func newRun(t testing.TB, method string) Config {
	t.Helper()
	c := Defaults()
	c.Model, c.Data, c.OutputDir = newModel(t, small()), newRows(t), filepath.Join(t.TempDir(), "run")
	method, settings, _ := strings.Cut(method, " ")
	c.Method, c.Threads, c.Batch, c.MaxSteps, c.SaveSteps, c.LearningRate = method, 1, 3, 12, 3, 1e-2
	c.ChatDate = "2026-01-31"
	set(t, &c, method)
	for _, kv := range strings.Fields(settings) {
		name, value, _ := strings.Cut(kv, "=")
		if err := c.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// set gives a method settings that suit a small model.
func set(t testing.TB, c *Config, method string) {
	t.Helper()
	settings := map[string]map[string]string{
		"meft":     {"meft_neurons": "96", "meft_top_k": "5", "meft_experts": "8", "meft_probe": "3", "meft_buffer": "40"},
		"parallel": {"parallel_bottleneck": "6"},
		"series":   {"series_bottleneck": "6"},
		"lst":      {"lst_reduction": "2"},
		"shira":    {"shira_r": "2"},
		"prompt":   {"prompt_tokens": "3"},
		"prefix":   {"prefix_tokens": "3"},
		"lora":     {"lora_r": "2", "lora_dropout": "0.1"},
	}
	for name, value := range settings[method] {
		if err := c.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
}

func put(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func get(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// result is the weights file of a finished run.
func result(t testing.TB, c Config) []byte {
	t.Helper()
	if c.Method == "full" {
		return get(t, filepath.Join(c.OutputDir, "model", "model.safetensors"))
	}
	return get(t, filepath.Join(c.OutputDir, "adapter", adapterWeightsFile))
}

// stories is the trained checkpoint among the shared test material.
func stories(t testing.TB) string {
	t.Helper()
	dir := filepath.Join("..", "shared", "models", "stories260K")
	if !exists(dir) {
		t.Skip("shared test material not found")
	}
	return dir
}

// mustTrain trains to the end in this process.
func mustTrain(t testing.TB, c Config) *Result {
	t.Helper()
	r, err := Train(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// names are the files of a folder, at any depth.
func names(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && path != dir {
			out = append(out, strings.TrimPrefix(path, dir+string(filepath.Separator)))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
