package cpu

import (
	"math"

	"meft/internal/simd"
	"meft/tensor"
)

// SwiGLU is tensor.Kernels.SwiGLU.
func (d *Device) SwiGLU(y, gate, up tensor.Tensor) {
	n := tensor.CheckSame("swiglu", y, gate, up)
	d.run(n, 1, job{f: swiGLU, y: y.Float32(), x: gate.Float32(), z: up.Float32()})
}

func swiGLU(j *job, lo, hi, _ int) { j.d.level.SwiGLU(j.y[lo:hi], j.x[lo:hi], j.z[lo:hi]) }

// SwiGLUGrad is tensor.Kernels.SwiGLUGrad.
func (d *Device) SwiGLUGrad(dgate, dup, dy, gate, up tensor.Tensor) {
	n := tensor.CheckSame("swiglu gradient", dy, dgate, dup, gate, up)
	d.run(n, 1, job{f: swiGLUGrad, y: dgate.Float32(), y2: dup.Float32(), g: dy.Float32(), x: gate.Float32(), z: up.Float32()})
}

func swiGLUGrad(j *job, lo, hi, _ int) {
	j.d.level.SwiGLUBackward(j.y[lo:hi], j.y2[lo:hi], j.x[lo:hi], j.z[lo:hi], j.g[lo:hi])
}

// Act is tensor.Kernels.Act.
func (d *Device) Act(y, x tensor.Tensor, f tensor.Func) {
	n := tensor.CheckSame("activation", y, x)
	d.run(n, 1, job{f: act, y: y.Float32(), x: x.Float32(), cols: int(f)})
}

// act: cols is the function.
func act(j *job, lo, hi, _ int) {
	y, x, l := j.y[lo:hi], j.x[lo:hi], j.d.level
	switch tensor.Func(j.cols) {
	case tensor.SiLU:
		l.SiLU(y, x)
	case tensor.Tanh:
		l.Tanh(y, x)
	case tensor.GELU:
		l.GELU(y, x)
	default:
		l.ReLU(y, x)
	}
}

// ActGrad is tensor.Kernels.ActGrad.
func (d *Device) ActGrad(dx, dy, x tensor.Tensor, f tensor.Func) {
	n := tensor.CheckSame("activation gradient", x, dx, dy)
	d.run(n, 1, job{f: actGrad, y: dx.Float32(), g: dy.Float32(), x: x.Float32(), cols: int(f)})
}

// actGrad: cols is the function.
func actGrad(j *job, lo, hi, _ int) {
	dx, x, dy, l := j.y[lo:hi], j.x[lo:hi], j.g[lo:hi], j.d.level
	switch tensor.Func(j.cols) {
	case tensor.SiLU:
		l.SiLUBackward(dx, x, dy)
	case tensor.Tanh:
		l.TanhBackward(dx, x, dy)
	case tensor.GELU:
		l.GELUBackward(dx, x, dy)
	default:
		l.ReLUBackward(dx, x, dy)
	}
}

// Dropout is tensor.Kernels.Dropout.
func (d *Device) Dropout(y, x tensor.Tensor, p float32, key uint64) {
	n := tensor.CheckDropout(y, x, p)
	d.run((n+1)/2, 2, job{f: dropout, y: y.Float32(), x: x.Float32(), alpha: p, key: key})
}

// dropout does pairs of elements, each with one draw. Which are dropped cannot
// be foretold, so nothing branches on it.
func dropout(j *job, lo, hi, _ int) {
	keep, below := 1/(1-j.alpha), int64(tensor.DropBelow(j.alpha))
	x := j.x[2*lo : min(2*hi, len(j.x))]
	y := j.y[2*lo:][:len(x)]
	for i := 0; i < len(x); i += 2 {
		z := tensor.Random(j.key, lo+i/2)
		first, second := uint32((int64(z>>32)-below)>>63), uint32((int64(uint32(z))-below)>>63) // all ones to drop
		y[i] = math.Float32frombits(math.Float32bits(x[i]*keep) &^ first)
		if i+1 < len(x) {
			y[i+1] = math.Float32frombits(math.Float32bits(x[i+1]*keep) &^ second)
		}
	}
}

// Add is tensor.Kernels.Add.
func (d *Device) Add(dst, a, b tensor.Tensor) {
	n := tensor.CheckSame("add", dst, a, b)
	d.run(n, 1, job{f: add, y: dst.Float32(), x: a.Float32(), z: b.Float32()})
}

func add(j *job, lo, hi, _ int) { j.d.level.Add(j.y[lo:hi], j.x[lo:hi], j.z[lo:hi]) }

// Mul is tensor.Kernels.Mul.
func (d *Device) Mul(dst, a, b tensor.Tensor) {
	n := tensor.CheckSame("mul", dst, a, b)
	d.run(n, 1, job{f: mul, y: dst.Float32(), x: a.Float32(), z: b.Float32()})
}

func mul(j *job, lo, hi, _ int) { j.d.level.Mul(j.y[lo:hi], j.x[lo:hi], j.z[lo:hi]) }

// Axpy is tensor.Kernels.Axpy.
func (d *Device) Axpy(y tensor.Tensor, alpha float32, x tensor.Tensor) {
	n := tensor.CheckSame("axpy", y, x)
	d.run(n, 1, job{f: axpy, y: y.Float32(), x: x.Float32(), alpha: alpha})
}

func axpy(j *job, lo, hi, _ int) { j.d.level.Axpy(j.alpha, j.x[lo:hi], j.y[lo:hi]) }

// Fill is tensor.Kernels.Fill.
func (d *Device) Fill(dst tensor.Tensor, v float32) {
	d.run(dst.Len(), 1, job{f: fill, y: dst.Float32(), alpha: v})
}

func fill(j *job, lo, hi, _ int) {
	y, v := j.y[lo:hi], j.alpha
	if math.Float32bits(v) == 0 {
		clear(y)
		return
	}
	for i := range y {
		y[i] = v
	}
}

// Convert is tensor.Kernels.Convert.
func (d *Device) Convert(dst, src tensor.Tensor) {
	n := tensor.CheckConvert(dst, src)
	switch {
	case src.DType.Quantised():
		d.mat(src)
		d.run(n, 1, job{f: dequantise, y: dst.Float32()})
		d.codes = simd.Quant{}
	case dst.DType == src.DType:
		copy(bytesOf(dst), bytesOf(src))
	case dst.DType == tensor.F32:
		d.run(n, 1, job{f: widen, y: dst.Float32(), w: weightOf(src)})
	default:
		d.run(n, 1, job{f: narrow, w: weightOf(dst), x: src.Float32()})
	}
}

func widen(j *job, lo, hi, _ int) { j.d.level.FromBF16(j.y[lo:hi], j.w.h[lo:hi]) }

func dequantise(j *job, lo, hi, _ int) { j.d.level.Decode(j.y[lo:hi], &j.d.codes, lo) }

// narrow: w is the output.
func narrow(j *job, lo, hi, _ int) { j.d.level.ToBF16(j.w.h[lo:hi], j.x[lo:hi]) }

// MaskZeros is tensor.Kernels.MaskZeros.
func (d *Device) MaskZeros(g, w tensor.Tensor) {
	n := tensor.CheckSame("mask zeros", g, w)
	d.run(n, 1, job{f: maskZeros, y: g.Float32(), x: w.Float32()})
}

// maskZeros works on bits: which weights are zeros cannot be foretold, so nothing
// branches on it.
func maskZeros(j *job, lo, hi, _ int) {
	x := j.x[lo:hi]
	y := j.y[lo:hi][:len(x)]
	for i, v := range x {
		magnitude := int64(math.Float32bits(v) &^ (1 << 31))
		zero := uint32((magnitude - 1) >> 63) // all ones for a zero
		y[i] = math.Float32frombits(math.Float32bits(y[i]) &^ zero)
	}
}

// maxSums is the largest number of partial sums of SumSquares.
const maxSums = 1024

// SumSquares is tensor.Kernels.SumSquares. x is cut into at most maxSums parts
// whose sums, in float64, are added in order; the cuts depend on its length only.
func (d *Device) SumSquares(dst, x tensor.Tensor) {
	n := tensor.CheckSumSquares(dst, x)
	part := max(pieceSize, ((n+maxSums-1)/maxSums+15)&^15)
	parts := (n + part - 1) / part
	d.run(parts, part, job{f: sumSquares, x: x.Float32(), cols: part})
	sum := 0.0
	for _, s := range d.sums[:parts] {
		sum += s
	}
	dst.Float32()[0] = float32(sum)
}

// sumSquares: cols is the size of a part.
func sumSquares(j *job, lo, hi, _ int) {
	for ; lo < hi; lo++ {
		j.d.sums[lo] = j.d.level.SumSquares(j.x[lo*j.cols : min((lo+1)*j.cols, len(j.x))])
	}
}

// AdamW is tensor.Kernels.AdamW.
func (d *Device) AdamW(w, g, m, v tensor.Tensor, o tensor.AdamWOpts) {
	n := tensor.CheckSame("adamw", w, g, m, v)
	d.run(n, 1, job{f: adamW, y: w.Float32(), y2: m.Float32(), z: v.Float32(), g: g.Float32(), adam: simd.AdamW{
		GradScale: o.Scale,
		Decay:     float32(1 - float64(o.Rate)*float64(o.Decay)),
		Beta1:     o.Beta1,
		Rest1:     1 - o.Beta1,
		Beta2:     o.Beta2,
		Rest2:     1 - o.Beta2,
		Step:      float32(float64(o.Rate) / float64(o.Correct1)),
		Eps:       o.Eps,
		Unbias:    float32(1 / math.Sqrt(float64(o.Correct2))),
	}})
}

// adamW: y, y2 and z are the weights and the two moments.
func adamW(j *job, lo, hi, _ int) {
	j.d.level.AdamW(j.y[lo:hi], j.g[lo:hi], j.y2[lo:hi], j.z[lo:hi], &j.adam)
}
