package tensor

import "time"

// Op is a kind of work that a Timed device tells apart.
type Op uint8

// The kinds of work: every kernel, products by what is transposed, and copies.
const (
	OpMatMulNT Op = iota // y = x·Wᵀ: forward
	OpMatMulNN           // dx = dy·W: gradient of inputs
	OpMatMulTN           // dW = dyᵀ·x: gradient of weights
	OpGather
	OpScatter
	OpScatterAdd
	OpRMSNorm
	OpRMSNormGrad
	OpAddBias
	OpBiasGrad
	OpScaleColumns
	OpColumnDots
	OpDivSqrt
	OpTranspose
	OpRoPE
	OpAttention
	OpAttentionGrad
	OpSwiGLU
	OpSwiGLUGrad
	OpAct
	OpActGrad
	OpDropout
	OpRowDots
	OpRowAdd
	OpRowOuter
	OpGatedReLU
	OpGatedReLUGrad
	OpSoftmax
	OpSoftmaxGrad
	OpPick
	OpPickGrad
	OpCrossEntropy
	OpAdd
	OpMul
	OpAxpy
	OpFill
	OpConvert
	OpMaskZeros
	OpSumSquares
	OpAdamW
	OpUpload
	OpDownload
	Ops // their number
)

// opNames are the kinds of work as people read them.
var opNames = [Ops]string{
	"matmul nt", "matmul nn", "matmul tn", "gather", "scatter", "scatter add", "rmsnorm", "rmsnorm grad", "add bias", "bias grad",
	"scale columns", "column dots", "div sqrt", "transpose", "rope",
	"attention", "attention grad", "swiglu", "swiglu grad", "act", "act grad", "dropout", "row dots", "row add", "row outer", "gated relu", "gated relu grad",
	"softmax", "softmax grad", "pick", "pick grad", "cross entropy", "add", "mul", "axpy", "fill", "convert", "mask zeros", "sum squares", "adamw", "upload", "download",
}

// String is the kind of work in words, as "matmul nt".
func (o Op) String() string { return opNames[o] }

// Spent is what the calls of one kind took.
type Spent struct {
	Calls int64
	Time  time.Duration
	Flops float64 // floating point operations, of products only
}

// Timed is a device that measures another: it waits for each kernel and copy
// and adds up the time by kind. Results keep their bits; the overlap of queues
// is lost, so a device that computes beside its caller is slower under it. The
// zero Timed with a Device is ready. It allocates nothing.
type Timed struct {
	Device
	Spent [Ops]Spent // since the start, or since they were last cleared
}

// done adds a call that began at start.
func (t *Timed) done(o Op, start time.Time) {
	_ = t.Device.Sync() // a fault sticks: the caller's Sync returns it
	s := &t.Spent[o]
	s.Calls++
	s.Time += time.Since(start)
}

// MatMul is Kernels.MatMul.
func (t *Timed) MatMul(dst, a, b Tensor, o MatMulOpts) {
	op, k := OpMatMulNN, a.Width()
	switch {
	case o.TransB:
		op = OpMatMulNT
	case o.TransA:
		op, k = OpMatMulTN, a.Dims[0]
	}
	t.Spent[op].Flops += 2 * float64(dst.Len()) * float64(k)
	defer t.done(op, time.Now())
	t.Device.MatMul(dst, a, b, o)
}

// Gather is Kernels.Gather.
func (t *Timed) Gather(dst, table, ids Tensor) {
	defer t.done(OpGather, time.Now())
	t.Device.Gather(dst, table, ids)
}

// Scatter is Kernels.Scatter.
func (t *Timed) Scatter(dst, src, ids Tensor) {
	defer t.done(OpScatter, time.Now())
	t.Device.Scatter(dst, src, ids)
}

// ScatterAdd is Kernels.ScatterAdd.
func (t *Timed) ScatterAdd(dst, src, ids Tensor) {
	defer t.done(OpScatterAdd, time.Now())
	t.Device.ScatterAdd(dst, src, ids)
}

// RMSNorm is Kernels.RMSNorm.
func (t *Timed) RMSNorm(y, rstd, x, w Tensor, eps float32) {
	defer t.done(OpRMSNorm, time.Now())
	t.Device.RMSNorm(y, rstd, x, w, eps)
}

// RMSNormGrad is Kernels.RMSNormGrad.
func (t *Timed) RMSNormGrad(dx, dw, dy, x, w, rstd Tensor) {
	defer t.done(OpRMSNormGrad, time.Now())
	t.Device.RMSNormGrad(dx, dw, dy, x, w, rstd)
}

// AddBias is Kernels.AddBias.
func (t *Timed) AddBias(y, b Tensor) {
	defer t.done(OpAddBias, time.Now())
	t.Device.AddBias(y, b)
}

// BiasGrad is Kernels.BiasGrad.
func (t *Timed) BiasGrad(db, dy Tensor) {
	defer t.done(OpBiasGrad, time.Now())
	t.Device.BiasGrad(db, dy)
}

// ScaleColumns is Kernels.ScaleColumns.
func (t *Timed) ScaleColumns(y, x, c Tensor) {
	defer t.done(OpScaleColumns, time.Now())
	t.Device.ScaleColumns(y, x, c)
}

// ColumnDots is Kernels.ColumnDots.
func (t *Timed) ColumnDots(s, a, b Tensor) {
	defer t.done(OpColumnDots, time.Now())
	t.Device.ColumnDots(s, a, b)
}

// DivSqrt is Kernels.DivSqrt.
func (t *Timed) DivSqrt(y, a, b Tensor) {
	defer t.done(OpDivSqrt, time.Now())
	t.Device.DivSqrt(y, a, b)
}

// Transpose is Kernels.Transpose.
func (t *Timed) Transpose(y, x Tensor) {
	defer t.done(OpTranspose, time.Now())
	t.Device.Transpose(y, x)
}

// RoPE is Kernels.RoPE.
func (t *Timed) RoPE(x, pos, table Tensor, inverse bool) {
	defer t.done(OpRoPE, time.Now())
	t.Device.RoPE(x, pos, table, inverse)
}

// Attention is Kernels.Attention.
func (t *Timed) Attention(o, lse, q, k, v Tensor, m Mask) {
	defer t.done(OpAttention, time.Now())
	t.Device.Attention(o, lse, q, k, v, m)
}

// AttentionGrad is Kernels.AttentionGrad.
func (t *Timed) AttentionGrad(dq, dk, dv, do, o, lse, q, k, v Tensor, m Mask) {
	defer t.done(OpAttentionGrad, time.Now())
	t.Device.AttentionGrad(dq, dk, dv, do, o, lse, q, k, v, m)
}

// SwiGLU is Kernels.SwiGLU.
func (t *Timed) SwiGLU(y, gate, up Tensor) {
	defer t.done(OpSwiGLU, time.Now())
	t.Device.SwiGLU(y, gate, up)
}

// SwiGLUGrad is Kernels.SwiGLUGrad.
func (t *Timed) SwiGLUGrad(dgate, dup, dy, gate, up Tensor) {
	defer t.done(OpSwiGLUGrad, time.Now())
	t.Device.SwiGLUGrad(dgate, dup, dy, gate, up)
}

// Act is Kernels.Act.
func (t *Timed) Act(y, x Tensor, f Func) {
	defer t.done(OpAct, time.Now())
	t.Device.Act(y, x, f)
}

// ActGrad is Kernels.ActGrad.
func (t *Timed) ActGrad(dx, dy, x Tensor, f Func) {
	defer t.done(OpActGrad, time.Now())
	t.Device.ActGrad(dx, dy, x, f)
}

// Dropout is Kernels.Dropout.
func (t *Timed) Dropout(y, x Tensor, p float32, key uint64) {
	defer t.done(OpDropout, time.Now())
	t.Device.Dropout(y, x, p, key)
}

// RowDots is Kernels.RowDots.
func (t *Timed) RowDots(s, x, rows, ids Tensor) {
	defer t.done(OpRowDots, time.Now())
	t.Device.RowDots(s, x, rows, ids)
}

// RowAdd is Kernels.RowAdd.
func (t *Timed) RowAdd(y, z, rows, ids Tensor) {
	defer t.done(OpRowAdd, time.Now())
	t.Device.RowAdd(y, z, rows, ids)
}

// RowOuter is Kernels.RowOuter.
func (t *Timed) RowOuter(drows, z, x, ids Tensor) {
	defer t.done(OpRowOuter, time.Now())
	t.Device.RowOuter(drows, z, x, ids)
}

// GatedReLU is Kernels.GatedReLU.
func (t *Timed) GatedReLU(z, u, c Tensor) {
	defer t.done(OpGatedReLU, time.Now())
	t.Device.GatedReLU(z, u, c)
}

// GatedReLUGrad is Kernels.GatedReLUGrad.
func (t *Timed) GatedReLUGrad(du, dc, dz, u, c Tensor) {
	defer t.done(OpGatedReLUGrad, time.Now())
	t.Device.GatedReLUGrad(du, dc, dz, u, c)
}

// Softmax is Kernels.Softmax.
func (t *Timed) Softmax(y, x Tensor) {
	defer t.done(OpSoftmax, time.Now())
	t.Device.Softmax(y, x)
}

// SoftmaxGrad is Kernels.SoftmaxGrad.
func (t *Timed) SoftmaxGrad(dx, dy, y Tensor) {
	defer t.done(OpSoftmaxGrad, time.Now())
	t.Device.SoftmaxGrad(dx, dy, y)
}

// Pick is Kernels.Pick.
func (t *Timed) Pick(c, p, ids Tensor) {
	defer t.done(OpPick, time.Now())
	t.Device.Pick(c, p, ids)
}

// PickGrad is Kernels.PickGrad.
func (t *Timed) PickGrad(dp, dc, ids Tensor) {
	defer t.done(OpPickGrad, time.Now())
	t.Device.PickGrad(dp, dc, ids)
}

// CrossEntropy is Kernels.CrossEntropy.
func (t *Timed) CrossEntropy(loss, logits, targets Tensor, scale float32) {
	defer t.done(OpCrossEntropy, time.Now())
	t.Device.CrossEntropy(loss, logits, targets, scale)
}

// Add is Kernels.Add.
func (t *Timed) Add(dst, a, b Tensor) {
	defer t.done(OpAdd, time.Now())
	t.Device.Add(dst, a, b)
}

// Mul is Kernels.Mul.
func (t *Timed) Mul(dst, a, b Tensor) {
	defer t.done(OpMul, time.Now())
	t.Device.Mul(dst, a, b)
}

// Axpy is Kernels.Axpy.
func (t *Timed) Axpy(y Tensor, alpha float32, x Tensor) {
	defer t.done(OpAxpy, time.Now())
	t.Device.Axpy(y, alpha, x)
}

// Fill is Kernels.Fill.
func (t *Timed) Fill(dst Tensor, v float32) {
	defer t.done(OpFill, time.Now())
	t.Device.Fill(dst, v)
}

// Convert is Kernels.Convert.
func (t *Timed) Convert(dst, src Tensor) {
	defer t.done(OpConvert, time.Now())
	t.Device.Convert(dst, src)
}

// MaskZeros is Kernels.MaskZeros.
func (t *Timed) MaskZeros(g, w Tensor) {
	defer t.done(OpMaskZeros, time.Now())
	t.Device.MaskZeros(g, w)
}

// SumSquares is Kernels.SumSquares.
func (t *Timed) SumSquares(dst, x Tensor) {
	defer t.done(OpSumSquares, time.Now())
	t.Device.SumSquares(dst, x)
}

// AdamW is Kernels.AdamW.
func (t *Timed) AdamW(w, g, m, v Tensor, o AdamWOpts) {
	defer t.done(OpAdamW, time.Now())
	t.Device.AdamW(w, g, m, v, o)
}

// Upload is Device.Upload.
func (t *Timed) Upload(dst Tensor, src []byte) Ticket {
	defer t.done(OpUpload, time.Now())
	return t.Device.Upload(dst, src)
}

// Download is Device.Download.
func (t *Timed) Download(dst []byte, src Tensor) Ticket {
	defer t.done(OpDownload, time.Now())
	return t.Device.Download(dst, src)
}
