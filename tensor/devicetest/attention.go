package devicetest

import (
	"fmt"
	"math"
	"testing"

	"meft/tensor"
)

// ranges are the key rows each query row sees.
type ranges struct {
	name       string
	start, end []int
	rows       int // of k and v
}

// packed lets every row see itself and the rows before it in its sequence, at
// most window of them.
func packed(name string, window int, lengths ...int) ranges {
	r := ranges{name: name}
	for _, n := range lengths {
		for i := range n {
			r.start = append(r.start, r.rows+max(0, i+1-window))
			r.end = append(r.end, r.rows+i+1)
		}
		r.rows += n
	}
	return r
}

func masks() []ranges {
	const far = 1 << 30
	out := []ranges{
		packed("one key", far, 1),
		packed("causal 5", far, 5),
		packed("causal 65", far, 65),
		packed("causal 150", far, 150),
		packed("packed", far, 3, 1, 17, 1, 1, 40, 9),
		packed("window 1", 1, 20),
		packed("window 4", 4, 33, 2, 20),
		packed("window 40", 40, 100, 60),
		{"cache", []int{0, 64, 128, 200}, []int{7, 65, 191, 201}, 256},
		{"cache, later rows unused", []int{10, 10, 10}, []int{11, 12, 13}, 300},
		{"few keys", []int{0, 1, 0, 1, 0, 1, 0}, []int{1, 2, 2, 2, 1, 2, 2}, 2},
	}
	both := packed("both directions", far, 13, 1, 70, 21)
	for i := range both.end {
		for j := i; j < len(both.end) && both.start[j] == both.start[i]; j++ {
			both.end[i] = j + 1
		}
	}
	rng := seeded("ranges")
	crossed := ranges{name: "crossed ranges", rows: 90}
	for range 50 {
		a := rng.IntN(90)
		crossed.start = append(crossed.start, a)
		crossed.end = append(crossed.end, a+1+rng.IntN(90-a))
	}
	return append(out, both, crossed)
}

// attention runs every mask with small heads and every head width with some
// masks.
func (s *suite) attention(t *testing.T) {
	for _, m := range masks() {
		for _, heads := range [][2]int{{1, 1}, {2, 2}, {4, 2}, {6, 1}} {
			s.oneAttention(t, m, heads[0], heads[1], 16, 1)
		}
	}
	for _, hd := range []int{1, 7, 8, 9, 15, 17, 24, 32, 48, 64, 65, 96, 128} {
		s.oneAttention(t, packed("packed", 1<<30, 2, 30, 9), 4, 2, hd, 1)
		s.oneAttention(t, packed("window", 12, 31), 3, 3, hd, 1)
	}
	s.oneAttention(t, packed("packed", 1<<30, 2, 40), 2, 1, 256, 1)
	s.oneAttention(t, packed("packed", 1<<30, 2, 3), 40, 1, tensor.MaxHead, 1)
	// Scores of ±500: exp must not overflow, most weights vanish.
	s.oneAttention(t, packed("packed", 1<<30, 40, 30), 2, 1, 32, 10)
}

func (s *suite) oneAttention(t *testing.T, r ranges, h, hkv, hd int, gain float64) {
	n := len(r.start)
	name := fmt.Sprintf("%s h=%d hkv=%d hd=%d gain=%v", r.name, h, hkv, hd, gain)
	build := func(c *call) (q, k, v, start, end *operand, scale float32) {
		large := make([]float64, n*h*hd)
		for i := range large {
			large[i] = gain * c.rng.NormFloat64()
		}
		scale = float32(gain / math.Sqrt(float64(hd)))
		return c.values(large, n, h, hd), c.in(r.rows, hkv, hd), c.in(r.rows, hkv, hd), c.ids(r.start, n), c.ids(r.end, n), scale
	}
	s.call(t, func(c *call) {
		q, k, v, start, end, scale := build(c)
		o, lse := c.out(n, h, hd), c.out(n, h)
		c.run(func(d tensor.Kernels, i int) {
			d.Attention(o.at[i], lse.at[i], q.at[i], k.at[i], v.at[i], tensor.Mask{Start: start.at[i], End: end.at[i], Scale: scale})
		})
		e := attentionErrors(c, r, q, k, v, nil, nil, lse, float64(scale))
		c.near("o", o, func(i int) float64 { return e.o[i] })
		c.near("lse", lse, func(i int) float64 { return e.lse[i] })
	}, "%s", name)
	s.call(t, func(c *call) {
		q, k, v, start, end, scale := build(c)
		// o and lse come from the reference, so both see the same numbers.
		o, lse, do := c.in(n, h, hd), c.in(n, h), c.in(n, h, hd)
		c.forward(o, lse, q, k, v, tensor.Mask{Start: start.at[onRef], End: end.at[onRef], Scale: scale})
		dq, dk, dv := c.out(n, h, hd), c.out(r.rows, hkv, hd), c.out(r.rows, hkv, hd)
		c.run(func(d tensor.Kernels, i int) {
			d.AttentionGrad(dq.at[i], dk.at[i], dv.at[i], do.at[i], o.at[i], lse.at[i], q.at[i], k.at[i], v.at[i],
				tensor.Mask{Start: start.at[i], End: end.at[i], Scale: scale})
		})
		e := attentionErrors(c, r, q, k, v, do, o, lse, float64(scale))
		c.near("dq", dq, func(i int) float64 { return e.dq[i] })
		c.near("dk", dk, func(i int) float64 { return e.dk[i] })
		c.near("dv", dv, func(i int) float64 { return e.dv[i] })
	}, "grad %s", name)
}

// forward fills o and lse everywhere with the reference's results in float32.
func (c *call) forward(o, lse, q, k, v *operand, m tensor.Mask) {
	c.ref.Attention(o.at[onRef], lse.at[onRef], q.at[onRef], k.at[onRef], v.at[onRef], m)
	for _, x := range []*operand{o, lse} {
		data := x.first[x.skip : len(x.first)-x.skip]
		c.ref.Download(data, x.at[onRef])
		for i := range places {
			c.upload(i, x.at[i], data)
		}
	}
}

// errors are the largest errors of every element of an attention call.
type errors struct{ o, lse, dq, dk, dv []float64 }

// attentionErrors follows the formulas with absolute values. A score is a
// scaled sum of hd products, so it errs by (hd+4)·unit·Σ|q·k|; taking off the
// largest score, or lse, rounds once more relative to the largest score. That
// is the relative error of the weight p, with four units of exp itself. Sums
// over keys or queries add one rounding a term. do nil: the forward pass only.
func attentionErrors(c *call, r ranges, q, k, v, do, o, lse *operand, scale float64) errors {
	h, hd := q.at[0].Dims[1], q.at[0].Dims[2]
	hkv := k.at[0].Dims[1]
	n, group := len(r.start), h/hkv
	e := errors{make([]float64, n*h*hd), make([]float64, n*h), make([]float64, n*h*hd), make([]float64, r.rows*hkv*hd), make([]float64, r.rows*hkv*hd)}
	qs, ks, vs, l := c.want(q), c.want(k), c.want(v), c.want(lse)
	var g, out []float64
	if do != nil {
		g, out = c.want(do), c.want(o)
	}
	at := func(x []float64, i int) []float64 { return x[i*hd : (i+1)*hd] }
	for i := range n * h {
		t, kv := i/h, i%h/group
		keys := float64(r.end[t] - r.start[t])
		largest := math.Abs(l[i])
		for j := r.start[t]; j < r.end[t]; j++ {
			_, abs := dots(at(qs, i), at(ks, j*hkv+kv))
			largest = max(largest, scale*abs)
		}
		rho := (2*float64(hd+6)*largest + 2*keys + 16) * unit
		e.lse[i] = rho
		for j := r.start[t]; j < r.end[t]; j++ {
			key, value := at(ks, j*hkv+kv), at(vs, j*hkv+kv)
			score, _ := dots(at(qs, i), key)
			p := math.Exp(scale*score - l[i])
			if do == nil {
				grow(at(e.o, i), p*rho, value)
				continue
			}
			_, dp := dots(at(g, i), value)
			_, delta := dots(at(g, i), at(out, i))
			sums := (float64(hd+10) + keys + float64(n*group)) * unit
			ds := scale * p * (dp + delta) * (rho + sums)
			grow(at(e.dq, i), ds, key)
			grow(at(e.dk, j*hkv+kv), ds, at(qs, i))
			grow(at(e.dv, j*hkv+kv), p*(rho+sums), at(g, i))
		}
	}
	return e
}

// dots is the inner product and that of the absolute values.
func dots(a, b []float64) (sum, abs float64) {
	for i, v := range a {
		sum += v * b[i]
		abs += math.Abs(v * b[i])
	}
	return sum, abs
}

func grow(y []float64, a float64, x []float64) {
	for i, v := range x {
		y[i] += a * math.Abs(v)
	}
}
