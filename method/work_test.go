package method

import (
	"math"
	"testing"

	"meft/model"
)

// The numbers are worked out by hand for 2 blocks of width 16 and 4 tokens. Of
// 96 neurons in 8 experts of 12 a token scores 36 and keeps 24, so that random
// picks would hit 96·(1 - (3/4)^4) = 65.625 and 0.4 of them, 26.25, are expected.
func TestWorkOfAStepIsThatCountedByHand(t *testing.T) {
	c := model.Config{Dim: 16, Layers: 2}
	const (
		hit    = 26.25
		scores = 36 * (3*2*16 + 2000)
		kept   = 16 * 14 * 16 * 24
		router = 8 * (2*16 + 400)
	)
	for name, x := range map[string]struct {
		change  func(f *MEFT)
		batches int
		want    Work
	}{
		"as it comes": {func(f *MEFT) {}, 1,
			Work{2 * 4 * (scores + kept + router + 4*16*3), 2 * hit * (2*16*4*8 + 32*4*4 + 32*32)}},
		"split values, byte moments": {func(f *MEFT) { f.Master, f.Moments = "split", "8bit" }, 1,
			Work{2 * (4*(scores+kept+router+4*16*3) + hit*32*(170+310)), 2 * hit * (2*16*2*8 + 32*4*4 + 32*(8+2*(4+2*1.015625)))}},
		"half moments, two batches": {func(f *MEFT) { f.Moments = "bf16" }, 2,
			// 8 tokens would hit 96·(1 - (3/4)^8) = 86.3891…
			Work{2 * (8*(scores+kept+router+4*16*3) + 0.4*86.3891601562500*32*230), 2 * (2*hit*(1024+512) + 0.4*86.3891601562500*32*24)}},
		"frozen keys, dense": {func(f *MEFT) { f.FrozenKeys, f.Idle = true, "dense" }, 2,
			Work{2 * 8 * (scores + 16*12*16*24 + router), 2 * (2*hit*(1024+256) + 96*16*32)}},
		"union": {func(f *MEFT) { f.Share = "union" }, 1,
			Work{2 * 4 * (scores + 14*16*hit + router + 4*16*8), 2 * hit * (1024 + 512 + 1024)}},
		// Sums of 8 by 8 sub-keys with (i+1)(j+1) ≤ 24: 8+8+8+6+4+4+3+3. Random picks
		// of 4 tokens times 0.4 are below the 24 of one.
		"product keys": {func(f *MEFT) { f.Router, f.Neurons, f.Experts = RouteProductKey, 64, 0 }, 1,
			Work{2 * 4 * (kept + 8*(4*16+2*400) + 44*2000 + 8*16*8), 2 * 24 * (2*16*4*8 + 32*4*4 + 32*32)}},
		// 96·(1 - (7/8)^4) = 39.7265625
		"switch": {func(f *MEFT) { f.Router, f.TopK = RouteSwitch, 12 }, 1,
			Work{2 * 4 * (12*(3*2*16+2000) + 16*14*16*12 + 8*(2*16+400+1000) + 4*16*8), 2 * 0.4 * 39.7265625 * (2*16*4*8 + 32*4*4 + 32*32)}},
		"swiglu": {func(f *MEFT) { f.Activation = SwiGLU }, 1,
			Work{2 * 4 * (scores + 16*22*16*24 + router + 4*16*3), 2 * hit * (3*16*4*8 + 48*4*4 + 48*32)}},
		"all of one expert": {func(f *MEFT) { f.Neurons, f.TopK, f.Experts, f.Probe, f.Gate, f.Layers = 8, 8, 1, 1, "none", "1" }, 1,
			Work{4 * (8*2096 + 16*14*16*8), 8 * (1024 + 512 + 1024)}},
	} {
		m, err := Decode("meft", nil)
		if err != nil {
			t.Fatal(err)
		}
		f := m.(*MEFT)
		f.Neurons, f.TopK, f.Experts, f.Probe = 96, 24, 8, 3
		x.change(f)
		if err := f.Check(c); err != nil {
			t.Fatal(err)
		}
		got := f.Work(c, 4, x.batches)
		if math.Abs(got.Ops-x.want.Ops) > 1e-9*x.want.Ops || math.Abs(got.Bytes-x.want.Bytes) > 1e-9*x.want.Bytes { // rounding of float64 and of the numbers above
			t.Errorf("%s: %+v, want %+v", name, got, x.want)
		}
	}
}

// The side of a model of width 16 with 2 blocks, r = 2, costs 8832 operations a
// token: 6·(2·544 + 128) in blocks and U, 4·3·128 in what reads the model.
func TestWorkOfALadderIsThatOfItsSide(t *testing.T) {
	f := &LST{Reduction: 2, Layers: "all", Temperature: 1, Init: InitRandom}
	c := model.Config{Dim: 16, Layers: 2, Heads: 2, KVHeads: 1, HeadDim: 8, Hidden: 24}
	if got, want := f.Work(c, 4, 3), (Work{Ops: 2 * 4 * 3 * 8832}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
