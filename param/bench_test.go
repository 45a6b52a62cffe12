package param

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"meft/internal/simd"
	"meft/tensor"
)

// BenchmarkStep is the step of 8192 rows of width 768 of keys and values in
// every form, of a table with twice as many. The bytes are those that have to
// come from memory and go back: gradient, value and moments, the last three both
// ways. A copy of float32 beside it says what the memory gives.
func BenchmarkStep(b *testing.B) {
	const rows, dim = 8192, 768
	pool := simd.NewPool(2, simd.Best())
	defer pool.Close()
	for _, o := range []TableOptions{{}, {Master: SplitMaster}, {Moments: HalfMoments}, {Moments: ByteMoments}, {Master: SplitMaster, Moments: ByteMoments}} {
		b.Run(fmt.Sprintf("master %s moments %s", o.Master, o.Moments), func(b *testing.B) {
			o.Pool, o.Grads = pool, rows
			tab := NewTable(tensor.NewArena(&hostDevice{}, &tensor.Ledger{}, &tensor.Ledger{}), "t", 2*rows, dim, o)
			ids := make([]int32, rows)
			for i := range ids {
				ids[i] = int32(2 * i)
			}
			g := make([]float32, rows*dim)
			randomize(rand.New(rand.NewPCG(1, 1)), g)
			tab.ScatterAdd(ids, [Parts][]float32{g, g})
			step := 0
			for b.Loop() {
				tab.Step(step, testAdamW(), testRate, 1)
				step++
			}
			number := map[Moments]int64{"": 28, HalfMoments: 20, ByteMoments: 16}[o.Moments]
			b.SetBytes(2 * rows * dim * number)
		})
	}
	b.Run("copy", func(b *testing.B) {
		x, y := make([]float32, 4*rows*dim), make([]float32, 4*rows*dim)
		task := copyTask{x, y}
		for b.Loop() {
			pool.Run(64, task)
		}
		b.SetBytes(int64(8 * len(x)))
	})
}

type copyTask struct{ x, y []float32 }

func (c copyTask) Do(i, _ int) {
	n := len(c.x) / 64
	copy(c.x[i*n:(i+1)*n], c.y[i*n:(i+1)*n])
}
