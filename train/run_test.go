package train

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"meft/cpu"
	"meft/method"
	"meft/model"
	"meft/param"
	"meft/ref"
	"meft/task"
	"meft/tensor"
)

// tiny is a model small enough that a step takes a millisecond.
var tiny = model.Config{
	Architecture: "LlamaForCausalLM", Dim: 16, Layers: 2, Heads: 2, KVHeads: 1, HeadDim: 8, Hidden: 24, Vocab: 32,
	MaxPositions: 64, Eps: 1e-5, Theta: 10000, InitRange: 0.05, Window: []int{0, 0}, BOS: 1, EOS: []int32{2},
}

// recipe is a run to be built, any number of times the same.
type recipe struct {
	method   string // name and settings as method.Decode takes them
	settings string
	threads  int // 0: the reference device
	examples int // 0 for 13
	batch    BatchOptions
	steps    int
	rate     float64 // 0 for 0.01
	patience int
	when     When // to evaluate
	save     When
	limit    int
	loadBest bool
	dir      string
}

// run is a recipe that was built.
type run struct {
	*Trainer
	dev    tensor.Device
	events []Event
	close  func()
}

// examples are random sequences whose next token follows from the one before,
// so that there is something to learn; the first third of each is masked.
func examples(n int, seed uint64) *Data {
	r := rand.New(rand.NewPCG(seed, 0))
	d := &Data{}
	for i := range n {
		e := task.Encoded{}
		id := int32(3 + r.IntN(29))
		length := 4 + r.IntN(9)
		for j := range length {
			e.IDs = append(e.IDs, id)
			e.Train = append(e.Train, j > 0 && j >= length/3)
			id = 3 + (id*5+7)%29
		}
		if err := d.Add(e, "rows.jsonl", i+1); err != nil {
			panic(err)
		}
	}
	return d
}

// build makes everything of a recipe afresh.
func (r recipe) build(t testing.TB) *run {
	t.Helper()
	m, err := method.Decode(r.method, []byte(r.settings))
	if err != nil {
		t.Fatal(err)
	}
	if r.batch.Size == 0 {
		r.batch = BatchOptions{Size: 2, Accumulation: 2, MaxLength: 16, Seed: 7}
	}
	if r.examples == 0 {
		r.examples = 13
	}
	var dev tensor.Device = ref.New()
	if r.threads > 0 {
		dev = cpu.New(r.threads)
	}
	var plan, used tensor.Ledger
	r.assemble(t, tensor.NewPlan(&plan), m)
	a := tensor.NewArena(dev, &used, &plan)
	out := &run{Trainer: r.assemble(t, a, m), dev: dev}
	if d := plan.Diff(&used); d != "" {
		t.Fatalf("planned and used memory differ: %s", d)
	}
	out.Model.Init(3)
	out.Observe = func(e Event) { out.events = append(out.events, e) }
	closed := false
	out.close = func() {
		if !closed {
			closed = true
			a.Close()
			dev.Close()
		}
	}
	t.Cleanup(out.close)
	return out
}

// assemble is what the front door does, in an arena that may be planning.
func (r recipe) assemble(t testing.TB, a *tensor.Arena, m method.Method) *Trainer {
	t.Helper()
	fail := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	size := m.Reach().Size(model.Size{Rows: r.batch.Rows(), Context: 32, CacheRows: 64})
	mod, err := model.Build(a, tiny, size)
	fail(err)
	set, err := m.Attach(mod, a, 5)
	fail(err)
	data, held := examples(r.examples, 1), examples(4, 2)
	data.Place(a.Sub("data"))
	batches, err := NewBatches(a.Sub("batches"), data, r.batch)
	fail(err)
	check, err := NewBatches(a.Sub("validation"), held, BatchOptions{Size: r.batch.Size, MaxLength: r.batch.MaxLength, Ordered: true})
	fail(err)
	rate := r.rate
	if rate == 0 {
		rate = 0.01
	}
	schedule, err := param.Schedule("linear", rate, 2, r.steps)
	fail(err)
	adam := param.AdamW{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Decay: 0.01}
	tr := &Trainer{
		Model: mod, Params: set, Optimizer: param.NewOptimizer(a, nil, set, adam, schedule), Batches: batches,
		Steps: r.steps, Clip: 1, LoggingSteps: 3,
		Dir: r.dir, SaveWhen: r.save, SaveLimit: r.limit, Settings: map[string]string{"method": r.method, "rate": fmt.Sprint(rate)},
		Save: func(dir string) error {
			return WriteBlobs(filepath.Join(dir, "adapter_model.safetensors"), set.Weights(), nil)
		},
		Load: func(dir string) error {
			return ReadBlobs(filepath.Join(dir, "adapter_model.safetensors"), set.Weights())
		},
	}
	if !r.when.never() {
		tr.Evaluation = Evaluation{When: r.when, Patience: r.patience, LoadBest: r.loadBest,
			Evaluator: &Evaluator{Model: mod, Batches: check}}
	}
	if rep, ok := m.(method.Reporter); ok {
		tr.Reporter = rep
	}
	return tr
}

// weights are all values and moments, bit by bit.
func (r *run) weights(t testing.TB) []byte {
	t.Helper()
	return read(t, append(r.Params.Weights(), r.Params.Moments()...)...)
}

// read is the content of arrays, one after the other.
func read(t testing.TB, blobs ...param.Blob) []byte {
	t.Helper()
	var out []byte
	for _, b := range blobs {
		buf := make([]byte, b.Bytes())
		if err := b.Read(buf); err != nil {
			t.Fatal(err)
		}
		out = append(out, buf...)
	}
	return out
}

// losses are the losses of the steps that were observed, by step.
func (r *run) losses() map[int]float64 {
	out := map[int]float64{}
	for _, e := range r.events {
		if s, ok := e.(Step); ok {
			out[s.Step] = s.Loss
		}
	}
	return out
}

func mustEqual(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				t.Fatalf("%s: %d and %d bytes, first difference at byte %d", what, len(got), len(want), i)
			}
		}
		t.Fatalf("%s: %d and %d bytes", what, len(got), len(want))
	}
}

func readJSON(t *testing.T, v any, path ...string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err == nil {
		err = json.Unmarshal(text, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}
