package methodtest

import (
	"testing"

	"meft/cpu"
	"meft/internal/simd"
	"meft/method"
	"meft/tensor"
)

// late is a device that does everything as late as the contract allows: work
// runs only when someone awaits a ticket behind it, or syncs. Memory of the host
// that is changed before its copy was awaited, or read before, shows as a wrong
// result.
type late struct {
	*cpu.Device
	queue []func()
	done  int // of all work ever queued
}

func (l *late) push(f func()) tensor.Ticket {
	l.queue = append(l.queue, f)
	return tensor.Ticket(l.done + len(l.queue))
}

func (l *late) Await(t tensor.Ticket) {
	for l.done < int(t) {
		f := l.queue[0]
		l.queue = l.queue[1:]
		l.done++
		f()
	}
}

func (l *late) After(tensor.Ticket) {}

func (l *late) Sync() error {
	l.Await(tensor.Ticket(l.done + len(l.queue)))
	return nil
}

// Pool is one of its own: the method's host work is not the device's.
func (l *late) Pool() *simd.Pool { return l.Device.Pool() }

func (l *late) Upload(dst tensor.Tensor, src []byte) tensor.Ticket {
	return l.push(func() { l.Device.Upload(dst, src) })
}
func (l *late) Download(dst []byte, src tensor.Tensor) tensor.Ticket {
	return l.push(func() { l.Device.Download(dst, src) })
}
func (l *late) MatMul(dst, a, b tensor.Tensor, o tensor.MatMulOpts) {
	l.push(func() { l.Device.MatMul(dst, a, b, o) })
}
func (l *late) Gather(dst, table, ids tensor.Tensor) {
	l.push(func() { l.Device.Gather(dst, table, ids) })
}
func (l *late) Scatter(dst, src, ids tensor.Tensor) {
	l.push(func() { l.Device.Scatter(dst, src, ids) })
}
func (l *late) RMSNorm(y, rstd, x, w tensor.Tensor, eps float32) {
	l.push(func() { l.Device.RMSNorm(y, rstd, x, w, eps) })
}
func (l *late) RMSNormGrad(dx, dw, dy, x, w, rstd tensor.Tensor) {
	l.push(func() { l.Device.RMSNormGrad(dx, dw, dy, x, w, rstd) })
}
func (l *late) RoPE(x, pos, table tensor.Tensor, inverse bool) {
	l.push(func() { l.Device.RoPE(x, pos, table, inverse) })
}
func (l *late) Attention(o, lse, q, k, v tensor.Tensor, m tensor.Mask) {
	l.push(func() { l.Device.Attention(o, lse, q, k, v, m) })
}
func (l *late) AttentionGrad(dq, dk, dv, do, o, lse, q, k, v tensor.Tensor, m tensor.Mask) {
	l.push(func() { l.Device.AttentionGrad(dq, dk, dv, do, o, lse, q, k, v, m) })
}
func (l *late) SwiGLU(y, gate, up tensor.Tensor) { l.push(func() { l.Device.SwiGLU(y, gate, up) }) }
func (l *late) Dropout(y, x tensor.Tensor, p float32, key uint64) {
	l.push(func() { l.Device.Dropout(y, x, p, key) })
}
func (l *late) SwiGLUGrad(dgate, dup, dy, gate, up tensor.Tensor) {
	l.push(func() { l.Device.SwiGLUGrad(dgate, dup, dy, gate, up) })
}
func (l *late) RowDots(s, x, rows, ids tensor.Tensor) {
	l.push(func() { l.Device.RowDots(s, x, rows, ids) })
}
func (l *late) RowAdd(y, z, rows, ids tensor.Tensor) {
	l.push(func() { l.Device.RowAdd(y, z, rows, ids) })
}
func (l *late) RowOuter(drows, z, x, ids tensor.Tensor) {
	l.push(func() { l.Device.RowOuter(drows, z, x, ids) })
}
func (l *late) GatedReLU(z, u, c tensor.Tensor) { l.push(func() { l.Device.GatedReLU(z, u, c) }) }
func (l *late) GatedReLUGrad(du, dc, dz, u, c tensor.Tensor) {
	l.push(func() { l.Device.GatedReLUGrad(du, dc, dz, u, c) })
}
func (l *late) Softmax(y, x tensor.Tensor) { l.push(func() { l.Device.Softmax(y, x) }) }
func (l *late) SoftmaxGrad(dx, dy, y tensor.Tensor) {
	l.push(func() { l.Device.SoftmaxGrad(dx, dy, y) })
}
func (l *late) Pick(c, p, ids tensor.Tensor)       { l.push(func() { l.Device.Pick(c, p, ids) }) }
func (l *late) PickGrad(dp, dc, ids tensor.Tensor) { l.push(func() { l.Device.PickGrad(dp, dc, ids) }) }
func (l *late) ScatterAdd(dst, src, ids tensor.Tensor) {
	l.push(func() { l.Device.ScatterAdd(dst, src, ids) })
}
func (l *late) AddBias(y, b tensor.Tensor)         { l.push(func() { l.Device.AddBias(y, b) }) }
func (l *late) BiasGrad(db, dy tensor.Tensor)      { l.push(func() { l.Device.BiasGrad(db, dy) }) }
func (l *late) ScaleColumns(y, x, c tensor.Tensor) { l.push(func() { l.Device.ScaleColumns(y, x, c) }) }
func (l *late) ColumnDots(s, a, b tensor.Tensor)   { l.push(func() { l.Device.ColumnDots(s, a, b) }) }
func (l *late) DivSqrt(y, a, b tensor.Tensor)      { l.push(func() { l.Device.DivSqrt(y, a, b) }) }
func (l *late) Transpose(y, x tensor.Tensor)       { l.push(func() { l.Device.Transpose(y, x) }) }
func (l *late) Act(y, x tensor.Tensor, f tensor.Func) {
	l.push(func() { l.Device.Act(y, x, f) })
}
func (l *late) ActGrad(dx, dy, x tensor.Tensor, f tensor.Func) {
	l.push(func() { l.Device.ActGrad(dx, dy, x, f) })
}
func (l *late) Axpy(y tensor.Tensor, alpha float32, x tensor.Tensor) {
	l.push(func() { l.Device.Axpy(y, alpha, x) })
}
func (l *late) CrossEntropy(loss, logits, targets tensor.Tensor, scale float32) {
	l.push(func() { l.Device.CrossEntropy(loss, logits, targets, scale) })
}
func (l *late) Add(dst, a, b tensor.Tensor)       { l.push(func() { l.Device.Add(dst, a, b) }) }
func (l *late) Mul(dst, a, b tensor.Tensor)       { l.push(func() { l.Device.Mul(dst, a, b) }) }
func (l *late) Fill(dst tensor.Tensor, v float32) { l.push(func() { l.Device.Fill(dst, v) }) }
func (l *late) Convert(dst, src tensor.Tensor)    { l.push(func() { l.Device.Convert(dst, src) }) }
func (l *late) MaskZeros(g, w tensor.Tensor)      { l.push(func() { l.Device.MaskZeros(g, w) }) }
func (l *late) SumSquares(dst, x tensor.Tensor)   { l.push(func() { l.Device.SumSquares(dst, x) }) }
func (l *late) AdamW(w, g, m, v tensor.Tensor, o tensor.AdamWOpts) {
	l.push(func() { l.Device.AdamW(w, g, m, v, o) })
}

// TestEveryCopyIsAwaited trains on a device that is as late as it may be and
// compares the bits with one that does everything at once.
func TestEveryCopyIsAwaited(t *testing.T) {
	change := map[string]func(f *method.MEFT){
		"token":   func(f *method.MEFT) { f.Gate = method.GateSoftmax },
		"union":   func(f *method.MEFT) { f.Share, f.Gate = method.ShareUnion, method.GateSoftmax },
		"gated":   func(f *method.MEFT) { f.Activation = method.SwiGLU },
		"switch":  func(f *method.MEFT) { f.Router, f.Neurons, f.Gate = method.RouteSwitch, 48, method.GateAuto },
		"stable":  func(f *method.MEFT) { f.Router, f.Gate = method.RouteStable, method.GateAuto },
		"product": func(f *method.MEFT) { f.Router, f.Neurons, f.Gate = method.RouteProductKey, 49, method.GateSoftmax },
	}
	for name, change := range change {
		for _, buffer := range []int{0, 5} {
			f := small()
			change(&f)
			f.Buffer = buffer
			lazy := Build(t, &late{Device: cpu.New(2)}, "meft", &f, grad(), 0.02)
			prompt := Build(t, cpu.New(2), "meft", &f, grad(), 0.02)
			for _, r := range []*Rig{lazy, prompt} {
				r.Noise()
				for step := range 3 {
					r.Step(t, step, rotated(step))
					r.Model.Forward(Batch()) // an evaluation in between
				}
			}
			sameState(t, lazy, prompt, name)
		}
	}
}
