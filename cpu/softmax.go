package cpu

import (
	"math"

	"meft/tensor"
)

// Softmax is tensor.Kernels.Softmax.
func (d *Device) Softmax(y, x tensor.Tensor) {
	tensor.CheckSame("softmax", x, y)
	d.run(x.Dims[0], x.Width(), job{f: softmax, width: x.Width(), y: y.Float32(), x: x.Float32()})
}

func softmax(j *job, lo, hi, _ int) {
	l := j.d.level
	for i := lo; i < hi; i++ {
		x, y := j.row(j.x, i), j.row(j.y, i)
		l.Scale(float32(1/l.Exp(y, x, l.Max(x))), y)
	}
}

// SoftmaxGrad is tensor.Kernels.SoftmaxGrad.
func (d *Device) SoftmaxGrad(dx, dy, y tensor.Tensor) {
	tensor.CheckSame("softmax gradient", y, dx, dy)
	d.run(y.Dims[0], y.Width(), job{f: softmaxGrad, width: y.Width(), y: dx.Float32(), g: dy.Float32(), x: y.Float32()})
}

// softmaxGrad: x is the softmax.
func softmaxGrad(j *job, lo, hi, _ int) {
	l := j.d.level
	for i := lo; i < hi; i++ {
		p, dy, dx := j.row(j.x, i), j.row(j.g, i), j.row(j.y, i)
		sum := l.Dot(dy, p)
		l.Mul(dx, p, dy)
		l.Axpy(-sum, p, dx)
	}
}

// CrossEntropy is tensor.Kernels.CrossEntropy.
func (d *Device) CrossEntropy(loss, logits, targets tensor.Tensor, scale float32) {
	n, v := tensor.CheckCrossEntropy(loss, logits, targets)
	d.run(n, v, job{f: crossEntropy, width: v, y: logits.Float32(), y2: loss.Float32(), ids: targets.Int32(), alpha: scale})
}

// crossEntropy: y are the logits, y2 the losses.
func crossEntropy(j *job, lo, hi, worker int) {
	l := j.d.level
	for i := lo; i < hi; i++ {
		x, target := j.row(j.y, i), j.ids[i]
		if target < 0 {
			j.y2[i] = 0
			if j.alpha != 0 {
				clear(x)
			}
			continue
		}
		top, want, sum := l.Max(x), x[target], 0.0
		if j.alpha != 0 {
			sum = l.Exp(x, x, top)
			l.Scale(float32(float64(j.alpha)/sum), x)
			x[target] -= j.alpha
		} else {
			room := j.d.spaces[worker].s[:chunk]
			for c := 0; c < len(x); c += chunk {
				part := x[c:min(c+chunk, len(x))]
				sum += l.Exp(room[:len(part)], part, top)
			}
		}
		j.y2[i] = float32(math.Log(sum) - (float64(want) - float64(top)))
	}
}
