package model

import (
	"fmt"
	"strings"

	"meft/tensor"
)

// A Ladder is a trained network beside the frozen blocks. It reads the residual
// stream between them and takes the place of what they come to: the head gets
// what Top writes, without the model's last norm. Gradients go into the ladder
// and into no block, so a model for it is built with Size.Aside, and its blocks
// are those of Model.NewSide.
type Ladder interface {
	// Height is how many blocks the ladder reads; those above are not run.
	Height() int
	// Rung is called with the stream h [n, d] before block i, and with i = Height
	// after the last. The next block overwrites h.
	Rung(i int, h tensor.Tensor)
	// Top sets y [n, d], n being that of the side's rows after the last rung.
	Top(y tensor.Tensor)
	// Backward takes d [n, d], the gradient of y, down all rungs. What needs the
	// streams again waits for Again where Size.Rebuild is set; else Rung has kept
	// them.
	Backward(d tensor.Tensor)
	// Again is called after Backward as Rung was, with Size.Rebuild.
	Again(i int, h tensor.Tensor)
}

// climb runs the blocks with the ladder beside them.
func (m *Model) climb(mode mode) {
	m.side.follow(mode)
	m.rungs(mode, m.Ladder.Rung)
	if m.n = m.side.m.n; m.n > 0 { // fewer where only some rows are wanted
		m.Ladder.Top(m.top.Rows(0, m.n))
	}
}

// rungs runs the blocks over the embeddings and shows the stream to rung.
func (m *Model) rungs(mode mode, rung func(i int, h tensor.Tensor)) {
	x := m.Blocks[0].acts.x.Rows(0, m.n)
	rung(0, x)
	for i, b := range m.Blocks[:m.Ladder.Height()] {
		next := i + 1
		if next == m.Ladder.Height() {
			next = -1
		}
		m.away.use(i, next)
		b.forward(mode)
		rung(i+1, x) // one stream for all, see streamTensor
	}
}

// descend is Backward of a model with a ladder.
func (m *Model) descend() {
	m.Ladder.Backward(m.scratch.d.Rows(0, m.n))
	if m.Size.Rebuild {
		m.dev.Gather(m.Blocks[0].acts.x.Rows(0, m.n), m.embed.W, m.in.ids.Rows(0, m.n))
		m.rungs(train, m.Ladder.Again)
	}
}

// Side is a stack of blocks, narrower than the model's and with every weight
// trained, that runs on the rows of the model's batches. w is its width.
type Side struct {
	m    *Model // without embedding, final norm and head
	over *Model
	mode mode
}

// NewSide makes the blocks of a Ladder; c is their configuration, of which only
// what concerns blocks counts. Block i stands beside block at[i] of m, whose
// window it has and by whose number its weights are named. Weights and their
// gradients are allocated in a, what passes through the blocks in the model's
// arena.
func (m *Model) NewSide(a *tensor.Arena, c Config, at []int) *Side {
	size := m.Size
	size.Weights, size.Aside = size.Grad, false
	c.Layers, c.Window = len(at), make([]int, len(at))
	for i, layer := range at {
		c.Window[i] = m.Config.Window[layer]
	}
	s := &Side{m: &Model{Config: c, Size: size, dev: m.dev, arena: m.arena.Sub("side"), rope: m.rope}, over: m}
	for i, layer := range at {
		s.m.weights = append(s.m.weights, sideWeights(a, c, size, i, layer)...)
	}
	s.m.newScratch(s.m.arena.Sub("scratch"))
	ws := s.m.weights
	s.m.stack(func() *Weight { w := ws[0]; ws = ws[1:]; return w })
	m.side = s
	return s
}

// sideWeights allocates the weights of block i, named after the layer beside it.
func sideWeights(a *tensor.Arena, c Config, s Size, i, layer int) []*Weight {
	var ws []*Weight
	prefix := fmt.Sprintf("model.layers.%d.", i)
	for _, sp := range c.specs() {
		rest, ok := strings.CutPrefix(sp.name, prefix)
		if !ok {
			continue
		}
		w := &Weight{Name: fmt.Sprintf("side.%d.%s", layer, rest), NoDecay: sp.vector}
		w.W = a.New(w.Name, tensor.F32, sp.dims...)
		if s.Weights {
			w.D = a.New(w.Name+".grad", tensor.F32, sp.dims...)
		}
		ws = append(ws, w)
	}
	return ws
}

// follow takes over the batch that the model is about to run.
func (s *Side) follow(mode mode) {
	s.mode, s.m.n, s.m.draw, s.m.in = mode, s.over.n, s.over.draw, s.over.in
}

// Arena is for what a Ladder keeps from Forward to Backward.
func (s *Side) Arena() *tensor.Arena { return s.m.arena }

// Weights are those of all blocks, in the order of the forward pass.
func (s *Side) Weights() []*Weight { return s.m.weights }

// Rows is the number of rows that the blocks are run on.
func (s *Side) Rows() int { return s.m.n }

// Stream is the residual stream [n, w] before block i, and after the last. It
// is written by block i-1, and the ladder's to change before Forward of block i.
func (s *Side) Stream(i int) tensor.Tensor {
	if i == len(s.m.Blocks) {
		return s.m.top.Rows(0, s.m.n)
	}
	return s.m.Blocks[i].acts.x.Rows(0, s.m.n)
}

// Forward runs block i.
func (s *Side) Forward(i int) { s.m.Blocks[i].forward(s.mode) }

// Grad is the gradient [n, w] of the stream: of what Backward of a block begins
// with, and leaves.
func (s *Side) Grad() tensor.Tensor { return s.m.scratch.d.Rows(0, s.m.n) }

// Backward carries Grad from the output of block i to its input and adds the
// gradients of its weights.
func (s *Side) Backward(i int) {
	b := s.m.Blocks[i]
	if s.m.Size.Rebuild && i < len(s.m.Blocks)-1 {
		b.forward(rebuild)
	}
	b.backward(false)
}
