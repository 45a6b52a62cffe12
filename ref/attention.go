package ref

import (
	"math"

	"meft/tensor"
)

// Attention is tensor.Kernels.Attention.
func (d *Device) Attention(o, lse, q, k, v tensor.Tensor, m tensor.Mask) {
	s := tensor.CheckAttention(o, lse, q, k, v, m)
	o = o.View(s.N, s.H, s.HD)
	start, end := ints(m.Start), ints(m.End)
	for t := range s.N {
		for i := range s.H {
			query, out := head(q, t, i), head(o, t, i)
			scores := make([]float64, end[t]-start[t])
			for j := range scores {
				scores[j] = float64(m.Scale) * dot(query, head(k, int(start[t])+j, i/(s.H/s.HKV)))
			}
			f64(lse)[t*s.H+i] = softmax(scores, scores)
			clear(out)
			for j, p := range scores {
				axpy(out, p, head(v, int(start[t])+j, i/(s.H/s.HKV)))
			}
		}
	}
}

// AttentionGrad is tensor.Kernels.AttentionGrad. With p = exp(score - lse):
// dv = Σ p·do, ds = p·(do·v - do·o), dq = scale·Σ ds·k, dk = scale·Σ ds·q.
func (d *Device) AttentionGrad(dq, dk, dv, do, o, lse, q, k, v tensor.Tensor, m tensor.Mask) {
	s := tensor.CheckAttentionGrad(dq, dk, dv, do, o, lse, q, k, v, m)
	for _, t := range []tensor.Tensor{dq, dk, dv} {
		clear(f64(t))
	}
	// head wants three dimensions, which the check does not ask of outputs.
	dq, do, o = dq.View(s.N, s.H, s.HD), do.View(s.N, s.H, s.HD), o.View(s.N, s.H, s.HD)
	dk, dv = dk.View(s.Rows, s.HKV, s.HD), dv.View(s.Rows, s.HKV, s.HD)
	start, end := ints(m.Start), ints(m.End)
	scale := float64(m.Scale)
	for t := range s.N {
		for i := range s.H {
			query, g := head(q, t, i), head(do, t, i)
			delta := dot(g, head(o, t, i))
			for j := int(start[t]); j < int(end[t]); j++ {
				kv := i / (s.H / s.HKV)
				key, value := head(k, j, kv), head(v, j, kv)
				p := math.Exp(scale*dot(query, key) - f64(lse)[t*s.H+i])
				ds := p * (dot(g, value) - delta)
				axpy(head(dv, j, kv), p, g)
				axpy(head(dq, t, i), scale*ds, key)
				axpy(head(dk, j, kv), scale*ds, query)
			}
		}
	}
}

// head is head i of row t of a tensor [rows, heads, hd].
func head(x tensor.Tensor, t, i int) []float64 { return row(f64(x), t*x.Dims[1]+i, x.Dims[2]) }

func axpy(y []float64, a float64, x []float64) {
	for i, v := range x {
		y[i] += a * v
	}
}
