package meft

import (
	"context"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"meft/cpu"
	"meft/method"
	"meft/model"
	"meft/tensor"
	"meft/train"
)

// benchConfig is a measurement of a small model.
func benchConfig(t *testing.T, method string) Config {
	t.Helper()
	c := Defaults()
	c.Model, c.Method, c.Batch, c.MaxLength, c.Threads, c.LearningRate = newModel(t, small()), method, 2, 16, 2, 1e-2
	c.OutputDir = ""
	set(t, &c, method)
	return c
}

// briefly measures as little as there is.
func briefly() BenchOptions {
	return BenchOptions{Repeats: 2, Warmup: 1, Seconds: 1e-9, Prompt: 9, New: 3, Sequences: []int{1, 3}}
}

func TestMeasuredTrainingHasTheSameBits(t *testing.T) {
	for _, name := range method.Names() {
		c := benchConfig(t, name)
		trained := func(dev tensor.Device) (losses []float64, values [][]float32) {
			j, err := benchJob(c)
			if err != nil {
				t.Fatal(err)
			}
			plan, err := j.plan()
			if err != nil {
				t.Fatal(err)
			}
			var p pieces
			e, err := j.recipe(&p).buildOn(dev, plan.Ledger)
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			loop := j.trainer("", e, &p)
			loop.Steps = 3
			loop.Observe = func(e train.Event) {
				if s, ok := e.(train.Step); ok {
					losses = append(losses, s.Loss)
				}
			}
			if _, err := loop.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, d := range e.params.Dense {
				if d.W.DType == tensor.F32 {
					values = append(values, slices.Clone(d.W.Float32()))
				}
			}
			for _, table := range e.params.Tables {
				values = append(values, slices.Clone(table.K), slices.Clone(table.V))
			}
			return losses, values
		}
		losses, values := trained(cpu.New(2))
		timedLosses, timedValues := trained(newMeter(cpu.New(2)))
		if !slices.Equal(losses, timedLosses) || len(losses) != 3 {
			t.Errorf("%s: losses %v, measured %v", name, losses, timedLosses)
		}
		for i := range values {
			if !slices.Equal(values[i], timedValues[i]) {
				t.Errorf("%s: parameter %d has other bits when it is measured", name, i)
			}
		}
	}
}

func TestTrainingIsMeasured(t *testing.T) {
	for _, name := range method.Names() {
		c := benchConfig(t, name)
		j, err := benchJob(c)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := j.plan()
		if err != nil {
			t.Fatal(err)
		}
		b, err := BenchTrain(t.Context(), c, briefly())
		if err != nil {
			t.Fatal(err)
		}
		if b.Type != "train" || b.Method != name || b.Threads != 2 || b.Batch != 2 || b.Seq != 16 || b.Steps < 2 {
			t.Errorf("%s: measured %+v", name, b)
		}
		if b.DeviceBytes != plan.Device || b.PinnedBytes != plan.Pinned || b.HostBytes != plan.Host {
			t.Errorf("%s: memory %d, %d, %d differs from the plan's %d, %d, %d", name, b.DeviceBytes, b.PinnedBytes, b.HostBytes, plan.Device, plan.Pinned, plan.Host)
		}
		if !(b.MinTokS <= b.TokS && b.TokS <= b.MaxTokS) || math.Abs(b.TokS*b.StepSeconds-32) > 1e-6 {
			t.Errorf("%s: %v tokens/s of %v to %v, a step of 32 takes %v s", name, b.TokS, b.MinTokS, b.MaxTokS, b.StepSeconds)
		}
		if want := b.FlopsPerToken * b.TokS / 1e9; math.Abs(b.GFlops-want) > 1e-9*want || b.Utilisation <= 0 || b.PeakGFlops <= 0 {
			t.Errorf("%s: %v GFLOP/s, want %v; utilisation %v of %v", name, b.GFlops, want, b.Utilisation, b.PeakGFlops)
		}
		partsAddUp(t, name, b)
	}
	if exists("runs") {
		t.Error("a measurement left a folder")
	}
}

// partsAddUp checks that the parts make up the step, and which there are.
func partsAddUp(t *testing.T, name string, b *TrainBench) {
	t.Helper()
	wanted := map[string][]string{"meft": {"row dots", "choose experts", "score keys", "choose neurons", "gather rows", "scatter rows", "optimizer of rows", "norm of rows", "upload"},
		"parallel": {"adamw", "act"}, "lora": {"adamw", "matmul tn"}, "full": {"adamw", "matmul tn"}}[name]
	sum := 0.0
	for _, p := range b.Parts {
		sum += p.Share
		if i := slices.Index(wanted, p.Name); i >= 0 {
			wanted = slices.Delete(wanted, i, i+1)
		}
		if strings.HasPrefix(p.Name, "matmul") != (p.GFlops > 0) || p.Calls <= 0 || p.Where != "device" && p.Where != "host" {
			t.Errorf("%s: part %+v", name, p)
		}
	}
	if len(wanted) > 0 || math.Abs(sum-1) > 1e-6 {
		t.Errorf("%s: the parts make up %v of the step, %v are missing: %+v", name, sum, wanted, b.Parts)
	}
}

func TestMeasuringEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := BenchTrain(ctx, benchConfig(t, "meft"), briefly()); !errors.Is(err, context.Canceled) {
		t.Errorf("training: %v", err)
	}
	if _, err := BenchKernels(ctx, benchConfig(t, "meft"), briefly()); !errors.Is(err, context.Canceled) {
		t.Errorf("kernels: %v", err)
	}
	if _, err := BenchGenerate(ctx, benchConfig(t, "meft"), briefly()); !errors.Is(err, context.Canceled) {
		t.Errorf("generation: %v", err)
	}
}

func TestKernelsAreMeasuredAtTheSizesOfTraining(t *testing.T) {
	b, err := BenchKernels(t.Context(), benchConfig(t, "meft"), briefly())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, k := range b.Kernels {
		seen[k.Name+" "+k.Op+" "+k.Sizes] = true
		if !(k.Seconds > 0 && k.Share > 0) || (k.GFlops > 0) != (k.Bound == "peak") || (k.GBs > 0) != (k.Bound == "read") {
			t.Errorf("kernel %+v", k)
		}
	}
	// 32 rows of a model of width 16, keys of width 8, hidden 24.
	for _, want := range []string{"q matmul nt 32x16x16", "k matmul nt 32x16x8", "gate matmul nt 32x16x24", "gate matmul nn 32x24x16", "gate matmul tn 24x32x16",
		"down matmul nt 32x24x16", "down, 4 rows matmul nt 4x24x16", "attention attention 2 rows of 16, 2 heads of 8", "row outer row outer 32 tokens, 5 of 96 rows of 16",
		"rmsnorm rmsnorm 32x16", "swiglu grad swiglu grad 32x24"} {
		if !seen[want] {
			t.Errorf("%q is missing among %v", want, seen)
		}
	}
	if !(b.PeakGFlops > 0 && b.ReadGBs > 0) {
		t.Errorf("peak %v, reading %v", b.PeakGFlops, b.ReadGBs)
	}
}

// Reading a projection of codes and a head beside it takes the bytes of each.
func TestKernelsOfCodesReadTheHeadInBF16(t *testing.T) {
	c := benchConfig(t, "lora")
	c.BaseDType = "nf4"
	b, err := BenchKernels(t.Context(), c, briefly())
	if err != nil {
		t.Fatal(err)
	}
	config, err := model.ReadConfig(c.Model)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{"down, 1 rows": 384/2 + 4 + 4 + 6, "head, 1 rows": float64(2 * 16 * config.Vocab)} {
		i := slices.IndexFunc(b.Kernels, func(k KernelSpeed) bool { return k.Name == name })
		if i < 0 || math.Abs(b.Kernels[i].GBs*1e9*b.Kernels[i].Seconds-want) > 1e-6*want {
			t.Errorf("%s: %+v, wants %v bytes a call", name, b.Kernels, want)
		}
	}
}

func TestGenerationIsMeasuredForSeveralSequences(t *testing.T) {
	c := benchConfig(t, "meft")
	c.BaseDType = "bf16"
	b, err := BenchGenerate(t.Context(), c, briefly())
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Rows) != 2 || b.Rows[0].Sequences != 1 || b.Rows[1].Sequences != 3 || b.BaseDType != "bf16" || b.Method != "meft" {
		t.Errorf("measured %+v", b)
	}
	config, err := model.ReadConfig(c.Model)
	if err != nil {
		t.Fatal(err)
	}
	// Two bytes for a weight of a matrix (the embedding is the head), four for
	// one of the five norms of width 16.
	if want := 2*(config.Parameters()-5*16) + 4*5*16; b.WeightBytes != want {
		t.Errorf("a token reads %d bytes of weights, want %d", b.WeightBytes, want)
	}
	for _, r := range b.Rows {
		gbs := float64(b.WeightBytes) * r.DecodeTokS / float64(r.Sequences) / 1e9
		if !(r.PromptTokS > 0 && r.ReadShare > 0 && r.MinTokS <= r.DecodeTokS && r.DecodeTokS <= r.MaxTokS) || math.Abs(r.WeightGBs-gbs) > 1e-9*gbs {
			t.Errorf("row %+v, weights at %v GB/s", r, gbs)
		}
	}
	adapted := b.DeviceBytes
	c.Method = "full"
	if b, err = BenchGenerate(t.Context(), c, briefly()); err != nil || b.Method != "" || b.DeviceBytes >= adapted {
		t.Errorf("the bare model takes %d bytes, with an adapter %d; %v", b.DeviceBytes, adapted, err)
	}
	long := briefly()
	long.Prompt = 64
	if _, err := BenchGenerate(t.Context(), c, long); err == nil || !strings.Contains(err.Error(), "65 tokens") {
		t.Errorf("a prompt as long as the context: %v", err)
	}
}

func TestMeasurementsRefuseWhatCannotBe(t *testing.T) {
	for _, o := range []BenchOptions{{Repeats: -1}, {Warmup: -1}, {Seconds: -1}, {Prompt: -1}, {New: -1}, {Sequences: []int{0}}} {
		var usage *UsageError
		if _, err := BenchTrain(t.Context(), Defaults(), o); !errors.As(err, &usage) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	c := benchConfig(t, "meft")
	c.DeviceMemory = 1000
	if _, err := BenchTrain(t.Context(), c, briefly()); err == nil || !strings.Contains(err.Error(), "device memory") {
		t.Errorf("over budget: %v", err)
	}
}

// The numbers are worked out by hand for 7 tokens and the shape of small: width
// 16, 2 blocks, hidden 24, keys of width 8, and 300 tokens in the vocabulary.
// The products have 2·(2·16·16 + 2·16·8 + 3·16·24) + 16·300 = 8640 weights; a
// query sees 4 keys on average, so attention is 2·3·4·16·4 = 1536 operations.
func TestOperationsOfATokenAreThoseCountedByHand(t *testing.T) {
	c := model.Config{Dim: 16, Layers: 2, Heads: 2, KVHeads: 1, HeadDim: 8, Hidden: 24, Vocab: 300, Window: []int{0, 0}, MaxPositions: 64, Tied: true}
	for _, x := range []struct {
		method   string
		settings map[string]string
		want     float64
	}{
		{"full", nil, 6*8640 + 1536},
		{"parallel", map[string]string{"parallel_bottleneck": "6"}, 4*8640 + 1536 + 6*2*2*6*16},
		{"parallel", map[string]string{"parallel_bottleneck": "6", "parallel_layers": "1"}, 4*8640 + 1536 + 6*2*6*16},
		// 8 experts of 12 neurons; 3 are probed, 36 neurons scored, 5 kept.
		{"meft", map[string]string{"meft_neurons": "96", "meft_top_k": "5", "meft_experts": "8", "meft_probe": "3"}, 4*8640 + 1536 + 2*16*(2*36+12*5+2*8+4*3)},
		{"meft", map[string]string{"meft_neurons": "96", "meft_top_k": "5", "meft_experts": "8", "meft_probe": "3", "meft_gate": "softmax"}, 4*8640 + 1536 + 2*16*(2*36+12*5+6*8)},
		// Of a series adapter at both places; biases are in no product.
		{"series", map[string]string{"series_bottleneck": "6"}, 4*8640 + 1536 + 6*2*2*2*6*16},
		// Forward only through the model, 2·3840, but for its head, 4·4800. The side
		// is 8 wide with one head of 8 and 12 neurons, so that a block of it has
		// 2·8·16 + 3·8·12 weights; U has 16·8, and so has each of three D.
		{"lst", map[string]string{"lst_reduction": "2"}, 2*3840 + 4*4800 + 512 + 6*(2*544+128) + 4*3*128},
		// LoRA of rank 2 on q and v: 2 blocks of 2·(16+16) and 2·(16+8) elements.
		{"lora", map[string]string{"lora_r": "2", "lora_target": "q_proj,v_proj"}, 4*8640 + 1536 + 6*2*2*(32+24)},
		// Rows of a prompt are no tokens; 3 keys of a prefix in each of 2 blocks.
		{"prompt", map[string]string{"prompt_tokens": "3"}, 4*8640 + 1536},
		{"prefix", map[string]string{"prefix_tokens": "3"}, 4*8640 + 1536 + 3*4*16*2*3},
		{"shira", map[string]string{"shira_r": "2", "shira_target": "q_proj,v_proj"}, 4*8640 + 1536 + 6*2*2*(32+24)}, // as many
		{"meft", map[string]string{"meft_neurons": "96", "meft_top_k": "5", "meft_experts": "8", "meft_probe": "3", "meft_gate": "none"}, 4*8640 + 1536 + 2*16*(2*36+12*5+2*8)},
		{"meft", map[string]string{"meft_neurons": "96", "meft_top_k": "5", "meft_experts": "8", "meft_probe": "3", "meft_frozen_keys": "true"}, 4*8640 + 1536 + 2*16*(2*36+10*5+2*8+2*3)},
	} {
		m, err := newMethod(x.method, x.settings)
		if err != nil {
			t.Fatal(err)
		}
		r := recipe{base: &base{config: c}, method: m, size: m.Reach().Size(model.Size{Rows: 7, Context: 7})}
		var l tensor.Ledger
		parts, err := r.make(tensor.NewPlan(&l))
		if err != nil {
			t.Fatal(err)
		}
		if got := trainFlops(c, m, parts.params, 7); got != x.want {
			t.Errorf("%s %v: %v operations a token, want %v", x.method, x.settings, got, x.want)
		}
	}
	// A window of 3 of 7 keys: queries see 1, 2, 3, 3, 3, 3, 3, which is 18/7.
	c.Window = []int{3, 0}
	full, _ := newMethod("full", nil)
	if got, want := trainFlops(c, full, nil, 7), 6*8640+768+192*18.0/7; math.Abs(got-want) > 1e-9 {
		t.Errorf("with a window: %v operations, want %v", got, want)
	}
}

func TestPeakOfMemoryIsForgotten(t *testing.T) {
	if !forgetPeakRSS() {
		t.Skip("this system does not tell")
	}
	before := peakRSS()
	big := make([]byte, 64<<20)
	for i := 0; i < len(big); i += os.Getpagesize() {
		big[i] = 1
	}
	if after := peakRSS(); after < before+32<<20 {
		t.Errorf("64 MB took the peak from %d to %d", before, after)
	}
}
