package model

import (
	"fmt"
	"math"

	"meft/tensor"
)

// Block is one layer: x += attention(norm(x)), then x += ffn(norm(x)).
type Block struct {
	Index int
	FFN   Branch // seam: beside the whole feed-forward layer; nil for none

	// Seams on the output of attention and of the feed-forward layer, before it
	// joins the residual stream, and on the normed input of the feed-forward
	// layer; nil for none. Such a branch is called with y = x, and with dx = dy
	// and no x: what it needs of x it keeps itself.
	AfterAttention, BeforeFFN, AfterFFN Branch

	m            *Model
	arena        *tensor.Arena // of acts and of what branches keep
	norm1, norm2 *Weight       // [d]
	linears      [projections]Linear
	qNorm, kNorm *Weight // [d/h], nil without query and key norms
	acts         acts
	out          tensor.Tensor // [n, d] the next block's input
	cacheK       tensor.Tensor // [cache, kv, d/h] for Infer
	cacheV       tensor.Tensor
}

// acts are the activations a block keeps for its backward pass. n is
// Size.Rows. Reading this struct is reading the memory a block costs.
type acts struct {
	x            tensor.Tensor // [n, d]        block input
	rstd1        tensor.Tensor // [n]
	qPre, kPre   tensor.Tensor // [n, h, d/h]   before the query and key norms, if any
	qRstd, kRstd tensor.Tensor // [n·h]
	q, k, v      tensor.Tensor // [n, h, d/h]   after RoPE; k, v have kv heads
	o            tensor.Tensor // [n, h, d/h]
	lse          tensor.Tensor // [n, h]        log-sum-exp of each query's scores
	mid          tensor.Tensor // [n, d]        after attention
	rstd2        tensor.Tensor // [n]
	gate, up     tensor.Tensor // [n, hidden]
}

func (b *Block) allocate() {
	m := b.m
	c, n := m.Config, m.Size.Rows
	b.acts.x = m.streamTensor(b.Index)
	b.arena = m.arena.Sub(fmt.Sprintf("acts.%d", b.Index))
	if m.Size.Rebuild || !m.Size.keeps() {
		b.arena = b.arena.Overlay("acts")
	}
	f := func(name string, dims ...int) tensor.Tensor { return b.arena.New(name, tensor.F32, dims...) }
	t := &b.acts
	t.rstd1 = f("rstd1", n)
	if c.QKNorm {
		t.qPre, t.qRstd = f("q_pre", n, c.Heads, c.HeadDim), f("q_rstd", n*c.Heads)
		t.kPre, t.kRstd = f("k_pre", n, c.KVHeads, c.HeadDim), f("k_rstd", n*c.KVHeads)
	}
	t.q = f("q", n, c.Heads, c.HeadDim)
	t.k, t.v = f("k", n, c.KVHeads, c.HeadDim), f("v", n, c.KVHeads, c.HeadDim)
	t.o = f("o", n, c.Heads, c.HeadDim)
	t.lse = f("lse", n, c.Heads)
	t.mid = f("mid", n, c.Dim)
	t.rstd2 = f("rstd2", n)
	t.gate, t.up = f("gate", n, c.Hidden), f("up", n, c.Hidden)
	if m.Size.CacheRows > 0 {
		cache := m.arena.Sub(fmt.Sprintf("cache.%d", b.Index))
		b.cacheK = cache.New("k", tensor.F32, m.Size.CacheRows, c.KVHeads, c.HeadDim)
		b.cacheV = cache.New("v", tensor.F32, m.Size.CacheRows, c.KVHeads, c.HeadDim)
	}
}

// first is the view of the first n rows of every activation.
func (t acts) first(n int, c Config) acts {
	cut := func(x tensor.Tensor) tensor.Tensor { return x.Rows(0, n) }
	v := acts{x: cut(t.x), rstd1: cut(t.rstd1), q: cut(t.q), k: cut(t.k), v: cut(t.v), o: cut(t.o),
		lse: cut(t.lse), mid: cut(t.mid), rstd2: cut(t.rstd2), gate: cut(t.gate), up: cut(t.up)}
	if !t.qPre.None() {
		v.qPre, v.qRstd = cut(t.qPre), t.qRstd.Rows(0, n*c.Heads)
		v.kPre, v.kRstd = cut(t.kPre), t.kRstd.Rows(0, n*c.KVHeads)
	}
	return v
}

// forward runs the block. With rebuild it stops when everything Backward needs
// is there: the block's output is not computed again.
func (b *Block) forward(mode mode) {
	m, dev := b.m, b.m.dev
	a := b.acts.first(m.n, m.Config)
	h := m.scratch.h.Rows(0, m.n)

	dev.RMSNorm(h, a.rstd1, a.x, b.norm1.W, m.Config.Eps)
	b.project(a, h)
	keys, values := a.k, a.v
	if mode != infer && m.ahead.Prefix > 0 {
		keys, values = b.behindPrefix(a)
	}
	if mode == infer {
		keys, values = b.cached(a)
		if m.Ladder == nil && b.Index == len(m.Blocks)-1 {
			if a = b.wanted(a); m.n == 0 {
				return
			}
			h = m.scratch.h.Rows(0, m.n)
		}
	}
	dev.Attention(a.o, a.lse, a.q, keys, values, m.mask(b.Index))
	b.linears[oProj].forward(dev, a.mid, a.o)
	if b.AfterAttention != nil {
		b.AfterAttention.Forward(a.mid, a.mid)
	}
	dev.Add(a.mid, a.mid, a.x)

	b.inputFFN(a, h)
	b.linears[gateProj].forward(dev, a.gate, h)
	b.linears[upProj].forward(dev, a.up, h)
	act, down := m.scratch.wide.Rows(0, m.n), &b.linears[downProj]
	if mode == rebuild && b.AfterFFN == nil { // which needs the output again
		if down.Branch != nil {
			dev.SwiGLU(act, a.gate, a.up)
			down.Branch.Forward(tensor.Tensor{}, act)
		}
		if b.FFN != nil {
			b.FFN.Forward(tensor.Tensor{}, h)
		}
		return
	}
	out := b.out.Rows(0, m.n)
	dev.SwiGLU(act, a.gate, a.up)
	down.forward(dev, out, act)
	if b.AfterFFN != nil {
		b.AfterFFN.Forward(out, out)
	}
	if b.FFN != nil {
		b.FFN.Forward(out, h)
	}
	dev.Add(out, out, a.mid)
}

// inputFFN sets h to the input of the feed-forward layer.
func (b *Block) inputFFN(a acts, h tensor.Tensor) {
	b.m.dev.RMSNorm(h, a.rstd2, a.mid, b.norm2.W, b.m.Config.Eps)
	if b.BeforeFFN != nil {
		b.BeforeFFN.Forward(h, h)
	}
}

// project computes q, k and v: linear, the norms of heads if any, RoPE.
func (b *Block) project(a acts, h tensor.Tensor) {
	m, dev := b.m, b.m.dev
	q, k := a.q, a.k
	if b.qNorm != nil {
		q, k = a.qPre, a.kPre
	}
	b.linears[qProj].forward(dev, q, h)
	b.linears[kProj].forward(dev, k, h)
	b.linears[vProj].forward(dev, a.v, h)
	if b.qNorm != nil {
		dev.RMSNorm(heads(a.q), a.qRstd, heads(q), b.qNorm.W, m.Config.Eps)
		dev.RMSNorm(heads(a.k), a.kRstd, heads(k), b.kNorm.W, m.Config.Eps)
	}
	pos := m.in.pos.Rows(0, m.n)
	dev.RoPE(a.q, pos, m.rope.table, false)
	dev.RoPE(a.k, pos, m.rope.table, false)
}

// heads sees [n, h, w] as [n·h, w].
func heads(t tensor.Tensor) tensor.Tensor { return t.View(t.Dim(0)*t.Dim(1), t.Dim(2)) }

// backward turns the gradient of the block's output, in scratch.d, into that of
// its input, and adds the gradients of what is trained. With last, nothing
// below wants a gradient: it goes down to the prefix or the lowest branch and no
// further.
func (b *Block) backward(last bool) {
	a := b.acts.first(b.m.n, b.m.Config)
	below := !last || b.m.Size.Weights
	attention := below || b.AfterAttention != nil || b.branched(qProj, oProj) || b.m.ahead.Prefix > 0
	b.backwardFFN(a, attention)
	if attention {
		b.backwardAttention(a, below)
	}
}

// backwardFFN is backward down to a.mid. Without below nobody wants the gradient
// of that.
func (b *Block) backwardFFN(a acts, below bool) {
	m, dev, n := b.m, b.m.dev, b.m.n
	h, d, dh := m.scratch.h.Rows(0, n), m.scratch.d.Rows(0, n), m.scratch.dh.Rows(0, n)
	dact, dup := m.scratch.wide.Rows(0, n), m.scratch.dup.Rows(0, n)
	down, inner := &b.linears[downProj], b.branched(gateProj, upProj)
	through := below || inner || b.BeforeFFN != nil
	dout := b.after(b.AfterFFN, d)

	if down.wantsX() {
		dev.SwiGLU(dup, a.gate, a.up) // the input of down, kept nowhere
	}
	if through {
		down.backward(dev, dact, dout, dup, false)
		dev.SwiGLUGrad(dact, dup, dact, a.gate, a.up)
	} else {
		down.backward(dev, tensor.Tensor{}, dout, dup, false)
	}
	if !below && b.BeforeFFN == nil {
		dh = tensor.Tensor{}
	}
	if m.Size.Weights || inner || b.FFN != nil {
		b.inputFFN(a, h)
	}
	if through {
		b.linears[gateProj].backward(dev, dh, dact, h, false)
		b.linears[upProj].backward(dev, dh, dup, h, true)
	}
	if b.FFN != nil {
		b.FFN.Backward(dh, d, h)
	}
	if b.BeforeFFN != nil {
		b.BeforeFFN.Backward(dh, dh, tensor.Tensor{})
	}
	if below {
		dev.RMSNormGrad(d, b.norm2.D, dh, a.mid, b.norm2.W, a.rstd2)
	}
}

// backwardAttention is backward from a.mid down to a.x. Without below nobody
// wants the gradient of that.
func (b *Block) backwardAttention(a acts, below bool) {
	m, dev, n := b.m, b.m.dev, b.m.n
	s := &m.scratch
	h, d, dh := s.h.Rows(0, n), s.d.Rows(0, n), s.dh.Rows(0, n)
	do, dq, dk, dv := s.do.Rows(0, n), s.dq.Rows(0, n), s.dk.Rows(0, n), s.dv.Rows(0, n)
	inner := b.branched(qProj, vProj)
	dout := b.after(b.AfterAttention, d)

	if !below && !inner && m.ahead.Prefix == 0 {
		b.linears[oProj].backward(dev, tensor.Tensor{}, dout, a.o, false)
		return
	}
	b.linears[oProj].backward(dev, do, dout, a.o, false)
	b.attentionGrad(a, dq, dk, dv, do)
	if !below && !inner {
		return
	}
	pos := m.in.pos.Rows(0, n)
	dev.RoPE(dq, pos, m.rope.table, true)
	dev.RoPE(dk, pos, m.rope.table, true)
	if b.qNorm != nil {
		b.headNormGrad(b.qNorm, dq, a.qPre, a.qRstd)
		b.headNormGrad(b.kNorm, dk, a.kPre, a.kRstd)
	}
	if m.Size.Weights || inner {
		dev.RMSNorm(h, a.rstd1, a.x, b.norm1.W, m.Config.Eps)
	}
	if !below {
		dh = tensor.Tensor{}
	}
	b.linears[qProj].backward(dev, dh, dq, h, false)
	b.linears[kProj].backward(dev, dh, dk, h, true)
	b.linears[vProj].backward(dev, dh, dv, h, true)
	if below {
		dev.RMSNormGrad(d, b.norm1.D, dh, a.x, b.norm1.W, a.rstd1)
	}
}

// after is the gradient of a sublayer's output, d that of the residual stream it
// joins: without a branch on the output they are the same. scratch.dh has no
// other use until the gradient of the sublayer's input.
func (b *Block) after(branch Branch, d tensor.Tensor) tensor.Tensor {
	if branch == nil {
		return d
	}
	dout := b.m.scratch.dh.Rows(0, b.m.n)
	b.m.dev.Convert(dout, d)
	branch.Backward(dout, dout, tensor.Tensor{})
	return dout
}

// headNormGrad replaces dy, the gradient of normed heads, by that of pre.
func (b *Block) headNormGrad(w *Weight, dy, pre, rstd tensor.Tensor) {
	dev := b.m.dev
	dpre := b.m.scratch.dpre
	dpre.Dims = dy.Dims // keys may have fewer heads than queries
	dev.Fill(dpre, 0)
	dev.RMSNormGrad(heads(dpre), w.D, heads(dy), heads(pre), w.W, rstd)
	dev.Convert(dy, dpre)
}

// mask says which rows each query of the batch sees in that layer.
func (m *Model) mask(layer int) tensor.Mask {
	start := m.in.start
	if m.Config.Window[layer] > 0 {
		start = m.in.windowed
	}
	return tensor.Mask{
		Start: start.Rows(0, m.n),
		End:   m.in.end.Rows(0, m.n),
		Scale: float32(1 / math.Sqrt(float64(m.Config.HeadDim))),
	}
}
