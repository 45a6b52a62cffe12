package param

import (
	"testing"

	"meft/tensor"
)

// TestGatesAreTrainedAsKeysAre: with the numbers and gradients of the keys, and
// where no random bits are drawn, gates stay equal to them bit for bit; rows are
// gathered with them, files name them, frozen keys freeze them too.
func TestGatesAreTrainedAsKeysAre(t *testing.T) {
	r := newRand(t)
	const rows, dim = 40, 21
	for _, o := range []TableOptions{{}, {Idle: Moving}, {Idle: Replay, Master: SplitMaster}, {Moments: ByteMoments, Grads: 30}, {FrozenKeys: true}} {
		o.Gated = true
		tab := newTable(t, rows, dim, o)
		for id := range rows {
			x := randoms(r, dim)
			tab.SetRow(Key, id, x)
			tab.SetRow(Gate, id, x)
		}
		for step := range 6 {
			ids := some(r, rows, 0.5)
			ids = ids[:min(len(ids), 30)]
			tab.ZeroGrad()
			g := randoms(r, len(ids)*dim)
			tab.ScatterAdd(ids, [Parts][]float32{g, randoms(r, len(ids)*dim), g})
			tab.Step(step, testAdamW(), testRate, 1)
		}
		blobs := map[string][]float32{}
		for _, b := range (&Set{Tables: []*Table{tab}}).Weights() {
			x := make([]float32, rows*dim)
			if err := b.Read(tensor.Bytes(x)); err != nil {
				t.Fatal(err)
			}
			blobs[b.Name] = x
		}
		if len(blobs) != 3 {
			t.Fatalf("%d arrays, wants key, value and gate", len(blobs))
		}
		same(t, "gates", blobs["t.gate"], blobs["t.key"])
		var got [Parts]Rows
		for p := range got {
			got[p] = Rows{F32: make([]float32, 2*dim)}
			if o.Master == SplitMaster {
				got[p] = Rows{BF16: make([]uint16, 2*dim)}
			}
		}
		tab.Gather(got, []int32{3, 7})
		if string(got[Gate].Bytes()) != string(got[Key].Bytes()) || string(got[Gate].Bytes()) == string(got[Value].Bytes()) {
			t.Error("gathered gates are not those of the rows")
		}
		if n := (&Set{Tables: []*Table{tab}}).Parameters(); n != 3*rows*dim {
			t.Errorf("%d parameters, wants three vectors a row", n)
		}
		if d := tab.Gradient(3); o.FrozenKeys && d[Gate] != nil {
			t.Error("frozen gates have a gradient")
		}
	}
}

// TestHalfMomentsOfPartsRoundApart: the random bits of keys, values and gates
// differ, so that their errors do.
func TestHalfMomentsOfPartsRoundApart(t *testing.T) {
	r := newRand(t)
	const rows, dim = 4, 64
	tab := newTable(t, rows, dim, TableOptions{Gated: true, Moments: HalfMoments})
	g := randoms(r, rows*dim)
	for step := range 3 {
		tab.ZeroGrad()
		tab.ScatterAdd(all(rows), [Parts][]float32{g, g, g})
		tab.Step(step, testAdamW(), testRate, 1)
	}
	for _, pair := range [][2]Part{{Key, Value}, {Key, Gate}, {Value, Gate}} {
		a, b := tab.parts[pair[0]].m.high, tab.parts[pair[1]].m.high
		if string(tensor.Bytes(a)) == string(tensor.Bytes(b)) {
			t.Errorf("moments of parts %v are rounded alike", pair)
		}
	}
}
