package model

import (
	"fmt"

	"meft/tensor"
)

// Batch is packed sequences with the targets of each token. All slices have the
// same length, at most Size.Rows.
type Batch struct {
	IDs     []int32 // tokens
	Targets []int32 // the token wanted next, or -1 for none
	Pos     []int32 // position in its own sequence, below Size.Context
	Start   []int32 // first row of its own sequence
	Scale   float32 // multiplies the gradient of the sum of losses
	Draw    uint64  // what random parts of branches draw from, another for every training batch; 0: they keep still
}

// mode is what a forward pass is for.
type mode int

const (
	train   mode = iota // and plain evaluation
	rebuild             // of a block's activations
	infer               // with cached keys and values
)

// inputs are the integers of a batch on the device, and the pinned memory they
// are sent from. n is Size.Rows.
type inputs struct {
	ids, pos, start, end tensor.Tensor // I32 [n]
	windowed             tensor.Tensor // I32 [n] start with a sliding window, none without
	slots                tensor.Tensor // I32 [n] cache rows, none without a cache
	host                 []int32       // [n] pinned; one upload at a time
	window               int           // of the layers that have one
	step                 Step          // while Infer runs
}

func newInputs(a *tensor.Arena, c Config, s Size) inputs {
	i := func(name string) tensor.Tensor { return a.New(name, tensor.I32, s.Rows) }
	in := inputs{ids: i("ids"), pos: i("pos"), start: i("start"), end: i("end")}
	for _, w := range c.Window {
		if w > 0 {
			in.window = w
		}
	}
	if in.window > 0 {
		in.windowed = i("windowed")
	}
	if s.CacheRows > 0 {
		in.slots = i("slots")
	}
	in.host = a.Int32("staging", tensor.Pinned, s.Rows)
	return in
}

// send uploads n integers made by f.
func (m *Model) send(dst tensor.Tensor, n int, f func(i int) int32) {
	host := m.in.host[:n]
	for i := range host {
		host[i] = f(i)
	}
	t := m.dev.Upload(dst.Rows(0, n), tensor.Bytes(host))
	m.dev.After(t)
	m.dev.Await(t) // host is used again at once
}

// place sends the rows of a batch; end(i) is one past the last key of row i.
func (m *Model) place(ids, pos, start []int32, end func(i int) int32) {
	n := len(ids)
	if n == 0 || n > m.Size.Rows || len(pos) != n || len(start) != n {
		panic(fmt.Sprintf("model: batch of %d ids, %d positions, %d starts; built for %d rows", n, len(pos), len(start), m.Size.Rows))
	}
	longest := int32(0)
	for _, p := range pos {
		longest = max(longest, p)
	}
	if int(longest) >= m.Size.Context {
		panic(fmt.Sprintf("model: position %d, built for a context of %d", longest, m.Size.Context))
	}
	m.rope.fit(int(longest) + 1)
	m.n = n
	m.send(m.in.ids, n, func(i int) int32 { return ids[i] })
	m.send(m.in.pos, n, func(i int) int32 { return pos[i] })
	m.see(func(i int) int32 { return start[i] }, end)
}

// see sends what the rows of the batch may look at: row i at rows from start(i)
// on, before end(i).
func (m *Model) see(start, end func(i int) int32) {
	m.send(m.in.start, m.n, start)
	m.send(m.in.end, m.n, end)
	if w := int32(m.in.window); w > 0 {
		m.send(m.in.windowed, m.n, func(i int) int32 { return max(start(i), end(i)-w) })
	}
}

// Forward runs the batch, and with Size.Grad also computes the gradient of the
// scaled sum of losses at the top, which Backward carries down.
func (m *Model) Forward(b Batch) {
	m.draw = b.Draw
	m.place(b.IDs, b.Pos, b.Start, func(i int) int32 { return int32(i) + 1 })
	m.blocks(train)
	m.forwardHead(b)
}

func (m *Model) blocks(mode mode) {
	m.dev.Gather(m.Blocks[0].acts.x.Rows(0, m.n), m.embed.W, m.in.ids.Rows(0, m.n))
	for _, b := range m.Blocks {
		b.forward(mode)
	}
}

// Backward carries the gradient of the last Forward down to the lowest block
// that has anything trained, and adds the gradients of what is trained on the
// way.
func (m *Model) Backward() {
	lowest := m.lowest()
	for i := len(m.Blocks) - 1; i >= lowest; i-- {
		if m.Size.Rebuild && i < len(m.Blocks)-1 {
			m.Blocks[i].forward(rebuild)
		}
		m.Blocks[i].backward(i == lowest)
	}
	if !m.embed.D.None() {
		m.dev.ScatterAdd(m.embed.D, m.scratch.d.Rows(0, m.n), m.in.ids.Rows(0, m.n))
	}
}

// lowest is the first block with anything trained; len(Blocks) if none has.
func (m *Model) lowest() int {
	if m.Size.Weights {
		return 0
	}
	for i, b := range m.Blocks {
		if b.FFN != nil || b.AfterAttention != nil || b.AfterFFN != nil || b.branched(qProj, downProj) {
			return i
		}
	}
	return len(m.Blocks)
}
