package meft

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"meft/gguf"
	"meft/model"
	"meft/safetensors"
)

// exported is the GGUF file of a model.
func exported(t *testing.T, o ExportOptions) (*gguf.File, *ExportResult) {
	t.Helper()
	o.Output = filepath.Join(t.TempDir(), "x.gguf")
	r, err := Export(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Open(o.Output)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, r
}

// value reads a weight of a checkpoint.
func value(t *testing.T, dir, name string) []float32 {
	t.Helper()
	set, err := safetensors.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	info, _ := set.Info(name)
	v := make([]float32, info.Len())
	if err := set.ReadF32(v, name); err != nil {
		t.Fatal(err)
	}
	return v
}

// Every weight is there under llama.cpp's name; rows of queries and keys have the
// order that llama.cpp rotates: row 2j of a head was row j, 2j+1 was half a head
// further.
func TestExportedModelHasTheWeights(t *testing.T) {
	dir := stories(t)
	c, err := model.ReadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	f, r := exported(t, ExportOptions{Model: dir, DType: "f32"})
	if r.Tensors != len(f.Tensors) || r.Tensors != len(c.WeightShapes()) || r.Tokenizer != "default" || r.Architecture != "llama" || len(r.Notes) > 0 {
		t.Errorf("%+v", *r)
	}
	for _, w := range c.WeightShapes() {
		got, err := f.ReadF32(ggufName(w.Name))
		if err != nil {
			t.Fatal(err)
		}
		want := value(t, dir, w.Name)
		if strings.Contains(w.Name, "q_proj") || strings.Contains(w.Name, "k_proj") {
			d, half := w.Dims[1], c.HeadDim/2
			back := make([]float32, len(got))
			for row := range w.Dims[0] {
				head, r := row/c.HeadDim, row%c.HeadDim
				copy(back[(head*c.HeadDim+r/2+r%2*half)*d:][:d], got[row*d:])
			}
			got = back
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s is not %s", ggufName(w.Name), w.Name)
		}
	}
	for key, want := range map[string]any{
		"general.architecture": "llama", "general.type": "model", "llama.block_count": uint32(5), "llama.embedding_length": uint32(64),
		"llama.feed_forward_length": uint32(172), "llama.attention.head_count": uint32(8), "llama.attention.head_count_kv": uint32(4),
		"llama.rope.freq_base": float32(10000), "llama.attention.layer_norm_rms_epsilon": float32(1e-5), "llama.context_length": uint32(512),
		"tokenizer.ggml.model": "llama", "tokenizer.ggml.bos_token_id": uint32(1), "tokenizer.ggml.eos_token_id": uint32(2),
		"tokenizer.ggml.add_bos_token": true, "tokenizer.ggml.add_space_prefix": true,
	} {
		if got := f.Value(key); got != want {
			t.Errorf("%s is %v, wanted %v", key, got, want)
		}
	}
	pieces := f.Value("tokenizer.ggml.tokens").([]string)
	kinds := f.Value("tokenizer.ggml.token_type").([]int32)
	if len(pieces) != 512 || pieces[1] != "<s>" || !slices.Equal(kinds[:4], []int32{2, 3, 3, 6}) || len(f.Value("tokenizer.ggml.scores").([]float32)) != 512 {
		t.Errorf("the vocabulary begins with %q %v", pieces[:4], kinds[:4])
	}
}

// Types of matrices; norms are F32 in all, and rows that are no blocks F16.
func TestExportedModelHasTheType(t *testing.T) {
	dir := stories(t)
	for dtype, bits := range map[string]float64{"f16": 0x1p-11, "bf16": 0x1p-8, "q8_0": 1. / 254} {
		f, r := exported(t, ExportOptions{Model: dir, DType: dtype})
		for _, info := range f.Tensors {
			want := strings.ToUpper(dtype)
			if strings.Contains(info.Name, "norm") {
				want = "F32"
			} else if dtype == "q8_0" && strings.Contains(info.Name, "ffn_down") {
				want = "F16"
			}
			if info.Type.String() != want {
				t.Errorf("%s: %s is %v", dtype, info.Name, info.Type)
			}
		}
		if (len(r.Notes) == 1) != (dtype == "q8_0") {
			t.Errorf("%s: notes %q", dtype, r.Notes)
		}
		got, err := f.ReadF32("token_embd.weight")
		if err != nil {
			t.Fatal(err)
		}
		most := float32(0)
		want := value(t, dir, "model.embed_tokens.weight")
		for _, v := range want {
			most = max(most, v, -v)
		}
		for i := range got {
			// A block's scale is rounded to a half, too.
			if math.Abs(float64(got[i]-want[i])) > float64(most)*bits*1.1 {
				t.Fatalf("%s: value %d is %v, wanted %v", dtype, i, got[i], want[i])
			}
		}
	}
}

// A LoRA adapter alone, and folded in: the file's tensors give the same weight.
func TestExportedAdapterIsTheFoldedOne(t *testing.T) {
	dir, adapter := storiesLoRA(t)
	whole, _ := exported(t, ExportOptions{Model: dir, Adapter: adapter, DType: "f32"})
	base, _ := exported(t, ExportOptions{Model: dir, DType: "f32"})
	alone, r := exported(t, ExportOptions{Model: dir, Adapter: adapter, AdapterOnly: true})
	if r.Kind != "adapter" || r.DType != "f32" || alone.Value("adapter.type") != "lora" || alone.Value("adapter.lora.alpha") != float32(8) || len(alone.Tensors) != 20 {
		t.Errorf("%+v, alpha %v", *r, alone.Value("adapter.lora.alpha"))
	}
	for _, name := range []string{"blk.0.attn_q.weight", "blk.4.attn_v.weight"} {
		read := func(f *gguf.File, name string) []float32 {
			v, err := f.ReadF32(name)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		got, want, changed := read(base, name), read(whole, name), false
		a, b := read(alone, name+".lora_a"), read(alone, name+".lora_b")
		for i := range got {
			row, col := i/64, i%64
			var sum float64
			for k := range 4 {
				sum += float64(b[row*4+k]) * float64(a[k*64+col])
			}
			changed = changed || got[i] != want[i]
			if x := float64(got[i]) + 8./4*sum; math.Abs(x-float64(want[i])) > 1e-6 { // float32, weights below 4
				t.Fatalf("%s: value %d is %v folded, %v by the adapter's tensors", name, i, want[i], x)
			}
		}
		if !changed {
			t.Errorf("%s: the adapter changes nothing", name)
		}
	}
}

// llama.cpp scales by alpha over the rank: that of rsLoRA is written so that it
// comes out.
func TestExportedRSLoRAHasItsScale(t *testing.T) {
	c := newRun(t, "lora")
	c.MaxSteps, c.SaveStrategy = 1, "no"
	for name, value := range map[string]string{"use_rslora": "true", "lora_r": "4", "lora_alpha": "6"} {
		if err := c.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	mustTrain(t, c)
	f, _ := exported(t, ExportOptions{Model: c.Model, Adapter: c.OutputDir, AdapterOnly: true})
	if alpha := f.Value("adapter.lora.alpha"); alpha != float32(12) { // 6/√4 = 12/4
		t.Errorf("alpha is %v, wanted 12", alpha)
	}
}

// The factors of Llama 3.1: long waves are stretched 8 times, short ones not.
func TestExportedRopeFactorsAreLlama3s(t *testing.T) {
	dir := newModel(t, small())
	edit(t, filepath.Join(dir, "config.json"), func(data []byte) []byte {
		return []byte(strings.Replace(string(data), `"rope_theta": 10000`, `"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 64}, "rope_theta": 10000`, 1))
	})
	f, _ := exported(t, ExportOptions{Model: dir})
	got, err := f.ReadF32("rope_freqs.weight")
	if err != nil {
		t.Fatal(err)
	}
	// Width 8: frequencies 1, 0.1, 0.01, 0.001, waves of 6.28, 62.8, 628 and 6283
	// tokens; between 64/4 and 64 they are blended.
	smooth := (64*0.1/(2*math.Pi) - 1) / 3
	for i, want := range []float64{1, 1 / ((1-smooth)/8 + smooth), 8, 8} {
		if math.Abs(float64(got[i])-want) > 1e-5 {
			t.Errorf("factor %d is %v, wanted %v", i, got[i], want)
		}
	}
}

func TestExportsThatCannotBeAreRefused(t *testing.T) {
	dir := newModel(t, small())
	taken := filepath.Join(t.TempDir(), "taken.gguf")
	put(t, taken, "mine")
	run := newRun(t, "parallel")
	run.MaxSteps, run.SaveStrategy = 1, "no"
	mustTrain(t, run)
	dora := newRun(t, "lora")
	dora.MaxSteps, dora.SaveStrategy = 1, "no"
	if err := dora.Set("use_dora", "true"); err != nil {
		t.Fatal(err)
	}
	mustTrain(t, dora)
	out := filepath.Join(t.TempDir(), "x.gguf")
	for _, c := range []struct {
		o     ExportOptions
		words []string
	}{
		{ExportOptions{Model: dir}, []string{"--gguf"}},
		{ExportOptions{Output: out}, []string{"--model"}},
		{ExportOptions{Model: dir, Output: out, DType: "q4_0"}, []string{"q4_0", "q8_0"}},
		{ExportOptions{Model: dir, Output: out, AdapterOnly: true}, []string{"--adapter"}},
		{ExportOptions{Model: dir, Output: taken}, []string{"--overwrite"}},
		{ExportOptions{Model: dir, Output: t.TempDir()}, []string{"folder"}},
		{ExportOptions{Model: run.Model, Adapter: run.OutputDir, Output: out}, []string{"does not fold"}},
		{ExportOptions{Model: dora.Model, Adapter: dora.OutputDir, Output: out, AdapterOnly: true}, []string{"lora_magnitude_vector"}},
	} {
		_, err := Export(t.Context(), c.o)
		mustSay(t, err, c.words...)
		if exists(out) {
			t.Fatalf("%q: a file was written", c.words)
		}
	}
	if string(get(t, taken)) != "mine" {
		t.Error("a file was changed")
	}
	if _, err := Export(t.Context(), ExportOptions{Model: dir, Output: taken, Overwrite: true}); err != nil {
		t.Error(err)
	}
}
