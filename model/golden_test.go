package model_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"meft/cpu"
	"meft/model"
	"meft/ref"
	"meft/safetensors"
	"meft/tensor"
)

const sharedModels = "../../shared/models"

// shared is a folder of the shared test material.
func shared(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(sharedModels, name)
	if _, err := os.Stat(dir); err != nil {
		t.Skip("shared test material not found: " + dir)
	}
	return dir
}

func readJSON(t *testing.T, v any, path ...string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// devices are what every golden test runs on.
func devices() map[string]func() tensor.Device {
	return map[string]func() tensor.Device{
		"ref": func() tensor.Device { return ref.New() },
		"cpu": func() tensor.Device { return cpu.New(2) },
	}
}

// build plans and builds a model with the given configuration.
func build(t testing.TB, dev tensor.Device, c model.Config, s model.Size) *model.Model {
	t.Helper()
	var plan, used tensor.Ledger
	if _, err := model.Build(tensor.NewPlan(&plan), c, s); err != nil {
		t.Fatal(err)
	}
	a := tensor.NewArena(dev, &used, &plan)
	m, err := model.Build(a, c, s)
	if err != nil {
		t.Fatal(err)
	}
	if d := plan.Diff(&used); d != "" {
		t.Fatalf("planned and used memory differ: %s", d)
	}
	for p := tensor.Pool(0); p < tensor.Pools; p++ {
		if got := dev.Allocated(p); got != used.Used(p) {
			t.Fatalf("%v: device gave %d bytes, ledger says %d", p, got, used.Used(p))
		}
	}
	t.Cleanup(a.Close)
	return m
}

// open loads a shared checkpoint.
func open(t testing.TB, dev tensor.Device, dir string, s model.Size) *model.Model {
	t.Helper()
	c, err := model.ReadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	m := build(t, dev, c, s)
	set, err := safetensors.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	if err := m.Load(set); err != nil {
		t.Fatal(err)
	}
	return m
}

// single is a batch of one sequence whose targets from row skip on count.
func single(ids []int32, skip int) model.Batch {
	n := len(ids) - 1
	b := model.Batch{IDs: ids[:n], Targets: slices.Clone(ids[1:]), Pos: make([]int32, n), Start: make([]int32, n)}
	for i := range n {
		b.Pos[i] = int32(i)
		if i < skip {
			b.Targets[i] = -1
		}
	}
	b.Scale = 1 / float32(n-skip)
	return b
}

type logitCase struct {
	IDs         []int32   `json:"ids"`
	LogitsLast  []float64 `json:"logits_last"`
	NLLPerToken []float64 `json:"nll_per_token"`
}

// The losses were computed in float64 to six decimals; float32 with sums of a
// few hundred terms stays within 1e-4 of them.
func TestLossesEqualTheReference(t *testing.T) {
	dir := shared(t, "stories260K")
	var want struct {
		Cases []logitCase `json:"cases"`
	}
	readJSON(t, &want, dir, "expected", "logits.json")
	for name, newDev := range devices() {
		t.Run(name, func(t *testing.T) {
			dev := newDev()
			defer dev.Close()
			m := open(t, dev, dir, model.Size{Rows: 512, Context: 512, CacheRows: 512})
			for _, c := range want.Cases {
				losses := make([]float32, len(c.IDs)-1)
				m.Forward(single(c.IDs, 0))
				m.Losses(losses)
				for i, w := range c.NLLPerToken {
					if math.Abs(float64(losses[i])-w) > 1e-4 {
						t.Errorf("token %d: loss %v, want %v", i, losses[i], w)
					}
				}
				checkLastLogits(t, m, c)
			}
		})
	}
}

// checkLastLogits compares the cached path, fed in two pieces.
func checkLastLogits(t *testing.T, m *model.Model, c logitCase) {
	t.Helper()
	logits := make([]float32, m.Config.Vocab)
	half := len(c.IDs) / 2
	for _, part := range [][2]int{{0, half}, {half, len(c.IDs)}} {
		s := model.Step{Want: []int32{int32(part[1] - part[0] - 1)}}
		for p := part[0]; p < part[1]; p++ {
			s.IDs, s.Pos, s.Base = append(s.IDs, c.IDs[p]), append(s.Pos, int32(p)), append(s.Base, 0)
		}
		m.Infer(s, func(_ int, row []float32) { copy(logits, row) })
	}
	for i, w := range c.LogitsLast {
		if math.Abs(float64(logits[i])-w) > 2e-4 {
			t.Errorf("logit %d is %v, want %v", i, logits[i], w)
		}
	}
}

type gradientCase struct {
	IDs      []int32 `json:"ids"`
	LossFrom int     `json:"loss_from"`
	Loss     float64 `json:"loss"`
	Entries  []struct {
		Tensor string  `json:"tensor"`
		Index  []int   `json:"index"`
		Grad   float64 `json:"grad"`
	} `json:"entries"`
}

// The reference gradients are central differences in float64: good to 1e-6
// relative and 1e-8 absolute, which also covers entries near 0.
func TestGradientsEqualTheReference(t *testing.T) {
	dir := shared(t, "stories260K")
	var want struct {
		Cases []gradientCase `json:"cases"`
	}
	readJSON(t, &want, dir, "expected", "gradients.json")
	for name, newDev := range devices() {
		for _, rebuild := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				dev := newDev()
				defer dev.Close()
				m := open(t, dev, dir, model.Size{Rows: 256, Context: 512, Grad: true, Weights: true, Rebuild: rebuild, LossRows: 7})
				for _, c := range want.Cases {
					checkGradients(t, m, c)
				}
			})
		}
	}
}

func checkGradients(t *testing.T, m *model.Model, c gradientCase) {
	t.Helper()
	b := single(c.IDs, c.LossFrom)
	m.ZeroGrad()
	m.Forward(b)
	m.Backward()
	if loss := m.Loss() * float64(b.Scale); math.Abs(loss-c.Loss) > 1e-5 {
		t.Errorf("loss %v, want %v", loss, c.Loss)
	}
	grads := map[string][]float32{}
	for _, w := range m.Weights() {
		g := make([]float32, w.D.Len())
		m.Device().Await(m.Device().Download(tensor.Bytes(g), w.D))
		grads[w.Name] = g
	}
	for _, e := range c.Entries {
		w := m.Weights()[slices.IndexFunc(m.Weights(), func(w *model.Weight) bool { return w.Name == e.Tensor })]
		at := e.Index[0]
		if len(e.Index) == 2 {
			at = e.Index[0]*w.W.Dim(1) + e.Index[1]
		}
		got := float64(grads[e.Tensor][at])
		if math.Abs(got-e.Grad) > 1e-4*math.Abs(e.Grad)+2e-7 {
			t.Errorf("%s%v: gradient %v, want %v", e.Tensor, e.Index, got, e.Grad)
		}
	}
}

type greedyCase struct {
	Prompt    string  `json:"prompt"`
	PromptIDs []int32 `json:"prompt_ids"`
	Generated []int32 `json:"generated_ids"`
}

func TestGreedyContinuationsEqualTheReference(t *testing.T) {
	dir := shared(t, "stories260K")
	var want struct {
		Cases []greedyCase `json:"cases"`
	}
	readJSON(t, &want, dir, "expected", "greedy.json")
	dev := cpu.New(2)
	defer dev.Close()
	m := open(t, dev, dir, model.Size{Rows: 64, Context: 512, CacheRows: 3 * 260})
	for _, c := range want.Cases {
		d := model.Decoding{MaxNew: 201 - len(c.PromptIDs), Stops: []int32{1}}
		err := m.Generate(t.Context(), [][]int32{c.PromptIDs}, d, func(_ int, got model.Continuation) error {
			if !slices.Equal(got.IDs, c.Generated) {
				t.Errorf("%q: %v\nwant %v", c.Prompt, got.IDs, c.Generated)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
