package meft

import (
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"meft/token"
)

// refused wants an error with all the words in it.
func refused(t *testing.T, c Config, words ...string) {
	t.Helper()
	_, err := Train(t.Context(), c, nil)
	mustSay(t, err, words...)
}

func mustSay(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("nothing was refused; wanted an error with %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error lacks %q: %v", w, err)
		}
	}
}

// edit changes a file in place.
func edit(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	put(t, path, string(change(get(t, path))))
}

// breakage is something wrong with what a run is given.
type breakage struct {
	name  string
	spoil func(t *testing.T, c *Config)
	words []string
}

func weights(c *Config) string { return filepath.Join(c.Model, "model.safetensors") }

func brokenModels() []breakage {
	return []breakage{
		{"truncated weights", func(t *testing.T, c *Config) {
			edit(t, weights(c), func(b []byte) []byte { return b[:len(b)-1000] })
		}, []string{"model.safetensors", "bytes"}},
		{"header of 2^60 bytes", func(t *testing.T, c *Config) {
			edit(t, weights(c), func(b []byte) []byte { binary.LittleEndian.PutUint64(b, 1<<60); return b })
		}, []string{"model.safetensors", "header", "1152921504606846976"}},
		{"empty weights", func(t *testing.T, c *Config) { put(t, weights(c), "") }, []string{"model.safetensors"}},
		{"no weights", func(t *testing.T, c *Config) { os.Remove(weights(c)) }, []string{"safetensors"}},
		{"missing shard", func(t *testing.T, c *Config) {
			if err := os.Rename(weights(c), filepath.Join(c.Model, "model-00001-of-00002.safetensors")); err != nil {
				t.Fatal(err)
			}
			put(t, weights(c)+".index.json", `{"metadata": {}, "weight_map": {"model.norm.weight": "model-00002-of-00002.safetensors"}}`)
		}, []string{"model-00002-of-00002.safetensors"}},
		{"weights that are no numbers", func(t *testing.T, c *Config) {
			edit(t, weights(c), func(b []byte) []byte {
				binary.LittleEndian.PutUint32(b[len(b)-4:], math.Float32bits(float32(math.NaN())))
				return b
			})
		}, []string{"model.safetensors", "tensor", "NaN"}},
		{"weights of another shape", func(t *testing.T, c *Config) {
			other := small()
			other.hidden = 32
			writeConfig(t, c.Model, other, 280)
		}, []string{"mlp.up_proj.weight", "[24 16]", "[32 16]", "layers.1.mlp.down_proj"}},
		{"no config.json", func(t *testing.T, c *Config) { os.Remove(filepath.Join(c.Model, "config.json")) }, []string{"config.json"}},
		{"broken config.json", func(t *testing.T, c *Config) { put(t, filepath.Join(c.Model, "config.json"), "{") }, []string{"config.json"}},
		{"another architecture", func(t *testing.T, c *Config) {
			edit(t, filepath.Join(c.Model, "config.json"), func(b []byte) []byte {
				return []byte(strings.ReplaceAll(strings.ReplaceAll(string(b), "LlamaForCausalLM", "GPT2LMHeadModel"), `"llama"`, `"gpt2"`))
			})
		}, []string{"config.json", "GPT2LMHeadModel", "LlamaForCausalLM"}},
		{"no model folder", func(t *testing.T, c *Config) { c.Model += "x" }, []string{"config.json", "x: "}},
		{"no tokenizer", func(t *testing.T, c *Config) { os.Remove(filepath.Join(c.Model, "tokenizer.json")) }, []string{"tokenizer"}},
		{"tokenizer of another vocabulary", func(t *testing.T, c *Config) {
			other, err := token.Train(slices.Values(sentences()), 300, []string{"<s>", "</s>"})
			if err == nil {
				err = other.WriteJSON(filepath.Join(c.Model, "tokenizer.json"))
			}
			if err != nil {
				t.Fatal(err)
			}
		}, []string{"tokenizer", "300", "280", "tokenizer.json"}},
	}
}

func brokenRows() []breakage {
	return []breakage{
		{"no rows", func(t *testing.T, c *Config) { put(t, c.Data, "") }, []string{"rows.jsonl"}},
		{"blank rows", func(t *testing.T, c *Config) { put(t, c.Data, "\n\n") }, []string{"rows.jsonl"}},
		{"no file", func(t *testing.T, c *Config) { c.Data += "x" }, []string{"rows.jsonlx", "no such file"}},
		{"broken lines", func(t *testing.T, c *Config) {
			lines := strings.SplitAfter(string(get(t, c.Data)), "\n")
			lines[2], lines[4] = "{\"prompt\": \"x\n", "{\"prompt\": 5, \"completion\": \"x\"}\n"
			put(t, c.Data, strings.Join(lines, ""))
		}, []string{"rows.jsonl:3", "rows.jsonl:5", "prompt"}},
		{"unknown columns", func(t *testing.T, c *Config) { put(t, c.Data, `{"frage": "x", "antwort": "y"}`+"\n") }, []string{"rows.jsonl:1", "frage", "completion"}},
		{"answers cut away", func(t *testing.T, c *Config) { c.MaxLength = 6 }, []string{"rows.jsonl", "max_length 6", "24 rows"}},
		{"too much of the answers cut", func(t *testing.T, c *Config) {
			put(t, c.Data, `{"prompt": "a ", "completion": "red"}`+"\n"+`{"prompt": "b ", "completion": "`+strings.Repeat("red ", 40)+`"}`+"\n")
			c.MaxLength = 20
		}, []string{"rows.jsonl", "max_length", "1 rows cut", "--max_lost_supervision", "rows.jsonl:2"}},
		{"validation rows without an answer", func(t *testing.T, c *Config) {
			c.ValidationData = filepath.Join(t.TempDir(), "valid.jsonl")
			put(t, c.ValidationData, "{}\n")
		}, []string{"valid.jsonl:1"}},
		{"all rows held out", func(t *testing.T, c *Config) { c.ValSize = 24 }, []string{"validation", "24"}},
		{"no rows named", func(t *testing.T, c *Config) { c.Data = "" }, []string{"--data"}},
		{"columns without a name", func(t *testing.T, c *Config) { c.Columns = "prompt" }, []string{"columns", "prompt=question"}},
		{"unknown form of rows", func(t *testing.T, c *Config) { c.DataFormat = "alpacca" }, []string{"alpacca", "alpaca"}},
		{"no such date", func(t *testing.T, c *Config) { c.ChatDate = "yesterday" }, []string{"chat_date", "2026-01-31"}},
	}
}

func brokenSettings() []breakage {
	setting := func(name, value string) func(t *testing.T, c *Config) {
		return func(t *testing.T, c *Config) { c.Settings[name] = value }
	}
	return []breakage{
		{"a method there is not", func(t *testing.T, c *Config) { c.Method = "loras" }, []string{"loras", "meft", "parallel", "full"}},
		{"another method's setting", setting("parallel_bottleneck", "8"), []string{"parallel_bottleneck", "method parallel"}},
		{"more kept than there are", setting("meft_top_k", "200"), []string{"meft_top_k", "200", "96"}},
		{"a gate there is not", setting("meft_gate", "sigmoid"), []string{"meft_gate", "sigmoid", "softmax"}},
		{"layers there are not", setting("meft_layers", "0,9"), []string{"meft_layers", "9"}},
		{"several at once", func(t *testing.T, c *Config) { c.Batch, c.Beta1, c.SaveSteps = 0, 1, -1 }, []string{"per_device_train_batch_size", "adam_beta1", "save_steps"}},
		{"no steps", func(t *testing.T, c *Config) { c.Epochs, c.MaxSteps = 0, 0 }, []string{"num_train_epochs", "max_steps"}},
		{"evaluation of nothing", func(t *testing.T, c *Config) { c.EvalStrategy = "steps" }, []string{"validation_data", "val_size"}},
		{"the best of no evaluation", func(t *testing.T, c *Config) { c.KeepBest = true }, []string{"load_best_model_at_end", "eval_strategy"}},
		{"resume of nothing", func(t *testing.T, c *Config) { c.Resume = "true" }, []string{"no run to resume"}},
		{"resume of something else", func(t *testing.T, c *Config) { c.Resume = "checkpoint-3" }, []string{"resume", "true"}},
		{"no folder", func(t *testing.T, c *Config) { c.OutputDir = "" }, []string{"output_dir"}},
		{"a frozen model of random weights", func(t *testing.T, c *Config) { c.Init = "random" }, []string{"random", "--method full"}},
	}
}

// Whatever is wrong with its inputs, a run says what and where, and leaves no
// trace.
func TestWrongInputsAreNamedAndNothingIsWritten(t *testing.T) {
	for _, b := range slices.Concat(brokenModels(), brokenRows(), brokenSettings()) {
		t.Run(b.name, func(t *testing.T) {
			c := newRun(t, "meft")
			out := c.OutputDir
			b.spoil(t, &c)
			refused(t, c, b.words...)
			if exists(out) {
				t.Errorf("a refused run wrote %v", names(t, out))
			}
		})
	}
}

// Errors in what was asked for are told from those in files: they have another
// exit code.
func TestSettingsAreUsageErrorsAndFilesAreNot(t *testing.T) {
	for _, b := range []struct {
		list  []breakage
		name  string
		usage bool
	}{
		{brokenSettings(), "several at once", true}, {brokenSettings(), "a method there is not", true}, {brokenRows(), "columns without a name", true},
		{brokenModels(), "truncated weights", false}, {brokenRows(), "broken lines", false},
	} {
		c := newRun(t, "meft")
		b.list[slices.IndexFunc(b.list, func(x breakage) bool { return x.name == b.name })].spoil(t, &c)
		_, err := Train(t.Context(), c, nil)
		var usage *UsageError
		if errors.As(err, &usage) != b.usage {
			t.Errorf("%s: usage error %v, wanted %v: %v", b.name, !b.usage, b.usage, err)
		}
	}
}

func TestFolderOfAnotherRunIsLeftAlone(t *testing.T) {
	c := newRun(t, "meft")
	c.MaxSteps, c.SaveStrategy = 1, "no"
	mustTrain(t, c)
	before := names(t, c.OutputDir)
	events := string(get(t, filepath.Join(c.OutputDir, "events.jsonl")))
	refused(t, c, c.OutputDir, "--resume", "--overwrite_output_dir")
	c.LearningRate = 0.5
	refused(t, c, c.OutputDir, `learning_rate: "0.5", here "0.01"`, "--overwrite_output_dir")
	if after := names(t, c.OutputDir); !slices.Equal(before, after) || string(get(t, filepath.Join(c.OutputDir, "events.jsonl"))) != events {
		t.Errorf("the folder had %v, has %v", before, after)
	}
}

func TestFolderThatIsNoRunIsLeftAlone(t *testing.T) {
	c := newRun(t, "meft")
	c.Overwrite = true // does not make it a run
	if err := os.MkdirAll(c.OutputDir, 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(c.OutputDir, "thesis.tex"), "years of work")
	refused(t, c, c.OutputDir, "not empty", "no config.yaml")
	if got := names(t, c.OutputDir); !slices.Equal(got, []string{"thesis.tex"}) {
		t.Errorf("the folder has %v", got)
	}
}

// An old run whose configuration cannot be read can still be overwritten.
func TestUnreadableRunCanBeOverwritten(t *testing.T) {
	c := newRun(t, "meft")
	c.MaxSteps = 1
	mustTrain(t, c)
	put(t, configPath(c.OutputDir), "learning_rate: fast\n")
	c.Resume = "true"
	refused(t, c, "config.yaml:1", "learning_rate", "fast")
	c.Resume, c.Overwrite = "", true
	mustTrain(t, c)
}
