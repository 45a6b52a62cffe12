package devicetest

import (
	"slices"
	"testing"

	"meft/tensor"
)

// quantised: MatMul and Convert of every quantised type, whole and in part. The
// numbers that codes stand for are float32 numbers on every device, so decoding
// adds no error. Rows of 64 begin blocks, others do not.
func (s *suite) quantised(t *testing.T) {
	for _, d := range []tensor.DType{tensor.NF4, tensor.NF4DQ, tensor.FP4, tensor.FP4DQ, tensor.INT8} {
		for _, size := range [][2]int{{1, 64}, {16, 12}, {20, 16}, {64, 33}, {64, 64}, {32, 192}, {40, 96}, {192, 320}, {130, 512}} {
			rows, cols := size[0], size[1]
			s.decoding(t, d, rows, cols)
			counts := []int{1, 2, 4, 5, 8, 9, 33}
			if rows*cols > 1<<12 { // the reference is slow
				counts = []int{1, 8, 13}
			}
			for _, m := range counts {
				s.quantisedMatMul(t, d, m, rows, cols, 0)
			}
			s.quantisedMatMul(t, d, 6, rows, cols, rows/3)
		}
		s.decoding(t, d, 0, 64)
		s.quantisedMatMul(t, d, 4, 0, 64, 0)
	}
	for _, size := range [][2]int{{3, 5}, {17, 31}, {9, 1}} { // only rows have scales
		s.decoding(t, tensor.INT8, size[0], size[1])
		s.quantisedMatMul(t, tensor.INT8, 7, size[0], size[1], 1)
	}
}

// decoding is Convert of all rows and of some.
func (s *suite) decoding(t *testing.T, d tensor.DType, rows, cols int) {
	for _, part := range slices.Compact([][2]int{{0, rows}, {(rows + 1) / 3, rows}, {rows / 2, rows - rows/4}}) {
		s.call(t, func(c *call) {
			src, dst := c.quantised(d, rows, cols).rows(part[0], part[1]), c.out(part[1]-part[0], cols)
			c.run(func(k tensor.Kernels, i int) { k.Convert(dst.at[i], src.at[i]) })
			c.exact("dst", dst)
		}, "%v %dx%d rows %v", d, rows, cols, part)
	}
}

// quantisedMatMul is a linear layer and the gradient of its input, with rows of
// the matrix from first on.
func (s *suite) quantisedMatMul(t *testing.T, d tensor.DType, m, rows, cols, first int) {
	for _, o := range []tensor.MatMulOpts{{}, {TransB: true}, {TransB: true, Accumulate: true, Alpha: -0.75}} {
		n, k := cols, rows-first
		if o.TransB {
			n, k = k, n
		}
		s.call(t, func(c *call) {
			a, b, dst := c.in(m, k), c.quantised(d, rows, cols).rows(first, rows), c.out(m, n)
			if o.Accumulate {
				dst = c.in(m, n).inout()
			}
			c.run(func(d tensor.Kernels, i int) {
				o := o
				if i == onAbs && o.Alpha < 0 {
					o.Alpha = -o.Alpha
				}
				d.MatMul(dst.at[i], a.at[i], b.at[i], o)
			})
			c.nearProduct("dst", dst, k)
		}, "%v %d of %dx%d from %d %+v", d, m, rows, cols, first, o)
	}
}
