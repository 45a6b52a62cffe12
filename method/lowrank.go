package method

import (
	"meft/model"
	"meft/param"
	"meft/tensor"
)

// loraGroup is what the branches of linear layers with one input x share: the
// products with x, which take the ranks of all at once, their matrices A lying
// one below the other. m is the number of branches, n is Size.Rows (LossRows for the head).
//
// Every thin matrix lies with its long side along the rows, u as uᵀ and B as Bᵀ:
// so products go through the wide activations in the order they lie in, and the
// rows of one branch are a tensor.
type loraGroup struct {
	dev     tensor.Device
	model   *model.Model
	rank    int
	scale   float32 // s
	members int     // m
	dropout float32
	key     uint64        // of the dropout; there a group has one branch
	a, da   tensor.Tensor // [m·r, in]; da none without gradients
	u       tensor.Tensor // [m·r·n] A·drop(x)ᵀ as [m·r, rows of the batch], kept for Backward
	du      tensor.Tensor // [m·r·n] its gradient, scratch
	dropped tensor.Tensor // [n, in] drop(x), scratch; none without dropout
	dora    doraScratch   // with DoRA
}

func newLoraGroup(m *model.Model, a *tensor.Arena, block int, linears []*model.Linear, l *LoRA) *loraGroup {
	g := &loraGroup{dev: m.Device(), model: m, rank: l.Rank, scale: l.scale(), members: len(linears), dropout: float32(l.Dropout)}
	n, rows, in := m.Size.Rows, len(linears)*l.Rank, linears[0].In()
	name, scratch := peftName(linears[0])+".lora_A", m.Scratch()
	kept := scratch // see model.Model.Head
	if block < len(m.Blocks) {
		kept = m.Acts(block)
	} else {
		n = m.Size.LossRows
	}
	g.a = a.New(name, tensor.F32, rows, in)
	if !m.Size.Grad {
		g.u = scratch.New("lora.u", tensor.F32, rows*n)
		if l.DoRA {
			g.dora = newDoraScratch(scratch, linears, l.Rank, n, false)
		}
		return g
	}
	g.da = a.New(name+".grad", tensor.F32, rows, in)
	g.u = kept.New("lora."+linears[0].Name+".u", tensor.F32, rows*n)
	g.du = scratch.New("lora.du", tensor.F32, rows*n)
	if l.Dropout > 0 {
		g.dropped = scratch.New("lora.dropped", tensor.F32, n, in)
	}
	if l.DoRA {
		g.dora = newDoraScratch(scratch, linears, l.Rank, n, true)
	}
	return g
}

// lora is the branch of one linear layer.
type lora struct {
	*loraGroup
	at      int          // among the members
	up      *param.Dense // [r, out] Bᵀ
	lengths *dora        // nil without DoRA
}

// first is the matrix [m·r, n] for a batch of n rows in the memory of t.
func (g *loraGroup) first(t tensor.Tensor, n int) tensor.Tensor {
	rows := g.members * g.rank
	return t.Rows(0, rows*n).View(rows, n)
}

// mine are the branch's rows of a matrix of its group, none of none.
func (b *lora) mine(t tensor.Tensor) tensor.Tensor {
	if t.None() {
		return t
	}
	return t.Rows(b.at*b.rank, (b.at+1)*b.rank)
}

// drops reports whether this batch is one that dropout works on.
func (g *loraGroup) drops() bool { return !g.dropped.None() && g.model.Draw() != 0 }

// drop is drop(x) in scratch, or x itself in a batch without dropout. It is a
// function of the batch's draw, and so the same in every pass.
func (g *loraGroup) drop(x tensor.Tensor) tensor.Tensor {
	if !g.drops() {
		return x
	}
	to := g.dropped.Rows(0, x.Dim(0))
	g.dev.Dropout(to, x, g.dropout, g.drawKey())
	return to
}

// drawKey is the key of this batch. The factor is odd and far from the step of
// tensor.Random, so that batches do not draw shifted copies of each other.
func (g *loraGroup) drawKey() uint64 { return g.key + g.model.Draw()*0xd1342543de82ef95 }

// Forward adds s·drop(x)·Aᵀ·Bᵀ to y.
func (b *lora) Forward(y, x tensor.Tensor) {
	u := b.first(b.u, x.Dim(0))
	if b.at == 0 && x.Dim(0) == 1 {
		// One row lies as its transpose does, and x·Aᵀ takes A as it lies.
		b.dev.MatMul(u.View(1, u.Dim(0)), b.drop(x), b.a, tensor.MatMulOpts{TransB: true})
	} else if b.at == 0 {
		b.dev.MatMul(u, b.a, b.drop(x), tensor.MatMulOpts{TransB: true}) // u = A·drop(x)ᵀ
	}
	switch {
	case y.None():
	case b.lengths != nil:
		b.lengths.forward(y, x, b.mine(u))
	default:
		b.add(y, b.mine(u))
	}
}

// add adds the update s·uᵀ·Bᵀ to y.
func (b *lora) add(y, u tensor.Tensor) {
	b.dev.MatMul(y, u, b.up.W, tensor.MatMulOpts{TransA: true, Alpha: b.scale, Accumulate: true})
}

// ScaleGrad is model.Scaler's: DoRA multiplies the columns of x·Wᵀ. With dropout
// it leaves them alone and adds a part to them.
func (b *lora) ScaleGrad(dy tensor.Tensor) tensor.Tensor {
	if b.lengths == nil || b.drops() {
		return dy
	}
	return b.lengths.scaled(dy)
}

// Backward mirrors Forward.
func (b *lora) Backward(dx, dy, x tensor.Tensor) {
	n := x.Dim(0)
	u, du, rest := b.first(b.u, n), b.first(b.du, n), tensor.Tensor{}
	dz := dy
	if b.lengths != nil {
		dz = b.lengths.backward(dy, b.drop(x), b.mine(u))
	}
	b.dev.MatMul(b.up.D, b.mine(u), dz, tensor.MatMulOpts{Alpha: b.scale, Accumulate: true}) // dBᵀ += s·u·dz
	b.dev.MatMul(b.mine(du), b.up.W, dz, tensor.MatMulOpts{TransB: true, Alpha: b.scale})    // du = s·Bᵀ·dzᵀ
	if b.at != b.members-1 {
		return
	}
	seen := b.drop(x)
	b.dev.MatMul(b.da, du, seen, tensor.MatMulOpts{Accumulate: true}) // dA += du·drop(x)
	if b.lengths != nil && b.drops() {
		rest = dz
		b.dev.Axpy(rest, -1, dy) // (c-1) ⊙ dy, of drop(x)·Wᵀ
		if w := b.lengths.w; !w.D.None() {
			b.dev.MatMul(w.D, rest, seen, tensor.MatMulOpts{TransA: true, Accumulate: true})
		}
	}
	if dx.None() {
		return
	}
	if !b.drops() {
		b.dev.MatMul(dx, du, b.a, tensor.MatMulOpts{TransA: true, Accumulate: true}) // dx += duᵀ·A
		return
	}
	to := b.dropped.Rows(0, n)
	b.dev.MatMul(to, du, b.a, tensor.MatMulOpts{TransA: true})
	if !rest.None() {
		b.dev.MatMul(to, rest, b.lengths.w.W, tensor.MatMulOpts{Accumulate: true})
	}
	b.dev.Dropout(to, to, b.dropout, b.drawKey()) // the gradient of drop is drop
	b.dev.Add(dx, dx, to)
}
