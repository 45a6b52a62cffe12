package param

import (
	"testing"

	"meft/tensor"
)

// TestFewGradientRowsGiveTheSameBits: where a gradient lies changes nothing, and
// the table takes its memory for as many rows as it was told.
func TestFewGradientRowsGiveTheSameBits(t *testing.T) {
	r := newRand(t)
	const rows, dim, few = 200, 9, 60
	whole, part := newTable(t, rows, dim, TableOptions{}), newTable(t, rows, dim, TableOptions{Grads: few})
	for _, tab := range []*Table{whole, part} {
		fill(tab.K, 1)
		fill(tab.V, -1)
	}
	for step := range 20 {
		whole.ZeroGrad()
		part.ZeroGrad()
		ids := some(r, rows, 0.25)
		ids = ids[:min(len(ids), few)]
		for range 2 {
			n := min(len(ids), 1+r.IntN(few))
			dk, dv := randoms(r, n*dim), randoms(r, n*dim)
			whole.ScatterAdd(ids[:n], [Parts][]float32{dk, dv})
			part.ScatterAdd(ids[:n], [Parts][]float32{dk, dv})
		}
		if a, b := whole.SumSquares(), part.SumSquares(); a != b || whole.Touched() != part.Touched() {
			t.Fatalf("step %d: %v of %d rows, wants %v of %d", step, b, part.Touched(), a, whole.Touched())
		}
		for _, id := range ids {
			a, b := whole.Gradient(id), part.Gradient(id)
			same(t, "gradient of keys", b[Key], a[Key])
			same(t, "gradient of values", b[Value], a[Value])
		}
		whole.Step(step, testAdamW(), testRate, 1)
		part.Step(step, testAdamW(), testRate, 1)
	}
	same(t, "keys", part.K, whole.K)
	same(t, "values", part.V, whole.V)

	bytes := func(o TableOptions) int64 {
		var l tensor.Ledger
		NewTable(tensor.NewPlan(&l), "t", 64*rows, 16, o)
		return l.Used(tensor.OnHost)
	}
	const saved = 64*rows - 64
	if got := bytes(TableOptions{}) - bytes(TableOptions{Grads: 64}); got != 2*saved*16*4-64*rows*4 {
		t.Errorf("room for 64 gradients of %d saves %d bytes", 64*rows, got)
	}
}

func TestMoreGradientsThanRoomPanics(t *testing.T) {
	tab := newTable(t, 50, 2, TableOptions{Grads: 3})
	g := make([]float32, 20)
	tab.ScatterAdd([]int32{4, 9, 30}, [Parts][]float32{g, g})
	tab.ScatterAdd([]int32{4, 9}, [Parts][]float32{g, g}) // those rows have their room already
	defer func() {
		if recover() == nil {
			t.Error("a fourth row went through")
		}
	}()
	tab.ScatterAdd([]int32{31}, [Parts][]float32{g, g})
}
