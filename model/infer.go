package model

import (
	"meft/tensor"
)

// Step is token rows that extend cached sequences. A sequence has a range of
// cache rows; its token at position p lies in row base+p.
type Step struct {
	IDs  []int32 // tokens
	Pos  []int32 // position in its sequence
	Base []int32 // first cache row of its sequence
	Want []int32 // rows of this step whose logits are wanted, ascending
}

// Infer runs the rows, puts their keys and values into the cache, and writes
// the logits of the wanted rows to dst, [len(Want), vocabulary].
func (m *Model) Infer(s Step, dst []float32) {
	m.draw = 0
	m.place(s.IDs, s.Pos, s.Base, func(i int) int32 { return s.Base[i] + s.Pos[i] + 1 })
	m.send(m.in.slots, m.n, func(i int) int32 { return s.Base[i] + s.Pos[i] })
	m.blocks(infer)
	v := m.Config.Vocab
	for at := 0; at < len(s.Want); at += m.Size.LossRows {
		rows := s.Want[at:min(at+m.Size.LossRows, len(s.Want))]
		m.headLogits(rows)
		out := dst[at*v : (at+len(rows))*v]
		m.dev.Await(m.dev.Download(tensor.Bytes(out), m.loss.logits.Rows(0, len(rows))))
	}
}

// copyCache copies n cache rows of every layer; the ranges do not overlap.
func (m *Model) copyCache(dst, src, n int) {
	if dst == src || n == 0 {
		return
	}
	for _, b := range m.Blocks {
		m.dev.Convert(b.cacheK.Rows(dst, dst+n), b.cacheK.Rows(src, src+n))
		m.dev.Convert(b.cacheV.Rows(dst, dst+n), b.cacheV.Rows(src, src+n))
	}
}
