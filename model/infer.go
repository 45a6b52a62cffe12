package model

import (
	"meft/tensor"
)

// Step is token rows that extend cached sequences. A sequence has a range of
// cache rows: first those of Size.Ahead, then one for each token in turn. Its
// token at position 0 begins it, and brings what is ahead of it.
type Step struct {
	IDs  []int32 // tokens
	Pos  []int32 // position in its sequence, counting tokens
	Base []int32 // first cache row of its sequence
	Want []int32 // rows of this step whose logits are wanted, ascending
}

// hostRows is how many rows of logits are on the host at a time.
const hostRows = 8

// Infer runs the rows, puts their keys and values into the cache, and calls each
// with the logits, [vocabulary], of every wanted row in turn: i counts from 0 to
// len(Want). The logits are each's to change, and are overwritten when it has
// returned.
func (m *Model) Infer(s Step, each func(i int, logits []float32)) {
	m.draw = 0
	m.in.step = s
	m.place(s.IDs, s.Pos, s.Base, func(i int) bool { return s.Pos[i] == 0 })
	m.see(m.base, func(row int) int32 { return m.slot(row) + 1 })
	m.send(m.in.slots, m.n, m.slot)
	m.takePrefix()
	m.blocks(infer)
	m.in.step = Step{}
	v := m.Config.Vocab
	for at := 0; at < m.n; at += m.Size.LossRows {
		n := min(m.Size.LossRows, m.n-at)
		m.headLogits(m.top.Rows(at, at+n))
		for lo := 0; lo < n; lo += hostRows {
			hi := min(lo+hostRows, n)
			host := m.loss.logitsHost[:(hi-lo)*v]
			m.dev.Await(m.dev.Download(tensor.Bytes(host), m.loss.logits.Rows(lo, hi)))
			for i := range hi - lo {
				each(at+lo+i, host[i*v:(i+1)*v])
			}
		}
	}
}

// base is the first cache row of a row's sequence.
func (m *Model) base(row int) int32 {
	i, _ := m.origin(row)
	return m.in.step.Base[i]
}

// slot is the cache row of a row.
func (m *Model) slot(row int) int32 { return m.base(row) + m.position(m.in.step.Pos, row) }

// cached puts the keys and values of the batch where they stay, and those of a
// prefix where sequences begin.
func (b *Block) cached(a acts) (keys, values tensor.Tensor) {
	slots := b.m.in.slots.Rows(0, b.m.n)
	if b.m.ahead.Prefix > 0 {
		for _, i := range b.m.in.order.begins {
			b.layPrefix(b.cacheK, b.cacheV, int(b.m.in.step.Base[i]))
		}
	}
	b.m.dev.Scatter(b.cacheK, a.k, slots)
	b.m.dev.Scatter(b.cacheV, a.v, slots)
	return b.cacheK, b.cacheV
}

// wanted makes the rows whose logits are wanted the batch, and moves their
// inputs and queries to the front. It is for the last block, once keys and
// values are cached: nothing else of the other rows is read any more.
func (b *Block) wanted(a acts) acts {
	m, s, dev := b.m, b.m.in.step, b.m.dev
	n, ahead := len(s.Want), int32(m.ahead.Len())
	if n == m.n {
		return a
	}
	x, q := a.x, a.q
	m.n = n
	if n == 0 {
		return a
	}
	rows := m.in.slots.Rows(0, n) // what it held has been used
	m.send(rows, n, func(i int) int32 { return m.rowOf(int(s.Want[i])) })
	m.send(m.in.ids, n, func(i int) int32 { return s.IDs[s.Want[i]] })
	a = b.acts.first(n, m.Config)
	dev.Gather(a.mid, x, rows)
	dev.Convert(a.x, a.mid)
	dev.Gather(a.o, q, rows)
	dev.Convert(a.q, a.o)
	m.see(func(i int) int32 { return s.Base[s.Want[i]] }, func(i int) int32 { return s.Base[s.Want[i]] + s.Pos[s.Want[i]] + ahead + 1 })
	return a
}

// copyCache copies n cache rows of every layer; the ranges do not overlap.
func (m *Model) copyCache(dst, src, n int) {
	if m.side != nil {
		m.side.m.copyCache(dst, src, n)
	}
	if n == 0 {
		return
	}
	for _, b := range m.Blocks {
		m.dev.Convert(b.cacheK.Rows(dst, dst+n), b.cacheK.Rows(src, src+n))
		m.dev.Convert(b.cacheV.Rows(dst, dst+n), b.cacheV.Rows(src, src+n))
	}
}
