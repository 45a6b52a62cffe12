package meft

import (
	"bytes"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"meft/model"
	"meft/tensor"
)

// A run beside codes goes on bit for bit where it was stopped, on another number
// of threads, takes the memory that was planned, and its adapter answers in a
// session of its own.
func TestRunsOnAQuantisedBase(t *testing.T) {
	for _, m := range []string{"lora", "meft"} {
		c := newRun(t, m)
		c.BaseDType, c.MaxSteps, c.MaxLength = "nf4", 8, 48
		plan, e := built(t, c)
		sameEntries(t, plan.Ledger, &e.ledger)
		if a, b := plan.Ledger.Used(tensor.OnDevice), e.dev.Allocated(tensor.OnDevice); a != b {
			t.Errorf("%s: planned %d bytes, the device gave out %d", m, a, b)
		}
		e.Close()
		want := wanted(t, c)
		stoppedRun(t, c, 4)
		c.Resume, c.Threads = "true", 2
		mustTrain(t, c)
		if !bytes.Equal(result(t, c), want) {
			t.Errorf("%s: the resumed run gives other bytes", m)
		}
		plain := c
		plain.BaseDType, plain.Resume = "f32", ""
		if bytes.Equal(wanted(t, plain), want) {
			t.Errorf("%s: nf4 and f32 train the same adapter: the base is not quantised", m)
		}
		answersAsItScores(t, SessionOptions{Model: c.Model, Adapter: c.OutputDir, BaseDType: "nf4"})

		in, err := Inspect(filepath.Join(c.OutputDir, "adapter"))
		if err != nil || !slices.Contains(in.Fields, Field{"base_dtype", "nf4-dq"}) {
			t.Errorf("%s: the adapter's base is not nf4-dq: %v, %+v", m, err, in)
		}
	}
}

// answersAsItScores generates token by token, each the likeliest after the text
// before it when that is computed at once.
func answersAsItScores(t *testing.T, o SessionOptions) {
	t.Helper()
	s := open(t, o)
	text := s.Tokenizer().Encode("What is the colour of the hat of Ann? ", true)
	start := len(text)
	err := s.Generate(t.Context(), [][]int32{text}, model.Decoding{MaxNew: 8}, func(_ int, c model.Continuation) error {
		text = append(slices.Clone(text), c.IDs...)
		return nil
	})
	if err != nil || len(text) == start {
		t.Fatalf("%d tokens, %v", len(text)-start, err)
	}
	at := 0
	err = s.logits(text, func(row []float32) {
		if at++; at < start || at == len(text) {
			return
		}
		if id := text[at]; row[id] < slices.Max(row)-1e-4 { // sums in another order
			t.Errorf("token %d is %d with a logit of %v, the largest is %v", at, id, row[id], slices.Max(row))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The adapter is folded into the weights of the checkpoint, which it was not
// trained beside: the result says so, and how far it is from what was trained.
func TestMergeOfAnAdapterTrainedOnCodes(t *testing.T) {
	for dtype, scales := range map[string]string{"nf4": "true", "fp4": "false", "int8": "true"} {
		run, out, r := merged(t, "lora", map[string]string{"base_dtype": dtype, "bnb_4bit_use_double_quant": scales}, nil)
		if want := map[string]string{"nf4": "nf4-dq", "fp4": "fp4", "int8": "int8"}[dtype]; r.Base != want || r.Trained == nil {
			t.Fatalf("%s: merge says %+v", dtype, *r)
		}
		if r.Difference.MaxAbs > 2e-5 || r.Trained.MaxAbs < 1e-3 || r.Trained.KL <= 0 {
			t.Errorf("%s: differs by %+v, from what was trained by %+v", dtype, *r.Difference, *r.Trained)
		}
		as := SessionOptions{Model: run.Model, Adapter: run.OutputDir, BaseDType: dtype, PlainScales: scales == "false"}
		if far := farFrom(t, as, SessionOptions{Model: out}); far < 1e-3 {
			t.Errorf("%s: log probabilities differ by %v: this test has tested little", dtype, far)
		}
	}
	run, _, _ := merged(t, "lora", map[string]string{"base_dtype": "nf4"}, nil)
	x, err := Export(t.Context(), ExportOptions{Model: run.Model, Adapter: run.OutputDir, Output: filepath.Join(t.TempDir(), "x.gguf")})
	if err != nil || !strings.Contains(strings.Join(x.Notes, "\n"), "nf4-dq") {
		t.Errorf("exported with %+v, %v: no word of nf4-dq", x, err)
	}
	if _, _, r := merged(t, "lora", nil, nil); r.Base != "" || r.Trained != nil {
		t.Errorf("of an adapter trained in f32 merge says %+v", *r)
	}
}

// A matrix is coded piece by piece: loading never has one in F32.
func TestLoadingCodesTakesPiecesOfAMatrix(t *testing.T) {
	dir := newModel(t, shape{dim: 512, layers: 1, heads: 8, kv: 8, hidden: 1024, context: 64})
	for _, dtype := range []string{"nf4", "int8"} {
		c := Config{Model: dir, BaseDType: dtype, DoubleQuant: true}
		b, err := openBase(c)
		if err != nil {
			t.Fatal(err)
		}
		r := recipe{base: b, size: model.Size{Rows: 1, Context: 1, Frozen: b.frozen}}
		plan, err := r.plan()
		if err != nil {
			t.Fatal(err)
		}
		e, err := r.build(plan, 1)
		if err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err = b.fill(e.model)
		runtime.ReadMemStats(&after)
		e.Close()
		if err != nil {
			t.Fatal(err)
		}
		// Of each of 7 matrices 65,536 values in F32 and a sixteenth of its bytes,
		// once and not freed meanwhile; 512 KiB for reading the file's header.
		const values = 4*512*512 + 3*512*1024
		limit := uint64(7*4<<16 + 4*values/64 + 512<<10)
		if took := after.TotalAlloc - before.TotalAlloc; took > limit || took >= 4*values {
			t.Errorf("%s: loading %d values allocates %d bytes, wanted at most %d", dtype, values, took, limit)
		}
	}
}

// What a budget lacks is taken from speed first, then from precision, in the
// order that costs least.
func TestSuggestionQuantisesAfterTheBatchIsSmall(t *testing.T) {
	for _, x := range []struct{ has, want string }{
		{"", "fit: --gradient_checkpointing"},
		{"--gradient_checkpointing", "fit: --base_dtype bf16"},
		{"--gradient_checkpointing --base_dtype bf16", "fit: --per_device_train_batch_size 1 --gradient_accumulation_steps 3"},
		{"--gradient_checkpointing --base_dtype bf16 --per_device_train_batch_size 1", "fit: --base_dtype nf4"},
		{"--gradient_checkpointing --base_dtype int8 --per_device_train_batch_size 1", "fit: --base_dtype nf4"},
		{"--gradient_checkpointing --base_dtype fp4 --per_device_train_batch_size 1", "use a smaller model or a larger budget"},
	} {
		c := suggested(t, newRun(t, "lora"), "this would fit: "+x.has)
		plan, err := MakePlan(c)
		if err != nil {
			t.Fatal(err)
		}
		c.DeviceMemory = Size(plan.Device - 1)
		_, err = Train(t.Context(), c, nil)
		if err == nil || !strings.HasSuffix(err.Error(), x.want) {
			t.Errorf("%q: got %v, wanted %q", x.has, err, x.want)
		}
	}
}
