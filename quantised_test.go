package meft

import (
	"math"
	"path/filepath"
	"strings"
	"testing"

	"meft/model"
	"meft/safetensors"
	"meft/tensor"
)

// story is a text like those stories260K was trained on.
const story = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park with her friends. One day, she saw a big red ball. She wanted to play with it, but it was too high. Her mom said, \"Do not worry, I will help you.\" They took the ball and Lily was very happy. She played with the ball all day and then she went home. The end."

// storyPerplexity is that of a base on the story.
func storyPerplexity(t *testing.T, o SessionOptions) float64 {
	t.Helper()
	s := open(t, o)
	out := scored(t, s, []ScoreInput{{IDs: s.Tokenizer().Encode(story, true)}})
	sum := 0.0
	for _, v := range out[0].LogProbs {
		sum -= float64(v)
	}
	return math.Exp(sum / float64(len(out[0].LogProbs)))
}

// The fewer bits, the worse, with room for chance: a text is a few hundred
// tokens. NF4 is made for weights that are normal, FP4 is not.
func TestPerplexityByBaseType(t *testing.T) {
	base := stories(t)
	got := map[string]float64{}
	for _, name := range []string{"f32", "bf16", "int8", "nf4", "fp4"} {
		got[name] = storyPerplexity(t, SessionOptions{Model: base, BaseDType: name})
	}
	got["nf4 plain"] = storyPerplexity(t, SessionOptions{Model: base, BaseDType: "nf4", PlainScales: true})
	t.Logf("perplexity %.4v", got)
	if got["f32"] < 1.5 || got["f32"] > 10 {
		t.Fatalf("perplexity %v of a story: the model is not itself", got["f32"])
	}
	for _, c := range []struct {
		less, more string
		room       float64
	}{{"f32", "nf4", 1}, {"int8", "nf4", 1}, {"nf4", "fp4", 1}, {"f32", "bf16", 1.01}, {"bf16", "f32", 1.01}, {"int8", "f32", 1.02}, {"nf4", "nf4 plain", 1.03}, {"nf4 plain", "nf4", 1.03}, {"fp4", "f32", 1.5}} {
		if got[c.less] > c.room*got[c.more] {
			t.Errorf("perplexity in %s is %v, in %s %v", c.less, got[c.less], c.more, got[c.more])
		}
	}
	if got["nf4"] == got["nf4 plain"] {
		t.Error("double quantisation changes nothing")
	}
}

// What other programs call it sets base_dtype, in any order and beside each other.
func TestForeignNamesOfQuantisation(t *testing.T) {
	for _, c := range []struct{ given, want string }{
		{"load_in_4bit=true", "nf4"}, {"load_in_4bit=false", "auto"}, {"load_in_8bit=true", "int8"}, {"quantization_bit=4", "nf4"}, {"quantization_bit=8", "int8"},
		{"bnb_4bit_quant_type=fp4 load_in_4bit=true", "fp4"}, {"load_in_4bit=true bnb_4bit_quant_type=fp4", "fp4"}, {"load_in_4bit=true bnb_4bit_quant_type=nf4", "nf4"},
	} {
		cfg := Defaults()
		for _, kv := range strings.Fields(c.given) {
			name, value, _ := strings.Cut(kv, "=")
			if err := cfg.Set(name, value); err != nil {
				t.Error(err)
			}
		}
		if cfg.BaseDType != c.want || strings.Contains(string(cfg.YAML()), "load_in") {
			t.Errorf("%s: base_dtype %s, wants %s; as a file:\n%s", c.given, cfg.BaseDType, c.want, cfg.YAML())
		}
	}
	for _, kv := range [][2]string{{"load_in_4bit", "fp4"}, {"quantization_bit", "3"}, {"bnb_4bit_quant_type", "int4"}} {
		cfg := Defaults()
		if err := cfg.Set(kv[0], kv[1]); err == nil || !strings.Contains(err.Error(), kv[0]) {
			t.Errorf("%s=%s: %v", kv[0], kv[1], err)
		}
	}
}

func TestQuantisedBaseIsRefusedWhereItCannotBe(t *testing.T) {
	c := newRun(t, "full")
	c.BaseDType = "nf4"
	if _, err := MakePlan(c); err == nil || !strings.Contains(err.Error(), "method full") || !strings.Contains(err.Error(), "base_dtype") {
		t.Errorf("nf4 under method full: %v", err)
	}
	c = newRun(t, "lora")
	c.Model, c.BaseDType = newModel(t, shape{dim: 12, layers: 1, heads: 2, kv: 1, hidden: 20, context: 64}), "nf4"
	_, err := MakePlan(c)
	for _, want := range []string{"model.layers.0.self_attn.q_proj.weight", "[12 12]", "64", "int8"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("matrices of broken blocks: %v, wants %q in it", err, want)
		}
	}
	if c.BaseDType = "int8"; len(c.Model) > 0 {
		if _, err := MakePlan(c); err != nil {
			t.Errorf("int8: %v", err)
		}
	}
}

// A plan counts the bytes of codes and scales of projections, and bf16 of the rest.
func TestPlanCountsCodesAndScales(t *testing.T) {
	for name, want := range map[string]func(n, rows int64) int64{
		"nf4":  func(n, _ int64) int64 { return n/2 + 4 + 4*((n/64+255)/256) + n/64 },
		"int8": func(n, rows int64) int64 { return n + 4*rows },
	} {
		c := newRun(t, "lora")
		c.BaseDType = name
		p, err := MakePlan(c)
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, e := range p.Ledger.Entries() {
			if !strings.HasPrefix(e.Name, "weights.model.") || len(e.Dims) < 2 {
				continue
			}
			n := int64(e.Dims[0] * e.Dims[1])
			bytes := 2 * n
			if strings.Contains(e.Name, "_proj.") {
				bytes = want(n, int64(e.Dims[0]))
				seen++
			}
			if bytes = (bytes + 63) &^ 63; e.Bytes != bytes {
				t.Errorf("%s %v in %v takes %d bytes, wants %d", e.Name, e.Dims, e.DType, e.Bytes, bytes)
			}
		}
		if seen != 14 {
			t.Errorf("%d quantised matrices, wants 14", seen)
		}
	}
}

// Values that are not numbers are refused as in other types.
func TestQuantisedLoadRefusesNaN(t *testing.T) {
	dir := newModel(t, small())
	path := filepath.Join(dir, "model.safetensors")
	config, err := model.ReadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	set, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	const bad = "model.layers.1.mlp.up_proj.weight"
	var all []safetensors.Tensor
	for _, name := range set.Names() {
		info, _ := set.Info(name)
		x := make([]float32, info.Len())
		if err := set.ReadF32(x, name); err != nil {
			t.Fatal(err)
		}
		if name == bad {
			x[77] = float32(math.NaN())
		}
		all = append(all, safetensors.F32(name, x, info.Shape...))
	}
	set.Close()
	if err := safetensors.Write(path, all, nil); err != nil {
		t.Fatal(err)
	}
	r := recipe{base: &base{dir: dir, config: config, frozen: tensor.NF4DQ}, size: model.Size{Rows: 1, Context: 1, Frozen: tensor.NF4DQ}}
	plan, err := r.plan()
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.build(plan, 2)
	if err == nil || !strings.Contains(err.Error(), bad) || !strings.Contains(err.Error(), "index 77 of 384") {
		t.Errorf("a NaN in %s: %v", bad, err)
	}
}
