package methodtest

import (
	"math"
	"slices"
	"strings"
	"testing"

	"meft/cpu"
	"meft/method"
	"meft/model"
	"meft/ref"
	"meft/tensor"
)

// mergeLoRA adds s·B·A of every update of r to the weights of plain, a rig of
// the same model with a LoRA that does nothing, and with DoRA gives the rows their
// lengths. Both are on package ref.
func mergeLoRA(plain, r *Rig, scale float64) {
	dev := plain.Dev.(*watch)
	values := map[string][]float64{}
	for _, d := range r.Set.Dense {
		values[d.Name] = Values(r.Dev, d.W)
	}
	for _, w := range plain.Model.Weights() {
		site := "base_model.model." + strings.TrimSuffix(w.Name, ".weight")
		a, up := values[site+".lora_A.weight"], values[site+".lora_B.weight"]
		if a == nil {
			continue
		}
		out, in := w.W.Dim(0), w.W.Dim(1)
		x := dev.Read(w.W)
		for k := range len(a) / in {
			for i := range out {
				for j := range in {
					x[i*in+j] += scale * up[k*out+i] * a[k*in+j]
				}
			}
		}
		for i, m := range values[site+".lora_magnitude_vector"] {
			row, squares := x[i*in:(i+1)*in], 0.0
			for _, v := range row {
				squares += v * v
			}
			for j := range row {
				row[j] *= m / math.Sqrt(squares)
			}
		}
		dev.Write(w.W, x)
	}
}

// W + s·B·A is the same function. On package ref only the order of sums of
// float64 differs, through three layers with weights of size 1.
func TestLoRAMergedIntoTheWeightsIsTheSame(t *testing.T) {
	for _, c := range []struct {
		m     method.LoRA
		scale float64
	}{
		{method.LoRA{Rank: 4, Targets: "all-linear", Layers: "all"}, 2},
		{method.LoRA{Rank: 4, Alpha: 3, Targets: "all", Layers: "0,2"}, 3. / 4},
		{method.LoRA{Rank: 4, Alpha: 3, Targets: "k_proj,o_proj,up_proj", Layers: "all", RSLoRA: true}, 3. / 2},
		{method.LoRA{Rank: 4, Targets: "lm_head", Layers: "all"}, 2},
		{method.LoRA{Rank: 4, Targets: "all-linear", Layers: "all", DoRA: true}, 2},
		{method.LoRA{Rank: 4, Alpha: 1, Targets: "q_proj,up_proj,lm_head", Layers: "all", DoRA: true}, 1. / 4},
		{method.LoRA{Rank: 4, Targets: "v_proj,down_proj,lm_head", Layers: "all"}, 2},
	} {
		r := Build(t, &watch{Device: ref.New()}, "lora", &c.m, grad(), 0)
		nothing := c.m
		nothing.DoRA = false
		plain := Build(t, &watch{Device: ref.New()}, "lora", &nothing, grad(), 0)
		base := plain.loss()
		// The lengths that DoRA begins with are rounded to float32.
		if got := r.loss(); got != base && !(c.m.DoRA && math.Abs(got-base) < 1e-6) {
			t.Errorf("%+v: loss %v at the start, of the base model %v", c.m, got, base)
		}
		r.Noise()
		mergeLoRA(plain, r, c.scale)
		if got, want := r.loss(), plain.loss(); math.Abs(got-want) > 1e-12 || math.Abs(want-base) < 0.01 {
			t.Errorf("%+v: loss %v, merged %v, of the base model %v", c.m, got, want, base)
		}
	}
}

// Layers that share an input are computed together where there is no dropout.
func TestLoRAOfLayersTogetherIsThatOfLayersAlone(t *testing.T) {
	together := method.LoRA{Rank: 3, Targets: "q_proj,k_proj,v_proj,gate_proj,up_proj", Layers: "all"}
	alone := together
	alone.Dropout = 0.5 // which draws nothing without Batch.Draw
	var rigs [2]*Rig
	for i, m := range []*method.LoRA{&together, &alone} {
		rigs[i] = Build(t, cpu.New(2), "lora", m, grad(), 0)
		rigs[i].Noise()
		rigs[i].Opt.ZeroGrad()
		rigs[i].Model.Forward(Batch())
		rigs[i].Model.Backward()
	}
	// A sum over three layers' ranks against three sums, in float32.
	SameGrads(t, rigs[1], rigs[0], 1e-5)
	if a, b := rigs[0].losses(Batch()), rigs[1].losses(Batch()); !slices.Equal(a, b) {
		t.Errorf("losses %v and %v", a, b)
	}
}

// Every training batch draws its own mask, the same one whenever it is computed;
// evaluations draw none.
func TestDropoutIsDrawnByBatch(t *testing.T) {
	m := method.LoRA{Rank: 3, Targets: "all-linear", Layers: "all"}
	without := Build(t, cpu.New(2), "lora", &m, grad(), 0)
	m.Dropout = 0.4
	with := Build(t, cpu.New(2), "lora", &m, grad(), 0)
	copyWeights(without, with)
	for _, r := range []*Rig{without, with} {
		r.Noise()
	}
	losses := func(r *Rig, draw uint64) []float32 {
		b := Batch()
		b.Draw = draw
		return r.losses(b)
	}
	evaluated, one, two := losses(with, 0), losses(with, 1), losses(with, 2)
	if want := losses(without, 5); !slices.Equal(evaluated, want) {
		t.Errorf("an evaluation gives %v, without dropout %v", evaluated, want)
	}
	if slices.Equal(one, evaluated) || slices.Equal(one, two) {
		t.Errorf("no dropout %v, batch 1 %v, batch 2 %v", evaluated, one, two)
	}
	if again := losses(with, 1); !slices.Equal(again, one) {
		t.Errorf("batch 1 gives %v and then %v", one, again)
	}
	if a, b := with.logits(), without.logits(); !slices.Equal(a, b) {
		t.Errorf("a continuation has logits %v, without dropout %v", a, b)
	}
}

// Rows pass through the head in pieces, here of four, and each piece draws for
// itself: rows that are alike do not lose the same inputs in every piece.
func TestPiecesOfTheHeadDrawForThemselves(t *testing.T) {
	r := Build(t, cpu.New(1), "lora", &method.LoRA{Rank: 3, Targets: "lm_head", Layers: "all", Dropout: 0.4}, grad(), 0)
	r.Noise()
	b := model.Batch{IDs: slices.Repeat([]int32{7}, 8), Targets: slices.Repeat([]int32{2}, 8), Pos: make([]int32, 8), Start: []int32{0, 1, 2, 3, 4, 5, 6, 7}, Draw: draw}
	losses := r.losses(b)
	if slices.Equal(losses[:4], losses[4:]) {
		t.Errorf("both pieces have losses %v", losses[:4])
	}
	if again := r.losses(b); !slices.Equal(again, losses) {
		t.Errorf("losses %v and then %v", losses, again)
	}
}

// The branches keep r numbers for each of the seven layers, and no copy of any
// layer's input or output.
func TestLoRAKeepsOnlyTheLowRankProducts(t *testing.T) {
	size := model.Size{Rows: 16, Context: 16, Grad: true, LossRows: 4}
	r := Build(t, cpu.New(1), "lora", &method.LoRA{Rank: 8, Targets: "all-linear", Layers: "all"}, size, 0.01)
	for _, e := range r.Ledger.Entries() {
		if strings.Contains(e.Name, "lora.") && e.Bytes > 4*16*8*3 {
			t.Errorf("%s takes %d bytes", e.Name, e.Bytes)
		}
	}
	if n, want := r.Set.Parameters(), int64(3*8*((12+12)*2+(12+6)*2+(12+20)*3)); n != want {
		t.Errorf("%d parameters, wants %d", n, want)
	}
	if used := r.Ledger.Used(tensor.OnDevice); used != r.Plan.Used(tensor.OnDevice) {
		t.Errorf("%d bytes used", used)
	}
}

// A row alone goes another way than rows together.
func TestLoRARowAloneHasTheBitsOfTheBatch(t *testing.T) {
	r := Build(t, cpu.New(2), "lora", &method.LoRA{Rank: 8, Targets: "all-linear", Layers: "all"}, model.Size{Rows: 16, Context: 16, CacheRows: 16}, 0)
	r.Noise()
	want, got := r.logits(), make([]float32, Config().Vocab)
	for i, id := range []int32{4, 9, 1, 15} { // the prompt of logits
		r.Model.Infer(model.Step{IDs: []int32{id}, Pos: []int32{int32(i)}, Base: []int32{0}, Want: []int32{0}}, func(_ int, row []float32) { copy(got, row) })
	}
	if !slices.Equal(got, want) {
		t.Errorf("logits are %v, of all rows together %v", got, want)
	}
}

// Frozen weights in BF16 are exact on both devices; the CPU adds up in float32.
func TestLoRABesideHalfWidthWeights(t *testing.T) {
	for _, special := range []bool{false, true} {
		size := grad()
		size.Frozen, size.Rebuild = tensor.BF16, special
		m := &method.LoRA{Rank: 4, Targets: "all-linear", Layers: "all", DoRA: special}
		got, want := Build(t, cpu.New(2), "lora", m, size, 0), Build(t, &watch{Device: ref.New()}, "lora", m, size, 0)
		got.Noise()
		copyWeights(want, got)
		got.Pass(Batch())
		want.Pass(Batch())
		SameGrads(t, got, want, 1e-4)
	}
}

// Both are what the paper of LoRA+ does: A goes on as before, B and what scales
// it go further. The first step of AdamW is the rate for every element.
func TestLoRAPlusTakesLargerStepsOnB(t *testing.T) {
	m := method.LoRA{Rank: 3, Targets: "q_proj,v_proj", Layers: "all", DoRA: true, Ratio: 8}
	r := Build(t, cpu.New(1), "lora", &m, grad(), 0.01)
	r.Noise()
	before := map[string][]float64{}
	for _, d := range r.Set.Dense {
		before[d.Name] = Values(r.Dev, d.W)
	}
	r.Step(t, 0, Batch())
	for _, d := range r.Set.Dense {
		want := 0.01 * 8
		if strings.Contains(d.Name, "lora_A") {
			want = 0.01
		}
		// Weight decay, 0.01 of the rate, takes up to 3 % of numbers below 3.
		for i, v := range Values(r.Dev, d.W) {
			if step := math.Abs(v - before[d.Name][i]); math.Abs(step-want) > 0.05*want {
				t.Fatalf("%s[%d] moved by %v, wants %v", d.Name, i, step, want)
			}
		}
	}
}

// The deviation of 1380 draws has itself one of 0.004, the share one of 0.6 %.
func TestGaussianAHasItsDeviation(t *testing.T) {
	m := method.LoRA{Rank: 5, Targets: "all-linear", Layers: "all", Init: method.InitGaussian}
	r := Build(t, cpu.New(1), "lora", &m, grad(), 0)
	squares, n, above := 0.0, 0, 0
	for _, d := range r.Set.Dense {
		if strings.Contains(d.Name, "lora_A") {
			for _, v := range Values(r.Dev, d.W) {
				squares, n = squares+v*v, n+1
				if math.Abs(v) > 0.4 {
					above++ // two deviations: 4.6 %
				}
			}
		}
	}
	if got := math.Sqrt(squares / float64(n)); math.Abs(got-1./5) > 0.02 {
		t.Errorf("deviation %v of %d draws, wants %v", got, n, 1./5)
	}
	if share := float64(above) / float64(n); share < 0.02 || share > 0.08 {
		t.Errorf("%v are beyond two deviations", share)
	}
}

// Generation adds nothing to the weights it reads: norms are worked out when A or
// B were set, and not before every token.
func TestNormsOfDoRAAreWorkedOutOnceForAStep(t *testing.T) {
	m := method.LoRA{Rank: 3, Targets: "q_proj", Layers: "0", DoRA: true}
	dev := &tensor.Timed{Device: cpu.New(1)}
	r := Build(t, dev, "lora", &m, grad(), 0.01)
	products := func(f func()) (n int64) {
		dev.Spent = [tensor.Ops]tensor.Spent{}
		f()
		for _, s := range dev.Spent {
			n += s.Calls
		}
		return n
	}
	first, again := products(func() { r.logits() }), products(func() { r.logits() })
	r.Step(t, 0, Batch())
	stepped := products(func() { r.logits() })
	if last := products(func() { r.logits() }); again >= first || stepped <= again || last != again {
		t.Errorf("%d kernels at first, %d again, %d after a step, %d then", first, again, stepped, last)
	}
}
