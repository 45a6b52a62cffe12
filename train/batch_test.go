package train

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"meft/task"
	"meft/tensor"
)

// planned are the batches of d in plain memory: a device of package ref.
func planned(t testing.TB, d *Data, o BatchOptions) *Batches {
	t.Helper()
	b, err := NewBatches(hostArena(t), d, o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// epoch are the examples of an epoch in order, batch by batch.
func epochOf(b *Batches, epoch int) []int32 {
	var out []int32
	for i := range b.StepsPerEpoch() {
		step := epoch*b.StepsPerEpoch() + i
		for micro := range b.Micros(step) {
			b.Batch(step, micro)
			out = append(out, b.Examples()...)
		}
	}
	return out
}

var shapes = []BatchOptions{
	{Size: 2, Accumulation: 3, MaxLength: 16, Seed: 1},
	{Size: 3, MaxLength: 12, Seed: 2},
	{Size: 1, Accumulation: 2, MaxLength: 24, Packing: true, Seed: 3},
	{Size: 2, Accumulation: 4, MaxLength: 31, Packing: true, Seed: 4},
	{Size: 4, MaxLength: 16, Ordered: true},
}

func TestEveryEpochVisitsEveryExampleOnceInAnOrderOfItsOwn(t *testing.T) {
	for _, o := range shapes {
		d := examples(41, 1)
		b := planned(t, d, o)
		var last []int32
		for epoch := range 3 {
			got := epochOf(b, epoch)
			if !o.Ordered && slices.Equal(got, last) {
				t.Errorf("%+v: epochs %d and %d have the same order", o, epoch-1, epoch)
			}
			last = slices.Clone(got)
			slices.Sort(got)
			for i, e := range got {
				if len(got) != d.Len() || int(e) != i {
					t.Fatalf("%+v: epoch %d visits %v", o, epoch, got)
				}
			}
			if o.Ordered && !slices.IsSorted(last) {
				t.Errorf("%+v: examples come as %v", o, last)
			}
		}
	}
}

func TestBatchDependsOnSeedAndStepOnly(t *testing.T) {
	for _, o := range shapes {
		d := examples(23, 1)
		straight, jumping := planned(t, d, o), planned(t, d, o)
		r := rand.New(rand.NewPCG(9, 9))
		steps := 3 * straight.StepsPerEpoch()
		want := map[int]string{}
		for step := range steps {
			want[step] = fmt.Sprint(straight.Batch(step, 0))
		}
		for range 50 {
			step := r.IntN(steps)
			if got := fmt.Sprint(jumping.Batch(step, 0)); got != want[step] {
				t.Fatalf("%+v: step %d is %s, was %s", o, step, got, want[step])
			}
		}
		o.Seed++
		if other := planned(t, d, o); !o.Ordered && fmt.Sprint(other.Batch(0, 0), other.Batch(1, 0)) == want[0]+want[1] {
			t.Errorf("%+v: another seed gives the same batches", o)
		}
	}
}

// Every row of a batch is a token of one example, sees that example only, and
// wants the token after it exactly where the mask says so.
func TestRowsAreTheExamplesEndToEnd(t *testing.T) {
	d := &Data{}
	add := func(train string, ids ...int32) {
		e := task.Encoded{IDs: ids}
		for _, c := range train {
			e.Train = append(e.Train, c == 'x')
		}
		if err := d.Add(e, "", 0); err != nil {
			t.Fatal(err)
		}
	}
	add("..xx", 10, 11, 12, 13)
	add("xx.", 20, 21, 22)
	add("x", 30)
	b := planned(t, d, BatchOptions{Size: 3, MaxLength: 5, Ordered: true}).Batch(0, 0)
	for _, c := range []struct {
		name      string
		got, want []int32
	}{
		{"ids", b.IDs, []int32{10, 11, 12, 13, 20, 21, 22, 30}},
		{"targets", b.Targets, []int32{-1, 12, 13, -1, 21, -1, -1, -1}},
		{"positions", b.Pos, []int32{0, 1, 2, 3, 0, 1, 2, 0}},
		{"starts", b.Start, []int32{0, 0, 0, 0, 4, 4, 4, 7}},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%s are %v, wanted %v", c.name, c.got, c.want)
		}
	}
	if b.Scale != 1./3 {
		t.Errorf("scale is %v with 3 learned tokens", b.Scale)
	}
}

// The scale counts the targets of the whole step, the shorter last one of an
// epoch included, and rows never exceed what the model is built for.
func TestScaleIsOneOverTheTargetsOfTheStep(t *testing.T) {
	for _, o := range shapes {
		b := planned(t, examples(23, 1), o)
		for step := range 2 * b.StepsPerEpoch() {
			targets, tokens := 0, 0
			var scale float32
			for micro := range b.Micros(step) {
				got := b.Batch(step, micro)
				if len(got.IDs) > o.Rows() || len(got.IDs) == 0 {
					t.Fatalf("%+v: step %d has a batch of %d rows, at most %d", o, step, len(got.IDs), o.Rows())
				}
				scale = got.Scale
				tokens += len(got.IDs)
				for _, id := range got.Targets {
					if id >= 0 {
						targets++
					}
				}
			}
			if scale != float32(1/float64(targets)) {
				t.Errorf("%+v: step %d has %d targets and scale %v", o, step, targets, scale)
			}
			if n, s := b.Count(step); n != tokens || s != targets {
				t.Errorf("%+v: step %d counts %d and %d, has %d tokens and %d targets", o, step, n, s, tokens, targets)
			}
		}
	}
}

// The wanted numbers are what transformers.Trainer computes: steps of an epoch
// are ceil(ceil(examples/batch)/accumulation), a run has ceil(epochs·steps).
func TestStepsAreCountedAsHuggingFaceCounts(t *testing.T) {
	for _, c := range []struct {
		examples, batch, accumulation int
		epochs                        float64
		maxSteps, perEpoch, steps     int
	}{
		{100, 8, 1, 3, -1, 13, 39},
		{100, 8, 4, 3, -1, 4, 12},
		{96, 8, 4, 1, 0, 3, 3},
		{97, 8, 4, 1, 0, 4, 4},
		{10, 4, 8, 2, -1, 1, 2},
		{100, 8, 4, 2.5, -1, 4, 10},
		{100, 8, 4, 0.3, -1, 4, 2},
		{100, 8, 4, 3, 7, 4, 7},
	} {
		b := planned(t, examples(c.examples, 1), BatchOptions{Size: c.batch, Accumulation: c.accumulation, MaxLength: 16})
		if b.StepsPerEpoch() != c.perEpoch || b.Steps(c.epochs, c.maxSteps) != c.steps {
			t.Errorf("%+v: %d steps an epoch, %d in all", c, b.StepsPerEpoch(), b.Steps(c.epochs, c.maxSteps))
		}
	}
	b := planned(t, examples(10, 1), BatchOptions{Size: 2, Accumulation: 2, MaxLength: 16}) // 5 batches, 3 steps
	for done, want := range []float64{0, 0.4, 0.8, 1, 1.4, 1.8, 2} {
		if got := b.Epoch(done); got != want {
			t.Errorf("after %d steps %v epochs, wanted %v", done, got, want)
		}
	}
}

// Bins stay within their size, and are few: no two of the first half-filled ones
// could have been one, up to the bins that packing had closed.
func TestBinsAreFullAndNeverOverfull(t *testing.T) {
	d := examples(500, 5)
	const size = 40
	b := pack(d, size, 0, 1)
	seen := make([]bool, d.Len())
	for i := range b.ends {
		sum := 0
		for _, e := range b.of(int32(i)) {
			from, to := d.span(int(e))
			sum += to - from
			if seen[e] {
				t.Fatalf("example %d is in two bins", e)
			}
			seen[e] = true
		}
		if sum > size || sum == 0 {
			t.Fatalf("bin %d holds %d tokens of %d", i, sum, size)
		}
	}
	if slices.Contains(seen, false) {
		t.Fatal("an example is in no bin")
	}
	// Examples of 4 to 12 tokens leave little room in bins of 40: best fit comes
	// within one bin in twenty of the least there could be.
	least := int(d.Tokens()+size-1) / size
	if n := len(b.ends); n > least*105/100+1 {
		t.Errorf("%d bins, at least %d are needed", n, least)
	}
}

func TestBatchesAllocateNothing(t *testing.T) {
	b := planned(t, examples(200, 1), BatchOptions{Size: 2, Accumulation: 2, MaxLength: 24, Packing: true})
	b.Batch(0, 0)
	step := 0
	n := testing.AllocsPerRun(b.StepsPerEpoch()-2, func() {
		for micro := range b.Micros(step) {
			b.Batch(step, micro)
		}
		step++
	})
	if n != 0 {
		t.Errorf("%v allocations a step", n)
	}
}

func TestAllExamplesThatAreTooLongAreNamed(t *testing.T) {
	d := examples(40, 1)
	_, err := NewBatches(hostArena(t), d, BatchOptions{Size: 1, MaxLength: 4})
	if err == nil || !strings.Contains(err.Error(), "rows.jsonl: row ") || !strings.Contains(err.Error(), "more examples that are too long") {
		t.Fatal(err)
	}
	if n := strings.Count(err.Error(), "the longest allowed is 4"); n != 10 {
		t.Errorf("%d examples are named, wanted 10: %v", n, err)
	}
	d = &Data{}
	if err := d.Add(task.Encoded{IDs: []int32{1, 2}, Train: []bool{true, false}}, "", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := NewBatches(hostArena(t), d, BatchOptions{Size: 0, MaxLength: 4}); err == nil ||
		!strings.Contains(err.Error(), "batch of 0") || !strings.Contains(err.Error(), "none of the 2 tokens is learned") {
		t.Fatal(err)
	}
}

func TestPlanForeseesTheMemoryOfDataAndBatches(t *testing.T) {
	for _, o := range shapes {
		var plan, used tensor.Ledger
		make := func(a *tensor.Arena) {
			d := examples(30, 1)
			bytes := d.Bytes()
			d.Place(a.Sub("data"))
			if d.Bytes() != bytes {
				t.Errorf("placing changed %d bytes to %d", bytes, d.Bytes())
			}
			if _, err := NewBatches(a.Sub("batches"), d, o); err != nil {
				t.Fatal(err)
			}
		}
		make(tensor.NewPlan(&plan))
		a := tensor.NewArena(refDevice(), &used, &plan)
		make(a)
		if d := plan.Diff(&used); d != "" || used.Used(tensor.OnHost) == 0 {
			t.Errorf("%+v: planned and used memory: %q of %d bytes", o, d, used.Used(tensor.OnHost))
		}
	}
}
