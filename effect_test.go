package meft

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"meft/train"
)

// effect is what setting an option is to be seen by.
type effect struct {
	with  string // other settings that both runs have: "name=value name=value"
	value string // of the option; "$rows" and the like are files of the test
	test  string // or the test that observes it
}

// effects says for every option how it is seen.
func effects() map[string]effect {
	eval := "validation_data=$rows eval_strategy=steps eval_steps=2 "
	// Nothing is ever answered right, so that the first evaluation stays the best.
	stuck := eval + "predict_with_generate=true metric_for_best_model=exact_match max_new_tokens=2 eval_limit=2"
	return map[string]effect{
		"model": {value: "$other"}, "shape": {test: "TestBuiltInShapeHasNoWeightsUnlessRandom"}, "random_weights": {test: "TestBuiltInShapeHasNoWeightsUnlessRandom"},
		"init": {with: "method=full", value: "random"}, "base_dtype": {value: "bf16"},
		"bnb_4bit_use_double_quant": {with: "base_dtype=nf4", value: "false"},
		"load_in_4bit":              {value: "true"}, "load_in_8bit": {value: "true"}, "bnb_4bit_quant_type": {value: "fp4"}, "quantization_bit": {value: "8"},
		"compute_dtype": {value: "bf16"},
		"data":          {value: "$few"}, "validation_data": {with: "eval_strategy=steps val_size=4", value: "$few"}, "val_size": {value: "5"},
		"task": {with: "data=$qa", value: "nq"}, "task_variant": {with: "data=$qa task=nq", value: "long"},
		"data_format": {with: "data=$mixed", value: "text"}, "columns": {with: "data=$mixed", value: "completion=text"},
		"prompt_template": {value: "Q: {instruction} A: "},
		"chat_template":   {with: "data=$chat", value: "$template"}, "chat_date": {with: "data=$chat chat_template=$template", value: "2020-12-24"},
		"limit": {value: "5"}, "train_on_inputs": {value: "true"}, "max_length": {with: "packing=true", value: "50"}, "packing": {value: "true"},
		"max_lost_supervision": {with: "data=$mixed max_length=24 data_format=text", value: "1"},
		"method":               {value: "full"}, "output_dir": {test: "TestFolderOfAnotherRunIsLeftAlone"},
		"overwrite_output_dir": {test: "TestOverwriteBeginsAnew"}, "resume": {test: "TestKilledAndResumedRunEqualsTheUninterruptedOne"},
		"learning_rate": {value: "0.001"}, "per_device_train_batch_size": {value: "2"}, "gradient_accumulation_steps": {value: "2"},
		"num_train_epochs": {with: "max_steps=0 num_train_epochs=0.5", value: "1"}, "max_steps": {value: "4"}, "lr_scheduler_type": {value: "cosine"},
		"warmup_steps": {value: "3"}, "warmup_ratio": {value: "0.5"}, "weight_decay": {value: "0.5"},
		"adam_beta1": {value: "0.5"}, "adam_beta2": {value: "0.9"}, "adam_epsilon": {value: "0.01"}, "max_grad_norm": {value: "0.01"},
		"gradient_checkpointing": {value: "true"}, "seed": {value: "7"},
		"eval_strategy": {with: "validation_data=$rows", value: "epoch"}, "eval_steps": {with: eval, value: "3"},
		"predict_with_generate": {with: eval + "max_new_tokens=2", value: "true"}, "eval_limit": {with: eval + "predict_with_generate=true max_new_tokens=2", value: "3"},
		"per_device_eval_batch_size": {with: eval + "predict_with_generate=true max_new_tokens=2", value: "1"},
		"max_new_tokens":             {with: eval + "predict_with_generate=true eval_limit=2 max_new_tokens=2", value: "9"},
		"load_best_model_at_end":     {with: stuck, value: "true"},
		"metric_for_best_model":      {with: eval + "predict_with_generate=true max_new_tokens=2 eval_limit=2", value: "f1"},
		"early_stopping_patience":    {with: stuck, value: "1"},
		"save_strategy":              {value: "no"}, "save_steps": {value: "3"}, "save_total_limit": {value: "1"}, "logging_steps": {value: "2"},
		"device": {test: "TestConfigurationFilesAreReadStrictly"}, "threads": {test: "TestKilledAndResumedRunEqualsTheUninterruptedOne"},
		"device_memory": {test: "TestBudgetIsKeptToTheByte"}, "host_memory": {test: "TestBudgetIsKeptToTheByte"},
		"offload_optimizer": {with: "method=full", value: "true"}, "offload_weights": {value: "true"}, "host_store": {test: "TestTablesOnDiskGiveTheSameBits"}, "host_store_dir": {test: "TestTablesOnDiskGiveTheSameBits"},
		"meft_neurons": {value: "90"}, "meft_top_k": {value: "3"}, "meft_experts": {value: "12"}, "meft_probe": {value: "2"}, "meft_gate": {value: "softmax"},
		"meft_router": {value: "exact"}, "meft_balance_loss": {with: "meft_router=switch", value: "2"}, "meft_stable_share": {with: "meft_router=stable", value: "0.5"}, "meft_stable_loss": {with: "meft_router=stable", value: "3"},
		"meft_capacity_factor": {with: "meft_router=switch", value: "0.5"},
		"meft_share":           {value: "union"}, "meft_layers": {value: "1"}, "meft_idle": {value: "dense"}, "meft_buffer": {value: "20"},
		"meft_activation": {value: "swiglu"}, "adapter_activation": {value: "swiglu"}, "meft_frozen_keys": {value: "true"},
		"meft_master": {value: "split"}, "meft_moments": {value: "8bit"},
		"shira_r": {with: "method=shira", value: "3"}, "shira_target": {with: "method=shira", value: "q_proj,down_proj"},
		"lora_r": {with: "method=lora", value: "3"}, "lora_alpha": {with: "method=lora", value: "5"}, "lora_dropout": {with: "method=lora", value: "0.2"},
		"lora_target": {with: "method=lora", value: "q_proj,down_proj"}, "use_rslora": {with: "method=lora", value: "true"}, "lora_layers": {with: "method=lora", value: "1"},
		"use_dora": {with: "method=lora", value: "true"}, "loraplus_lr_ratio": {with: "method=lora", value: "4"}, "init_lora_weights": {with: "method=lora", value: "gaussian"},
		"parallel_bottleneck": {with: "method=parallel", value: "5"}, "parallel_activation": {with: "method=parallel", value: "silu"},
		"parallel_layers":   {with: "method=parallel", value: "0"},
		"series_bottleneck": {with: "method=series", value: "5"}, "series_position": {with: "method=series", value: "ffn"},
		"prompt_tokens": {with: "method=prompt", value: "5"}, "prefix_tokens": {with: "method=prefix", value: "5"}, "num_virtual_tokens": {test: "TestVirtualTokensAreThoseOfTheMethod"},
		"prompt_tuning_init": {with: "method=prompt", value: "RANDOM"}, "prompt_tuning_init_text": {with: "method=prompt prompt_tuning_init=TEXT prompt_tuning_init_text=Answer", value: "Colours:"},
		"prefix_init": {with: "method=prefix", value: "ZERO"}, "prefix_init_text": {with: "method=prefix prefix_init=TEXT prefix_init_text=Answer", value: "Colours:"},
		"prefix_projection": {with: "method=prefix", value: "true"}, "encoder_hidden_size": {with: "method=prefix prefix_projection=true", value: "5"},
		"lst_reduction": {with: "method=lst", value: "4"}, "lst_layers": {with: "method=lst", value: "1"},
		"lst_temperature": {with: "method=lst", value: "1"}, "lst_init": {with: "method=lst", value: "random"},
		"series_activation": {with: "method=series", value: "gelu"}, "series_layers": {with: "method=series", value: "0"},
	}
}

// Every option there is does something, or says which test sees what it does.
func TestEveryOptionHasAnEffect(t *testing.T) {
	all, tests := effects(), testNames(t)
	files := effectFiles(t)
	for _, o := range Options() {
		e, ok := all[o.Name]
		delete(all, o.Name)
		switch {
		case !ok:
			t.Errorf("option %s: no test says what it does", o.Name)
		case e.test != "" && !tests[e.test]:
			t.Errorf("option %s: there is no %s", o.Name, e.test)
		case e.test == "":
			before, after := observed(t, files, e.with, "", ""), observed(t, files, e.with, o.Name, e.value)
			if before == after {
				t.Errorf("option %s: %q instead of %q changes nothing:\n%s", o.Name, e.value, o.Default, before)
			}
		}
	}
	for name := range all {
		t.Errorf("there is no option %s", name)
	}
}

// testNames are the tests of this package.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	found, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, path := range found {
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(string(get(t, path)), -1) {
			out[m[1]] = true
		}
	}
	return out
}

// effectFiles are the files that values of effects stand for.
func effectFiles(t *testing.T) map[string]string {
	t.Helper()
	dir := t.TempDir()
	file := func(name, text string) string {
		put(t, filepath.Join(dir, name), text)
		return filepath.Join(dir, name)
	}
	var mixed, chat, qa strings.Builder
	s := sentences()
	for i := 0; i < 16; i += 2 {
		fmt.Fprintf(&mixed, "{\"prompt\": %q, \"completion\": %q, \"text\": %q}\n", s[i], " "+s[i+1], s[i]+strings.Repeat(" and", i))
		fmt.Fprintf(&qa, "{\"question\": %q, \"answer\": [%q], \"long_answers\": [%q, \"yes\"]}\n", s[i], s[i+1], s[i+1])
		fmt.Fprintf(&chat, "{\"messages\": [{\"role\": \"user\", \"content\": %q}, {\"role\": \"assistant\", \"content\": %q}]}\n", s[i], s[i+1])
	}
	rows := newRows(t)
	template := `{{ strftime_now("%d %B") }}{% for m in messages %}{{ m.role }}: {{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}`
	return map[string]string{
		"$model": newModel(t, small()), "$other": newModel(t, shape{dim: 16, layers: 1, heads: 2, kv: 1, hidden: 24, context: 64}),
		"$rows": rows, "$few": file("few.jsonl", strings.Join(strings.SplitAfter(string(get(t, rows)), "\n")[:6], "")),
		"$mixed": file("mixed.jsonl", mixed.String()), "$chat": file("chat.jsonl", chat.String()), "$qa": file("qa.jsonl", qa.String()), "$template": file("chat.jinja", template),
	}
}

// observed is what can be seen of a short run with these settings and one more:
// its files, its events without times, its memory, or its error.
func observed(t *testing.T, files map[string]string, with, name, value string) string {
	t.Helper()
	c := Defaults()
	c.Model, c.Data, c.OutputDir = files["$model"], files["$rows"], filepath.Join(t.TempDir(), "run")
	c.Threads, c.Batch, c.MaxSteps, c.SaveSteps, c.LearningRate, c.ChatDate = 1, 3, 6, 2, 1e-2, "2026-01-31"
	settings := [][2]string{{name, value}}
	method := "meft"
	for _, kv := range strings.Fields(with) {
		name, value, _ := strings.Cut(kv, "=")
		settings = append([][2]string{{name, value}}, settings...)
	}
	for _, kv := range settings {
		if kv[0] == "method" {
			method = kv[1]
		}
	}
	set(t, &c, method)
	for _, kv := range settings {
		if f, ok := files[kv[1]]; ok {
			kv[1] = f
		}
		if kv[0] == "" {
			continue
		}
		if err := c.Set(kv[0], kv[1]); err != nil {
			t.Fatal(err)
		}
	}
	var seen strings.Builder
	_, err := Train(t.Context(), c, func(e train.Event) { fmt.Fprintln(&seen, timeless(t, e)) })
	if err != nil {
		return strings.ReplaceAll(err.Error(), c.OutputDir, "")
	}
	for _, name := range names(t, c.OutputDir) {
		if path := filepath.Join(c.OutputDir, name); strings.HasSuffix(name, ".safetensors") {
			fmt.Fprintf(&seen, "%s %x\n", name, sha256.Sum256(get(t, path)))
		} else if filepath.Base(name) == "trainer_state.json" {
			var state struct {
				Log []json.RawMessage `json:"log_history"`
			}
			if err := json.Unmarshal(get(t, path), &state); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&seen, "%s: %d entries\n", name, len(state.Log))
		}
	}
	if err := os.RemoveAll(c.OutputDir); err != nil {
		t.Fatal(err)
	}
	return seen.String()
}

// timeless is an event without what depends on the clock.
func timeless(t *testing.T, e train.Event) string {
	t.Helper()
	line, err := train.EncodeEvent(e)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(line, &fields); err != nil {
		t.Fatal(err)
	}
	for name := range fields {
		if strings.Contains(name, "seconds") || strings.Contains(name, "second") || strings.Contains(name, "duration") || name == "bytes" && fields["type"] == "saved" {
			delete(fields, name)
		}
	}
	out, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// Two runs alike are alike in all that is observed, or the test above would
// always pass.
func TestNothingChangesWithoutAReason(t *testing.T) {
	files := effectFiles(t)
	for _, with := range []string{"", "validation_data=$rows eval_strategy=steps eval_steps=2 predict_with_generate=true max_new_tokens=2", "data=$chat chat_template=$template", "method=full", "method=parallel packing=true", "method=lora lora_dropout=0.3"} {
		a, b := observed(t, files, with, "", ""), observed(t, files, with, "", "")
		if a != b {
			t.Errorf("%s: two equal runs differ:\n%s\n%s", with, a, b)
		}
		if !strings.Contains(a, `"done"`) {
			t.Errorf("%s: the run did not end: %s", with, a)
		}
	}
}
