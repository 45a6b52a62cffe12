package cpu

import "meft/tensor"

// RowDots is tensor.Kernels.RowDots.
func (d *Device) RowDots(s, x, rows, ids tensor.Tensor) {
	n, k, _, width := tensor.CheckRows(s, x, rows, ids)
	d.run(n*k, width, job{f: rowDots, width: width, k: k, y: s.Float32(), x: x.Float32(), table: rows.Float32(), ids: ids.Int32()})
}

// rowDots: an item is one id.
func rowDots(j *job, lo, hi, _ int) {
	for i := lo; i < hi; i++ {
		j.y[i] = 0
		if id := j.ids[i]; id >= 0 {
			j.y[i] = j.d.level.Dot(j.row(j.x, i/j.k), j.row(j.table, int(id)))
		}
	}
}

// rowPart is how many columns of a row RowAdd works on at a time, so that a
// single row with many ids still keeps several threads busy.
const rowPart = 512

// RowAdd is tensor.Kernels.RowAdd.
func (d *Device) RowAdd(y, z, rows, ids tensor.Tensor) {
	n, k, _, width := tensor.CheckRows(z, y, rows, ids)
	parts := (width + rowPart - 1) / rowPart
	d.run(n*parts, k*min(width, rowPart), job{f: rowAdd, width: width, k: k, cols: parts, y: y.Float32(), z: z.Float32(), table: rows.Float32(), ids: ids.Int32()})
}

// rowAdd: an item is one of cols parts of a row.
func rowAdd(j *job, lo, hi, _ int) {
	for i := lo; i < hi; i++ {
		t, a := i/j.cols, i%j.cols*rowPart
		b := min(a+rowPart, j.width)
		to := j.row(j.y, t)[a:b]
		for at, id := range j.ids[t*j.k : (t+1)*j.k] {
			if id >= 0 {
				j.d.level.Axpy(j.z[t*j.k+at], j.row(j.table, int(id))[a:b], to)
			}
		}
	}
}

// RowOuter is tensor.Kernels.RowOuter.
func (d *Device) RowOuter(drows, z, x, ids tensor.Tensor) {
	_, k, u, width := tensor.CheckRows(z, x, drows, ids)
	d.runHeaps(u, width, job{f: rowOuter, k: k, y: drows.Float32(), z: z.Float32(), x: x.Float32(), ids: ids.Int32()})
}

func rowOuter(j *job, lo, hi, _ int) {
	for ; lo < hi; lo++ {
		heap, a, b := j.share(lo)
		for i, id := range j.ids {
			if id >= 0 && j.heapOf(id) == heap {
				j.d.level.Axpy(j.z[i], j.row(j.x, i/j.k)[a:b], j.row(j.y, int(id))[a:b])
			}
		}
	}
}

// GatedReLU is tensor.Kernels.GatedReLU.
func (d *Device) GatedReLU(z, u, c tensor.Tensor) {
	n := tensor.CheckSame("gated relu", u, z, c)
	d.run(n, 1, job{f: gatedReLU, y: z.Float32(), x: u.Float32(), z: floats(c)})
}

// gatedReLU: y is z, x is u, z is c.
func gatedReLU(j *job, lo, hi, _ int) {
	l, y, x := j.d.level, j.y[lo:hi], j.x[lo:hi]
	if j.z != nil {
		l.Mul(y, x, j.z[lo:hi])
		x = y
	}
	l.ReLU(y, x)
}

// GatedReLUGrad is tensor.Kernels.GatedReLUGrad.
func (d *Device) GatedReLUGrad(du, dc, dz, u, c tensor.Tensor) {
	n := tensor.CheckSame("gated relu gradient", u, du, dc, dz, c)
	d.run(n, pieceSize/chunk, job{f: gatedReLUGrad, y: du.Float32(), y2: floats(dc), g: dz.Float32(), x: u.Float32(), z: floats(c)})
}

// gatedReLUGrad does at most a chunk: y is du, y2 dc, g dz, x u, z c.
func gatedReLUGrad(j *job, lo, hi, worker int) {
	l, room, n := j.d.level, &j.d.spaces[worker], hi-lo
	u, gated := j.x[lo:hi], j.x[lo:hi]
	if j.z != nil {
		gated = room.s[:n]
		l.Mul(gated, u, j.z[lo:hi])
	}
	open := room.g[:n] // dz where the gate is open
	l.ReLUBackward(open, gated, j.g[lo:hi])
	if j.y2 != nil {
		l.Mul(j.y2[lo:hi], open, u)
	}
	if j.z != nil {
		l.Mul(j.y[lo:hi], open, j.z[lo:hi])
	} else {
		copy(j.y[lo:hi], open)
	}
}

// Pick is tensor.Kernels.Pick.
func (d *Device) Pick(c, p, ids tensor.Tensor) {
	n, k, m := tensor.CheckPick(c, p, ids)
	d.run(n, k, job{f: pick, width: m, k: k, y: c.Float32(), x: p.Float32(), ids: ids.Int32()})
}

func pick(j *job, lo, hi, _ int) {
	for i := lo * j.k; i < hi*j.k; i++ {
		j.y[i] = 0
		if id := j.ids[i]; id >= 0 {
			j.y[i] = j.row(j.x, i/j.k)[id]
		}
	}
}

// PickGrad is tensor.Kernels.PickGrad.
func (d *Device) PickGrad(dp, dc, ids tensor.Tensor) {
	n, k, m := tensor.CheckPick(dc, dp, ids)
	d.run(n, k, job{f: pickGrad, width: m, k: k, y: dp.Float32(), g: dc.Float32(), ids: ids.Int32()})
}

func pickGrad(j *job, lo, hi, _ int) {
	for i := lo * j.k; i < hi*j.k; i++ {
		if id := j.ids[i]; id >= 0 {
			j.row(j.y, i/j.k)[id] += j.g[i]
		}
	}
}
