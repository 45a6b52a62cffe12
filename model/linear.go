package model

import (
	"meft/tensor"
)

// projection is the place of a linear layer among those of its block, in the
// order of the forward pass.
type projection int

const (
	qProj projection = iota
	kProj
	vProj
	oProj
	gateProj
	upProj
	downProj
	projections // how many there are
)

// String is the projection's name in a checkpoint.
func (p projection) String() string {
	return [projections]string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}[p]
}

// Projections are the names of a block's linear layers as Hugging Face gives
// them, in the order of the forward pass.
func Projections() []string {
	var names []string
	for p := range projections {
		names = append(names, p.String())
	}
	return names
}

// HeadName is the name of the layer that makes logits.
const HeadName = "lm_head"

// A Scaler is a branch of a Linear that also multiplies the columns of x·Wᵀ, or
// of all of y, by factors of its own. The bias is added to what it leaves.
type Scaler interface {
	Branch
	// ScaleGrad is the gradient of x·Wᵀ: dy with its columns multiplied, in
	// scratch, or dy itself. It is called right before Backward, which is given dy.
	ScaleGrad(dy tensor.Tensor) tensor.Tensor
}

// Linear is y = x·Wᵀ + Branch(x) (+ b).
//
// Layers with the same x make a group: q_proj, k_proj, v_proj; o_proj; gate_proj,
// up_proj; down_proj. In both passes a group's branches are called in this
// order, with no other branch in between, so that they may share work and
// scratch.
type Linear struct {
	Name   string  // one of Projections, or HeadName
	W      *Weight // [out, in]
	B      *Weight // [out], nil for none
	Branch Branch  // seam: beside the layer; nil for none
}

// In is the width of x.
func (l *Linear) In() int { return l.W.W.Dim(1) }

// Out is the width of y.
func (l *Linear) Out() int { return l.W.W.Dim(0) }

func (l *Linear) forward(dev tensor.Device, y, x tensor.Tensor) {
	dev.MatMul(y, x, l.W.W, tensor.MatMulOpts{TransB: true})
	if l.Branch != nil {
		l.Branch.Forward(y, x)
	}
	if l.B != nil {
		dev.AddBias(y, l.B.W)
	}
}

// backward sets dx = dy·W, or adds it, unless dx is none; and adds the gradients
// of the weights where they are trained and of the branch, for which it needs x.
func (l *Linear) backward(dev tensor.Device, dx, dy, x tensor.Tensor, accumulate bool) {
	dz := dy
	if s, ok := l.Branch.(Scaler); ok {
		dz = s.ScaleGrad(dy)
	}
	if !dx.None() {
		dev.MatMul(dx, dz, l.W.W, tensor.MatMulOpts{Accumulate: accumulate})
	}
	if !l.W.D.None() {
		dev.MatMul(l.W.D, dz, x, tensor.MatMulOpts{TransA: true, Accumulate: true})
	}
	if l.B != nil && !l.B.D.None() {
		dev.BiasGrad(l.B.D, dy)
	}
	if l.Branch != nil {
		l.Branch.Backward(dx, dy, x)
	}
}

// wantsX reports whether backward needs x.
func (l *Linear) wantsX() bool { return l.Branch != nil || !l.W.D.None() }

// Linears are the block's linear layers in the order of Projections.
func (b *Block) Linears() []*Linear {
	var all []*Linear
	for p := range b.linears {
		all = append(all, &b.linears[p])
	}
	return all
}

// branched reports whether any linear layer from first to last has a branch.
func (b *Block) branched(first, last projection) bool {
	for p := first; p <= last; p++ {
		if b.linears[p].Branch != nil {
			return true
		}
	}
	return false
}
