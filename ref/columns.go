package ref

import (
	"math"

	"meft/tensor"
)

// ScaleColumns is tensor.Kernels.ScaleColumns.
func (d *Device) ScaleColumns(y, x, c tensor.Tensor) {
	n, w := tensor.CheckScaleColumns(y, x, c)
	to, from, by := f64(y), f64(x), f64(c)
	for i := range n * w {
		to[i] = from[i] * by[i%w]
	}
}

// ColumnDots is tensor.Kernels.ColumnDots.
func (d *Device) ColumnDots(s, a, b tensor.Tensor) {
	n, w := tensor.CheckColumnDots(s, a, b)
	to, x, y := f64(s), f64(a), f64(b)
	for i := range n * w {
		to[i%w] += x[i] * y[i]
	}
}

// DivSqrt is tensor.Kernels.DivSqrt.
func (d *Device) DivSqrt(y, a, b tensor.Tensor) {
	tensor.CheckSame("divsqrt", y, a, b)
	to, by := f64(y), f64(b)
	for i, v := range f64(a) {
		to[i] = v / math.Sqrt(by[i])
	}
}

// Transpose is tensor.Kernels.Transpose.
func (d *Device) Transpose(y, x tensor.Tensor) {
	n, w := tensor.CheckTranspose(y, x)
	to, from := f64(y), f64(x)
	for i := range n * w {
		to[i%w*n+i/w] = from[i]
	}
}
