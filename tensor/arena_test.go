package tensor

import (
	"errors"
	"strings"
	"testing"
)

// store is a device that gives memory, up to a limit, and does nothing else.
type store struct {
	Device
	used  [Pools]int64
	limit int64
	freed []int64
}

var errFull = errors.New("full")

func (s *store) Alloc(bytes int64, p Pool) (Buffer, error) {
	if s.limit > 0 && s.used[p]+bytes > s.limit {
		return nil, errFull
	}
	s.used[p] += bytes
	return make(memory, bytes), nil
}

func (s *store) Free(b Buffer) {
	s.freed = append(s.freed, b.Bytes())
	// The tests give every pool its own sizes; host memory is asked for in 128s.
	p := OnDevice
	if b.Bytes() == 128 {
		p = Pinned
	}
	s.used[p] -= b.Bytes()
}

// build allocates what a model and its method would.
func build(a *Arena) (x, first, second Tensor, host []float32) {
	sub := a.Sub("model").Sub("layer")
	x = sub.New("w", BF16, 3, 50)
	o := a.Overlay("acts")
	first = o.New("a", F32, 20)
	o.New("b", F32, 20)
	o = a.Sub("other").Overlay("acts")
	second = o.New("c", I32, 100)
	host = a.Float32("table", Pinned, 32)
	return x, first, second, host
}

func TestPlannedBytesEqualRealBytes(t *testing.T) {
	var plan, real Ledger
	p := NewPlan(&plan)
	x, _, _, host := build(p)
	if !p.Planning() || p.Device() != nil || x.Buf != nil || !x.Is(BF16, 3, 50) || host != nil {
		t.Errorf("a plan gave %v with memory %v and host memory %v", x, x.Buf, host)
	}
	d := &store{}
	a := NewArena(d, &real, &plan)
	_, first, second, host := build(a)
	if err := a.Err(); err != nil {
		t.Fatal(err)
	}
	// 300 bytes of weights are 320 aligned; the larger user of the overlay
	// takes 400, which is 448.
	if plan.Used(OnDevice) != 320+448 || plan.Used(Pinned) != 128 {
		t.Errorf("planned %d and %d bytes, wants 768 and 128", plan.Used(OnDevice), plan.Used(Pinned))
	}
	if diff := real.Diff(&plan); diff != "" {
		t.Errorf("real differs from plan: %s", diff)
	}
	if d.used[OnDevice] != real.Used(OnDevice) || d.used[Pinned] != real.Used(Pinned) {
		t.Errorf("the device gave %v, the ledger says %d and %d", d.used, real.Used(OnDevice), real.Used(Pinned))
	}
	if len(host) != 32 {
		t.Errorf("host memory has %d elements", len(host))
	}
	second.Int32()[0] = 0x3f800000
	if first.Float32()[0] != 1 {
		t.Error("users of one overlay do not share memory")
	}
	a.Close()
	if d.used != ([Pools]int64{}) || real.Used(OnDevice) != 0 || len(real.Entries()) != 0 {
		t.Errorf("after Close the device has %v, the ledger %d bytes", d.used, real.Used(OnDevice))
	}
	if real.Peak(OnDevice) != 768 {
		t.Errorf("peak is %d, wants 768", real.Peak(OnDevice))
	}
	if len(d.freed) != 3 || d.freed[0] != 128 || d.freed[2] != 320 {
		t.Errorf("freed %v, wants the reverse order of allocation", d.freed)
	}
}

func TestArenaKeepsTheFirstFailure(t *testing.T) {
	var l, plan Ledger
	a := NewArena(&store{limit: 200}, &l, &plan)
	a.New("small", F32, 8)
	a.Sub("big").New("w", F32, 1000)
	if x := a.New("after", F32, 8); x.Buf != nil {
		t.Error("memory was given after a failure")
	}
	err := a.Err()
	if !errors.Is(err, errFull) || !strings.Contains(err.Error(), "big.w") || !strings.Contains(err.Error(), "4032 bytes of device memory") {
		t.Errorf("error is %v", err)
	}
}

func TestOverlayBeyondThePlanPanics(t *testing.T) {
	var plan, l Ledger
	NewPlan(&plan).Overlay("acts").New("a", F32, 16)
	a := NewArena(&store{}, &l, &plan)
	o := a.Overlay("acts")
	o.New("a", F32, 16)
	mustPanic(t, func() { o.New("b", F32, 1) }, "acts", "128 bytes", "foresaw 64")
	mustPanic(t, func() { a.Float32("x", OnDevice, 1) }, "device memory")
}

func TestTensorsStartOnCacheLines(t *testing.T) {
	var plan, l Ledger
	make := func(a *Arena) []Tensor {
		o := a.Overlay("acts")
		return []Tensor{o.New("a", BF16, 1), o.New("b", F32, 0), o.New("c", F32, 17), o.New("d", I32, 1)}
	}
	make(NewPlan(&plan))
	for i, x := range make(NewArena(&store{}, &l, &plan)) {
		if start := x.Off * x.DType.Size(); start != []int64{0, 64, 128, 256}[i] {
			t.Errorf("tensor %d starts at byte %d", i, start)
		}
	}
}

func TestGroupsAddUpToUsed(t *testing.T) {
	var l Ledger
	build(NewPlan(&l))
	groups := l.Groups(func(e Entry) string { return strings.Split(e.Name, ".")[0] })
	sums := [Pools]int64{}
	for i, g := range groups {
		sums[g.Pool] += g.Bytes
		if i > 0 && groups[i-1].Pool == g.Pool && groups[i-1].Bytes < g.Bytes {
			t.Errorf("%v comes before the larger %v", groups[i-1], g)
		}
	}
	for p := Pool(0); p < Pools; p++ {
		if sums[p] != l.Used(p) {
			t.Errorf("groups of %v memory have %d bytes, used are %d", p, sums[p], l.Used(p))
		}
	}
	if len(groups) != 3 || groups[0].Name != "overlay acts" || groups[0].Count != 1 {
		t.Errorf("groups are %+v", groups)
	}
	var other Ledger
	if diff := l.Diff(&other); !strings.Contains(diff, "768 bytes against 0") {
		t.Errorf("difference reads %q", diff)
	}
}
