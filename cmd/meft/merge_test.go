package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"meft"
)

func TestMergeWritesAModelThatAnswersAlike(t *testing.T) {
	base, lora := stories(t), shared(t, "models", "stories260K-lora-qv-r4")
	out := filepath.Join(t.TempDir(), "merged")
	text := must(t, "merge", "--model", base, "--adapter", lora, "--output", out, "--max-shard-size", "500kB", "--text", "Once upon a time").out
	for _, word := range []string{"f32", "files", "10 tensors", "the text", "100 %"} {
		if !strings.Contains(text, word) {
			t.Errorf("%q is missing in\n%s", word, text)
		}
	}
	prompt := []string{"--prompt", "Once upon a time", "--max-new-tokens", "40"}
	want := must(t, append([]string{"generate", "--model", base, "--adapter", lora}, prompt...)...).out
	if got := must(t, append([]string{"generate", "--model", out}, prompt...)...).out; got != want {
		t.Errorf("merged %q, with the adapter %q", got, want)
	}
	r := decode[meft.MergeResult](t, must(t, "merge", "--model", base, "--adapter", lora, "--output", out, "--overwrite", "--dtype", "bf16", "--compare-tokens", "0", "--json").out)
	if r.DType != "bf16" || r.Difference != nil || len(r.Files) != 1 {
		t.Errorf("%+v", r)
	}
	if _, err := os.Stat(filepath.Join(out, "model.safetensors.index.json")); err == nil {
		t.Error("the index of the old model is still there")
	}
	refused(t, 1, []string{"--overwrite"}, "merge", "--model", base, "--adapter", lora, "--output", out)
	refused(t, 2, []string{"--output"}, "merge", "--model", base, "--adapter", lora)
	refused(t, 2, []string{"max-shard-size", "many"}, "merge", "--model", base, "--adapter", lora, "--output", out, "--max-shard-size", "many")
	refused(t, 2, []string{"compare-tokens"}, "merge", "--model", base, "--adapter", lora, "--output", out, "--compare-tokens", "-1")
}
