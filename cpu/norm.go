package cpu

import (
	"math"

	"meft/tensor"
)

// RMSNorm is tensor.Kernels.RMSNorm.
func (d *Device) RMSNorm(y, rstd, x, w tensor.Tensor, eps float32) {
	n, width := tensor.CheckRMSNorm(y, rstd, x, w)
	d.run(n, width, job{f: rmsNorm, width: width, alpha: eps, y: y.Float32(), y2: rstd.Float32(), x: x.Float32(), w: weightOf(w)})
}

// rmsNorm: y2 is rstd, alpha is eps.
func rmsNorm(j *job, lo, hi, worker int) {
	l := j.d.level
	for i := lo; i < hi; i++ {
		j.y2[i] = float32(1 / math.Sqrt(l.SumSquares(j.row(j.x, i))/float64(j.width)+float64(j.alpha)))
	}
	room := j.d.spaces[worker].s[:chunk]
	for c := 0; c < j.width; c += chunk {
		n := min(chunk, j.width-c)
		w := j.w.part(l, c, n, room)
		for i := lo; i < hi; i++ {
			l.MulScaled(j.row(j.y, i)[c:c+n], j.y2[i], j.row(j.x, i)[c:c+n], w)
		}
	}
}

// RMSNormGrad is tensor.Kernels.RMSNormGrad.
func (d *Device) RMSNormGrad(dx, dw, dy, x, w, rstd tensor.Tensor) {
	n, width := tensor.CheckRMSNormGrad(dx, dw, dy, x, w, rstd)
	j := job{f: rmsNormGrad, width: width, y: dx.Float32(), g: dy.Float32(), x: x.Float32(), z: rstd.Float32(), w: weightOf(w)}
	d.run(n, width, j)
	if !dw.None() {
		j.f, j.y, j.k = rmsNormWeightGrad, dw.Float32(), n
		d.runColumns(n, width, j)
	}
}

// rmsNormGrad: dx += rstd·(g - x·rstd²·mean(g·x)) with g = dy·w; z is rstd. A
// row wider than a chunk has its g computed twice.
func rmsNormGrad(j *job, lo, hi, worker int) {
	l, room := j.d.level, &j.d.spaces[worker]
	for i := lo; i < hi; i++ {
		x, dy, dx := j.row(j.x, i), j.row(j.g, i), j.row(j.y, i)
		sum := 0.0
		for pass := range 2 {
			for c := 0; c < j.width; c += chunk {
				n := min(chunk, j.width-c)
				g := room.g[:n]
				if pass == 0 || j.width > chunk {
					l.Mul(g, dy[c:c+n], j.w.part(l, c, n, room.s[:]))
				}
				if pass == 0 {
					sum += float64(l.Dot(g, x[c:c+n]))
					continue
				}
				r := float64(j.z[i])
				l.Axpy(j.z[i], g, dx[c:c+n])
				l.Axpy(float32(-r*r*r*sum/float64(j.width)), x[c:c+n], dx[c:c+n])
			}
		}
	}
}

// rmsNormWeightGrad adds up k rows of dy·x·rstd; y is dw, z is rstd.
func rmsNormWeightGrad(j *job, lo, hi, worker int) {
	l, room := j.d.level, j.d.spaces[worker].s[:chunk]
	for ; lo < hi; lo++ {
		first, last := j.columns(lo)
		for a := first; a < last; a += chunk {
			b := min(a+chunk, last)
			for t := range j.k {
				l.MulScaled(room[:b-a], j.z[t], j.row(j.g, t)[a:b], j.row(j.x, t)[a:b])
				l.Add(j.y[a:b], j.y[a:b], room[:b-a])
			}
		}
	}
}

// RoPE is tensor.Kernels.RoPE.
func (d *Device) RoPE(x, pos, table tensor.Tensor, inverse bool) {
	n, h, hd := tensor.CheckRoPE(x, pos, table)
	d.run(n, h*hd, job{f: rope, width: hd, k: h, y: x.Float32(), table: table.Float32(), ids: pos.Int32(), flag: inverse})
}

// rope turns the k heads of each row; width is that of a head.
func rope(j *job, lo, hi, _ int) {
	half := j.width / 2
	for t := lo; t < hi; t++ {
		angles := j.row(j.table, int(j.ids[t]))
		for i := t * j.k; i < (t+1)*j.k; i++ {
			head := j.row(j.y, i)
			if j.flag {
				j.d.level.RotateBack(head[:half], head[half:], angles[:half], angles[half:])
			} else {
				j.d.level.Rotate(head[:half], head[half:], angles[:half], angles[half:])
			}
		}
	}
}
