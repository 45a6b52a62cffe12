package ref

import "meft/tensor"

// MatMul is tensor.Kernels.MatMul.
func (d *Device) MatMul(dst, a, b tensor.Tensor, o tensor.MatMulOpts) {
	m, n, k := tensor.CheckMatMul(dst, a, b, o)
	c, x, y := f64(dst), f64(a), values(b)
	alpha := float64(o.Alpha)
	if o.Alpha == 0 {
		alpha = 1
	}
	// Steps from one row and from one column of a matrix to the next.
	ai, al, bl, bj := k, 1, n, 1
	if o.TransA {
		ai, al = 1, m
	}
	if o.TransB {
		bl, bj = 1, k
	}
	for i := range m {
		for j := range n {
			sum := 0.0
			for l := range k {
				sum += x[i*ai+l*al] * y[l*bl+j*bj]
			}
			if !o.Accumulate {
				c[i*n+j] = 0
			}
			c[i*n+j] += alpha * sum
		}
	}
}

// Gather is tensor.Kernels.Gather.
func (d *Device) Gather(dst, table, ids tensor.Tensor) {
	_, w := tensor.CheckGather(dst, table, ids)
	y, x := f64(dst), values(table)
	for i, id := range ints(ids) {
		copy(y[i*w:(i+1)*w], row(x, id, w))
	}
}

// Scatter is tensor.Kernels.Scatter.
func (d *Device) Scatter(dst, src, ids tensor.Tensor) {
	_, _, w := tensor.CheckScatter(dst, src, ids)
	y, x := f64(dst), f64(src)
	for i, id := range ints(ids) {
		copy(row(y, id, w), x[i*w:(i+1)*w])
	}
}

// ScatterAdd is tensor.Kernels.ScatterAdd.
func (d *Device) ScatterAdd(dst, src, ids tensor.Tensor) {
	_, _, w := tensor.CheckScatter(dst, src, ids)
	y, x := f64(dst), f64(src)
	for i, id := range ints(ids) {
		for j, to := 0, row(y, id, w); j < w; j++ {
			to[j] += x[i*w+j]
		}
	}
}

// AddBias is tensor.Kernels.AddBias.
func (d *Device) AddBias(y, b tensor.Tensor) {
	n, w := tensor.CheckBias(y, b, true)
	to, bias := f64(y), values(b)
	for i := range n * w {
		to[i] += bias[i%w]
	}
}

// BiasGrad is tensor.Kernels.BiasGrad.
func (d *Device) BiasGrad(db, dy tensor.Tensor) {
	n, w := tensor.CheckBias(dy, db, false)
	to, from := f64(db), f64(dy)
	for i := range n * w {
		to[i%w] += from[i]
	}
}

// row is row i of a matrix of width w.
func row[I int | int64](x []float64, i I, w int) []float64 { return x[int(i)*w : (int(i)+1)*w] }
