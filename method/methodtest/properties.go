package methodtest

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"meft/cpu"
	"meft/method"
	"meft/model"
	"meft/param"
	"meft/tensor"
)

func cpuDevice() tensor.Device { return cpu.New(2) }

// losses are the losses of every row of the batch.
func (r *Rig) losses(b model.Batch) []float32 {
	r.Model.Forward(b)
	out := make([]float32, len(b.IDs))
	r.Model.Losses(out)
	return out
}

// identity: a method that was just attached changes no bit of the losses,
// unless it says that it does.
func (s *suite) identity(t *testing.T) {
	r := s.onCPU(t)
	bare := Build(t, cpu.New(2), "full", &method.Full{}, model.Size{Rows: 16, Context: 16, Frozen: s.base, LossRows: 4}, 0)
	if got, want := r.losses(Batch()), bare.losses(Batch()); slices.Equal(got, want) == s.settings.About().Changes {
		t.Errorf("losses with the method attached are %v, wants those of the bare model %v; About.Changes is %v", got, want, s.settings.About().Changes)
	}
	r.Noise()
	if got, want := r.losses(Batch()), bare.losses(Batch()); slices.Equal(got, want) {
		t.Error("losses do not depend on the parameters")
	}
}

// rebuild: recomputing activations gives the same bits, in no more memory.
func (s *suite) rebuild(t *testing.T) {
	size := s.size()
	kept := s.build(t, cpu.New(2), size)
	size.Rebuild = true
	rebuilt := s.build(t, cpu.New(2), size)
	for _, r := range []*Rig{kept, rebuilt} {
		r.Noise()
		r.Pass(Batch())
	}
	SameGrads(t, rebuilt, kept, 0)
	if a, b := rebuilt.Ledger.Used(tensor.OnDevice), kept.Ledger.Used(tensor.OnDevice); a >= b {
		t.Errorf("rebuilding takes %d bytes of device memory, keeping %d", a, b)
	}
}

// frozen: steps change what is trained and no bit of the rest.
func (s *suite) frozen(t *testing.T) {
	r := s.onCPU(t)
	r.Noise()
	trained := map[string]bool{}
	for _, b := range r.Set.Weights() {
		trained[b.Name] = true
	}
	bits := func(w *model.Weight) []byte {
		x := make([]byte, w.W.Bytes())
		r.Dev.Await(r.Dev.Download(x, w.W))
		return x
	}
	before := map[string][]byte{}
	for _, w := range r.Model.Weights() {
		before[w.Name] = bits(w)
	}
	start := saved(r.Set.Weights())
	for step := range 3 {
		r.Step(t, step, Batch())
	}
	for _, w := range r.Model.Weights() {
		if !trained[w.Name] && !bytes.Equal(before[w.Name], bits(w)) {
			t.Errorf("frozen weight %s moved", w.Name)
		}
	}
	moved := 0
	for i, b := range r.Set.Weights() {
		x := make([]byte, b.Bytes())
		if b.Read(x); !bytes.Equal(x, start[i]) {
			moved++
		}
	}
	if moved == 0 {
		t.Error("nothing that is trained moved")
	}
}

// bytes: what was planned is what was taken, counted by the device; a model
// without gradients has no memory for them.
func (s *suite) bytes(t *testing.T) {
	infer := model.Size{Rows: 16, Context: 16, Frozen: s.base, CacheRows: 16}
	rebuild := s.size()
	rebuild.Rebuild = true
	for _, size := range []model.Size{s.size(), rebuild, infer} {
		r := s.build(t, cpu.New(1), size)
		if diff := r.Ledger.Diff(r.Plan); diff != "" {
			t.Errorf("taken against planned: %s", diff)
		}
		for p := tensor.Pool(0); p < tensor.Pools; p++ {
			if got, want := r.Dev.Allocated(p), r.Plan.Used(p); got != want {
				t.Errorf("%v: the device gave %d bytes, planned were %d", p, got, want)
			}
		}
		if size.Grad {
			continue
		}
		if n := len(r.Set.Moments()); n > 0 {
			t.Errorf("%d moments in a model without gradients", n)
		}
		for _, e := range r.Ledger.Entries() {
			if strings.HasSuffix(e.Name, ".grad") || strings.HasPrefix(e.Name, "branch.d") || strings.HasPrefix(e.Name, "meft.d") {
				t.Errorf("%s is allocated in a model without gradients", e.Name)
			}
		}
	}
}

// allocations: a step allocates nothing on the Go heap, nor memory of the device.
func (s *suite) allocations(t *testing.T) {
	r := s.onCPU(t)
	r.Noise()
	used := r.Dev.Allocated(tensor.OnDevice)
	b, step := Batch(), 0
	if n := testing.AllocsPerRun(5, func() {
		r.Step(t, step, b)
		step++
	}); n != 0 {
		t.Errorf("%v allocations a step", n)
	}
	if now := r.Dev.Allocated(tensor.OnDevice); now != used {
		t.Errorf("device memory grew from %d to %d bytes", used, now)
	}
}

// saved reads blobs as a file would.
func saved(blobs []param.Blob) [][]byte {
	var out [][]byte
	for _, b := range blobs {
		x := make([]byte, b.Bytes())
		b.Read(x)
		out = append(out, x)
	}
	return out
}

func restore(blobs []param.Blob, from [][]byte) {
	for i, b := range blobs {
		b.Write(from[i])
	}
}

// logits are those of the last token of a prompt, with cached keys and values.
func (r *Rig) logits() []float32 {
	ids := []int32{4, 9, 1, 15}
	base := make([]int32, len(ids))
	out := make([]float32, Config().Vocab)
	r.Model.Infer(model.Step{IDs: ids, Pos: []int32{0, 1, 2, 3}, Base: base, Want: []int32{3}}, func(_ int, logits []float32) { copy(out, logits) })
	return out
}

// saveAndLoad: a model for inference with the saved parameters gives the bits of
// the trained one. For full the parameters are the model.
func (s *suite) saveAndLoad(t *testing.T) {
	trained := s.onCPU(t)
	trained.Noise()
	for step := range 3 {
		trained.Step(t, step, Batch())
	}
	loaded := s.build(t, cpu.New(2), model.Size{Rows: 16, Context: 16, Frozen: s.base, LossRows: 4, CacheRows: 16})
	if slices.Equal(loaded.logits(), trained.logits()) {
		t.Fatal("training changed nothing: nothing was tested")
	}
	restore(loaded.Set.Weights(), saved(method.Adapter(trained.Method, trained.Set).Weights()))
	if got, want := loaded.logits(), trained.logits(); !slices.Equal(got, want) {
		t.Errorf("logits after loading are %v, wants %v", got, want)
	}
	if got, want := loaded.losses(Batch()), trained.losses(Batch()); !slices.Equal(got, want) {
		t.Errorf("losses after loading are %v, wants %v", got, want)
	}
}

// resume: a run restored from its parameters and moments ends with the bits of
// the run that went through. That run saved as well: with Replay and trained
// keys, saving brings keys up to date that picks would otherwise have seen lag.
func (s *suite) resume(t *testing.T) {
	blobs := func(r *Rig) []param.Blob { return append(r.Set.Weights(), r.Set.Moments()...) }
	straight, first, second := s.onCPU(t), s.onCPU(t), s.onCPU(t)
	for step := range 6 {
		straight.Step(t, step, rotated(step))
		if step < 3 {
			first.Step(t, step, rotated(step))
		}
		if f, ok := s.settings.(*method.MEFT); ok && f.Idle == param.Replay && !f.FrozenKeys && step == 2 {
			saved(blobs(straight))
		}
	}
	restore(blobs(second), saved(blobs(first)))
	for step := 3; step < 6; step++ {
		second.Step(t, step, rotated(step))
	}
	sameState(t, second, straight, "resumed")
}

// rotated is another batch for every step.
func rotated(step int) model.Batch {
	b := Batch()
	for i := range b.IDs {
		b.IDs[i] = (b.IDs[i] + int32(step)*3) % int32(Config().Vocab)
	}
	return b
}

func sameState(t *testing.T, got, want *Rig, what string) {
	t.Helper()
	all := append(want.Set.Weights(), want.Set.Moments()...)
	a, b := saved(append(got.Set.Weights(), got.Set.Moments()...)), saved(all)
	for i := range b {
		if !bytes.Equal(a[i], b[i]) {
			t.Errorf("%s: %s differs", what, all[i].Name)
		}
	}
}

// threads: their number shows in no bit.
func (s *suite) threads(t *testing.T) {
	one, three := s.build(t, cpu.New(1), s.size()), s.build(t, cpu.New(3), s.size())
	for _, r := range []*Rig{one, three} {
		r.Noise()
		for step := range 3 {
			r.Step(t, step, rotated(step))
		}
	}
	sameState(t, three, one, "three threads against one")
}

// overfit: the method learns one batch. A fifth is within reach of the weakest,
// MEFT with random frozen keys, if those are not as small as they come.
func (s *suite) overfit(t *testing.T) {
	r := s.onCPU(t)
	if f, ok := s.settings.(*method.MEFT); ok && f.FrozenKeys {
		r.Noise()
	}
	first, last := 0.0, 0.0
	for step := range 300 {
		last = r.Step(t, step, Batch())
		if step == 0 {
			first = last
		}
	}
	if !(last < first/5) {
		t.Errorf("loss went from %v to %v, wants a fifth", first, last)
	}
}
