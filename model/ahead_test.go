package model_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"meft/cpu"
	"meft/model"
	"meft/ref"
	"meft/tensor"
)

// learned is rows ahead of sequences as a test sets them.
type learned struct{ w, d tensor.Tensor }

func (l *learned) Forward() tensor.Tensor { return l.w }
func (l *learned) Grad() tensor.Tensor    { return l.d }
func (l *learned) Backward()              {}

// before are the tokens that the rows of these tests stand for.
func before() []int32 { return []int32{3, 0, 6} }

// behind is a model with those tokens as its prompt, or remembered as its prefix.
func behind(t testing.TB, dev tensor.Device, c model.Config, s model.Size) (*model.Model, *learned) {
	t.Helper()
	var plan, used tensor.Ledger
	var m *model.Model
	l := &learned{}
	for _, a := range []*tensor.Arena{tensor.NewPlan(&plan), tensor.NewArena(dev, &used, &plan)} {
		var err error
		if m, err = model.Build(a, c, s); err != nil {
			t.Fatal(err)
		}
		dims := []int{s.Ahead.Prompt, c.Dim}
		if s.Ahead.Prefix > 0 {
			dims = []int{s.Ahead.Prefix * 2 * c.Layers, c.KVHeads * c.HeadDim}
		}
		l.w, l.d = a.New("learned", tensor.F32, dims...), a.New("learned.grad", tensor.F32, dims...)
	}
	if diff := used.Diff(&plan); diff != "" || dev.Allocated(tensor.OnDevice) != plan.Used(tensor.OnDevice) || dev.Allocated(tensor.OnHost) != plan.Used(tensor.OnHost) {
		t.Errorf("planned and taken memory differ: %s", diff)
	}
	m.Init(5)
	if s.Ahead.Prompt > 0 {
		m.Prompt = l
		m.Embed(l.w, before())
	} else {
		m.Prefix = l
		m.Remember(l.w, before())
	}
	return m, l
}

func kinds() []model.Ahead { return []model.Ahead{{Prompt: 3}, {Prefix: 3}} }

// fronted is a batch with the tokens before in every sequence, and where the
// rows of the original are.
func fronted(b model.Batch) (out model.Batch, at []int) {
	out.Scale = b.Scale
	start := int32(0)
	p := int32(len(before()))
	for i, id := range b.IDs {
		if b.Start[i] == int32(i) {
			start = int32(len(out.IDs))
			for j, v := range before() {
				out.IDs, out.Targets = append(out.IDs, v), append(out.Targets, -1)
				out.Pos, out.Start = append(out.Pos, int32(j)), append(out.Start, start)
			}
		}
		at = append(at, len(out.IDs))
		out.IDs, out.Targets = append(out.IDs, id), append(out.Targets, b.Targets[i])
		out.Pos, out.Start = append(out.Pos, b.Pos[i]+p), append(out.Start, start)
	}
	return out, at
}

func lossesOf(m *model.Model, b model.Batch) []float32 {
	m.Forward(b)
	out := make([]float32, len(b.IDs))
	m.Losses(out)
	return out
}

// The reference device adds up in float64 in another order only.
func TestWhatIsAheadIsAsTokensAtTheFirstPositions(t *testing.T) {
	for _, ahead := range kinds() {
		for _, rebuild := range []bool{false, true} {
			c := tiny() // its second layer has a window of 3: the last tokens of a sequence see none of those ahead
			s := model.Size{Rows: 24, Keys: 24, Context: 16, Ahead: ahead, Grad: rebuild, Rebuild: rebuild, LossRows: 3}
			m, _ := behind(t, ref.New(), c, s)
			plain := build(t, ref.New(), c, model.Size{Rows: 24, Context: 16})
			plain.Init(5)
			b, at := fronted(packed())
			got, want := lossesOf(m, packed()), lossesOf(plain, b)
			for i, w := range at {
				if math.Abs(float64(got[i]-want[w])) > 1e-6 {
					t.Errorf("%+v: loss of row %d is %v, wants %v", ahead, i, got[i], want[w])
				}
			}
			if got, want := m.Loss(), plain.Loss(); math.Abs(got-want) > 1e-5 {
				t.Errorf("%+v: sum of losses %v, wants %v", ahead, got, want)
			}
		}
	}
}

// As TestGradientsEqualCentralDifferences, for what is learned and for every
// weight, whose gradients come from the rows ahead too.
func TestGradientsOfWhatIsAheadEqualCentralDifferences(t *testing.T) {
	for _, ahead := range kinds() {
		for _, rebuild := range []bool{false, true} {
			t.Run(fmt.Sprintf("%+v, rebuild %v", ahead, rebuild), func(t *testing.T) {
				dev := ref.New()
				s := model.Size{Rows: 16, Keys: 16, Context: 16, Ahead: ahead, Grad: true, Weights: true, Rebuild: rebuild, LossRows: 12}
				m, l := behind(t, dev, tiny(), s)
				m.ZeroGrad()
				m.Forward(packed())
				m.Backward()
				tensors := map[string]tensor.Tensor{"learned": l.w}
				gradients := map[string][]float64{"learned": dev.Read(l.d)} // Forward adds to those of the head
				for _, w := range m.Weights() {
					tensors[w.Name], gradients[w.Name] = w.W, dev.Read(w.D)
				}
				r := rand.New(rand.NewPCG(8, 8))
				for name, x := range tensors {
					values, grads := dev.Read(x), gradients[name]
					for range 4 {
						at := r.IntN(len(values))
						loss := func(by float64) float64 {
							values[at] += by
							dev.Write(x, values)
							values[at] -= by
							s := 0.0
							m.Forward(packed())
							for _, v := range dev.Read(m.LossTensor()) {
								s += v
							}
							return s * 0.125
						}
						const h = 1e-5
						numeric := (loss(h) - loss(-h)) / (2 * h)
						dev.Write(x, values)
						if math.Abs(numeric-grads[at]) > 1e-6*math.Abs(numeric)+1e-8 {
							t.Errorf("%s[%d]: gradient %v, central difference %v", name, at, grads[at], numeric)
						}
					}
				}
			})
		}
	}
}

// Texts continued behind a prompt or a prefix are those continued behind its
// tokens, however many share the cache, and whatever a step has room for.
func TestContinuationsBehindWhatIsAheadAreThoseBehindItsTokens(t *testing.T) {
	prompts := [][]int32{{1, 2, 3, 4, 5, 6, 1}, {2}, {3, 3, 3}, {6, 5, 4, 3}, {1, 1}}
	var long [][]int32
	for _, p := range prompts {
		long = append(long, append(before(), p...))
	}
	for name, d := range map[string]model.Decoding{
		"greedy": {MaxNew: 9, Stops: []int32{4}}, "sampled": {MaxNew: 9, Temperature: 1.5, TopK: 5, TopP: 0.9, Seed: 3},
		"beams": {MaxNew: 6, Beams: 3, Stops: []int32{4}},
	} {
		want := generate(t, tinyModel(t, model.Size{Rows: 64, Context: 64, CacheRows: 9 * d.CacheRows(10)}), long, d)
		for _, ahead := range kinds() {
			for _, size := range []model.Size{{Rows: 4, CacheRows: d.CacheRows(10)}, {Rows: 9, CacheRows: 3 * d.CacheRows(10)}, {Rows: 64, CacheRows: 9 * d.CacheRows(10)}} {
				size.Context, size.Ahead = 64, ahead
				m, _ := behind(t, cpu.New(2), tiny(), size)
				got := generate(t, m, prompts, d)
				for i := range prompts {
					if !slices.Equal(got[i], want[i]) {
						t.Errorf("%s, %+v, %d rows, %d cached, prompt %d: %v, wants %v", name, ahead, size.Rows, size.CacheRows, i, got[i], want[i])
					}
				}
			}
		}
	}
}

// Cached logits are those of one pass: of a step at once, of steps token by
// token, and of the loss. Rows of another sequence come in between.
func TestCachedLogitsBehindWhatIsAheadAreThoseOfOnePass(t *testing.T) {
	ids := []int32{4, 1, 5, 2, 6, 3}
	for _, ahead := range kinds() {
		size := model.Size{Rows: 20, Keys: 20, Context: 16, Ahead: ahead, CacheRows: 40}
		m, _ := behind(t, cpu.New(2), tiny(), size)
		losses := lossesOf(m, single(ids, 0))
		var rows [][]float32
		for i, id := range ids {
			s := model.Step{IDs: []int32{id, ids[0]}, Pos: []int32{int32(i), 0}, Base: []int32{11, 29}, Want: []int32{0}}
			m.Infer(s, func(_ int, logits []float32) { rows = append(rows, slices.Clone(logits)) })
		}
		for i := range ids[1:] {
			if p := logSoftmax(rows[i], ids[i+1]); math.Abs(p+float64(losses[i])) > 1e-4 {
				t.Errorf("%+v: token %d has log probability %v, its loss is %v", ahead, i, p, losses[i])
			}
		}
	}
}

func logSoftmax(logits []float32, id int32) float64 {
	sum := 0.0
	for _, v := range logits {
		sum += math.Exp(float64(v))
	}
	return float64(logits[id]) - math.Log(sum)
}

func TestBatchesBehindWhatIsAheadAreBounded(t *testing.T) {
	for _, c := range []struct {
		size                model.Size
		sequences, tokens   int
		fits                bool
		length, sequencesOf int
	}{
		{model.Size{Rows: 20}, 9, 20, true, 5, 4},
		{model.Size{Rows: 20, Ahead: model.Ahead{Prompt: 5}}, 2, 10, true, 5, 2},
		{model.Size{Rows: 20, Ahead: model.Ahead{Prompt: 5}}, 2, 11, false, 6, 1},
		{model.Size{Rows: 20, Keys: 30, Ahead: model.Ahead{Prefix: 5}}, 2, 20, true, 10, 2},
		{model.Size{Rows: 20, Keys: 30, Ahead: model.Ahead{Prefix: 5}}, 3, 16, false, 4, 3},
		{model.Size{Rows: 20, Ahead: model.Ahead{Prefix: 5}}, 1, 16, false, 15, 1},
	} {
		if got := c.size.Fits(c.sequences, c.tokens); got != c.fits {
			t.Errorf("%+v: %d sequences of %d tokens together fit: %v", c.size, c.sequences, c.tokens, got)
		}
		if got := c.size.Sequences(c.length); got != c.sequencesOf {
			t.Errorf("%+v: %d sequences of %d tokens, wants %d", c.size, got, c.length, c.sequencesOf)
		}
	}
}

func TestStepsBehindWhatIsAheadAllocateNothing(t *testing.T) {
	for _, ahead := range kinds() {
		m, _ := behind(t, cpu.New(2), tiny(), model.Size{Rows: 16, Keys: 16, Context: 16, Ahead: ahead, Grad: true, CacheRows: 16})
		b := packed()
		step := model.Step{IDs: []int32{1, 2}, Pos: []int32{0, 1}, Base: []int32{0, 0}, Want: []int32{1}}
		if n := testing.AllocsPerRun(5, func() {
			m.Forward(b)
			m.Backward()
			m.Infer(step, func(int, []float32) {})
		}); n != 0 {
			t.Errorf("%+v: %v allocations a step", ahead, n)
		}
	}
}
