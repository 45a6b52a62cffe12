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

	back    [param.Parts][]float32 // [buffer, d] gradients on their way back; nil where a part is not trained
	pending struct {
		table   *param.Table
		ids     []int32
		tickets [param.Parts]tensor.Ticket
	}
}

// slot is the host side of one chunk of rows.
type slot struct {
	rows    [param.Parts]param.Rows // [buffer, d]
	ids     []int32                 // [n, top], of chunks that are not the whole union
	experts []int32                 // [n, w]; see neuronMemory
	tickets [param.Parts + 2]tensor.Ticket
	sent    int          // tickets that are to be awaited
	table   *param.Table // whose rows were gathered ahead, nil for none
}

func newStage(a *tensor.Arena, dev tensor.Device, s sizes) *stage {
	st := &stage{sizes: s, dev: dev}
	for i, name := range [2]string{"even", "odd"} {
		a, p := a.Sub(name), &st.slots[i]
		for _, part := range s.vectors() {
			p.rows[part] = param.NewRows(a, partNames[part], tensor.Pinned, s.master, s.buffer*s.d)
		}
		if !s.shared && s.buffer < s.most {
			p.ids = a.Int32("ids", tensor.Pinned, s.n*s.top)
		}
		if s.gated() {
			p.experts = a.Int32("experts", tensor.Pinned, s.n*s.wide())
		}
	}
	for _, part := range s.vectors() {
		if s.trains(part) {
			st.back[part] = a.Float32("d"+partNames[part], tensor.Pinned, s.buffer*s.d)
		}
	}
	return st
}

// load gathers rows ids of a table into the next slot, ahead of their use.
func (s *stage) load(t *param.Table, ids []int32) {
	p := &s.slots[s.next]
	for _, k := range p.tickets[:p.sent] {
		s.dev.Await(k)
	}
	p.sent = 0
	t.Gather(p.first(len(ids)*s.d), ids)
	p.table = t
}

// first is the first n numbers of every vector.
func (p *slot) first(n int) (rows [param.Parts]param.Rows) {
	for part, r := range p.rows {
		if r.F32 != nil || r.BF16 != nil {
			rows[part] = r.First(n)
		}
	}
	return rows
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
	arrive := m.rows
	if b.master == param.SplitMaster {
		arrive = m.rows16
	}
	p.sent = 0
	for _, part := range b.vectors() {
		b.send(p, arrive[part], p.rows[part].First(u*b.d).Bytes())
	}
	if !b.shared {
		b.send(p, m.ids, tensor.Bytes(b.places(p, n, from, u)))
	}
	if b.gated() {
		b.send(p, m.experts, tensor.Bytes(b.owners(p, n, from, u)))
	}
	for _, t := range p.tickets[:p.sent] {
		s.dev.After(t)
	}
	if b.master == param.SplitMaster {
		for _, part := range b.vectors() {
			s.dev.Convert(m.rows[part], m.rows16[part])
		}
	}
	return m
}

// send starts a copy from a slot to the device.
func (b *neurons) send(p *slot, to tensor.Tensor, from []byte) {
	p.tickets[p.sent] = b.dev.Upload(to, from)
	p.sent++
	b.counts.UpBytes += to.Bytes()
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

// owners are the gates of the same neurons: the experts of each pick, with few
// their places among those of the token, of product keys the places of the picks
// themselves; with ShareUnion the experts of
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
		var near []int32
		if b.few() {
			near = b.probed(t)
		}
		place, end := int32(-1), int32(0)
		for j, at := range b.picks[t*b.top : (t+1)*b.top] {
			e := int32(-1)
			if at >= int32(from) && at < int32(from+u) {
				id := b.union[at]
				switch {
				case b.product():
					e = int32(j)
				case !b.few():
					e = id / each
				default:
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
	for _, part := range s.vectors() {
		if s.trains(part) {
			g.tickets[part] = s.dev.Download(tensor.Bytes(s.back[part][:len(ids)*s.d]), m.drows[part])
			b.counts.DownBytes += m.drows[part].Bytes()
		}
	}
}

// settle waits for the gradients on their way back, if any, and adds them to
// their table.
func (s *stage) settle() {
	g := &s.pending
	if g.table == nil {
		return
	}
	for _, part := range s.vectors() {
		if s.trains(part) {
			s.dev.Await(g.tickets[part])
		}
	}
	g.table.ScatterAdd(g.ids, s.back)
	g.table = nil
}
