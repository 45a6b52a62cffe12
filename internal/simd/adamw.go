package simd

import "math"

// AdamW holds the scalars of one step t, counted from 1. The assembly
// reads the fields in this order.
type AdamW struct {
	GradScale    float32 // factor of the gradients (clipping, loss scaling)
	Decay        float32 // 1 - lr·weight decay
	Beta1, Rest1 float32 // β1, 1-β1
	Beta2, Rest2 float32 // β2, 1-β2
	Step         float32 // lr / (1-β1^t)
	Eps          float32
	Unbias       float32 // 1 / √(1-β2^t)
}

// AdamW updates parameters w with moments m and v from gradients g, in place
// and in one pass; weight decay is decoupled:
//
//	for i := range w {
//		d := p.GradScale * g[i]
//		m[i] = p.Beta1*m[i] + p.Rest1*d
//		v[i] = p.Beta2*v[i] + p.Rest2*d*d
//		w[i] = p.Decay*w[i] - p.Step*m[i]/(p.Unbias*sqrt(v[i])+p.Eps)
//	}
//
// Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101, algorithm 2.
func (l Level) AdamW(w, g, m, v []float32, p *AdamW) {
	n := len(w)
	g, m, v = g[:n], m[:n], v[:n]
	if n > 0 {
		switch l {
		case AVX2:
			adamwAVX2(n, &w[0], &g[0], &m[0], &v[0], &p.GradScale)
			return
		case AVX512:
			adamwAVX512(n, &w[0], &g[0], &m[0], &v[0], &p.GradScale)
			return
		}
	}
	for i := range w {
		d := p.GradScale * g[i]
		m[i] = float32(p.Beta1*m[i]) + float32(p.Rest1*d)
		v[i] = float32(p.Beta2*v[i]) + float32(p.Rest2*float32(d*d))
		den := float32(p.Unbias*float32(math.Sqrt(float64(v[i])))) + p.Eps
		w[i] = float32(p.Decay*w[i]) - float32(p.Step*m[i])/den
	}
}
