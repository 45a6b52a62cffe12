package model

import (
	"meft/tensor"
)

// away brings the weights of blocks to the device before they are used, one
// block ahead, and takes their gradients away: layers streamed through two places
// on the device (Rajbhandari et al. 2021, ZeRO-Infinity,
// https://arxiv.org/abs/2104.07857, section 5, for one device). The embedding,
// the last norm and the head stay there. A nil away does nothing.
//
// It relies on the rules of tensor.Device's queues: copies are made in order; an
// upload waits for the kernels enqueued before it, so the place of a block may be
// overwritten when the block behind it has been enqueued; and a download waits
// for the kernels before it.
type away struct {
	dev    tensor.Device
	learns bool // weights are trained, so their values on the device grow old
	blocks [][]*Weight
	places [2]place // of even and of odd blocks
	up     int64
	down   int64
}

// place is where blocks are on the device.
type place struct {
	block    int // whose weights are here or on their way, -1 for none
	arriving []tensor.Ticket
	grads    []tensor.Ticket // of gradients that are leaving
}

// newAway is nil without Size.Offload.
func newAway(m *Model) *away {
	if !m.Size.Offload {
		return nil
	}
	w := &away{dev: m.dev, learns: m.Size.Weights, blocks: make([][]*Weight, len(m.Blocks))}
	for i, sp := range m.Config.specs() {
		if sp.block >= 0 {
			w.blocks[sp.block] = append(w.blocks[sp.block], m.weights[i])
		}
	}
	for i := range w.places {
		n := len(w.blocks[0])
		w.places[i] = place{block: -1, arriving: make([]tensor.Ticket, 0, n), grads: make([]tensor.Ticket, 0, 2*n)}
	}
	return w
}

// goAway allocates what is in host memory of a weight of type t; W and D are
// places on the device.
func (w *Weight) goAway(a *tensor.Arena, s Size, t tensor.DType, dims []int) {
	w.Home = a.Sub("weights").Host(w.Name, tensor.Pinned, t, dims...)
	if s.Weights {
		w.HomeD = a.Sub("grads").Host(w.Name, tensor.Pinned, tensor.F32, dims...)
		w.SumD = a.Sub("grads").New(w.Name+".norm", tensor.F32, 1)
		w.Zero = true
	}
}

// memory is the bytes of a tensor in host memory.
func memory(t tensor.Tensor) []byte { return t.Buf.Host()[:t.Bytes()] }

// begin is the start of a forward pass: trained weights may have changed.
func (w *away) begin() {
	if w != nil && w.learns {
		w.places[0].block, w.places[1].block = -1, -1
	}
}

// use makes kernels wait for the weights of block i, and starts the copies of
// those of next, if there is such a block.
func (w *away) use(i, next int) {
	if w == nil {
		return
	}
	w.bring(i)
	p := &w.places[i%2]
	for _, t := range p.arriving {
		w.dev.After(t)
	}
	p.arriving = p.arriving[:0]
	if next >= 0 && next < len(w.blocks) {
		w.bring(next)
	}
}

// bring starts the copies of a block's weights unless they are there or coming.
func (w *away) bring(i int) {
	p := &w.places[i%2]
	if p.block == i {
		return
	}
	p.block, p.arriving = i, p.arriving[:0]
	for _, x := range w.blocks[i] {
		p.arriving = append(p.arriving, w.dev.Upload(x.W, memory(x.Home)))
		w.up += x.W.Bytes()
	}
}

// bringGrads puts the gradients on the device that the batches before have left
// for block i, so that it adds to them as it would if they had stayed.
func (w *away) bringGrads(i int) {
	if w == nil || !w.learns {
		return
	}
	p := &w.places[i%2]
	for _, t := range p.grads {
		w.dev.After(t) // those of the block that was here before
	}
	p.grads = p.grads[:0]
	for _, x := range w.blocks[i] {
		if x.Zero {
			w.dev.Fill(x.D, 0)
			continue
		}
		w.dev.After(w.dev.Upload(x.D, memory(x.HomeD)))
		w.up += x.D.Bytes()
	}
}

// takeGrads starts the copies of block i's gradients to the host, and sums their
// squares while they are on the device.
func (w *away) takeGrads(i int) {
	if w == nil || !w.learns {
		return
	}
	p := &w.places[i%2]
	for _, x := range w.blocks[i] {
		w.dev.SumSquares(x.SumD, x.D)
		p.grads = append(p.grads, w.dev.Download(memory(x.HomeD), x.D))
		w.down += x.D.Bytes()
		x.Zero = false
	}
}

// settle waits for the gradients on their way to the host. What was uploaded
// before is then on the device too: its block has been computed.
func (w *away) settle() {
	if w == nil {
		return
	}
	for i := range w.places {
		for _, t := range w.places[i].grads {
			w.dev.Await(t)
		}
		w.places[i].grads = w.places[i].grads[:0]
	}
}

// Show brings the values of a weight to W, between passes. Without Size.Offload
// they are there.
func (m *Model) Show(w *Weight) {
	if w.Home.None() {
		return
	}
	m.dev.Await(m.dev.Upload(w.W, memory(w.Home)))
	m.away.up += w.W.Bytes()
	m.away.places[0].block, m.away.places[1].block = -1, -1 // one of them has been changed
}

// Moved is the number of bytes of weights and gradients copied to the device and
// to the host with Size.Offload, since Build.
func (m *Model) Moved() (up, down int64) {
	if m.away == nil {
		return 0, 0
	}
	return m.away.up, m.away.down
}
