package method

import (
	"meft/param"
	"meft/tensor"
)

// stage is the pinned memory through which rows go to the device and gradients
// come back. Two slots take turns, so that rows are gathered into one while the
// other is being copied or computed on.
//
// It relies on two rules of tensor.Device's queues: an upload to memory that
// kernels enqueued before still read waits for them, and a download waits for
// the kernels before it.
type stage struct {
	sizes
	dev   tensor.Device
	slots [2]slot
	next  int

	dk, dv  []float32 // [buffer, d] gradients on their way back
	pending struct {
		table  *param.Table
		ids    []int32
		dk, dv tensor.Ticket
	}
}

// slot is the host side of one chunk of rows.
type slot struct {
	k, v    param.Rows // [buffer, d]
	ids     []int32    // [n, top], of chunks that are not the whole union
	experts []int32    // [n, w]; see neuronMemory
	tickets [4]tensor.Ticket
	busy    bool         // tickets are to be awaited
	table   *param.Table // whose rows were gathered ahead, nil for none
}

func newStage(a *tensor.Arena, dev tensor.Device, s sizes) *stage {
	st := &stage{sizes: s, dev: dev}
	for i, name := range [2]string{"even", "odd"} {
		a, p := a.Sub(name), &st.slots[i]
		p.k = param.NewRows(a, "k", tensor.Pinned, s.master, s.buffer*s.d)
		p.v = param.NewRows(a, "v", tensor.Pinned, s.master, s.buffer*s.d)
		if !s.shared && s.buffer < s.most {
			p.ids = a.Int32("ids", tensor.Pinned, s.n*s.top)
		}
		if s.gated() {
			p.experts = a.Int32("experts", tensor.Pinned, s.n*s.wide())
		}
	}
	if s.grad {
		st.dv = a.Float32("dv", tensor.Pinned, s.buffer*s.d)
		if s.keys {
			st.dk = a.Float32("dk", tensor.Pinned, s.buffer*s.d)
		}
	}
	return st
}

// load gathers rows ids of a table into the next slot, ahead of their use.
func (s *stage) load(t *param.Table, ids []int32) {
	p := &s.slots[s.next]
	if p.busy {
		for _, k := range p.tickets {
			s.dev.Await(k)
		}
		p.busy = false
	}
	t.Gather(p.k.First(len(ids)*s.d), p.v.First(len(ids)*s.d), ids)
	p.table = t
}

// drop forgets rows that were gathered ahead.
func (s *stage) drop() { s.slots[s.next].table = nil }

// take is the slot with rows ids of a table, and turns to the other slot. Rows
// gathered ahead for this table are the first chunk of the union.
func (s *stage) take(t *param.Table, ids []int32) *slot {
	p := &s.slots[s.next]
	if p.table != t {
		s.load(t, ids)
	}
	p.table = nil
	s.next = 1 - s.next
	return p
}

// bring puts the rows of the union from place from on, as many as fit, on the
// device with their places and experts, and returns the memory cut to size.
func (b *neurons) bring(n, from int) neuronMemory {
	s, ids := b.stage, b.part(from)
	u, w := len(ids), b.top
	if b.shared {
		w = u
	}
	p := s.take(b.table, ids)
	m := b.mem.first(n, u, w)
	k, v := m.k, m.v
	if !m.k16.None() {
		k, v = m.k16, m.v16
	}
	p.tickets[0] = s.dev.Upload(k, p.k.First(u*b.d).Bytes())
	p.tickets[1] = s.dev.Upload(v, p.v.First(u*b.d).Bytes())
	b.counts.UpBytes += k.Bytes() + v.Bytes()
	p.tickets[2], p.tickets[3] = p.tickets[1], p.tickets[1]
	if !b.shared {
		p.tickets[2] = s.dev.Upload(m.ids, tensor.Bytes(b.places(p, n, from, u)))
		b.counts.UpBytes += m.ids.Bytes()
	}
	if b.gated() {
		p.tickets[3] = s.dev.Upload(m.experts, tensor.Bytes(b.owners(p, n, from, u)))
		b.counts.UpBytes += m.experts.Bytes()
	}
	for _, t := range p.tickets {
		s.dev.After(t)
	}
	p.busy = true
	if !m.k16.None() {
		s.dev.Convert(m.k, m.k16)
		s.dev.Convert(m.v, m.v16)
	}
	return m
}

// places are the picks as places among u rows from place from of the union, -1
// for the others.
func (b *neurons) places(p *slot, n, from, u int) []int32 {
	picks := b.picks[:n*b.top]
	if u == b.used {
		return picks
	}
	for i, at := range picks {
		p.ids[i] = -1
		if at >= int32(from) && at < int32(from+u) {
			p.ids[i] = at - int32(from)
		}
	}
	return p.ids[:n*b.top]
}

// bringProbes puts the experts of n tokens on the device.
func (b *neurons) bringProbes(n int) tensor.Tensor {
	t := b.mem.probes.Rows(0, n)
	up := b.dev.Upload(t, tensor.Bytes(b.probes[:n*b.probe]))
	b.counts.UpBytes += t.Bytes()
	b.dev.After(up)
	return t
}

// owners are the gates of the same neurons: the experts of each pick, or with
// few their places among those of the token; with ShareUnion the experts of
// every row, once for each token.
func (b *neurons) owners(p *slot, n, from, u int) []int32 {
	each := int32(b.each)
	if b.shared {
		for j, id := range b.union[from : from+u] {
			p.experts[j] = id / each
		}
		for t := 1; t < n; t++ {
			copy(p.experts[t*u:(t+1)*u], p.experts[:u])
		}
		return p.experts[:n*u]
	}
	for t := range n {
		near, place, end := b.probed(t), int32(-1), int32(0)
		for j, at := range b.picks[t*b.top : (t+1)*b.top] {
			e := int32(-1)
			if at >= int32(from) && at < int32(from+u) {
				id := b.union[at]
				if !b.few() {
					e = id / each
				} else {
					for id >= end { // ids ascend as the experts do
						place++
						end = (near[place] + 1) * each
					}
					e = place
				}
			}
			p.experts[t*b.top+j] = e
		}
	}
	return p.experts[:n*b.top]
}

// returnGrads starts the copies of a chunk's gradients to the host.
func (s *stage) returnGrads(b *neurons, m neuronMemory, from int) {
	ids := b.part(from)
	g := &s.pending
	g.table, g.ids = b.table, ids
	g.dv = s.dev.Download(tensor.Bytes(s.dv[:len(ids)*s.d]), m.dv)
	g.dk = g.dv
	b.counts.DownBytes += m.dv.Bytes()
	if s.keys {
		g.dk = s.dev.Download(tensor.Bytes(s.dk[:len(ids)*s.d]), m.dk)
		b.counts.DownBytes += m.dk.Bytes()
	}
}

// settle waits for the gradients on their way back, if any, and adds them to
// their table.
func (s *stage) settle() {
	g := &s.pending
	if g.table == nil {
		return
	}
	s.dev.Await(g.dv)
	s.dev.Await(g.dk)
	g.table.ScatterAdd(g.ids, s.dk, s.dv)
	g.table = nil
}
