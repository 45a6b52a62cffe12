package param

import (
	"math"
	"testing"
	"unsafe"

	"meft/tensor"
)

// hostDevice is as much of a device as the optimizer needs. Any other kernel is
// a nil call.
type hostDevice struct {
	tensor.Kernels
	used [tensor.Pools]int64
}

type hostBuffer struct {
	words []uint64
	bytes int64
	pool  tensor.Pool
}

func (b *hostBuffer) Bytes() int64 { return b.bytes }
func (b *hostBuffer) Host() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&b.words[0])), b.bytes)
}

func (d *hostDevice) Name() string { return "test" }
func (d *hostDevice) Alloc(bytes int64, p tensor.Pool) (tensor.Buffer, error) {
	d.used[p] += bytes
	return &hostBuffer{make([]uint64, (bytes+7)/8), bytes, p}, nil
}
func (d *hostDevice) Free(b tensor.Buffer)              { d.used[b.(*hostBuffer).pool] -= b.Bytes() }
func (d *hostDevice) Allocated(p tensor.Pool) int64     { return d.used[p] }
func (d *hostDevice) After(tensor.Ticket)               {}
func (d *hostDevice) Await(tensor.Ticket)               {}
func (d *hostDevice) Sync() error                       { return nil }
func (d *hostDevice) Close() error                      { return nil }
func (d *hostDevice) Fill(dst tensor.Tensor, v float32) { fill(dst.Float32(), v) }

func (d *hostDevice) Upload(dst tensor.Tensor, src []byte) tensor.Ticket {
	copy(tensor.Bytes(dst.Float32()), src)
	return 0
}

func (d *hostDevice) Download(dst []byte, src tensor.Tensor) tensor.Ticket {
	copy(dst, tensor.Bytes(src.Float32()))
	return 0
}

func (d *hostDevice) SumSquares(dst, x tensor.Tensor) {
	sum := 0.0
	for _, v := range x.Float32() {
		sum += float64(v) * float64(v)
	}
	dst.Float32()[0] = float32(sum)
}

func (d *hostDevice) AdamW(w, g, m, v tensor.Tensor, o tensor.AdamWOpts) {
	adamw64(w.Float32(), g.Float32(), m.Float32(), v.Float32(), o)
}

// adamw64 is the step as PyTorch writes it, in float64, with results rounded.
func adamw64[E float32 | float64](w, g, m, v []E, o tensor.AdamWOpts) {
	b1, b2 := float64(o.Beta1), float64(o.Beta2)
	for i := range w {
		gi := float64(g[i]) * float64(o.Scale)
		x := float64(w[i]) * (1 - float64(o.Rate)*float64(o.Decay))
		mi := b1*float64(m[i]) + (1-b1)*gi
		vi := b2*float64(v[i]) + (1-b2)*gi*gi
		den := math.Sqrt(vi)/math.Sqrt(float64(o.Correct2)) + float64(o.Eps)
		w[i], m[i], v[i] = E(x-float64(o.Rate)/float64(o.Correct1)*mi/den), E(mi), E(vi)
	}
}

func fill(x []float32, v float32) {
	for i := range x {
		x[i] = v
	}
}

// arenas runs build while planning and then for real, and checks that both take
// the same bytes.
func arenas[T any](t *testing.T, build func(a *tensor.Arena) T) T {
	t.Helper()
	var plan, real tensor.Ledger
	build(tensor.NewPlan(&plan))
	dev := &hostDevice{}
	a := tensor.NewArena(dev, &real, &plan)
	made := build(a)
	if err := a.Err(); err != nil {
		t.Fatal(err)
	}
	if diff := real.Diff(&plan); diff != "" {
		t.Fatalf("made against planned: %s", diff)
	}
	for p := tensor.Pool(0); p < tensor.Pools; p++ {
		if dev.Allocated(p) != plan.Used(p) {
			t.Fatalf("%v: %d bytes allocated, %d planned", p, dev.Allocated(p), plan.Used(p))
		}
	}
	return made
}
