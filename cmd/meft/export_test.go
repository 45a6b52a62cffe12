package main

import (
	"path/filepath"
	"strings"
	"testing"

	"meft"
)

func TestExportWritesWhatInspectReads(t *testing.T) {
	base, lora := stories(t), shared(t, "models", "stories260K-lora-qv-r4")
	out := filepath.Join(t.TempDir(), "model.gguf")
	o := must(t, "export", "--gguf", out, "--model", base, "--adapter", lora, "--dtype", "q8_0")
	if !strings.Contains(o.out, "architecture llama") || !strings.Contains(o.out, "q8_0") || !strings.Contains(o.err, "are F16") {
		t.Errorf("%q, %q", o.out, o.err)
	}
	text := must(t, "inspect", out).out
	for _, word := range []string{"gguf", "llama.block_count", "512 values", "blk.4.ffn_down.weight", "Q8_0 31"} {
		if !strings.Contains(text, word) {
			t.Errorf("%q is missing in\n%s", word, text)
		}
	}
	r := decode[meft.ExportResult](t, must(t, "export", "--gguf", out, "--model", base, "--adapter", lora, "--adapter-only", "--overwrite", "--json").out)
	if r.Kind != "adapter" || r.Tensors != 20 {
		t.Errorf("%+v", r)
	}
	refused(t, 1, []string{"--overwrite"}, "export", "--gguf", out, "--model", base)
	refused(t, 2, []string{"--gguf"}, "export", "--model", base)
	refused(t, 2, []string{"int4", "q8_0"}, "export", "--gguf", out, "--model", base, "--dtype", "int4", "--overwrite")
}
