package ref

import (
	"math"

	"meft/tensor"
)

// RMSNorm is tensor.Kernels.RMSNorm.
func (d *Device) RMSNorm(y, rstd, x, w tensor.Tensor, eps float32) {
	n, width := tensor.CheckRMSNorm(y, rstd, x, w)
	out, r, in, weight := f64(y), f64(rstd), f64(x), values(w)
	for t := range n {
		from, to := row(in, t, width), row(out, t, width)
		sum := 0.0
		for _, v := range from {
			sum += v * v
		}
		r[t] = 1 / math.Sqrt(sum/float64(width)+float64(eps))
		for j, v := range from {
			to[j] = v * weight[j] * r[t]
		}
	}
}

// RMSNormGrad is tensor.Kernels.RMSNormGrad. With g = dy·w:
// dx += rstd·(g - x·rstd²·mean(g·x)), dw += Σ dy·x·rstd.
func (d *Device) RMSNormGrad(dx, dw, dy, x, w, rstd tensor.Tensor) {
	n, width := tensor.CheckRMSNormGrad(dx, dw, dy, x, w, rstd)
	weight, r := values(w), f64(rstd)
	for t := range n {
		to, g, from := row(f64(dx), t, width), row(f64(dy), t, width), row(f64(x), t, width)
		mean := 0.0
		for j := range width {
			mean += g[j] * weight[j] * from[j] / float64(width)
		}
		for j := range width {
			to[j] += r[t] * (g[j]*weight[j] - from[j]*r[t]*r[t]*mean)
		}
		if !dw.None() {
			for j, sum := 0, f64(dw); j < width; j++ {
				sum[j] += g[j] * from[j] * r[t]
			}
		}
	}
}

// RoPE is tensor.Kernels.RoPE.
func (d *Device) RoPE(x, pos, table tensor.Tensor, inverse bool) {
	_, h, hd := tensor.CheckRoPE(x, pos, table)
	data, angles := f64(x), f64(table)
	half := hd / 2
	for t, p := range ints(pos) {
		turn := row(angles, p, hd)
		for i := range h {
			head := row(data, t*h+i, hd)
			for j := range half {
				cos, sin := turn[j], turn[half+j]
				if inverse {
					sin = -sin
				}
				a, b := head[j], head[half+j]
				head[j], head[half+j] = a*cos-b*sin, b*cos+a*sin
			}
		}
	}
}

// Softmax is tensor.Kernels.Softmax.
func (d *Device) Softmax(y, x tensor.Tensor) {
	tensor.CheckSame("softmax", x, y)
	for t, w := 0, x.Width(); t < x.Dims[0]; t++ {
		softmax(row(f64(y), t, w), row(f64(x), t, w))
	}
}

// SoftmaxGrad is tensor.Kernels.SoftmaxGrad.
func (d *Device) SoftmaxGrad(dx, dy, y tensor.Tensor) {
	tensor.CheckSame("softmax gradient", y, dx, dy)
	for t, w := 0, y.Width(); t < y.Dims[0]; t++ {
		to, g, p := row(f64(dx), t, w), row(f64(dy), t, w), row(f64(y), t, w)
		sum := dot(g, p)
		for j := range to {
			to[j] = p[j] * (g[j] - sum)
		}
	}
}

// CrossEntropy is tensor.Kernels.CrossEntropy.
func (d *Device) CrossEntropy(loss, logits, targets tensor.Tensor, scale float32) {
	n, v := tensor.CheckCrossEntropy(loss, logits, targets)
	out, want := f64(loss), ints(targets)
	p := make([]float64, v)
	for t := range n {
		x := row(f64(logits), t, v)
		lse := softmax(p, x)
		out[t] = 0
		if want[t] >= 0 {
			out[t] = lse - x[want[t]]
		}
		if scale == 0 {
			continue
		}
		for j := range x {
			x[j] = 0
			if want[t] >= 0 {
				x[j] = p[j] * float64(scale)
			}
		}
		if want[t] >= 0 {
			x[want[t]] -= float64(scale)
		}
	}
}

// softmax sets y to the softmax of x and returns the log of the sum of exp(x).
// The largest x is taken off first, so that exp does not overflow.
func softmax(y, x []float64) (lse float64) {
	top := math.Inf(-1)
	for _, v := range x {
		top = max(top, v)
	}
	sum := 0.0
	for j, v := range x {
		y[j] = math.Exp(v - top)
		sum += y[j]
	}
	for j := range y {
		y[j] /= sum
	}
	return top + math.Log(sum)
}

func dot(a, b []float64) (sum float64) {
	for i, v := range a {
		sum += v * b[i]
	}
	return sum
}
