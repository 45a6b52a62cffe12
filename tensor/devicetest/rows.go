package devicetest

import (
	"math"
	"testing"

	"meft/tensor"
)

// choose makes ids [n,k] into u rows: distinct in a row, about a sixth are -1.
func (c *call) choose(n, k, u int) []int {
	ids := make([]int, n*k)
	for t := range n {
		order := c.rng.Perm(max(u, k))
		for j := range k {
			if ids[t*k+j] = order[j]; order[j] >= u || c.rng.IntN(6) == 0 {
				ids[t*k+j] = -1
			}
		}
	}
	return ids
}

func (s *suite) rows(t *testing.T) {
	type shape struct{ n, k, u, d int }
	sizes := []shape{{1, 1, 1, 1}, {20, 64, 500, 192}, {300, 8, 40, 64}, {2, 100, 100, 768}, {0, 4, 9, 8}, {4, 0, 9, 8}}
	for _, r := range ragged {
		sizes = append(sizes, shape{5, 6, 11, r}, shape{r, 3, 7, 10}, shape{3, r, 70, 12})
	}
	for _, z := range sizes {
		n, k, u, d := z.n, z.k, z.u, z.d
		s.call(t, func(c *call) {
			x, rows, ids, dst := c.in(n, d), c.in(u, d), c.ids(c.choose(n, k, u), n, k), c.out(n, k)
			c.run(func(f tensor.Kernels, i int) { f.RowDots(dst.at[i], x.at[i], rows.at[i], ids.at[i]) })
			c.nearTerms("s", dst, d+2)
		}, "dots n=%d k=%d u=%d d=%d", n, k, u, d)
		s.call(t, func(c *call) {
			y, z, rows, ids := c.in(n, d).inout(), c.in(n, k), c.in(u, d), c.ids(c.choose(n, k, u), n, k)
			c.run(func(f tensor.Kernels, i int) { f.RowAdd(y.at[i], z.at[i], rows.at[i], ids.at[i]) })
			c.nearTerms("y", y, k+2)
		}, "add n=%d k=%d u=%d d=%d", n, k, u, d)
		s.call(t, func(c *call) {
			drows, z, x, ids := c.in(u, d).inout(), c.in(n, k), c.in(n, d), c.ids(c.choose(n, k, u), n, k)
			c.run(func(f tensor.Kernels, i int) { f.RowOuter(drows.at[i], z.at[i], x.at[i], ids.at[i]) })
			c.nearTerms("drows", drows, n+2)
		}, "outer n=%d k=%d u=%d d=%d", n, k, u, d)
	}
}

// gatedReLU rounds one product; where u is 0 the slope is 0 for every c.
func (s *suite) gatedReLU(t *testing.T) {
	for _, k := range append([]int{1000}, ragged...) {
		for mode := range 4 {
			s.call(t, func(c *call) {
				u, gate := c.gated(k, mode&1 == 1)
				z := u
				if mode >= 2 {
					u.inout()
				} else {
					z = c.out(3, k)
				}
				c.run(func(f tensor.Kernels, i int) { f.GatedReLU(z.at[i], u.at[i], gate.at[i]) })
				want := c.want(z)
				c.near("z", z, func(i int) float64 { return unit * math.Abs(want[i]) })
			}, "k=%d mode=%d", k, mode)
			s.call(t, func(c *call) {
				u, gate := c.gated(k, mode&1 == 1)
				dz, dc := c.in(3, k), none()
				if k%2 == 1 && mode&1 == 1 {
					dc = c.out(3, k)
				}
				du := dz
				if mode >= 2 {
					dz.inout()
				} else {
					du = c.out(3, k)
				}
				c.run(func(f tensor.Kernels, i int) {
					f.GatedReLUGrad(du.at[i], dc.at[i], dz.at[i], u.at[i], gate.at[i])
				})
				want := c.want(du)
				c.near("du", du, func(i int) float64 { return unit * math.Abs(want[i]) })
				if !dc.at[0].None() {
					want := c.want(dc)
					c.near("dc", dc, func(i int) float64 { return unit * math.Abs(want[i]) })
				}
			}, "grad k=%d mode=%d", k, mode)
		}
	}
}

// gated are operands of GatedReLU with zeros among them.
func (c *call) gated(k int, gate bool) (u, g *operand) {
	v := make([]float64, 3*k)
	for i := range v {
		if i%5 != 0 {
			v[i] = c.rng.NormFloat64()
		}
	}
	u, g = c.values(v, 3, k), none()
	if gate {
		g = c.in(3, k)
	}
	return u, g
}

func (s *suite) pick(t *testing.T) {
	for _, k := range ragged {
		m := k + 3
		s.call(t, func(c *call) {
			p, ids, dst := c.in(4, m), c.ids(c.choose(4, k, m), 4, k), c.out(4, k)
			c.run(func(f tensor.Kernels, i int) { f.Pick(dst.at[i], p.at[i], ids.at[i]) })
			c.exact("c", dst)
		}, "k=%d", k)
		s.call(t, func(c *call) {
			// Ids repeat here: a token's neurons may share an expert.
			list := make([]int, 4*k)
			for i := range list {
				list[i] = c.rng.IntN(4) - 1
			}
			dp, dc, ids := c.in(4, m).inout(), c.in(4, k), c.ids(list, 4, k)
			c.run(func(f tensor.Kernels, i int) { f.PickGrad(dp.at[i], dc.at[i], ids.at[i]) })
			c.nearTerms("dp", dp, k+1)
		}, "grad k=%d", k)
	}
}
