package devicetest

import (
	"math"
	"testing"

	"meft/tensor"
)

// rmsnorm: the sum of d squares has a relative error of d roundings, of which
// the root takes half; eight more cover the rest of the formula.
func (s *suite) rmsnorm(t *testing.T) {
	for _, d := range append([]int{768}, ragged...) {
		for _, n := range []int{1, 3, 70} {
			for _, bf16 := range []bool{false, true} {
				s.call(t, func(c *call) {
					x, w, y, rstd := c.in(n, d), c.weight(bf16, d), c.out(n, d), c.out(n)
					c.run(func(k tensor.Kernels, i int) { k.RMSNorm(y.at[i], rstd.at[i], x.at[i], w.at[i], 1e-5) })
					c.nearTerms("y", y, d/2+8)
					c.nearTerms("rstd", rstd, d/2+8)
				}, "forward n=%d d=%d bf16=%v", n, d, bf16)
				s.call(t, func(c *call) { c.rmsnormGrad(n, d, bf16) }, "grad n=%d d=%d bf16=%v", n, d, bf16)
			}
		}
	}
	s.call(t, func(c *call) {
		x, w, y, rstd := c.values(make([]float64, 32), 2, 16), c.in(16), c.out(2, 16), c.out(2)
		c.run(func(k tensor.Kernels, i int) { k.RMSNorm(y.at[i], rstd.at[i], x.at[i], w.at[i], 1e-6) })
		c.exact("y", y)
		c.nearTerms("rstd", rstd, 8)
	}, "row of zeros")
}

func (c *call) rmsnormGrad(n, d int, bf16 bool) {
	x, w, dy, dx := c.in(n, d), c.weight(bf16, d), c.in(n, d), c.in(n, d).inout()
	r := make([]float64, n)
	for i := range r {
		r[i] = 0.5 + c.rng.Float64()
	}
	rstd, dw := c.values(r, n), none()
	if n != 3 {
		dw = c.in(d).inout()
	}
	first := c.ref.Read(dx.at[onRef])
	c.run(func(k tensor.Kernels, i int) {
		k.RMSNormGrad(dx.at[i], dw.at[i], dy.at[i], x.at[i], w.at[i], rstd.at[i])
	})
	// The reference on absolute values would take the two terms of dx from each
	// other, so their sizes are added here.
	ax, ag, aw := c.terms(x), c.terms(dy), c.terms(w)
	rs := c.want(rstd)
	c.near("dx", dx, func(i int) float64 {
		t, mean := i/d, 0.0
		for j := range d {
			mean += ax[t*d+j] * ag[t*d+j] * aw[j] / float64(d)
		}
		return float64(d+8) * unit * (math.Abs(first[i]) + rs[t]*(ag[i]*aw[i%d]+ax[i]*rs[t]*rs[t]*mean))
	})
	if !dw.at[0].None() {
		c.nearTerms("dw", dw, n+4)
	}
}

// rope: two products and a sum.
func (s *suite) rope(t *testing.T) {
	for _, hd := range []int{2, 4, 14, 16, 32, 34, 64, 128} {
		for _, inverse := range []bool{false, true} {
			s.call(t, func(c *call) {
				x, pos, angles := c.in(7, 3, hd).inout(), c.ids([]int{0, 1, 2, 0, 1, 30, 5}, 7), make([]float64, 31*hd)
				for p := range 31 {
					for j := range hd / 2 {
						a := float64(p) * math.Pow(10000, -2*float64(j)/float64(hd))
						angles[p*hd+j], angles[p*hd+hd/2+j] = math.Cos(a), math.Sin(a)
					}
				}
				table := c.values(angles, 31, hd)
				size := c.ref.Read(x.at[onRef])
				c.run(func(k tensor.Kernels, i int) { k.RoPE(x.at[i], pos.at[i], table.at[i], inverse) })
				c.near("x", x, func(i int) float64 {
					other := i + hd/2
					if i%hd >= hd/2 {
						other = i - hd/2
					}
					return 3 * unit * (math.Abs(size[i]) + math.Abs(size[other]))
				})
			}, "hd=%d inverse=%v", hd, inverse)
		}
	}
}

// span is the distance between the largest and smallest number of row t.
func span(x []float64, t, w int) float64 {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, v := range x[t*w : (t+1)*w] {
		lo, hi = min(lo, v), max(hi, v)
	}
	return hi - lo
}

// softmax: an error of span·unit in the argument of exp is one of as much,
// relatively, in its value; the exponential itself errs by up to four units; the
// sum of d such terms adds d roundings.
func (s *suite) softmax(t *testing.T) {
	for _, d := range append([]int{1000}, ragged...) {
		for _, gain := range []float64{1, 40} {
			for _, same := range []bool{false, true} {
				s.call(t, func(c *call) {
					v := make([]float64, 5*d)
					for i := range v {
						v[i] = float64(float32(gain * c.rng.NormFloat64()))
					}
					x := c.values(v, 5, d)
					y := x
					if same {
						x.inout()
					} else {
						y = c.out(5, d)
					}
					c.run(func(k tensor.Kernels, i int) { k.Softmax(y.at[i], x.at[i]) })
					want := c.want(y)
					c.near("y", y, func(i int) float64 { return (2*span(v, i/d, d) + float64(d) + 16) * unit * want[i] })
				}, "d=%d gain=%v same=%v", d, gain, same)
			}
		}
		for _, same := range []bool{false, true} {
			s.call(t, func(c *call) {
				y, dy := c.in(5, d), c.in(5, d)
				dx := dy
				if same {
					dy.inout()
				} else {
					dx = c.out(5, d)
				}
				ay, ag := c.ref.Read(y.at[onAbs]), c.ref.Read(dy.at[onAbs])
				c.run(func(k tensor.Kernels, i int) { k.SoftmaxGrad(dx.at[i], dy.at[i], y.at[i]) })
				c.near("dx", dx, func(i int) float64 {
					sum := 0.0
					for j := i / d * d; j < (i/d+1)*d; j++ {
						sum += ay[j] * ag[j]
					}
					return float64(d+4) * unit * ay[i] * (ag[i] + sum)
				})
			}, "grad d=%d same=%v", d, same)
		}
	}
}

// crossEntropy: as softmax; the loss takes one logit from the log of the sum.
func (s *suite) crossEntropy(t *testing.T) {
	for _, v := range append([]int{300, 4099}, ragged...) {
		for _, scale := range []float32{0, 1, 0.03125} {
			s.call(t, func(c *call) {
				const n = 7
				first := make([]float64, n*v)
				for i := range first {
					first[i] = float64(float32(8 * c.rng.NormFloat64()))
				}
				targets := make([]int, n)
				for i := range targets {
					targets[i] = c.rng.IntN(v)
				}
				targets[1], targets[n-1] = -1, -1
				logits, want, loss := c.values(first, n, v).inout(), c.ids(targets, n), c.out(n)
				c.run(func(k tensor.Kernels, i int) { k.CrossEntropy(loss.at[i], logits.at[i], want.at[i], scale) })
				size := func(t int) float64 { return 2*span(first, t, v) + float64(v) + 16 }
				c.near("loss", loss, func(t int) float64 {
					if targets[t] < 0 {
						return 0
					}
					top := 0.0
					for _, x := range first[t*v : (t+1)*v] {
						top = max(top, math.Abs(x))
					}
					return unit * (size(t) + 2*top)
				})
				if scale == 0 {
					c.exact("logits", logits)
					return
				}
				grad := c.want(logits)
				c.near("gradient", logits, func(i int) float64 {
					if targets[i/v] < 0 {
						return -tiny
					}
					p := math.Abs(grad[i])
					if i%v == targets[i/v] {
						p = float64(scale) - p // the gradient is scale·(p-1)
						return unit * (size(i/v)*max(p, 0) + 4*float64(scale))
					}
					return unit * size(i/v) * p
				})
			}, "v=%d scale=%v", v, scale)
		}
	}
}
