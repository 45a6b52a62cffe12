package meft

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"meft/model"
	"meft/param"
	"meft/safetensors"
	"meft/tensor"
)

// storiesLoRA is the shared model and the LoRA adapter for it.
func storiesLoRA(t *testing.T) (base, adapter string) {
	t.Helper()
	base = stories(t)
	adapter = filepath.Join(filepath.Dir(base), "stories260K-lora-qv-r4")
	if !exists(adapter) {
		t.Skip("shared test material not found")
	}
	return base, adapter
}

// The reference was computed in float64 and rounded to six decimals; float32
// stays within 1e-4 of its losses and 2e-4 of its logits.
func TestLoRAInPEFTsFilesEqualsTheReference(t *testing.T) {
	base, adapter := storiesLoRA(t)
	var want struct {
		Cases []struct {
			IDs     []int32   `json:"ids"`
			Logits  []float64 `json:"logits_last"`
			Loss    float64   `json:"mean_nll"`
			Without float64   `json:"base_mean_nll"`
		} `json:"cases"`
	}
	if err := readJSON(filepath.Join(adapter, "expected.json"), &want); err != nil {
		t.Fatal(err)
	}
	for _, c := range want.Cases {
		s := open(t, SessionOptions{Model: base, Adapter: adapter})
		if got := scored(t, s, []ScoreInput{{IDs: c.IDs, From: 1}})[0].NLL; math.Abs(got-c.Loss) > 1e-4 {
			t.Errorf("loss %v, wants %v; without the adapter %v", got, c.Loss, c.Without)
		}
		if err := s.need(model.Size{Rows: len(c.IDs), Context: len(c.IDs), CacheRows: len(c.IDs)}); err != nil {
			t.Fatal(err)
		}
		logits := make([]float32, s.Config().Vocab)
		step := model.Step{IDs: c.IDs, Base: make([]int32, len(c.IDs)), Want: []int32{int32(len(c.IDs) - 1)}}
		for i := range c.IDs {
			step.Pos = append(step.Pos, int32(i))
		}
		s.engine.model.Infer(step, func(_ int, row []float32) { copy(logits, row) })
		for i, w := range c.Logits {
			if math.Abs(float64(logits[i])-w) > 2e-4 {
				t.Errorf("logit %d is %v, wants %v", i, logits[i], w)
			}
		}
	}
}

// The reference gradients are central differences in float64, good to 1e-6
// relative and 1e-8 absolute; float32 adds 1e-4 of each.
func TestLoRAGradientsEqualTheReference(t *testing.T) {
	base, adapter := storiesLoRA(t)
	var want struct {
		Cases []struct {
			IDs []int32 `json:"ids"`
		} `json:"cases"`
		Gradients struct {
			Value   float64 `json:"value"`
			Entries []struct {
				Tensor string  `json:"tensor"`
				Index  []int   `json:"index"`
				Grad   float64 `json:"grad"`
			} `json:"entries"`
		} `json:"gradients"`
	}
	if err := readJSON(filepath.Join(adapter, "expected.json"), &want); err != nil {
		t.Fatal(err)
	}
	b, err := openBase(Config{Model: base, BaseDType: "f32"})
	if err != nil {
		t.Fatal(err)
	}
	_, m, err := readAdapterConfig(adapter)
	if err != nil {
		t.Fatal(err)
	}
	ids := want.Cases[0].IDs
	n := len(ids) - 1
	batch := model.Batch{IDs: ids[:n], Targets: ids[1:], Pos: make([]int32, n), Start: make([]int32, n), Scale: 1 / float32(n)}
	for i := range n {
		batch.Pos[i] = int32(i)
	}
	for _, rebuild := range []bool{false, true} {
		r := recipe{base: b, method: m, size: model.Size{Rows: n, Context: n, Grad: true, Rebuild: rebuild, Frozen: tensor.F32}}
		plan, err := r.plan()
		if err != nil {
			t.Fatal(err)
		}
		e, err := r.build(plan, 2)
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		if err := loadAdapter(adapter, e.params); err != nil {
			t.Fatal(err)
		}
		e.model.Forward(batch)
		if loss := e.model.Loss() / float64(n); math.Abs(loss-want.Gradients.Value) > 1e-5 {
			t.Errorf("loss %v, wants %v", loss, want.Gradients.Value)
		}
		e.model.Backward()
		for _, entry := range want.Gradients.Entries {
			d := e.params.Dense[slices.IndexFunc(e.params.Dense, func(d *param.Dense) bool { return d.Name == entry.Tensor })]
			i, j := entry.Index[0], entry.Index[1]
			if d.Turned {
				i, j = j, i
			}
			if got := float64(d.D.Float32()[i*d.D.Dim(1)+j]); math.Abs(got-entry.Grad) > 1e-4*math.Abs(entry.Grad)+2e-7 {
				t.Errorf("rebuild %v: %s%v: gradient %v, wants %v", rebuild, entry.Tensor, entry.Index, got, entry.Grad)
			}
		}
	}
}

// The keys are those that every version of PEFT knows, and no others.
func TestLoRAIsWrittenAsPEFTReadsIt(t *testing.T) {
	c := newRun(t, "lora")
	c.MaxSteps, c.SaveStrategy, c.Model = 1, "no", newModel(t, small())
	for name, value := range map[string]string{"lora_target": "v_proj,q_proj", "lora_layers": "1", "use_rslora": "true"} {
		if err := c.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	mustTrain(t, c)
	dir := filepath.Join(c.OutputDir, "adapter")
	want := fmt.Sprintf(`{
  "alpha_pattern": {},
  "auto_mapping": null,
  "base_model_name_or_path": %q,
  "bias": "none",
  "fan_in_fan_out": false,
  "inference_mode": true,
  "init_lora_weights": true,
  "layers_pattern": null,
  "layers_to_transform": [
    1
  ],
  "lora_alpha": 4,
  "lora_dropout": 0.1,
  "modules_to_save": null,
  "peft_type": "LORA",
  "r": 2,
  "rank_pattern": {},
  "revision": null,
  "target_modules": [
    "q_proj",
    "v_proj"
  ],
  "task_type": "CAUSAL_LM",
  "use_rslora": true
}
`, c.Model)
	if got := string(get(t, filepath.Join(dir, adapterConfigFile))); got != want {
		t.Errorf("adapter_config.json is %s\nwants %s", got, want)
	}
	set, err := safetensors.Open(filepath.Join(dir, adapterWeightsFile))
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	var got []string
	for _, name := range set.Names() {
		info, _ := set.Info(name)
		got = append(got, fmt.Sprint(name, info.DType, info.Shape))
	}
	const pre = "base_model.model.model.layers.1.self_attn."
	s := small()
	kv := s.dim / s.heads * s.kv
	if want := []string{
		fmt.Sprint(pre, "q_proj.lora_A.weight", "F32", []int{2, s.dim}), fmt.Sprint(pre, "q_proj.lora_B.weight", "F32", []int{s.dim, 2}),
		fmt.Sprint(pre, "v_proj.lora_A.weight", "F32", []int{2, s.dim}), fmt.Sprint(pre, "v_proj.lora_B.weight", "F32", []int{kv, 2}),
	}; !slices.Equal(got, want) {
		t.Errorf("tensors are %v, wants %v", got, want)
	}
}

// header is the header of a safetensors file, read as its specification says.
func header(t *testing.T, path string) map[string]struct {
	DType string `json:"dtype"`
	Shape []int  `json:"shape"`
} {
	t.Helper()
	data := get(t, path)
	out := map[string]struct {
		DType string `json:"dtype"`
		Shape []int  `json:"shape"`
	}{}
	if err := json.Unmarshal(data[8:8+binary.LittleEndian.Uint64(data)], &out); err != nil {
		t.Fatal(err)
	}
	delete(out, "__metadata__")
	return out
}

// Another reader than the program's own finds PEFT's names and shapes.
func TestDoRAIsWrittenAsPEFTReadsIt(t *testing.T) {
	c := newRun(t, "lora")
	c.MaxSteps, c.SaveStrategy = 1, "no"
	for name, value := range map[string]string{"lora_target": "k_proj,lm_head", "use_dora": "true", "init_lora_weights": "gaussian"} {
		if err := c.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	mustTrain(t, c)
	var config struct {
		DoRA    bool     `json:"use_dora"`
		Init    string   `json:"init_lora_weights"`
		Targets []string `json:"target_modules"`
	}
	if err := readJSON(filepath.Join(c.OutputDir, "adapter", adapterConfigFile), &config); err != nil {
		t.Fatal(err)
	}
	if !config.DoRA || config.Init != "gaussian" || !slices.Equal(config.Targets, []string{"k_proj", "lm_head"}) {
		t.Errorf("adapter_config.json has %+v", config)
	}
	got := header(t, filepath.Join(c.OutputDir, "adapter", adapterWeightsFile))
	s := small()
	kv, vocab := s.dim/s.heads*s.kv, open(t, SessionOptions{Model: c.Model}).Config().Vocab
	want := map[string][]int{}
	for layer, out := range map[string]int{"model.layers.0.self_attn.k_proj": kv, "model.layers.1.self_attn.k_proj": kv, "lm_head": vocab} {
		pre := "base_model.model." + layer
		want[pre+".lora_A.weight"], want[pre+".lora_B.weight"], want[pre+".lora_magnitude_vector"] = []int{2, s.dim}, []int{out, 2}, []int{out}
	}
	if len(got) != len(want) {
		t.Errorf("%d tensors, wants %d: %v", len(got), len(want), got)
	}
	for name, shape := range want {
		if g := got[name]; g.DType != "F32" || !slices.Equal(g.Shape, shape) {
			t.Errorf("%s is %+v, wants F32 %v", name, g, shape)
		}
	}
}

// foreignLoRA writes an adapter by hand, in the manner of a recent PEFT, with
// half-width tensors, and returns its folder.
func foreignLoRA(t *testing.T, change func(map[string]any)) string {
	t.Helper()
	dir := t.TempDir()
	config := map[string]any{
		"alora_invocation_tokens": nil, "alpha_pattern": map[string]any{}, "arrow_config": nil, "auto_mapping": nil,
		"base_model_name_or_path": "somebody/model", "bias": "none", "corda_config": nil, "ensure_weight_tying": false, "eva_config": nil,
		"exclude_modules": nil, "fan_in_fan_out": false, "inference_mode": true, "init_lora_weights": true, "layer_replication": nil,
		"layers_pattern": nil, "layers_to_transform": 1, "loftq_config": map[string]any{}, "lora_alpha": 6, "lora_bias": false,
		"lora_dropout": 0.05, "megatron_config": nil, "megatron_core": "megatron.core", "modules_to_save": nil, "peft_type": "LORA",
		"peft_version": "0.18.1", "qalora_group_size": 16, "r": 2, "rank_pattern": map[string]any{}, "revision": nil,
		"target_modules": []string{"mlp.down_proj"}, "target_parameters": nil, "task_type": "CAUSAL_LM",
		"trainable_token_indices": nil, "use_dora": false, "use_qalora": false, "use_rslora": false, "of_next_year": nil,
	}
	if change != nil {
		change(config)
	}
	data, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, adapterConfigFile), string(data))
	foreignTensors(t, dir, "model.layers.1.mlp.down_proj", small().dim, small().hidden)
	return dir
}

// The elements of a foreign adapter. A weighs on the left, so that a transposed
// reading shows.
func foreignA(i int) float32 { return float32(i%7) - 3 }
func foreignB(i int) float32 { return float32(i%5)/8 - 0.25 }

func foreignLength(i int) float32 { return 0.5 + float32(i%3)/4 }

// foreignTensors writes A [2, in] in half width and B [out, 2] of one layer, and
// its lengths if the adapter is one of DoRA.
func foreignTensors(t *testing.T, dir, layer string, out, in int, dora ...bool) {
	t.Helper()
	a, b := make([]float32, 2*in), make([]float32, 2*out)
	lengths := make([]float32, out)
	for i := range lengths {
		lengths[i] = foreignLength(i)
	}
	for i := range a {
		a[i] = foreignA(i)
	}
	for i := range b {
		b[i] = foreignB(i)
	}
	a16 := make([]uint16, len(a))
	safetensors.BF16FromF32(a16, a)
	pre := "base_model.model." + layer + "."
	tensors := []safetensors.Tensor{safetensors.BF16(pre+"lora_A.weight", a16, 2, in), safetensors.F32(pre+"lora_B.weight", b, out, 2)}
	if len(dora) > 0 {
		tensors = append(tensors, safetensors.F32(pre+"lora_magnitude_vector", lengths, out))
	}
	err := safetensors.Write(filepath.Join(dir, adapterWeightsFile), tensors, map[string]string{"format": "pt"})
	if err != nil {
		t.Fatal(err)
	}
}

// mergedByHand copies a model, tied or not, and adds s·B·A of foreignTensors to
// one matrix, whose rows then get the lengths there if they are asked for. A
// change of the head unties it.
func mergedByHand(t *testing.T, base, name string, scale float32, dora bool) string {
	t.Helper()
	merged := t.TempDir()
	if err := os.CopyFS(merged, os.DirFS(base)); err != nil {
		t.Fatal(err)
	}
	set, err := safetensors.Open(filepath.Join(base, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	read := func(name string) ([]float32, []int) {
		info, _ := set.Info(name)
		w := make([]float32, info.Len())
		if err := set.ReadF32(w, name); err != nil {
			t.Fatal(err)
		}
		return w, info.Shape
	}
	names := set.Names()
	if !slices.Contains(names, name) {
		names = append(names, name)
		edit(t, filepath.Join(merged, "config.json"), func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"tie_word_embeddings": true`), []byte(`"tie_word_embeddings": false`), 1)
		})
	}
	var all []safetensors.Tensor
	for _, n := range names {
		from := n
		if n == "lm_head.weight" {
			from = "model.embed_tokens.weight"
		}
		w, dims := read(from)
		if n == name {
			in := dims[1]
			for at := range w {
				i, j := at/in, at%in
				w[at] += scale * (foreignB(2*i)*foreignA(j) + foreignB(2*i+1)*foreignA(in+j))
			}
			for i := 0; dora && i < dims[0]; i++ {
				row, squares := w[i*in:(i+1)*in], 0.0
				for _, v := range row {
					squares += float64(v) * float64(v)
				}
				for j := range row {
					row[j] *= foreignLength(i) / float32(math.Sqrt(squares))
				}
			}
		}
		all = append(all, safetensors.F32(n, w, dims...))
	}
	if err := safetensors.Write(filepath.Join(merged, "model.safetensors"), all, nil); err != nil {
		t.Fatal(err)
	}
	return merged
}

// W + s·B·A computed by hand and written as a model gives what the base model
// gives with the adapter: products in another order, on losses of a few nats.
func TestForeignLoRAIsTheModelItIsMergedInto(t *testing.T) {
	base := newModel(t, small())
	onHead := foreignLoRA(t, func(config map[string]any) {
		config["target_modules"], config["layers_to_transform"], config["lora_alpha"] = []string{"lm_head"}, nil, 0.5
	})
	plain := open(t, SessionOptions{Model: base})
	foreignTensors(t, onHead, "lm_head", plain.Config().Vocab, small().dim)
	dora := foreignLoRA(t, func(config map[string]any) { config["use_dora"] = true })
	foreignTensors(t, dora, "model.layers.1.mlp.down_proj", small().dim, small().hidden, true)
	in := []ScoreInput{{IDs: []int32{0, 7, 80, 9, 33, 5}, From: 1}}
	for _, c := range []struct {
		adapter, weight string
		scale           float32
		dora            bool
	}{
		{foreignLoRA(t, nil), "model.layers.1.mlp.down_proj.weight", 6. / 2, false},
		{onHead, "lm_head.weight", 0.5 / 2, false},
		{dora, "model.layers.1.mlp.down_proj.weight", 6. / 2, true},
	} {
		want := scored(t, open(t, SessionOptions{Model: mergedByHand(t, base, c.weight, c.scale, c.dora)}), in)[0]
		plain := scored(t, plain, in)[0]
		got := scored(t, open(t, SessionOptions{Model: base, Adapter: c.adapter}), in)[0]
		for i, w := range want.LogProbs {
			if math.Abs(float64(got.LogProbs[i]-w)) > 1e-4 {
				t.Errorf("%s: log probability %d is %v, of the merged model %v, of the base model %v", c.weight, i, got.LogProbs[i], w, plain.LogProbs[i])
			}
		}
		if math.Abs(plain.NLL-want.NLL) < 0.01 {
			t.Errorf("%s: the adapter changes the loss from %v to %v only: this test has tested little", c.weight, plain.NLL, want.NLL)
		}
	}
}

func TestLoRAOfAnotherKindIsRefused(t *testing.T) {
	base := newModel(t, small())
	for _, c := range []struct {
		key   string
		value any
		words []string
	}{
		{"use_dora", true, []string{"down_proj.lora_magnitude_vector", "missing"}},
		{"rank_pattern", map[string]any{"q_proj": 4}, []string{"rank_pattern", `{"q_proj":4}`}},
		{"alpha_pattern", map[string]any{"q_proj": 4}, []string{"alpha_pattern"}},
		{"modules_to_save", []string{"lm_head"}, []string{"modules_to_save", "lm_head"}},
		{"bias", "all", []string{"bias", `"all"`, `"none"`}},
		{"lora_bias", true, []string{"lora_bias"}},
		{"fan_in_fan_out", true, []string{"fan_in_fan_out"}},
		{"init_lora_weights", "pissa_niter_4", []string{"init_lora_weights", "pissa_niter_4"}},
		{"task_type", "SEQ_CLS", []string{"task_type", "SEQ_CLS"}},
		{"of_next_year", 7, []string{"of_next_year is 7"}},
		{"target_modules", []string{"embed_tokens"}, []string{"target_modules", "embed_tokens", "q_proj"}},
		{"target_modules", []string{"lm_head"}, []string{"target_modules", "lm_head", "layers_to_transform [1]"}},
		{"target_modules", ".*proj", []string{"target_modules", ".*proj"}},
		{"layers_to_transform", []int{7}, []string{"layers 0 to 1"}},
		{"lora_alpha", 0, []string{"lora_alpha is 0"}},
		{"r", 3, []string{"lora_A", "BF16 [2 ", "[3 "}},
		{"target_modules", []string{"up_proj"}, []string{"up_proj.lora_A.weight", "missing", "down_proj.lora_A.weight", "not wanted"}},
		{"peft_type", "PROMPT_TUNING", []string{"lora_alpha is 6", "target_modules is"}},
		{"peft_type", "P_TUNING", []string{"P_TUNING", "PREFIX_TUNING", "LORA"}},
	} {
		dir := foreignLoRA(t, func(config map[string]any) { config[c.key] = c.value })
		s, err := Open(SessionOptions{Model: base, Adapter: dir})
		if err == nil {
			err = s.Score(t.Context(), []ScoreInput{{IDs: []int32{0, 7}, From: 1}}, func(int, ScoreOutput) error { return nil })
		}
		if err == nil {
			t.Errorf("%s %v is accepted", c.key, c.value)
			continue
		}
		mustSay(t, err, append(c.words, dir)...)
	}
	both := foreignLoRA(t, func(config map[string]any) { config["lora_bias"], config["bias"] = true, "lora_only" })
	_, err := Open(SessionOptions{Model: base, Adapter: both})
	mustSay(t, err, "lora_bias", `bias is "lora_only"`)
}

func TestLoRAOfPEFTIsInspected(t *testing.T) {
	in, err := Inspect(foreignLoRA(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(in.Lines(), "\n")
	for _, want := range []string{"adapter", "lora", "somebody/model", "lora_r 2", "lora_target down_proj", "layers.1.mlp.down_proj.lora_A.weight"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in:\n%s", want, text)
		}
	}
}

// dataOf is where the data of a tensor begins in a safetensors file.
func dataOf(t *testing.T, data []byte, name string) int {
	t.Helper()
	var head map[string]json.RawMessage
	n := 8 + int(binary.LittleEndian.Uint64(data))
	if err := json.Unmarshal(data[8:n], &head); err != nil {
		t.Fatal(err)
	}
	var x struct {
		Offsets [2]int `json:"data_offsets"`
	}
	if err := json.Unmarshal(head[name], &x); err != nil {
		t.Fatal(err)
	}
	return n + x.Offsets[0]
}
