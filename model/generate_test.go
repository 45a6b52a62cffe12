package model_test

import (
	"context"
	"errors"
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
	err := m.Generate(t.Context(), prompts, d, func(i int, c model.Continuation) error {
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
			d.Batch = 1
			alone := generate(t, tinyModel(t, model.Size{Rows: 6, Context: 64, CacheRows: d.CacheRows(7)}), prompts, d)
			d.Batch = 0
			for _, size := range []model.Size{{Rows: 9, CacheRows: 3 * d.CacheRows(7)}, {Rows: 64, CacheRows: 9 * d.CacheRows(7)}, {Rows: 31, CacheRows: d.CacheRows(7) + d.CacheRows(1)}} {
				size.Context = 64
				together := generate(t, tinyModel(t, size), prompts, d)
				for i := range prompts {
					if !slices.Equal(alone[i], together[i]) {
						t.Errorf("%d rows, %d cached, prompt %d: alone %v, together %v", size.Rows, size.CacheRows, i, alone[i], together[i])
					}
				}
			}
		})
	}
}

// A short prompt runs in the room that a long one leaves, and the batch is never
// larger than asked for. The context is asked once a step.
func TestPromptsRunAtOnceAsRoomAndBatchAllow(t *testing.T) {
	prompts := [][]int32{{1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6}, {2}, {3, 3}, {4}}
	d := model.Decoding{MaxNew: 4}
	for _, c := range []struct{ cache, batch, steps int }{
		{d.CacheRows(12), 0, 8},                    // the long one, then three short ones
		{d.CacheRows(12) + d.CacheRows(1), 0, 8},   // the long one and a short one, then the others
		{d.CacheRows(12) + 3*d.CacheRows(2), 0, 4}, // all
		{d.CacheRows(12) + 3*d.CacheRows(2), 2, 8}, // two by two
		{4 * d.CacheRows(12), 1, 16},               // one by one
	} {
		m := tinyModel(t, model.Size{Rows: 16, Context: 64, CacheRows: c.cache})
		d.Batch = c.batch
		left := 100
		if err := m.Generate(cancelled{t.Context(), &left}, prompts, d, func(int, model.Continuation) error { return nil }); err != nil || 100-left != c.steps {
			t.Errorf("cache of %d, batch %d: %d steps, wanted %d: %v", c.cache, c.batch, 100-left, c.steps, err)
		}
	}
}

// With as many beams as there are prefixes the search is exhaustive.
func TestManyBeamsFindTheLikeliestText(t *testing.T) {
	d := model.Decoding{MaxNew: 3, Beams: 49}
	m := tinyModel(t, model.Size{Rows: 64, Context: 64, CacheRows: d.CacheRows(2)})
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
		if err := m.Generate(t.Context(), c.prompts, c.d, func(int, model.Continuation) error { return nil }); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// cancelled ends when it was asked n times.
type cancelled struct {
	context.Context
	n *int
}

func (c cancelled) Err() error {
	if *c.n--; *c.n < 0 {
		return context.Canceled
	}
	return nil
}

func TestCancelledGenerationStopsBeforeTheNextToken(t *testing.T) {
	m := tinyModel(t, model.Size{Rows: 16, Context: 64, CacheRows: 64})
	prompts := [][]int32{{1}, {2, 3}}
	for asked := range 4 {
		ended, n := 0, asked
		err := m.Generate(cancelled{t.Context(), &n}, prompts, model.Decoding{MaxNew: 3, Batch: 1}, func(int, model.Continuation) error {
			ended++
			return nil
		})
		// Three tokens make an answer; the third call to come is the last.
		if !errors.Is(err, context.Canceled) || n != -1 || ended != asked/3 {
			t.Errorf("%d tokens: %d answers, asked %d times more: %v", asked, ended, n, err)
		}
	}
}

func TestTokensAllocateNothing(t *testing.T) {
	for name, d := range map[string]model.Decoding{
		"greedy": {}, "sampled": {Temperature: 1.5}, "top k": {Temperature: 1.5, TopK: 5}, "top p": {Temperature: 1.5, TopP: 0.9}, "penalty": {RepetitionPenalty: 2},
		"beams": {Beams: 3},
	} {
		allocations := func(fresh int) float64 {
			d := d
			d.MaxNew = fresh
			m := tinyModel(t, model.Size{Rows: 16, Context: 64, CacheRows: 8 * 64})
			return testing.AllocsPerRun(3, func() {
				if err := m.Generate(t.Context(), [][]int32{{1, 2}, {3}}, d, func(int, model.Continuation) error { return nil }); err != nil {
					t.Fatal(err)
				}
			})
		}
		if few, many := allocations(10), allocations(50); few != many {
			t.Errorf("%s: %v allocations for 10 tokens, %v for 50", name, few, many)
		}
	}
}
