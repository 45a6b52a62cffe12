package ref

import "meft/tensor"

// RowDots is tensor.Kernels.RowDots.
func (d *Device) RowDots(s, x, rows, ids tensor.Tensor) {
	_, k, _, w := tensor.CheckRows(s, x, rows, ids)
	for i, id := range ints(ids) {
		f64(s)[i] = 0
		if id >= 0 {
			f64(s)[i] = dot(row(f64(x), i/k, w), row(f64(rows), id, w))
		}
	}
}

// RowAdd is tensor.Kernels.RowAdd.
func (d *Device) RowAdd(y, z, rows, ids tensor.Tensor) {
	_, k, _, w := tensor.CheckRows(z, y, rows, ids)
	for i, id := range ints(ids) {
		if id >= 0 {
			axpy(row(f64(y), i/k, w), f64(z)[i], row(f64(rows), id, w))
		}
	}
}

// RowOuter is tensor.Kernels.RowOuter.
func (d *Device) RowOuter(drows, z, x, ids tensor.Tensor) {
	_, k, _, w := tensor.CheckRows(z, x, drows, ids)
	for i, id := range ints(ids) {
		if id >= 0 {
			axpy(row(f64(drows), id, w), f64(z)[i], row(f64(x), i/k, w))
		}
	}
}

// GatedReLU is tensor.Kernels.GatedReLU.
func (d *Device) GatedReLU(z, u, c tensor.Tensor) {
	tensor.CheckSame("gated relu", u, z, c)
	to, gate := f64(z), gates(c, u)
	for i, v := range f64(u) {
		to[i] = max(gate[i]*v, 0)
	}
}

// GatedReLUGrad is tensor.Kernels.GatedReLUGrad.
func (d *Device) GatedReLUGrad(du, dc, dz, u, c tensor.Tensor) {
	tensor.CheckSame("gated relu gradient", u, du, dc, dz, c)
	to, g, gate := f64(du), f64(dz), gates(c, u)
	for i, v := range f64(u) {
		dzi, on := g[i], 0.0
		if gate[i]*v > 0 {
			on = 1
		}
		to[i] = on * dzi * gate[i]
		if !dc.None() {
			f64(dc)[i] = on * dzi * v
		}
	}
}

// gates are the elements of c, ones where it is none.
func gates(c, u tensor.Tensor) []float64 {
	if !c.None() {
		return f64(c)
	}
	ones := make([]float64, u.Len())
	for i := range ones {
		ones[i] = 1
	}
	return ones
}

// Pick is tensor.Kernels.Pick.
func (d *Device) Pick(c, p, ids tensor.Tensor) {
	_, k, m := tensor.CheckPick(c, p, ids)
	for i, id := range ints(ids) {
		f64(c)[i] = 0
		if id >= 0 {
			f64(c)[i] = row(f64(p), i/k, m)[id]
		}
	}
}

// PickGrad is tensor.Kernels.PickGrad.
func (d *Device) PickGrad(dp, dc, ids tensor.Tensor) {
	_, k, m := tensor.CheckPick(dc, dp, ids)
	for i, id := range ints(ids) {
		if id >= 0 {
			row(f64(dp), i/k, m)[id] += f64(dc)[i]
		}
	}
}
