package devicetest

import (
	"math"
	"testing"

	"meft/tensor"
)

// matmul: a sum of k products and, with Accumulate, one more term.
func (s *suite) matmul(t *testing.T) {
	var sizes [][3]int
	for _, r := range ragged {
		sizes = append(sizes, [3]int{r, 13, 9}, [3]int{5, r, 11}, [3]int{6, 17, r}, [3]int{r, r, r})
	}
	sizes = append(sizes, [3]int{4, 5, 0}, [3]int{0, 5, 4}, [3]int{5, 0, 4},
		[3]int{1, 300, 192}, [3]int{3, 2, 1000}, [3]int{64, 192, 256}, [3]int{97, 203, 515})
	for _, z := range sizes {
		m, n, k := z[0], z[1], z[2]
		modes := 4
		if m*n*k > 1<<20 { // the reference is slow
			modes = 2
		}
		for op := range 3 {
			for mode := range modes {
				o := tensor.MatMulOpts{TransA: op == 2, TransB: op == 1, Accumulate: mode&1 == 1}
				if mode >= 2 {
					o.Alpha = -0.75
				}
				s.oneMatMul(t, m, n, k, o, mode == 1 || mode == 2)
			}
		}
	}
}

func (s *suite) oneMatMul(t *testing.T, m, n, k int, o tensor.MatMulOpts, bf16 bool) {
	s.call(t, func(c *call) {
		ad, bd := []int{m, k}, []int{k, n}
		if o.TransA {
			ad = []int{k, m}
		}
		if o.TransB {
			bd = []int{n, k}
		}
		a, b := c.in(ad...), c.weight(bf16, bd...)
		dst := c.out(m, n)
		if o.Accumulate {
			dst = c.in(m, n).inout()
		}
		c.run(func(d tensor.Kernels, i int) {
			o := o
			if i == onAbs {
				o.Alpha = float32(math.Abs(float64(o.Alpha)))
			}
			d.MatMul(dst.at[i], a.at[i], b.at[i], o)
		})
		c.nearProduct("dst", dst, k)
	}, "%dx%dx%d %+v bf16=%v", m, n, k, o, bf16)
}

// nearProduct compares sums of k products.
func (c *call) nearProduct(what string, dst *operand, k int) {
	c.t.Helper()
	bound := float64(k+3) * unit
	if c.half {
		bound += 0x1p-7 + 0x1p-16
	}
	terms := c.terms(dst)
	c.near(what, dst, func(i int) float64 { return bound * terms[i] })
}

func (s *suite) gather(t *testing.T) {
	for _, d := range append([]int{768}, ragged...) {
		for _, bf16 := range []bool{false, true} {
			s.call(t, func(c *call) {
				table, ids, dst := c.weight(bf16, 11, d), c.ids([]int{10, 0, 3, 3, 0}, 5), c.out(5, d)
				c.run(func(k tensor.Kernels, i int) { k.Gather(dst.at[i], table.at[i], ids.at[i]) })
				c.exact("dst", dst)
			}, "gather d=%d bf16=%v", d, bf16)
		}
		s.call(t, func(c *call) {
			dst, src, ids := c.in(11, d).inout(), c.in(4, d), c.ids([]int{9, 0, 10, 3}, 4)
			c.run(func(k tensor.Kernels, i int) { k.Scatter(dst.at[i], src.at[i], ids.at[i]) })
			c.exact("dst", dst)
		}, "scatter d=%d", d)
		s.call(t, func(c *call) {
			list := make([]int, 37)
			for i := range list {
				list[i] = c.rng.IntN(5) * c.rng.IntN(3) // many are 0
			}
			dst, src, ids := c.in(11, d).inout(), c.in(37, d), c.ids(list, 37)
			c.run(func(k tensor.Kernels, i int) { k.ScatterAdd(dst.at[i], src.at[i], ids.at[i]) })
			c.nearTerms("dst", dst, 38)
		}, "scatteradd d=%d", d)
	}
	s.call(t, func(c *call) {
		table, ids, dst := c.in(3, 8), c.ids(nil, 0), c.out(0, 8)
		c.run(func(k tensor.Kernels, i int) {
			k.Gather(dst.at[i], table.at[i], ids.at[i])
			k.Scatter(table.at[i], dst.at[i], ids.at[i])
			k.ScatterAdd(table.at[i], dst.at[i], ids.at[i])
		})
	}, "no ids")
}

func (s *suite) bias(t *testing.T) {
	for _, d := range append([]int{768}, ragged...) {
		for _, n := range []int{1, 2, 5, 67, 300} {
			for _, bf16 := range []bool{false, true} {
				s.call(t, func(c *call) {
					y, b := c.in(n, d).inout(), c.weight(bf16, d)
					c.run(func(k tensor.Kernels, i int) { k.AddBias(y.at[i], b.at[i]) })
					c.nearTerms("y", y, 1)
				}, "add n=%d d=%d bf16=%v", n, d, bf16)
			}
			s.call(t, func(c *call) {
				db, dy := c.in(d).inout(), c.in(n, d)
				c.run(func(k tensor.Kernels, i int) { k.BiasGrad(db.at[i], dy.at[i]) })
				c.nearTerms("db", db, n+1)
			}, "grad n=%d d=%d", n, d)
		}
	}
}
