package meft

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"meft/model"
	"meft/safetensors"
)

// merged trains a few steps, merges, and returns the run, the new folder and
// what Merge says.
func merged(t *testing.T, method string, settings map[string]string, change func(*MergeOptions)) (Config, string, *MergeResult) {
	t.Helper()
	c := newRun(t, method)
	c.MaxSteps, c.SaveStrategy = 4, "no"
	for name, value := range settings {
		if err := c.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	mustTrain(t, c)
	o := MergeOptions{Model: c.Model, Adapter: c.OutputDir, Output: filepath.Join(t.TempDir(), "merged"), Compare: CompareOptions{Tokens: 40, Threads: 1}}
	if change != nil {
		change(&o)
	}
	r, err := Merge(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return c, o.Output, r
}

// farFrom is the largest difference of the log probabilities of a text between
// two sessions.
func farFrom(t *testing.T, a, b SessionOptions) float64 {
	t.Helper()
	in := []ScoreInput{{IDs: []int32{0, 7, 80, 9, 33, 5, 120, 64}, From: 1}}
	x, y := scored(t, open(t, a), in)[0], scored(t, open(t, b), in)[0]
	far := 0.0
	for i := range x.LogProbs {
		far = max(far, math.Abs(float64(x.LogProbs[i]-y.LogProbs[i])))
	}
	return far
}

// The weights are rounded once more, and products are summed in another order:
// float32 on logits of a few units.
func TestMergedModelIsModelAndAdapter(t *testing.T) {
	for _, c := range []struct {
		method   string
		settings map[string]string
		changed  int
	}{
		{"lora", nil, 14},
		{"lora", map[string]string{"use_dora": "true", "lora_target": "q_proj,down_proj,lm_head", "lora_r": "3"}, 5},
		{"lora", map[string]string{"use_rslora": "true", "lora_r": "9", "lora_target": "q_proj,down_proj", "lora_layers": "1"}, 2},
		{"lora", map[string]string{"use_dora": "true"}, 14},
		{"lora", map[string]string{"lora_target": "lm_head,v_proj"}, 3},
		{"shira", map[string]string{"shira_target": "q_proj,down_proj,lm_head"}, 5},
		{"full", nil, 0},
		{"parallel", map[string]string{"parallel_activation": "swiglu", "learning_rate": "0.1"}, 6},
		{"parallel", map[string]string{"parallel_activation": "swiglu", "parallel_layers": "1", "learning_rate": "0.1"}, 6},
		{"meft", map[string]string{"meft_activation": "swiglu", "meft_gate": "none", "meft_top_k": "96", "meft_experts": "1", "meft_probe": "1"}, 6},
	} {
		run, out, r := merged(t, c.method, c.settings, nil)
		tuned := SessionOptions{Model: run.Model, Adapter: run.OutputDir}
		if c.method == "full" {
			tuned = SessionOptions{Model: filepath.Join(run.OutputDir, "model")}
		}
		if far := farFrom(t, tuned, SessionOptions{Model: out}); far > 2e-5 {
			t.Errorf("%s %v: log probabilities differ by %v from those with the adapter", c.method, c.settings, far)
		}
		if far := farFrom(t, SessionOptions{Model: run.Model}, SessionOptions{Model: out}); far < 1e-2 {
			t.Errorf("%s %v: log probabilities differ by %v only from those of the base model: this test has tested little", c.method, c.settings, far)
		}
		d := r.Difference
		if r.Changed != c.changed || d == nil || d.MaxAbs > 2e-5 || d.Relative > 1e-5 || d.KL > 1e-9 || d.Agreement < 0.95 || d.Tokens < 10 || d.Tokens > 40 {
			t.Errorf("%s %v: merge says %+v, %+v", c.method, c.settings, *r, *d)
		}
		if c.method == "full" && d.MaxAbs != 0 {
			t.Errorf("a copy of a model differs from it by %v", d.MaxAbs)
		}
		if tokenizer := filepath.Join(out, "tokenizer.json"); string(get(t, tokenizer)) != string(get(t, filepath.Join(run.Model, "tokenizer.json"))) {
			t.Errorf("%s is not the model's", tokenizer)
		}
	}
}

// Neurons that a token leaves out in training it uses in the merged model: the
// result says so and measures it. Layers get as many columns as the widest needs,
// up to a multiple of 32.
func TestMergedTopKSaysItsGap(t *testing.T) {
	run, out, r := merged(t, "meft", map[string]string{"meft_activation": "swiglu", "meft_gate": "none", "meft_layers": "0"}, nil)
	if !strings.Contains(r.Gap, "all 96") || !strings.Contains(r.Gap, "the 5 ") || r.Intermediate != 128 || r.Neurons != 104 {
		t.Errorf("merge says %+v", *r)
	}
	if r.Difference == nil || r.Difference.MaxAbs < 1e-4 {
		t.Errorf("the difference is %+v: this test has tested little", r.Difference)
	}
	c, err := model.ReadConfig(out)
	if err != nil || c.Hidden != 128 {
		t.Errorf("intermediate_size %d, %v", c.Hidden, err)
	}
	if far := farFrom(t, SessionOptions{Model: run.Model, Adapter: run.OutputDir}, SessionOptions{Model: out}); far == 0 {
		t.Error("the merged model leaves neurons out, too")
	}
	gated := newRun(t, "meft")
	gated.MaxSteps, gated.SaveStrategy, gated.Settings["meft_activation"] = 1, "no", "swiglu"
	mustTrain(t, gated)
	_, err = Merge(t.Context(), MergeOptions{Model: gated.Model, Adapter: gated.OutputDir, Output: filepath.Join(t.TempDir(), "out")})
	mustSay(t, err, "meft_gate", "none would fold")
}

// The measured difference is that of the logits: against a model of other
// weights it is what a comparison by hand gives.
func TestDifferenceIsThatOfTheLogits(t *testing.T) {
	var c comparison
	p, q := []float32{1, 2, 4}, []float32{1, 5, 4}
	c.add(p, q)
	c.add(q, q)
	d := c.result()
	// softmax of p and of q, by hand
	sp, sq := math.Exp(1)+math.Exp(2)+math.Exp(4), math.Exp(1)+math.Exp(5)+math.Exp(4)
	kl := 0.0
	for i := range p {
		x := math.Exp(float64(p[i])) / sp
		kl += x * math.Log(x/(math.Exp(float64(q[i]))/sq))
	}
	want := Difference{Tokens: 2, MaxAbs: 3, Relative: math.Sqrt(9. / (21 + 42)), KL: kl / 2, Agreement: 0.5}
	if d.Tokens != want.Tokens || d.MaxAbs != want.MaxAbs || math.Abs(d.Relative-want.Relative) > 1e-12 || math.Abs(d.KL-want.KL) > 1e-12 || d.Agreement != want.Agreement {
		t.Errorf("%+v, wanted %+v", *d, want)
	}
}

func TestMergedModelIsWrittenInShardsAndTypes(t *testing.T) {
	for dtype, name := range map[string]string{"f32": "float32", "bf16": "bfloat16", "f16": "float16"} {
		run, out, r := merged(t, "lora", nil, func(o *MergeOptions) { o.MaxShard, o.DType, o.Compare.Data = 4000, dtype, newRows(t) })
		if len(r.Files) < 3 || r.DType != dtype {
			t.Errorf("%s: %d files of %s", dtype, len(r.Files), r.DType)
		}
		set, err := safetensors.Open(out) // checks the index
		if err != nil {
			t.Fatal(err)
		}
		var bytes int64
		for _, tensor := range set.Names() {
			info, _ := set.Info(tensor)
			if strings.ToLower(string(info.DType)) != dtype {
				t.Errorf("%s is %s, wanted %s", tensor, info.DType, dtype)
			}
			bytes += int64(info.Len() * info.DType.Size())
		}
		set.Close()
		if bytes != r.Bytes {
			t.Errorf("%d bytes written, %d said", bytes, r.Bytes)
		}
		for _, file := range r.Files {
			info, err := os.Stat(filepath.Join(out, file))
			if err != nil || info.Size() > 4000+3000+(280*16*4) { // header, and the embedding, which is larger than a file should be
				t.Errorf("%s: %v, %v", file, info, err)
			}
		}
		var config map[string]any
		if err := readJSON(filepath.Join(out, "config.json"), &config); err != nil {
			t.Fatal(err)
		}
		if config["torch_dtype"] != name {
			t.Errorf("config.json says torch_dtype %v, wanted %s", config["torch_dtype"], name)
		}
		// 8 and 11 bits of the largest weights, of about 1, through two blocks.
		limit := map[string]float64{"f32": 2e-5, "bf16": 0.2, "f16": 0.03}[dtype]
		if far := farFrom(t, SessionOptions{Model: run.Model, Adapter: run.OutputDir}, SessionOptions{Model: out, BaseDType: "f32"}); far > limit {
			t.Errorf("%s: log probabilities differ by %v", dtype, far)
		}
		if r.Difference.Of == "the model's own text" || r.Difference.Tokens != 40 {
			t.Errorf("compared on %d tokens of %s", r.Difference.Tokens, r.Difference.Of)
		}
	}
}

// A weight of 70,000 is no half; nothing is left of the attempt.
func TestTooLargeAWeightForHalfPrecisionIsNamed(t *testing.T) {
	c := newRun(t, "lora")
	c.MaxSteps, c.SaveStrategy = 1, "no"
	mustTrain(t, c)
	set, err := safetensors.Open(c.Model)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	var all []safetensors.Tensor
	const name = "model.layers.1.mlp.up_proj.weight"
	for _, n := range set.Names() {
		info, _ := set.Info(n)
		w := make([]float32, info.Len())
		if err := set.ReadF32(w, n); err != nil {
			t.Fatal(err)
		}
		if n == name {
			w[77] = -70000
		}
		all = append(all, safetensors.F32(n, w, info.Shape...))
	}
	if err := safetensors.Write(filepath.Join(c.Model, "model.safetensors"), all, nil); err != nil {
		t.Fatal(err)
	}
	parent := t.TempDir()
	_, err = Merge(t.Context(), MergeOptions{Model: c.Model, Adapter: c.OutputDir, OtherBase: true, Output: filepath.Join(parent, "out"), DType: "f16"})
	mustSay(t, err, name, "-69999", "index 77", "f16", "bf16")
	if left := names(t, parent); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

func TestAdaptersThatDoNotFoldAreRefusedWithTheReason(t *testing.T) {
	for _, method := range []string{"meft", "parallel"} {
		c := newRun(t, method)
		c.MaxSteps, c.SaveStrategy = 1, "no"
		mustTrain(t, c)
		out := filepath.Join(t.TempDir(), "out")
		_, err := Merge(t.Context(), MergeOptions{Model: c.Model, Adapter: c.OutputDir, Output: out})
		mustSay(t, err, method, "does not fold", "swiglu", "--adapter")
		if exists(out) {
			t.Errorf("%s: something was written", method)
		}
	}
}

func TestOutputsInTheWayAreLeftAlone(t *testing.T) {
	run, out, _ := merged(t, "lora", nil, nil)
	o := MergeOptions{Model: run.Model, Adapter: run.OutputDir, Output: out}
	before := get(t, filepath.Join(out, "model.safetensors"))
	_, err := Merge(t.Context(), o)
	mustSay(t, err, out, "--overwrite")
	if !slices.Equal(before, get(t, filepath.Join(out, "model.safetensors"))) {
		t.Error("the model was changed")
	}
	o.Overwrite, o.DType = true, "bf16"
	if _, err := Merge(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if after := get(t, filepath.Join(out, "model.safetensors")); len(after) >= len(before) {
		t.Error("the model was not replaced")
	}
	if left := names(t, filepath.Dir(out)); slices.ContainsFunc(left, func(name string) bool { return strings.HasPrefix(name, ".") }) {
		t.Errorf("%v is left", left)
	}
	other := t.TempDir()
	put(t, filepath.Join(other, "letter.txt"), "dear")
	for _, c := range []struct {
		output string
		words  []string
	}{
		{other, []string{"not a model"}},
		{filepath.Join(other, "letter.txt"), []string{"file"}},
		{run.Model, []string{"what is read"}},
		{filepath.Dir(filepath.Clean(run.OutputDir)), []string{"what is read"}},
	} {
		o.Output = c.output
		_, err := Merge(t.Context(), o)
		mustSay(t, err, append(c.words, c.output)...)
	}
	if string(get(t, filepath.Join(other, "letter.txt"))) != "dear" {
		t.Error("a file was changed")
	}
}

func TestMergesOfNothingAreRefused(t *testing.T) {
	run := newRun(t, "lora")
	run.MaxSteps, run.SaveStrategy = 1, "no"
	mustTrain(t, run)
	wide := small()
	wide.dim = 32
	for _, c := range []struct {
		change func(*MergeOptions)
		words  []string
	}{
		{func(o *MergeOptions) { o.Adapter = "" }, []string{"--adapter"}},
		{func(o *MergeOptions) { o.DType = "int4" }, []string{"int4", "bf16"}},
		{func(o *MergeOptions) { o.Model = newModel(t, wide) }, []string{"hidden_size 16", "32"}},
		{func(o *MergeOptions) { o.Adapter = t.TempDir() }, []string{"adapter_config.json"}},
		{func(o *MergeOptions) { o.Compare = CompareOptions{Tokens: 4, Text: "a", Data: "b"} }, []string{"--text", "--data"}},
	} {
		o := MergeOptions{Model: run.Model, Adapter: run.OutputDir, Output: filepath.Join(t.TempDir(), "out")}
		c.change(&o)
		_, err := Merge(t.Context(), o)
		mustSay(t, err, c.words...)
	}
}

func TestSharedLoRAMerges(t *testing.T) {
	base, adapter := storiesLoRA(t)
	out := filepath.Join(t.TempDir(), "out")
	r, err := Merge(t.Context(), MergeOptions{Model: base, Adapter: adapter, Output: out, Compare: CompareOptions{Tokens: 100, Threads: 2}})
	if err != nil {
		t.Fatal(err)
	}
	// Products in another order, on logits of up to 20.
	if r.Changed != 10 || r.Difference.MaxAbs > 1e-4 || r.Difference.Agreement != 1 {
		t.Errorf("%+v %+v", *r, *r.Difference)
	}
}
