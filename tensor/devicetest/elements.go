package devicetest

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"

	"meft/tensor"
)

// curve are numbers over the whole useful range of an activation function.
func (c *call) curve(n int) []float64 {
	v := make([]float64, n)
	special := []float64{0, math.Copysign(0, -1), 100, -100, -87.5, 88.5, 1e-30, -1e-30, 1000, -1000}
	for i := range v {
		v[i] = 8 * c.rng.NormFloat64()
		if i%3 == 1 {
			v[i] = special[i/3%len(special)]
		}
		v[i] = float64(float32(v[i]))
	}
	return v
}

// sigmoidUnits bounds the relative error of silu in roundings: the exponential
// within four, and the arithmetic around it.
const sigmoidUnits = 16

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// slopeSize is the size of the terms of silu's derivative s + x·s·(1-s), where
// 1-s is taken of rounded numbers.
func slopeSize(x float64) float64 { return (1 + math.Abs(x)) * sigmoid(x) }

func (s *suite) swiglu(t *testing.T) {
	for _, d := range append([]int{1000}, ragged...) {
		for alias := range 3 {
			s.call(t, func(c *call) {
				gate, up := c.values(c.curve(3*d), 3, d), c.in(3, d)
				var y *operand
				switch alias {
				case 0:
					y = c.out(3, d)
				case 1:
					y = gate.inout()
				case 2:
					y = up.inout()
				}
				c.run(func(k tensor.Kernels, i int) { k.SwiGLU(y.at[i], gate.at[i], up.at[i]) })
				want := c.want(y)
				c.near("y", y, func(i int) float64 { return sigmoidUnits * unit * math.Abs(want[i]) })
			}, "d=%d alias=%d", d, alias)
		}
		for _, same := range []bool{false, true} {
			s.call(t, func(c *call) {
				x := c.curve(3 * d)
				gate, up, dy, dup := c.values(x, 3, d), c.in(3, d), c.in(3, d), c.out(3, d)
				dgate := dy
				if same {
					dy.inout()
				} else {
					dgate = c.out(3, d)
				}
				g, u := c.ref.Read(dy.at[onRef]), c.want(up)
				c.run(func(k tensor.Kernels, i int) {
					k.SwiGLUGrad(dgate.at[i], dup.at[i], dy.at[i], gate.at[i], up.at[i])
				})
				want := c.want(dup)
				c.near("dup", dup, func(i int) float64 { return sigmoidUnits * unit * math.Abs(want[i]) })
				c.near("dgate", dgate, func(i int) float64 { return sigmoidUnits * unit * math.Abs(g[i]*u[i]) * slopeSize(x[i]) })
			}, "grad d=%d same=%v", d, same)
		}
	}
}

// actBound is how far f(x) may be off.
func actBound(f tensor.Func, x, y float64) float64 {
	switch f {
	case tensor.SiLU, tensor.Tanh:
		return sigmoidUnits * unit * math.Abs(y)
	case tensor.GELU: // the exponent is off by roundings of its own size
		return sigmoidUnits * unit * min(math.Abs(x), math.Abs(y)*(1+math.Abs(x*x*x)))
	}
	return 0
}

// actGradBound is how far dy·f'(x) may be off. 1-tanh² is taken of rounded
// numbers; the slope of GELU has a term of x·(1+x²) times a gate that falls
// as e^(-x²), which no x makes larger than 4.
func actGradBound(f tensor.Func, x, dy float64) float64 {
	size := map[tensor.Func]float64{tensor.SiLU: slopeSize(x), tensor.Tanh: 1, tensor.GELU: 4}[f]
	return sigmoidUnits * unit * math.Abs(dy) * size
}

func (s *suite) act(t *testing.T) {
	for _, d := range ragged {
		for f := range tensor.Func(tensor.Funcs) {
			for _, same := range []bool{false, true} {
				s.call(t, func(c *call) {
					before := c.curve(2 * d)
					x := c.values(before, 2, d)
					y := x
					if same {
						x.inout()
					} else {
						y = c.out(2, d)
					}
					c.run(func(k tensor.Kernels, i int) { k.Act(y.at[i], x.at[i], f) })
					want := c.want(y)
					c.near("y", y, func(i int) float64 { return actBound(f, before[i], want[i]) })
				}, "f=%d d=%d same=%v", f, d, same)
				s.call(t, func(c *call) {
					v := c.curve(2 * d)
					x, dy := c.values(v, 2, d), c.in(2, d)
					dx := dy
					if same {
						dy.inout()
					} else {
						dx = c.out(2, d)
					}
					g := c.ref.Read(dy.at[onRef])
					c.run(func(k tensor.Kernels, i int) { k.ActGrad(dx.at[i], dy.at[i], x.at[i], f) })
					c.near("dx", dx, func(i int) float64 { return actGradBound(f, v[i], g[i]) })
				}, "grad f=%d d=%d same=%v", f, d, same)
			}
		}
	}
}

func (s *suite) dropout(t *testing.T) {
	for _, d := range append([]int{5000}, ragged...) {
		for _, p := range []float32{0, 0.1, 0.75} {
			for _, same := range []bool{false, true} {
				s.call(t, func(c *call) {
					x := c.in(2, d)
					y := x
					if same {
						x.inout()
					} else {
						y = c.out(2, d)
					}
					c.run(func(k tensor.Kernels, i int) { k.Dropout(y.at[i], x.at[i], p, 77) })
					c.nearTerms("y", y, 3) // 1-p, its inverse, the product
				}, "d=%d p=%v same=%v", d, p, same)
			}
		}
	}
}

func (s *suite) elements(t *testing.T) {
	for _, d := range append([]int{5000}, ragged...) {
		for alias := range 4 {
			s.call(t, func(c *call) {
				a, b := c.in(d), c.in(d)
				dst := a
				switch alias {
				case 0:
					dst = c.out(d)
				case 2:
					dst = b
				case 3:
					b = a
				}
				dst.inout()
				c.run(func(k tensor.Kernels, i int) { k.Add(dst.at[i], a.at[i], b.at[i]) })
				c.nearTerms("dst", dst, 1)
			}, "add d=%d alias=%d", d, alias)
			s.call(t, func(c *call) {
				a, b := c.in(d), c.in(d)
				dst := [4]*operand{1: a, 2: b}[alias]
				if alias == 3 {
					dst, b = a, a
				}
				if dst == nil {
					dst = c.out(d)
				}
				dst.inout()
				c.run(func(k tensor.Kernels, i int) { k.Mul(dst.at[i], a.at[i], b.at[i]) })
				want := c.want(dst)
				c.near("dst", dst, func(i int) float64 { return unit * math.Abs(want[i]) })
			}, "mul d=%d alias=%d", d, alias)
		}
		s.call(t, func(c *call) {
			y, x := c.in(d).inout(), c.in(d)
			c.run(func(k tensor.Kernels, i int) { k.Axpy(y.at[i], 1.7, x.at[i]) })
			c.nearTerms("y", y, 2)
		}, "axpy d=%d", d)
		s.call(t, func(c *call) {
			y := c.out(d)
			c.run(func(k tensor.Kernels, i int) { k.Fill(y.at[i], -1.5) })
			c.exact("y", y)
		}, "fill d=%d", d)
	}
}

// convert compares bits: rounding to nearest even has one answer.
func (s *suite) convert(t *testing.T) {
	bits := []uint32{0, 1 << 31, 0x3f800000, 0x3f808000, 0x3f818000, 0x3f808001, 0x3f807fff, 0xbf818000,
		0x7f800000, 0xff800000, 0x7f7fffff, 0x7f7f7fff, 0x00000001, 0x00018000, 0x80008000, 0x7fc00000, 0x7fc00001, 0xffc0ffff}
	for _, d := range append([]int{3000}, ragged...) {
		v := make([]float32, d)
		rng := seeded("convert")
		for i := range v {
			v[i] = math.Float32frombits(rng.Uint32()&0xbfffffff | 1<<29) // no NaN among them
			if i < len(bits) {
				v[i] = math.Float32frombits(bits[(i+d)%len(bits)])
			}
		}
		half := make([]uint16, d)
		for i := range half {
			half[i] = uint16(math.Float32bits(v[i]) >> 16)
		}
		alike := func(name string, to, from tensor.DType, data []byte) {
			s.call(t, func(c *call) {
				src := c.add(from, data, []int{d})
				dst := c.add(to, make([]byte, int64(d)*to.Size()), []int{d}).inout()
				c.run(func(k tensor.Kernels, i int) { k.Convert(dst.at[i], src.at[i]) })
				want := make([]byte, int64(d)*to.Size())
				c.ref.Download(want, dst.at[onRef])
				sameBits(c, dst, want)
			}, "%s d=%d", name, d)
		}
		alike("f32 to bf16", tensor.BF16, tensor.F32, tensor.Bytes(v))
		alike("bf16 to f32", tensor.F32, tensor.BF16, tensor.Bytes(half))
		alike("f32", tensor.F32, tensor.F32, tensor.Bytes(v))
		alike("bf16", tensor.BF16, tensor.BF16, tensor.Bytes(half))
		alike("i32", tensor.I32, tensor.I32, tensor.Bytes(v))
	}
}

// sameBits wants equal bits, but any NaN for a NaN.
func sameBits(c *call, o *operand, want []byte) {
	c.t.Helper()
	got, size := o.got[o.skip:len(o.got)-o.skip], int(o.at[0].DType.Size())
	nan := func(b []byte) bool {
		switch o.at[0].DType {
		case tensor.F32:
			return binary.LittleEndian.Uint32(b)&0x7fffffff > 0x7f800000
		case tensor.BF16:
			return binary.LittleEndian.Uint16(b)&0x7fff > 0x7f80
		}
		return false
	}
	for i := 0; i < len(want); i += size {
		a, b := got[i:i+size], want[i:i+size]
		if !bytes.Equal(a, b) && !(nan(a) && nan(b)) {
			c.t.Errorf("%s: element %d is %x, wants %x", c.name, i/size, a, b)
			return
		}
	}
}

// maskZeros: zeros of both signs, and numbers that are nearly 0 and are none.
func (s *suite) maskZeros(t *testing.T) {
	for _, d := range append([]int{5000}, ragged...) {
		s.call(t, func(c *call) {
			v := make([]float64, d)
			for i := range v {
				v[i] = []float64{0, c.rng.NormFloat64(), math.Copysign(0, -1), tiny, -tiny}[c.rng.IntN(5)]
			}
			g, w := c.in(d).inout(), c.values(v, d)
			c.run(func(k tensor.Kernels, i int) { k.MaskZeros(g.at[i], w.at[i]) })
			c.exact("g", g)
		}, "d=%d", d)
	}
}

// sumSquares: all terms are positive.
func (s *suite) sumSquares(t *testing.T) {
	for _, d := range append([]int{0, 100_000, 16384, 16385}, ragged...) {
		s.call(t, func(c *call) {
			x, dst := c.in(d), c.out(1)
			c.run(func(k tensor.Kernels, i int) { k.SumSquares(dst.at[i], x.at[i]) })
			c.nearTerms("dst", dst, d+2)
		}, "d=%d", d)
	}
}

// adamw: the moments take three roundings of their terms; the step divides m by
// a root, both with a few roundings more.
func (s *suite) adamw(t *testing.T) {
	for _, d := range append([]int{5000}, ragged...) {
		for _, zero := range []bool{false, true} {
			s.call(t, func(c *call) {
				w, g, m := c.in(d).inout(), c.in(d), c.in(d).inout()
				second := make([]float64, d)
				for i := range second {
					second[i] = c.rng.ExpFloat64()
				}
				if zero { // the first step: no moments yet
					m = c.values(make([]float64, d), d).inout()
					second = make([]float64, d)
				}
				v := c.values(second, d).inout()
				o := tensor.AdamWOpts{Rate: 0.01, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Decay: 0.1, Correct1: 0.19, Correct2: 0.002, Scale: 0.7}
				first := c.ref.Read(w.at[onAbs])
				c.run(func(k tensor.Kernels, i int) { k.AdamW(w.at[i], g.at[i], m.at[i], v.at[i], o) })
				c.nearTerms("m", m, 4)
				c.nearTerms("v", v, 5)
				moment, root := c.terms(m), c.want(v)
				c.near("w", w, func(i int) float64 {
					step := float64(o.Rate) / float64(o.Correct1) * moment[i] / (math.Sqrt(root[i]/float64(o.Correct2)) + float64(o.Eps))
					return unit * (4*first[i] + 16*step)
				})
			}, "d=%d zero=%v", d, zero)
		}
	}
}
