package devicetest

import (
	"math"
	"testing"

	"meft/tensor"
)

func (s *suite) columns(t *testing.T) {
	for _, d := range append([]int{768}, ragged...) {
		for _, n := range []int{0, 1, 2, 5, 67, 300} {
			for _, inPlace := range []bool{false, true} {
				s.call(t, func(c *call) {
					x, by := c.in(n, d), c.in(d)
					y := x
					if inPlace {
						x.inout()
					} else {
						y = c.out(n, d)
					}
					c.run(func(k tensor.Kernels, i int) { k.ScaleColumns(y.at[i], x.at[i], by.at[i]) })
					c.nearTerms("y", y, 1)
				}, "scale n=%d d=%d in place=%v", n, d, inPlace)
			}
			s.call(t, func(c *call) {
				sum, a, b := c.in(d).inout(), c.in(n, d), c.in(n, d)
				c.run(func(k tensor.Kernels, i int) { k.ColumnDots(sum.at[i], a.at[i], b.at[i]) })
				c.nearTerms("s", sum, n+2)
			}, "dots n=%d d=%d", n, d)
			s.call(t, func(c *call) {
				x, y := c.in(n, d), c.out(d, n)
				c.run(func(k tensor.Kernels, i int) { k.Transpose(y.at[i], x.at[i]) })
				c.exact("y", y)
			}, "transpose n=%d d=%d", n, d)
		}
		s.call(t, func(c *call) {
			squares := make([]float64, d)
			for i := range squares {
				squares[i] = 0.1 + 10*c.rng.Float64()
			}
			y, a, b := c.out(d), c.in(d), c.values(squares, d)
			c.run(func(k tensor.Kernels, i int) { k.DivSqrt(y.at[i], a.at[i], b.at[i]) })
			c.nearTerms("y", y, 3)
		}, "divsqrt d=%d", d)
	}
	// A root over itself is 1 to the bit, which DoRA begins with.
	s.call(t, func(c *call) {
		squares := []float64{2, 3, 4, 0.125, 7.25, 1e-6, 1e6}
		roots := make([]float64, len(squares))
		y, b := c.out(len(squares)), c.values(squares, len(squares))
		for i, v := range c.ref.Read(b.at[onRef]) {
			roots[i] = float64(float32(math.Sqrt(v)))
		}
		a := c.values(roots, len(squares))
		c.run(func(k tensor.Kernels, i int) { k.DivSqrt(y.at[i], a.at[i], b.at[i]) })
		ones := make([]float32, len(squares))
		for i := range ones {
			ones[i] = 1
		}
		sameBits(c, y, tensor.Bytes(ones))
	}, "divsqrt of roots")
}
