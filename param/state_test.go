package param

import (
	"errors"
	"slices"
	"testing"

	"meft/ref"
	"meft/tensor"
)

func TestViewIsTheTablesMemoryAsReadReturnsIt(t *testing.T) {
	for _, idle := range []Idle{Lazy, Moving, Replay} {
		viewed, read := newSmall(t, idle), newSmall(t, idle)
		viewed.train(t, 0, 33)
		read.train(t, 0, 33)
		other := append(read.set.Weights(), read.set.Moments()...)
		for i, b := range append(viewed.set.Weights(), viewed.set.Moments()...) {
			view := b.View()
			if b.table == nil {
				if view != nil {
					t.Errorf("%s: %s is on the device and has a view of %d bytes", idle, b.Name, len(view))
				}
				continue
			}
			want := make([]byte, b.Bytes())
			if err := other[i].Read(want); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(view, want) {
				t.Errorf("%s: the view of %s differs from what a twin reads", idle, b.Name)
			}
			if &view[0] != &b.host[0] {
				t.Errorf("%s: the view of %s is a copy", idle, b.Name)
			}
		}
	}
}

// lost is a device that breaks down.
type lost struct {
	tensor.Device
	fault error
}

func (d *lost) Sync() error { return d.fault }

func TestDeviceFaultsAreErrorsOfReadAndWrite(t *testing.T) {
	dev := &lost{Device: ref.New()}
	a := tensor.NewArena(dev, &tensor.Ledger{}, nil)
	set := Set{Dense: []*Dense{NewDense(a, "router", 2, 3)}}
	if err := a.Err(); err != nil {
		t.Fatal(err)
	}
	b := set.Weights()[0]
	x := make([]byte, b.Bytes())
	if err := errors.Join(b.Read(x), b.Write(x)); err != nil {
		t.Fatal(err)
	}
	dev.fault = errors.New("off the bus")
	if err := b.Read(x); !errors.Is(err, dev.fault) {
		t.Errorf("reading: %v", err)
	}
	if err := b.Write(x); !errors.Is(err, dev.fault) {
		t.Errorf("writing: %v", err)
	}
}

// A turned matrix is transposed on its way to a file and back, with its moments.
func TestTurnedMatricesAreTransposedInFiles(t *testing.T) {
	a := tensor.NewArena(ref.New(), &tensor.Ledger{}, nil)
	d := NewDense(a, "up", 2, 3)
	d.Turned = true
	set := Set{Dense: []*Dense{d}}
	NewOptimizer(a, nil, &set, testAdamW(), testRate)
	d.Fill([]float32{1, 2, 3, 4, 5, 6})
	for _, b := range append(set.Weights(), set.Moments()...) {
		if !slices.Equal(b.Dims, []int{3, 2}) {
			t.Errorf("%s is %v in files, wants [3 2]", b.Name, b.Dims)
		}
	}
	got := make([]float32, 6)
	b := set.Weights()[0]
	if err := b.Read(tensor.Bytes(got)); err != nil || !slices.Equal(got, []float32{1, 4, 2, 5, 3, 6}) {
		t.Errorf("read %v, %v", got, err)
	}
	if err := b.Write(tensor.Bytes([]float32{10, 40, 20, 50, 30, 60})); err != nil {
		t.Fatal(err)
	}
	d.Turned = false
	if err := set.Weights()[0].Read(tensor.Bytes(got)); err != nil || !slices.Equal(got, []float32{10, 20, 30, 40, 50, 60}) {
		t.Errorf("the matrix is %v, %v", got, err)
	}
}
