// Package model is a decoder of the Llama family with an explicit forward and
// backward pass over the kernels of a tensor.Device. It knows nothing of
// fine-tuning methods: they hang on its seams (Block.FFN, Linear.Branch,
// Block.AfterFFN, Model.Prompt, Model.Prefix, Model.Ladder), and of data only
// token ids. There is no tape; reading block.go is reading the network and its
// gradient.
//
// Sequences are packed: a batch is a list of token rows, and each row says from
// which row on it may look back. There is no batch dimension and no padding.
package model

import (
	"fmt"

	"meft/tensor"
)

// Size is what a model is built for. It fixes all memory.
type Size struct {
	Rows      int          // most rows of one batch: of tokens, and of the prompts ahead of its sequences
	Keys      int          // with a prefix: most rows of keys of one batch, of tokens and of the prefixes ahead of its sequences; at least Rows
	Context   int          // longest sequence, in tokens, with what is ahead of it
	Ahead     Ahead        // what is learned ahead of every sequence
	Grad      bool         // gradients reach the branches
	Weights   bool         // and every weight
	Aside     bool         // with Grad: gradients reach the output of the last block, which is a Ladder's, and no block; these keep nothing
	KeepZeros bool         // with Weights: elements of the blocks' linear layers that are 0 get no gradient, and so stay 0
	Rebuild   bool         // keep only block inputs and recompute the rest in Backward
	Offload   bool         // weights of blocks, and their gradients, are in host memory and visit the device: see Weight.Home
	Frozen    tensor.DType // type frozen matrices are kept in: F32, BF16, or a quantised one for the projections of blocks and BF16 for the embedding and the head
	LossRows  int          // rows of logits at a time; 0 for a default: 256, or more where that is below 32 MiB
	CacheRows int          // rows of keys and values kept for Infer, with those of what is ahead of sequences; 0 for none
	Micros    int          // batches that add to one gradient; 0 for any number
}

// keeps reports whether blocks keep anything from Forward to Backward.
func (s Size) keeps() bool { return s.Grad && !s.Aside }

// A Branch is a trained path beside one frozen site: y += f(x). It takes its
// memory from Model.Acts and Model.Scratch when it is attached.
type Branch interface {
	// Forward adds f(x) to y; x is [n, in], y [n, out], n up to Size.Rows. When a
	// block is being rebuilt it is called again with the same x before Backward,
	// and must choose and compute what it did before. With y none it only has to
	// recompute what Backward will need.
	Forward(y, x tensor.Tensor)
	// Backward adds the gradient with respect to x to dx, unless dx is none,
	// and the branch's own gradients to its parameters. x is Forward's.
	Backward(dx, dy, x tensor.Tensor)
}

// Model is a decoder and its activations. Nothing is allocated after Build and
// the attaching of branches. It is not safe for concurrent use.
type Model struct {
	Config Config
	Size   Size
	Blocks []*Block
	Prompt Virtual // seam: input embeddings ahead of every sequence; wanted with Size.Ahead.Prompt
	Prefix Virtual // seam: keys and values ahead of every sequence; wanted with Size.Ahead.Prefix
	Ladder Ladder  // seam: a network that reads the blocks and speaks for them; nil for none

	dev     tensor.Device
	arena   *tensor.Arena
	weights []*Weight
	embed   *Weight
	norm    *Weight
	head    Linear // its weight is the embedding when tied
	rope    *rotary
	away    *away // nil without Size.Offload

	in      inputs
	scratch scratch
	loss    lossState
	top     tensor.Tensor // [n, d] output of the last block
	n       int           // rows of the last batch
	loaded  []func()      // see AfterLoad
	draw    uint64        // Batch.Draw of the last batch
	side    *Side         // what the Ladder is made of; nil without one
	piece   int           // of the rows that pass through the head, from 1; 0 outside of it
	ahead   Ahead         // Size.Ahead, or nothing while Remember runs
}

// scratch is memory every block uses in turn. n is Size.Rows.
type scratch struct {
	h      tensor.Tensor // [n, d]       normed input of attention or FFN
	wide   tensor.Tensor // [n, hidden]  SwiGLU output, then its gradient
	d      tensor.Tensor // [n, d]       gradient of the residual stream
	dh     tensor.Tensor // [n, d]       gradient of a normed input
	dup    tensor.Tensor // [n, hidden]
	dq     tensor.Tensor // [n, h, d/h]
	do     tensor.Tensor // [n, h, d/h]
	dk, dv tensor.Tensor // [n, kv, d/h]
	dpre   tensor.Tensor // [n, h, d/h]  gradient before the query or key norm

	keys, values   tensor.Tensor // [Size.Keys, kv, d/h] of a batch behind prefixes, none without
	dkeys, dvalues tensor.Tensor // [Size.Keys, kv, d/h] their gradients
}

// Build makes a model in a. The weights have no values: call Load or Init.
func Build(a *tensor.Arena, c Config, s Size) (*Model, error) {
	if s.Rows <= 0 || s.Context <= 0 {
		panic(fmt.Sprintf("model: size of %d rows and context %d", s.Rows, s.Context))
	}
	if s.Ahead.Prompt >= s.Rows || s.Ahead.Prompt > 0 && s.Ahead.Prefix > 0 {
		panic(fmt.Sprintf("model: a prompt of %d rows and a prefix of %d; built for %d rows", s.Ahead.Prompt, s.Ahead.Prefix, s.Rows))
	}
	if err := CheckFrozen(c, s.Frozen); err != nil && !s.Weights {
		return nil, err
	}
	if s.LossRows == 0 {
		s.LossRows = max(256, (32<<20)/4/c.Vocab)
	}
	s.Rows = max(s.Rows, s.Ahead.Prefix) // Remember runs a batch of them
	s.Keys = s.keys()
	s.LossRows = min(s.LossRows, s.Rows)
	m := &Model{Config: c, Size: s, dev: a.Device(), arena: a, ahead: s.Ahead}
	m.weights = newWeights(a, c, s)
	m.rope = newRotary(a, c, s.Context)
	m.in = newInputs(a.Sub("batch"), c, s)
	m.newScratch(a.Sub("scratch"))
	m.newBlocks()
	m.away = newAway(m)
	m.loss = newLossState(a.Sub("loss"), c, s)
	return m, a.Err()
}

func (m *Model) newScratch(a *tensor.Arena) {
	c, n := m.Config, m.Size.Rows
	f := func(name string, dims ...int) tensor.Tensor { return a.New(name, tensor.F32, dims...) }
	m.scratch.h = f("h", n, c.Dim)
	m.scratch.wide = f("wide", n, c.Hidden)
	prefixed := func(name string) (t tensor.Tensor) {
		if m.Size.Ahead.Prefix > 0 {
			t = f(name, m.Size.Keys, c.KVHeads, c.HeadDim)
		}
		return t
	}
	m.scratch.keys, m.scratch.values = prefixed("keys"), prefixed("values")
	if !m.Size.Grad {
		return
	}
	m.scratch.d = f("d", n, c.Dim)
	if m.Size.Aside {
		return
	}
	m.scratch.dh = f("dh", n, c.Dim)
	m.scratch.dup = f("dup", n, c.Hidden)
	m.scratch.dq = f("dq", n, c.Heads, c.HeadDim)
	m.scratch.do = f("do", n, c.Heads, c.HeadDim)
	m.scratch.dk = f("dk", n, c.KVHeads, c.HeadDim)
	m.scratch.dv = f("dv", n, c.KVHeads, c.HeadDim)
	m.scratch.dkeys, m.scratch.dvalues = prefixed("dkeys"), prefixed("dvalues")
	if c.QKNorm {
		m.scratch.dpre = f("dpre", n, c.Heads, c.HeadDim)
	}
}

// newBlocks lays out the blocks and binds them to their weights, in the order
// of Config.specs.
func (m *Model) newBlocks() {
	ws := m.weights
	next := func() *Weight { w := ws[0]; ws = ws[1:]; return w }
	m.embed = next()
	m.stack(next)
	m.norm = next()
	m.head = Linear{Name: HeadName, W: m.embed}
	if !m.Config.Tied {
		m.head.W = next()
	}
}

// stack lays out the blocks, taking their weights from next.
func (m *Model) stack(next func() *Weight) {
	linear := func(p projection, bias bool) Linear {
		l := Linear{Name: p.String(), W: next()}
		if bias {
			l.B = next()
		}
		return l
	}
	c := m.Config
	for i := range c.Layers {
		b := &Block{m: m, Index: i}
		b.norm1 = next()
		for _, p := range []projection{qProj, kProj, vProj} {
			b.linears[p] = linear(p, c.QKVBias)
		}
		if c.QKNorm {
			b.qNorm, b.kNorm = next(), next()
		}
		b.linears[oProj] = linear(oProj, c.OBias)
		b.norm2 = next()
		for _, p := range []projection{gateProj, upProj, downProj} {
			b.linears[p] = linear(p, c.MLPBias)
		}
		b.allocate()
		m.Blocks = append(m.Blocks, b)
	}
	m.top = m.streamTensor(c.Layers)
	for i, b := range m.Blocks {
		b.out = m.top
		if i+1 < len(m.Blocks) {
			b.out = m.Blocks[i+1].acts.x
		}
	}
}

// streamTensor is the residual stream before block i. A model whose blocks keep
// nothing needs only one, which every block overwrites.
func (m *Model) streamTensor(i int) tensor.Tensor {
	if !m.Size.keeps() && i > 0 {
		return m.Blocks[0].acts.x
	}
	return m.arena.Sub("acts").New(fmt.Sprintf("x.%d", i), tensor.F32, m.Size.Rows, m.Config.Dim)
}

// Device is where the model computes, nil while planning.
func (m *Model) Device() tensor.Device { return m.dev }

// Weights are all weights in a fixed order.
func (m *Model) Weights() []*Weight { return m.weights }

// Acts is the arena for what a branch on that block keeps from Forward to
// Backward. With Size.Rebuild, or without gradients, all blocks share it.
func (m *Model) Acts(block int) *tensor.Arena { return m.Blocks[block].arena }

// Scratch is an arena whose memory the next branch call overwrites.
func (m *Model) Scratch() *tensor.Arena { return m.arena.Sub("branch").Overlay("branch scratch") }

// Head is the layer that makes logits of the normed output of the last block. It
// has no group. Rows pass through it in pieces of at most Size.LossRows, and the
// Backward of a piece follows its Forward with no other branch in between, so a
// branch keeps nothing in Acts. It is not called again when blocks are rebuilt.
func (m *Model) Head() *Linear { return &m.head }

// Draw is the Batch.Draw of the batch that goes forward or backward, 0 for none.
// In the head it is another number for every piece of rows.
func (m *Model) Draw() uint64 {
	if m.draw == 0 {
		return 0
	}
	return m.draw + uint64(m.piece)<<32
}

// AfterLoad makes f run each time the weights have got their values, from Load
// or Init: what a method trains may begin as a function of them.
func (m *Model) AfterLoad(f func()) { m.loaded = append(m.loaded, f) }

// ZeroGrad clears the gradients of the weights, where they have any.
func (m *Model) ZeroGrad() {
	for _, w := range m.weights {
		if !w.HomeD.None() {
			w.Zero = true
		} else if !w.D.None() {
			m.dev.Fill(w.D, 0)
		}
	}
}
