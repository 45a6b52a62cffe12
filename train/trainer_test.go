package train

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"meft/method"
	"meft/model"
	"meft/tensor"
)

func TestTrainingLearns(t *testing.T) {
	for _, c := range []struct{ method, settings string }{
		{"full", ""}, {"parallel", `{"parallel_bottleneck":16}`}, {"lora", `{"lora_r":4}`}, {"meft", `{"meft_neurons":64,"meft_top_k":8}`},
	} {
		r := recipe{method: c.method, settings: c.settings, threads: 1, steps: 60, rate: 0.03}.build(t)
		res, err := r.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		l := r.losses()
		if res.Reason != "done" || res.Step != 60 || len(l) != 60 || !(l[60] < 0.9*l[1]) {
			t.Errorf("%s: %+v, loss from %v to %v", c.method, res, l[1], l[60])
		}
	}
}

// The gradient of a step is that of the mean over all its supervised tokens,
// however it is cut into micro-batches. On the reference device, which computes
// in float64, only the order of sums and the rounding of losses to float32
// differ.
func TestAccumulationIsOneLargeBatch(t *testing.T) {
	build := func(o BatchOptions) *run {
		o.MaxLength, o.Seed = 16, 7
		return recipe{method: "full", batch: o, examples: 14, steps: 7}.build(t)
	}
	small, large := build(BatchOptions{Size: 1, Accumulation: 6}), build(BatchOptions{Size: 6, Accumulation: 1})
	for _, r := range []*run{small, large} {
		if _, err := r.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for step, want := range large.losses() {
		if got := small.losses()[step]; math.Abs(got-want) > 1e-6*want {
			t.Errorf("step %d: loss %v in six batches, %v in one", step, got, want)
		}
	}
	a, b := small.weights(t), large.weights(t)
	for i := 0; i < len(a); i += 4 {
		x := math.Float32frombits(binary.LittleEndian.Uint32(a[i:]))
		y := math.Float32frombits(binary.LittleEndian.Uint32(b[i:]))
		if math.Abs(float64(x-y)) > 1e-5*max(1, math.Abs(float64(y))) {
			t.Fatalf("value %d: %v in six batches, %v in one", i/4, x, y)
		}
	}
}

func TestStepEventsTellTheStep(t *testing.T) {
	r := recipe{method: "meft", settings: `{"meft_neurons":40,"meft_top_k":3}`, threads: 1, steps: 5}.build(t)
	if _, err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range r.events {
		s, ok := e.(Step)
		if !ok {
			continue
		}
		tokens, supervised := r.Batches.Count(n)
		n++
		if s.Step != n || s.Steps != 5 || s.Epoch != r.Batches.Epoch(n) || s.Tokens != tokens || s.SupervisedTokens != supervised ||
			s.LearningRate != float64(r.Optimizer.Rate(n-1)) || s.GradNorm <= 0 || s.TokensPerSecond <= 0 || s.Seconds <= 0 {
			t.Errorf("step %d: %+v", n, s)
		}
		if s.RowsTouched <= 0 || s.RowsTouched > 80 || s.UnionShare <= 0 || s.UnionShare > 1 || s.BytesToDevice <= 0 || s.BytesToHost <= 0 {
			t.Errorf("step %d moved %+v", n, s)
		}
		if s.DeviceBytes != r.dev.Allocated(tensor.OnDevice) || s.HostBytes <= 0 {
			t.Errorf("step %d: %d and %d bytes", n, s.DeviceBytes, s.HostBytes)
		}
	}
	if n != 5 {
		t.Errorf("%d steps were told", n)
	}
}

func TestStepAllocatesNothing(t *testing.T) {
	for _, c := range []struct{ method, settings string }{{"full", ""}, {"meft", `{"meft_neurons":40,"meft_top_k":3}`}} {
		r := recipe{method: c.method, settings: c.settings, threads: 1, examples: 200, steps: 40}.build(t)
		r.Observe, r.LoggingSteps = nil, 0
		if err := r.begin(); err != nil {
			t.Fatal(err)
		}
		n := testing.AllocsPerRun(20, func() {
			if err := r.step(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations a step", c.method, n)
		}
	}
}

func TestGradientsAreClippedToTheNorm(t *testing.T) {
	for _, c := range []struct{ clip, norm, want float64 }{{0, 50, 1}, {1, 0.5, 1}, {1, 4, 0.25}, {2.5, 5, 0.5}} {
		r := Trainer{Clip: c.clip}
		// The 1e-6 that torch adds to the norm is the tolerance.
		if got := float64(r.clipScale(c.norm)); math.Abs(got-c.want) > 1e-6 {
			t.Errorf("norm %v, limit %v: scale %v, wanted %v", c.norm, c.clip, got, c.want)
		}
	}
}

// poison writes a value into the first weight of that name.
func (r *run) poison(name string, row int, value float32) {
	for _, w := range r.Model.Weights() {
		if w.Name == name {
			part := w.W.Rows(row, row+1)
			x := make([]float32, part.Len())
			for i := range x {
				x[i] = value
			}
			r.dev.Await(r.dev.Upload(part, tensor.Bytes(x)))
		}
	}
}

// An embedding that is not a number spoils exactly the examples with that token.
func TestLossThatIsNotANumberStopsBeforeTheUpdate(t *testing.T) {
	r := recipe{method: "parallel", settings: `{"parallel_bottleneck":6}`, threads: 1, steps: 20, save: When{Steps: 2}, dir: t.TempDir()}.build(t)
	bad := map[string]bool{}
	d := r.Batches.Data()
	for i := range d.Len() {
		if from, to := d.span(i); i%4 == 1 {
			d.ids[from+(to-from)/2] = 0 // no example has it otherwise
			bad[d.Where(i)] = true
		}
	}
	var before []byte
	observe := r.Observe
	r.Observe = func(e Event) {
		observe(e)
		if s, ok := e.(Step); ok {
			if s.Step == 3 {
				r.poison("model.embed_tokens.weight", 0, float32(math.NaN()))
			}
			before = r.weights(t)
		}
	}
	_, err := r.Run(t.Context())
	var d1 *Diverged
	if !errors.As(err, &d1) {
		t.Fatal(err)
	}
	if d1.Step <= 3 || d1.What != "loss" || !math.IsNaN(d1.Value) || d1.Checkpoint == "" || len(d1.Examples) == 0 {
		t.Errorf("%+v", d1)
	}
	for _, e := range d1.Examples {
		if !bad[e] {
			t.Errorf("%s has no bad token", e)
		}
	}
	for _, want := range []string{"step ", "rows.jsonl: row ", "is good", "learning_rate", "max_grad_norm"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	mustEqual(t, "after the error", r.weights(t), before)
	if c, err := Newest(r.Dir); err != nil || name(c.State.Step) != d1.Checkpoint || c.State.Step >= d1.Step {
		t.Errorf("newest good checkpoint: %v, %v", c.Dir, err)
	}
}

// overflow is a branch that adds nothing and whose gradient is infinite once it
// is told so.
type overflow struct {
	model.Branch
	r  *run
	on *bool
}

func (o overflow) Backward(dx, dy, x tensor.Tensor) {
	o.Branch.Backward(dx, dy, x)
	if *o.on {
		o.r.dev.Fill(o.r.Params.Dense[0].D, float32(math.Inf(1)))
	}
}

func TestGradientThatIsInfiniteStopsBeforeTheUpdate(t *testing.T) {
	r := recipe{method: "parallel", settings: `{"parallel_bottleneck":6}`, threads: 1, steps: 20}.build(t)
	on := false
	r.Model.Blocks[1].FFN = overflow{r.Model.Blocks[1].FFN, r, &on}
	var before []byte
	r.Observe = func(e Event) {
		if s, ok := e.(Step); ok && s.Step == 4 {
			on, before = true, r.weights(t)
		}
	}
	_, err := r.Run(t.Context())
	var d *Diverged
	if !errors.As(err, &d) || d.Step != 5 || d.What != "norm of the gradient" || !math.IsInf(d.Value, 1) || d.Checkpoint != "" {
		t.Fatalf("%v", err)
	}
	if len(d.Examples) != 4 { // two micro-batches of two
		t.Errorf("the examples are %v", d.Examples)
	}
	mustEqual(t, "after the error", r.weights(t), before)
}

// canceller ends a context when a step begins.
type canceller struct {
	method.Reporter
	at     int
	begun  int
	cancel func()
}

func (c *canceller) Traffic() method.Traffic { return method.Traffic{} }
func (c *canceller) ResetTraffic() {
	if c.begun++; c.begun == c.at {
		c.cancel()
	}
}

// A step that is cut off between its micro-batches leaves no trace: it is made
// again from its beginning.
func TestStepThatIsCutOffIsMadeAgain(t *testing.T) {
	r := recipe{method: "parallel", settings: `{"parallel_bottleneck":6}`, threads: 1, steps: 8}
	whole := r.build(t)
	if _, err := whole.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.dir = filepath.Join(t.TempDir(), "deep", "run")
	first := r.build(t)
	ctx, cancel := context.WithCancel(t.Context())
	first.Reporter = &canceller{at: 6, cancel: cancel}
	_, err := first.Run(ctx)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "after step 5 of 8") || !strings.Contains(err.Error(), "--resume") {
		t.Fatal(err)
	}
	second := resumed(t, r)
	if _, err := second.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustEqual(t, "cut off in step 6", second.weights(t), whole.weights(t))
}

func TestSettingsThatCannotBeAreAllReported(t *testing.T) {
	r := recipe{method: "parallel", threads: 1, steps: 8, when: When{Epoch: true}}.build(t)
	r.Steps, r.Clip = 0, -1
	r.Evaluation.Metric, r.Evaluation.LoadBest = "rouge", true
	_, err := r.Run(t.Context())
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"0 steps", "max_grad_norm is -1", `"rouge"`, "output_dir"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	r = recipe{method: "parallel", threads: 1, steps: 8, patience: 2}.build(t)
	r.Evaluation.Patience, r.Evaluation.LoadBest = 2, true
	if _, err := r.Run(t.Context()); err == nil || strings.Count(err.Error(), "set eval_strategy") != 2 {
		t.Error(err)
	}
	r = recipe{method: "parallel", threads: 1, steps: 8, when: When{Epoch: true}}.build(t)
	r.Evaluation.Metric = "eval_f1"
	if _, err := r.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "f1 and there are no questions") {
		t.Error(err)
	}
}
