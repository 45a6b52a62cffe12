package methodtest

import (
	"math"
	"slices"
	"testing"

	"meft/cpu"
	"meft/method"
	"meft/model"
	"meft/param"
	"meft/ref"
	"meft/tensor"
)

func grad() model.Size {
	return model.Size{Rows: 16, Context: 16, Grad: true, LossRows: 4, CacheRows: 16}
}

// copyWeights gives two sets the same parameters, by name. It returns how many
// there were.
func copyWeights(to, from *Rig) int {
	n := 0
	for _, b := range to.Set.Weights() {
		for _, c := range from.Set.Weights() {
			if b.Name == c.Name {
				x := make([]byte, c.Bytes())
				c.Read(x)
				b.Write(x)
				n++
			}
		}
	}
	return n
}

func everyNeuron(share string) *method.MEFT {
	f := small()
	f.TopK, f.Experts, f.Gate, f.Share = f.Neurons, 1, method.GateNone, share
	return &f
}

// asDense is MEFT with K = M, N = 1 and no gate beside the parallel adapter of
// the same neurons, both on the reference device.
func asDense(t *testing.T, share, activation string) (sparse, dense *Rig) {
	f := everyNeuron(share)
	f.Activation = activation
	sparse = Build(t, &watch{Device: ref.New()}, "meft", f, grad(), 0.02)
	dense = Build(t, &watch{Device: ref.New()}, "parallel", &method.Parallel{Bottleneck: f.Neurons, Activation: activation, Layers: "all"}, grad(), 0.02)
	dense.Noise()
	want := map[string]int{"relu": 6, method.SwiGLU: 9}[activation]
	if n := copyWeights(sparse, dense); n != want {
		t.Fatalf("%d parameters in common, wants keys and values, and gates, of three blocks", n)
	}
	return sparse, dense
}

// limits are the settings under which MEFT is the dense adapter.
func limits(do func(share, activation string)) {
	for _, share := range []string{method.ShareToken, method.ShareUnion} {
		for _, activation := range []string{"relu", method.SwiGLU} {
			do(share, activation)
		}
	}
}

func TestEveryNeuronUngatedIsTheParallelAdapter(t *testing.T) {
	limits(func(share, activation string) {
		sparse, dense := asDense(t, share, activation)
		// Sums in another order of float64 numbers of size 1 to 10.
		if a, b := sparse.loss(), dense.loss(); math.Abs(a-b) > 1e-12 {
			t.Errorf("%s %s: loss %v, the parallel adapter's is %v", share, activation, a, b)
		}
		sparse.Pass(Batch())
		dense.Pass(Batch())
		SameGrads(t, sparse, dense, 0x1p-23) // rows come back as float32
	})
}

func TestLazyTableTrainsAsTheParallelAdapter(t *testing.T) {
	limits(func(share, activation string) {
		sparse, dense := asDense(t, share, activation)
		for step := range 4 {
			a, b := sparse.Step(t, step, rotated(step)), dense.Step(t, step, rotated(step))
			// Parameters are float32 in the table, float64 in the reference
			// adapter; three steps of AdamW spread that to about 1e-5.
			if math.Abs(a-b) > 1e-4 {
				t.Errorf("%s %s: loss of step %d is %v, the parallel adapter's %v", share, activation, step, a, b)
			}
		}
	})
}

func TestSmallBufferChangesNothing(t *testing.T) {
	for _, share := range []string{method.ShareToken, method.ShareUnion} {
		for _, gate := range []string{method.GateLogit, method.GateNone, method.GateSoftmax} {
			f := small()
			f.Share, f.Gate = share, gate
			whole := Build(t, &watch{Device: ref.New()}, "meft", &f, grad(), 0.02)
			for _, buffer := range []int{1, 5, 16} {
				f.Buffer = buffer
				parts := Build(t, &watch{Device: ref.New()}, "meft", &f, grad(), 0.02)
				whole.Noise()
				parts.Noise()
				copyWeights(parts, whole)
				if a, b := parts.loss(), whole.loss(); math.Abs(a-b) > 1e-12 {
					t.Errorf("%s, %s: loss %v with a buffer of %d, %v with room for all", share, gate, a, buffer, b)
				}
				whole.Pass(Batch())
				parts.Pass(Batch())
				SameGrads(t, parts, whole, 0x1p-23)
				if a, b := parts.Ledger.Used(tensor.OnDevice), whole.Ledger.Used(tensor.OnDevice); a >= b {
					t.Errorf("a buffer of %d rows takes %d bytes of device memory, room for all %d", buffer, a, b)
				}
			}
		}
	}
}

// TestTokensAreOnTheirOwn cuts the batch after its first sequence: what a token
// gets does not depend on the tokens after it. With ShareUnion it does.
func TestTokensAreOnTheirOwn(t *testing.T) {
	for _, share := range []string{method.ShareToken, method.ShareUnion} {
		f := small()
		f.Share = share
		r := Build(t, cpu.New(2), "meft", &f, model.Size{Rows: 16, Context: 16}, 0)
		r.Noise()
		b := Batch()
		whole := r.losses(b)[:7]
		b.IDs, b.Targets, b.Pos, b.Start = b.IDs[:7], b.Targets[:7], b.Pos[:7], b.Start[:7]
		if same := slices.Equal(r.losses(b), whole); same != (share == method.ShareToken) {
			t.Errorf("%s: losses without later rows are equal: %v", share, same)
		}
	}
}

// TestTokenRouterKnowsTheWantedRows: in the last block, which goes on with the
// wanted rows alone, the token router sees the tokens of those.
func TestTokenRouterKnowsTheWantedRows(t *testing.T) {
	f := small()
	f.Router, f.Gate = method.RouteStable, method.GateAuto
	r := Build(t, cpu.New(2), "meft", &f, model.Size{Rows: 16, Context: 16, CacheRows: 16}, 0)
	r.Noise()
	run := func(want []int32) (last []float32) {
		ids := []int32{4, 9, 1, 15}
		r.Model.Infer(model.Step{IDs: ids, Pos: []int32{0, 1, 2, 3}, Base: make([]int32, 4), Want: want}, func(_ int, logits []float32) { last = slices.Clone(logits) })
		return last
	}
	alone, among := run([]int32{3}), run([]int32{0, 1, 2, 3})
	for i, v := range alone {
		// Products of one row add up in another order.
		if math.Abs(float64(v-among[i])) > 1e-4 {
			t.Fatalf("logit %d is %v, among all rows %v", i, v, among[i])
		}
	}
}

func TestTrafficCountsWhatMoved(t *testing.T) {
	f := small()
	f.TopK, f.Probe, f.Layers = 2, 1, "0,2"
	r := Build(t, cpu.New(2), "meft", &f, grad(), 0.02)
	r.Noise()
	m := r.Method.(*method.MEFT)
	if got := m.Traffic(); got != (method.Traffic{Dead: 2 * 46}) {
		t.Errorf("before anything: %+v", got)
	}
	r.Pass(Batch())
	got := m.Traffic()
	// 13 tokens; rows go up once for Forward and once for Backward, with places
	// and gates of 2 picks a token and its one expert; x, 12 logits and row
	// gradients come down.
	const n, d = 13, 12
	want := method.Traffic{
		RowsTouched: got.Union, Passes: 2, Union: got.Union, Neurons: 2 * 46, Experts: got.Experts,
		UpBytes:   2*(got.Union*2*d*4) + 2*2*(2*n*2*4+n*4),
		DownBytes: got.Union*2*d*4 + 2*(n*d+n*12)*4,
		Dead:      2*46 - got.Union,
		LoadMax:   got.LoadMax, LoadEntropy: got.LoadEntropy,
	}
	// Of 12 experts one at least has a twelfth of the tokens, at most all.
	if !(got.LoadMax > 1 && got.LoadMax <= 12 && got.LoadEntropy > 0 && got.LoadEntropy < 1) {
		t.Errorf("the highest load is %v of the mean, the entropy %v of its highest value", got.LoadMax, got.LoadEntropy)
	}
	if got != want {
		t.Errorf("after one batch: %+v, wants %+v", got, want)
	}
	if got.Union < 4 || got.Union > 2*2*n || got.Experts < 2 || got.Experts > got.Union {
		t.Errorf("%d rows of %d experts in two layers, %d tokens with 2 picks each", got.Union, got.Experts, n)
	}
	if share := got.UnionShare(); share != float64(got.Union)/92 {
		t.Errorf("union share is %v", share)
	}
	m.ResetTraffic()
	r.Opt.ZeroGrad()
	if got := m.Traffic(); got != (method.Traffic{Dead: want.Dead}) {
		t.Errorf("after a reset: %+v", got)
	}
	dead := want.Dead
	for step := range 6 {
		r.Pass(rotated(step))
		got := m.Traffic().Dead
		if got > dead {
			t.Errorf("a neuron that was picked once is dead again: %d after %d", got, dead)
		}
		dead = got
	}
	if dead == want.Dead {
		t.Error("six other batches picked no other neuron")
	}
}

// TestReplayTrainsAsDenseWhileKeysAreFrozen: with keys that stand still picks are
// the same, and values are brought up to date before anyone sees them.
func TestReplayTrainsAsDenseWhileKeysAreFrozen(t *testing.T) {
	both := [2]*Rig{}
	for i, idle := range []param.Idle{param.Moving, param.Replay} {
		f := small()
		f.Idle, f.FrozenKeys, f.TopK, f.Probe = idle, true, 2, 1
		both[i] = Build(t, cpu.New(2), "meft", &f, grad(), 0.02)
		both[i].Noise()
	}
	for step := range 8 {
		dense, replay := both[0].Step(t, step, rotated(step)), both[1].Step(t, step, rotated(step))
		if dense != replay {
			t.Errorf("loss of step %d is %v, with every row moving %v", step, replay, dense)
		}
	}
	lag := false
	for i, tab := range both[1].Set.Tables {
		lag = lag || !slices.Equal(tab.V, both[0].Set.Tables[i].V)
	}
	if !lag {
		t.Error("no row was idle: nothing was tested")
	}
	want := both[0].Set.Weights()
	for i, b := range both[1].Set.Weights() {
		x, y := make([]byte, b.Bytes()), make([]byte, b.Bytes())
		b.Read(x)
		want[i].Read(y)
		if !slices.Equal(x, y) {
			t.Errorf("%s differs at the end", b.Name)
		}
	}
}
