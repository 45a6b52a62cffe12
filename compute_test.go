package meft

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Rounding the operands of every linear layer to bfloat16 moves a log
// probability of a trained model by hundredths: by up to 2^-8 of its terms in
// each operand, which add up at random over the products of five layers. A
// wrong operand or order would move it by whole units.
func TestProductsOfBF16KeepLogProbs(t *testing.T) {
	base := stories(t)
	rng := rand.New(rand.NewPCG(1, 2))
	exact := open(t, SessionOptions{Model: base, BaseDType: "f32"})
	in := make([]ScoreInput, 4)
	for i := range in {
		in[i].IDs = []int32{1}
		for range 60 {
			in[i].IDs = append(in[i].IDs, int32(3+rng.IntN(exact.Config().Vocab-3)))
		}
	}
	want := scored(t, exact, in)
	got := scored(t, open(t, SessionOptions{Model: base, BaseDType: "f32", ComputeDType: "bf16"}), in)
	var worst, squares, n float64
	for i := range want {
		for j, w := range want[i].LogProbs {
			d := math.Abs(float64(got[i].LogProbs[j] - w))
			worst, squares, n = max(worst, d), squares+d*d, n+1
		}
	}
	t.Logf("off by %.4f at most, %.4f in the root of the mean square", worst, math.Sqrt(squares/n))
	if worst > 0.25 || math.Sqrt(squares/n) > 0.08 {
		t.Errorf("log probabilities are off by up to %g, %g in the root of the mean square", worst, math.Sqrt(squares/n))
	}
	if worst == 0 {
		t.Error("products of bf16 give the numbers of f32")
	}
}

// Training with rounded products ends at the loss of f32: gradients are noisier
// by about 2^-8, which the steps average out.
func TestTrainingInBF16ProductsConvergesLikeF32(t *testing.T) {
	loss := map[string]float64{}
	for _, compute := range []string{"f32", "bf16"} {
		c := newRun(t, "full")
		c.ComputeDType = compute
		c.MaxSteps, c.LearningRate = 60, 3e-3
		c.ValidationData, c.EvalStrategy, c.EvalSteps = c.Data, "steps", 60
		loss[compute] = trained(t, c)
	}
	t.Logf("loss %v", loss)
	if loss["f32"] > 3 { // from ln 280 = 5.6
		t.Fatalf("training in f32 ends at a loss of %g", loss["f32"])
	}
	if loss["bf16"] == loss["f32"] || math.Abs(loss["bf16"]-loss["f32"]) > 0.05*loss["f32"] {
		t.Errorf("training in bf16 products ends at a loss of %g, in f32 at %g", loss["bf16"], loss["f32"])
	}
}

// A run goes on with the products it was begun with.
func TestComputeTypeBelongsToTheRun(t *testing.T) {
	c := Defaults()
	before := c.identity()["compute_dtype"]
	c.ComputeDType = "bf16"
	if after := c.identity()["compute_dtype"]; before != "f32" || after != "bf16" {
		t.Errorf("identity has %q, then %q", before, after)
	}
}
