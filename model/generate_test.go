package model_test

import (
	"math"
	"slices"
	"testing"

	"meft/cpu"
	"meft/model"
)

// tiny is a small random model with every part switched on.
func tiny() model.Config {
	return model.Config{Architecture: "Qwen3ForCausalLM", Dim: 16, Layers: 2, Heads: 4, KVHeads: 2, HeadDim: 8, Hidden: 24, Vocab: 7,
		MaxPositions: 64, Eps: 1e-5, Theta: 10000, Window: []int{0, 3}, QKVBias: true, QKNorm: true, InitRange: 0.5}
}

func tinyModel(t *testing.T, s model.Size) *model.Model {
	t.Helper()
	dev := cpu.New(2)
	m := build(t, dev, tiny(), s)
	m.Init(5)
	return m
}

func generate(t *testing.T, m *model.Model, prompts [][]int32, d model.Decoding) [][]int32 {
	t.Helper()
	out := make([][]int32, len(prompts))
	err := m.Generate(prompts, d, func(i int, c model.Continuation) error {
		if out[i] != nil {
			t.Errorf("prompt %d ended twice", i)
		}
		out[i] = append([]int32{}, c.IDs...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// logProb is the sum of log probabilities of the ids after the prompt, by plain
// forward passes.
func logProb(m *model.Model, prompt, ids []int32) float64 {
	all := append(slices.Clone(prompt), ids...)
	b := single(all, len(prompt)-1)
	m.Forward(b)
	return -m.Loss()
}

func TestPromptsSharingACacheAnswerAsAlone(t *testing.T) {
	prompts := [][]int32{{1, 2, 3, 4, 5, 6, 1}, {2}, {3, 3, 3}, {6, 5, 4, 3}, {1, 1}}
	for name, d := range map[string]model.Decoding{
		"greedy": {MaxNew: 9, Stops: []int32{4}}, "sampled": {MaxNew: 9, Temperature: 1.5, TopK: 5, TopP: 0.9, Seed: 3},
		"beams": {MaxNew: 6, Beams: 3, Stops: []int32{4}, RepetitionPenalty: 1.3}, "penalty": {MaxNew: 8, RepetitionPenalty: 2},
	} {
		d := d
		t.Run(name, func(t *testing.T) {
			few := tinyModel(t, model.Size{Rows: 6, Context: 64, CacheRows: d.CacheRows(1, 16)})
			many := tinyModel(t, model.Size{Rows: 9, Context: 64, CacheRows: d.CacheRows(3, 16)})
			alone, together := generate(t, few, prompts, d), generate(t, many, prompts, d)
			for i := range prompts {
				if !slices.Equal(alone[i], together[i]) {
					t.Errorf("prompt %d: alone %v, together %v", i, alone[i], together[i])
				}
			}
		})
	}
}

// With as many beams as there are prefixes the search is exhaustive.
func TestManyBeamsFindTheLikeliestText(t *testing.T) {
	d := model.Decoding{MaxNew: 3, Beams: 49}
	m := tinyModel(t, model.Size{Rows: 64, Context: 64, CacheRows: d.CacheRows(1, 8)})
	prompt := []int32{1, 5}
	got := generate(t, m, [][]int32{prompt}, d)[0]
	best, want := math.Inf(-1), []int32(nil)
	for a := int32(0); a < 7; a++ {
		for b := int32(0); b < 7; b++ {
			for c := int32(0); c < 7; c++ {
				if p := logProb(m, prompt, []int32{a, b, c}); p > best {
					best, want = p, []int32{a, b, c}
				}
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("beams found %v (%v), the likeliest is %v (%v)", got, logProb(m, prompt, got), want, best)
	}
}

func TestGreedyTakesTheLikeliestToken(t *testing.T) {
	m := tinyModel(t, model.Size{Rows: 16, Context: 64, CacheRows: 16})
	ids := []int32{3}
	got := generate(t, m, [][]int32{ids}, model.Decoding{MaxNew: 8})[0]
	for _, id := range got {
		best, at := math.Inf(-1), int32(-1)
		for v := int32(0); v < 7; v++ {
			if p := logProb(m, ids, []int32{v}); p > best {
				best, at = p, v
			}
		}
		if id != at {
			t.Fatalf("after %v: %d, the likeliest is %d", ids, id, at)
		}
		ids = append(ids, id)
	}
}

// Sampled frequencies of the first token approach its probabilities: with 4000
// draws the standard error is below 0.008.
func TestSamplingFollowsTheProbabilities(t *testing.T) {
	m := tinyModel(t, model.Size{Rows: 64, Context: 64, CacheRows: 64 * 3})
	prompts := make([][]int32, 4000)
	for i := range prompts {
		prompts[i] = []int32{2, 6}
	}
	count := make([]float64, 7)
	for _, ids := range generate(t, m, prompts, model.Decoding{MaxNew: 1, Temperature: 1, Seed: 9}) {
		count[ids[0]]++
	}
	for v, c := range count {
		want := math.Exp(logProb(m, []int32{2, 6}, []int32{int32(v)}))
		if math.Abs(c/4000-want) > 0.03 {
			t.Errorf("token %d came in %v of the draws, its probability is %v", v, c/4000, want)
		}
	}
}

func TestGenerateRefusesWhatCannotBe(t *testing.T) {
	m := tinyModel(t, model.Size{Rows: 16, Context: 20, CacheRows: 16})
	for name, c := range map[string]struct {
		prompts [][]int32
		d       model.Decoding
	}{
		"no tokens":        {[][]int32{{}}, model.Decoding{MaxNew: 1}},
		"nothing new":      {[][]int32{{1}}, model.Decoding{}},
		"over the context": {[][]int32{{1}}, model.Decoding{MaxNew: 20}},
		"over the cache":   {[][]int32{{1}}, model.Decoding{MaxNew: 17}},
		"both kinds":       {[][]int32{{1}}, model.Decoding{MaxNew: 1, Beams: 2, Temperature: 1}},
	} {
		if err := m.Generate(c.prompts, c.d, func(int, model.Continuation) error { return nil }); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
