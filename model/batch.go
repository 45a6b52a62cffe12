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
	slots                tensor.Tensor // I32 [n] places of keys in a cache or behind prefixes, none without either
	order                order
	host                 []int32 // [n] pinned; one upload at a time
	window               int     // of the layers that have one
	step                 Step    // while Infer runs
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
	if s.CacheRows > 0 || s.Ahead.Prefix > 0 {
		in.slots = i("slots")
	}
	in.order = newOrder(a, s)
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

// place decides where the rows of a batch lie and sends their tokens and
// positions. first reports whether row i of the caller begins a sequence.
func (m *Model) place(ids, pos, start []int32, first func(i int) bool) {
	n := len(ids)
	if n == 0 || n > m.Size.Rows || len(pos) != n || len(start) != n {
		panic(fmt.Sprintf("model: batch of %d ids, %d positions, %d starts; built for %d rows", n, len(pos), len(start), m.Size.Rows))
	}
	longest := int32(0)
	for _, p := range pos {
		longest = max(longest, p)
	}
	longest += int32(m.ahead.Len())
	if int(longest) >= m.Size.Context {
		panic(fmt.Sprintf("model: position %d, built for a context of %d", longest, m.Size.Context))
	}
	m.rope.fit(int(longest) + 1)
	m.arrange(n, first)
	m.send(m.in.ids, m.n, func(row int) int32 {
		i, back := m.origin(row)
		if back > 0 {
			return 0 // the prompt takes the place of this token
		}
		return ids[i]
	})
	m.send(m.in.pos, m.n, func(row int) int32 { return m.position(pos, row) })
}

// position is that of a row, with what is ahead of its sequence counted.
func (m *Model) position(pos []int32, row int) int32 {
	i, back := m.origin(row)
	return pos[i] + int32(m.ahead.Len()-back)
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
	m.lay(b)
	m.blocks(train)
	m.forwardHead(b)
}

// lay sends what a batch is made of to the device.
func (m *Model) lay(b Batch) {
	m.draw = b.Draw
	m.place(b.IDs, b.Pos, b.Start, func(i int) bool { return int(b.Start[i]) == i })
	if o := &m.in.order; o.keys > m.Size.keys() {
		panic(fmt.Sprintf("model: %d rows of keys, built for %d", o.keys, m.Size.keys()))
	}
	m.see(func(row int) int32 {
		i, _ := m.origin(row)
		return m.placeOf(int(b.Start[i])) - int32(m.ahead.Len())
	}, func(row int) int32 {
		i, back := m.origin(row)
		return m.placeOf(i) - int32(back) + 1
	})
	if m.ahead.Prefix > 0 {
		m.send(m.in.slots, m.n, func(i int) int32 { return m.in.order.at[i] })
	}
	m.takePrefix()
}

func (m *Model) blocks(mode mode) {
	x := m.Blocks[0].acts.x.Rows(0, m.n)
	m.dev.Gather(x, m.embed.W, m.in.ids.Rows(0, m.n))
	m.layPrompt(x)
	m.away.begin()
	if m.Ladder != nil {
		m.climb(mode)
		return
	}
	for i, b := range m.Blocks {
		m.away.use(i, i+1)
		b.forward(mode)
	}
}

// Backward carries the gradient of the last Forward down to the lowest block
// that has anything trained, and adds the gradients of what is trained on the
// way.
func (m *Model) Backward() {
	if m.Ladder != nil {
		m.descend()
		return
	}
	lowest := m.lowest()
	if m.ahead.Prefix > 0 {
		m.in.order.grad = m.Prefix.Grad()
	}
	for i := len(m.Blocks) - 1; i >= lowest; i-- {
		next := i - 1
		if i == lowest {
			next = -1
		}
		m.away.use(i, next)
		if m.Size.Rebuild && i < len(m.Blocks)-1 {
			m.Blocks[i].forward(rebuild)
		}
		m.away.bringGrads(i)
		m.Blocks[i].backward(i == lowest && m.Prompt == nil)
		m.keepZeros(i)
		m.away.takeGrads(i)
	}
	if m.ahead.Prefix > 0 {
		m.Prefix.Backward()
	}
	if m.ahead.Prompt > 0 {
		m.promptGrad(m.scratch.d.Rows(0, m.n))
	}
	m.away.settle()
	if !m.embed.D.None() {
		m.dev.ScatterAdd(m.embed.D, m.scratch.d.Rows(0, m.n), m.in.ids.Rows(0, m.n))
	}
}

// keepZeros takes the gradients of zeros away from what block i has gathered, of
// this batch and those before. It comes before anything is summed or leaves the
// device, so that neither the norm nor a step ever sees them; without a gradient
// AdamW's moments and its decay leave a 0 what it is.
func (m *Model) keepZeros(i int) {
	if !m.Size.KeepZeros || !m.Size.Weights {
		return
	}
	for _, l := range m.Blocks[i].linears {
		m.dev.MaskZeros(l.W.D, l.W.W)
	}
}

// lowest is the first block with anything trained; len(Blocks) if none has.
func (m *Model) lowest() int {
	if m.Size.Weights || m.ahead.Len() > 0 {
		return 0
	}
	for i, b := range m.Blocks {
		if b.FFN != nil || b.AfterAttention != nil || b.BeforeFFN != nil || b.AfterFFN != nil || b.branched(qProj, downProj) {
			return i
		}
	}
	return len(m.Blocks)
}
