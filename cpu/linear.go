package cpu

import (
	"meft/internal/simd"
	"meft/quant"
	"meft/tensor"
)

// MatMul is tensor.Kernels.MatMul.
func (d *Device) MatMul(dst, a, b tensor.Tensor, o tensor.MatMulOpts) {
	m, n, k := tensor.CheckMatMul(dst, a, b, o)
	op := simd.NN
	switch {
	case o.TransA:
		op = simd.TN
	case o.TransB:
		op = simd.NT
	}
	alpha := o.Alpha
	if alpha == 0 {
		alpha = 1
	}
	product := d.pool.MatMul
	if d.compute == tensor.BF16 {
		product = d.pool.MatMulBF16
	}
	product(op, m, n, k, alpha,
		simd.Mat{F32: a.Float32(), Stride: a.Width()},
		d.mat(b), dst.Float32(), n, o.Accumulate)
	d.codes = simd.Quant{} // keep nothing of the caller's alive
}

// mat is a matrix in any type. Codes go through the device, so that a call
// allocates nothing: one matrix at a time.
func (d *Device) mat(t tensor.Tensor) simd.Mat {
	if !t.DType.Quantised() {
		w := weightOf(t)
		return simd.Mat{F32: w.f, BF16: w.h, Stride: t.Width()}
	}
	m := quant.Of(t.DType, t.Codes(), t.Whole, t.Width())
	d.codes = simd.Quant{Bits: 8, Codes: m.Codes, Scales: m.Scales, Codes8: m.Codes8, Row: m.Row, First: int(t.Off)}
	if t.DType != tensor.INT8 {
		d.codes.Bits, d.codes.Table = 4, quant.Values(t.DType)
	}
	if t.DType.DoubleScales() {
		d.codes.Values, d.codes.Mean = quant.ScaleValues(), m.Mean[0]
	}
	return simd.Mat{Quant: &d.codes, Stride: t.Width()}
}

// Gather is tensor.Kernels.Gather.
func (d *Device) Gather(dst, table, ids tensor.Tensor) {
	n, width := tensor.CheckGather(dst, table, ids)
	d.run(n, width, job{f: gather, width: width, y: dst.Float32(), w: weightOf(table), ids: ids.Int32()})
}

func gather(j *job, lo, hi, _ int) {
	for i := lo; i < hi; i++ {
		to, at := j.row(j.y, i), int(j.ids[i])*j.width
		if j.w.h != nil {
			j.d.level.FromBF16(to, j.w.h[at:at+j.width])
		} else {
			copy(to, j.w.f[at:at+j.width])
		}
	}
}

// Scatter is tensor.Kernels.Scatter.
func (d *Device) Scatter(dst, src, ids tensor.Tensor) {
	n, _, width := tensor.CheckScatter(dst, src, ids)
	d.run(n, width, job{f: scatter, width: width, y: dst.Float32(), x: src.Float32(), ids: ids.Int32()})
}

func scatter(j *job, lo, hi, _ int) {
	for i := lo; i < hi; i++ {
		copy(j.row(j.y, int(j.ids[i])), j.row(j.x, i))
	}
}

// ScatterAdd is tensor.Kernels.ScatterAdd.
func (d *Device) ScatterAdd(dst, src, ids tensor.Tensor) {
	_, rows, width := tensor.CheckScatter(dst, src, ids)
	d.runHeaps(rows, width, job{f: scatterAdd, y: dst.Float32(), x: src.Float32(), ids: ids.Int32()})
}

func scatterAdd(j *job, lo, hi, _ int) {
	for ; lo < hi; lo++ {
		heap, a, b := j.share(lo)
		for i, id := range j.ids {
			if j.heapOf(id) == heap {
				to := j.row(j.y, int(id))[a:b]
				j.d.level.Add(to, to, j.row(j.x, i)[a:b])
			}
		}
	}
}

// AddBias is tensor.Kernels.AddBias.
func (d *Device) AddBias(y, b tensor.Tensor) {
	n, width := tensor.CheckBias(y, b, true)
	d.run(n, width, job{f: addBias, width: width, y: y.Float32(), w: weightOf(b)})
}

func addBias(j *job, lo, hi, worker int) {
	room := j.d.spaces[worker].s[:chunk]
	for c := 0; c < j.width; c += chunk {
		n := min(chunk, j.width-c)
		bias := j.w.part(j.d.level, c, n, room)
		for i := lo; i < hi; i++ {
			to := j.row(j.y, i)[c : c+n]
			j.d.level.Add(to, to, bias)
		}
	}
}

// BiasGrad is tensor.Kernels.BiasGrad.
func (d *Device) BiasGrad(db, dy tensor.Tensor) {
	n, width := tensor.CheckBias(dy, db, false)
	d.runColumns(n, width, job{f: biasGrad, k: n, y: db.Float32(), g: dy.Float32()})
}

// biasGrad adds up k rows.
func biasGrad(j *job, lo, hi, _ int) {
	for ; lo < hi; lo++ {
		a, b := j.columns(lo)
		for t := range j.k {
			j.d.level.Add(j.y[a:b], j.y[a:b], j.row(j.g, t)[a:b])
		}
	}
}
