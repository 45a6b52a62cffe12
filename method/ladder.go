package method

import (
	"slices"

	"meft/model"
	"meft/param"
	"meft/tensor"
)

// ladder is LST's network. n is Size.Rows, k the number of chosen blocks, w the
// width of the side.
//
// The gates stay on the device: μ and 1-μ are the softmax of a/T and 0, and a
// weighted sum of two tensors is the product of two numbers with two long rows.
type ladder struct {
	dev    tensor.Device
	model  *model.Model
	side   *model.Side
	config model.Config // of the side's blocks
	layers []int        // the chosen blocks

	rungs      []rung         // that of the embeddings, then one for each chosen block
	gates      *param.Dense   // [k, 1] a
	norm       *param.Dense   // [w]
	up, upBias *param.Dense   // [d, w], [d] U
	blocks     []*param.Dense // weights of the side's blocks
	all        []*param.Dense // everything that is trained

	spread tensor.Tensor // [1, 2] 1/T and 0
	choice tensor.Tensor // [k, 2] a/T and 0
	mix    tensor.Tensor // [k, 2] μ and 1-μ
	z      tensor.Tensor // [n, w] the last state, normed, kept for Backward
	rstd   tensor.Tensor // [n]
	dz     tensor.Tensor // [n, w] scratch
	dmix   tensor.Tensor // [k, 2]

	staging tensor.Tensor // [pruneRows · widest row] of the model's weights, scratch of Start; none where it is not wanted
}

// rung is where the side reads the model.
type rung struct {
	down, bias *param.Dense  // [w, d], [w] D
	tap        tensor.Tensor // [n, d]   what D reads, kept for Backward; none where the model runs again
	both       tensor.Tensor // [2·n·w]  the side's state s and D(h), kept; then their gradients
}

// pair is memory for s and D(h) of n rows: both as [2, n·w], and each as [n, w].
func (l *ladder) pair(t tensor.Tensor, n int) (both, s, read tensor.Tensor) {
	w := l.config.Dim
	return t.Rows(0, 2*n*w).View(2, n*w), t.Rows(0, n*w).View(n, w), t.Rows(n*w, 2*n*w).View(n, w)
}

// row is t as one row, or one of a matrix.
func row(t tensor.Tensor) tensor.Tensor { return t.View(1, t.Len()) }

// Height is up to the last chosen block.
func (l *ladder) Height() int { return l.layers[len(l.layers)-1] + 1 }

// at is the rung that reads the stream before block i, none if there is none.
func (l *ladder) at(i int) (rung int, ok bool) {
	if i == 0 {
		return 0, true
	}
	j, ok := slices.BinarySearch(l.layers, i-1)
	return j + 1, ok
}

// Rung reads h and runs the side's block above it.
func (l *ladder) Rung(i int, h tensor.Tensor) {
	at, ok := l.at(i)
	if !ok {
		return
	}
	r, n := &l.rungs[at], h.Dim(0)
	if !r.tap.None() {
		l.dev.Convert(r.tap.Rows(0, n), h)
	}
	if at == 0 {
		l.open()
		l.read(l.side.Stream(0), r, h) // s = D(embedding)
		return
	}
	x := l.side.Stream(at - 1)
	both, s, read := l.pair(r.both, n)
	l.dev.Convert(s, x)
	l.read(read, r, h)
	l.dev.MatMul(row(x), l.mix.Rows(at-1, at), both, tensor.MatMulOpts{}) // x = μ·s + (1-μ)·D(h)
	l.side.Forward(at - 1)
}

// open computes the gates of a pass.
func (l *ladder) open() {
	l.dev.MatMul(l.choice, l.gates.W, l.spread, tensor.MatMulOpts{})
	l.dev.Softmax(l.mix, l.choice)
}

// read sets y = h·Dᵀ + b.
func (l *ladder) read(y tensor.Tensor, r *rung, h tensor.Tensor) {
	l.dev.MatMul(y, h, r.down.W, tensor.MatMulOpts{TransB: true})
	l.dev.AddBias(y, r.bias.W)
}

// Top sets y = norm(s)·Uᵀ + b.
func (l *ladder) Top(y tensor.Tensor) {
	n := y.Dim(0)
	z := l.z.Rows(0, n)
	l.dev.RMSNorm(z, l.rstd.Rows(0, n), l.side.Stream(len(l.layers)), l.norm.W, l.config.Eps)
	l.dev.MatMul(y, z, l.up.W, tensor.MatMulOpts{TransB: true})
	l.dev.AddBias(y, l.upBias.W)
}

// Backward mirrors Top and the rungs.
func (l *ladder) Backward(d tensor.Tensor) {
	n, ds := d.Dim(0), l.side.Grad()
	z, dz := l.z.Rows(0, n), l.dz.Rows(0, n)
	l.dev.MatMul(l.up.D, d, z, tensor.MatMulOpts{TransA: true, Accumulate: true}) // dU += dᵀ·z
	l.dev.BiasGrad(l.upBias.D, d)
	l.dev.MatMul(dz, d, l.up.W, tensor.MatMulOpts{}) // dz = d·U
	l.dev.Fill(ds, 0)
	l.dev.RMSNormGrad(ds, l.norm.D, dz, l.side.Stream(len(l.layers)), l.norm.W, l.rstd.Rows(0, n))
	for at := len(l.layers); at > 0; at-- {
		l.side.Backward(at - 1) // ds is that of x
		both, s, _ := l.pair(l.rungs[at].both, n)
		mix := l.mix.Rows(at-1, at)
		l.dev.MatMul(l.dmix.Rows(at-1, at), row(ds), both, tensor.MatMulOpts{TransB: true})
		l.dev.MatMul(both, mix, row(ds), tensor.MatMulOpts{TransA: true}) // of s and of D(h), in their place
		l.dev.Convert(ds, s)
		l.readGrad(at, l.rungs[at].tap)
	}
	l.readGrad(0, l.rungs[0].tap)
	l.dev.SoftmaxGrad(l.dmix, l.dmix, l.mix)
	l.dev.MatMul(l.gates.D, l.dmix, l.spread, tensor.MatMulOpts{TransB: true, Accumulate: true})
}

// Again gives D what it had read.
func (l *ladder) Again(i int, h tensor.Tensor) {
	if at, ok := l.at(i); ok {
		l.readGrad(at, h)
	}
}

// readGrad adds the gradients of the linear layer of a rung, unless there is no
// h to do it with.
func (l *ladder) readGrad(at int, h tensor.Tensor) {
	if h.None() {
		return
	}
	n, r := l.side.Rows(), &l.rungs[at]
	d := l.side.Grad() // the embeddings' rung is the last to be reached
	if at > 0 {
		_, _, d = l.pair(r.both, n)
	}
	l.dev.MatMul(r.down.D, d, h.Rows(0, n), tensor.MatMulOpts{TransA: true, Accumulate: true}) // dD += dᵀ·h
	l.dev.BiasGrad(r.bias.D, d)
}
