package cpu

import (
	"math"

	"meft/tensor"
)

// ScaleColumns is tensor.Kernels.ScaleColumns.
func (d *Device) ScaleColumns(y, x, c tensor.Tensor) {
	n, width := tensor.CheckScaleColumns(y, x, c)
	d.run(n, width, job{f: scaleColumns, width: width, y: y.Float32(), x: x.Float32(), z: c.Float32()})
}

func scaleColumns(j *job, lo, hi, _ int) {
	for ; lo < hi; lo++ {
		j.d.level.Mul(j.row(j.y, lo), j.row(j.x, lo), j.z)
	}
}

// ColumnDots is tensor.Kernels.ColumnDots.
func (d *Device) ColumnDots(s, a, b tensor.Tensor) {
	n, width := tensor.CheckColumnDots(s, a, b)
	d.runColumns(n, width, job{f: columnDots, k: n, y: s.Float32(), x: a.Float32(), z: b.Float32()})
}

// columnDots adds up k rows.
func columnDots(j *job, lo, hi, _ int) {
	for ; lo < hi; lo++ {
		a, b := j.columns(lo)
		for t := range j.k {
			j.d.level.MulAdd(j.y[a:b], j.row(j.x, t)[a:b], j.row(j.z, t)[a:b])
		}
	}
}

// DivSqrt is tensor.Kernels.DivSqrt.
func (d *Device) DivSqrt(y, a, b tensor.Tensor) {
	n := tensor.CheckSame("divsqrt", y, a, b)
	d.run(n, 1, job{f: divSqrt, y: y.Float32(), x: a.Float32(), z: b.Float32()})
}

func divSqrt(j *job, lo, hi, _ int) {
	for i := lo; i < hi; i++ {
		j.y[i] = j.x[i] / float32(math.Sqrt(float64(j.z[i]))) // rounds as a root in float32 does
	}
}

// Transpose is tensor.Kernels.Transpose.
func (d *Device) Transpose(y, x tensor.Tensor) {
	n, width := tensor.CheckTranspose(y, x)
	parts := (width + turnBlock - 1) / turnBlock
	d.run(parts, turnBlock*n, job{f: transpose, k: n, width: width, y: y.Float32(), x: x.Float32()})
}

// turnBlock is the side of the squares that Transpose works on: a square's rows
// on both sides stay in the first-level cache.
const turnBlock = 16

// transpose: an item is turnBlock rows of y.
func transpose(j *job, lo, hi, _ int) {
	for ; lo < hi; lo++ {
		first, last := lo*turnBlock, min((lo+1)*turnBlock, j.width)
		for t := 0; t < j.k; t += turnBlock {
			end := min(t+turnBlock, j.k)
			for c := first; c < last; c++ {
				to := j.y[c*j.k : (c+1)*j.k]
				for i := t; i < end; i++ {
					to[i] = j.x[i*j.width+c]
				}
			}
		}
	}
}
