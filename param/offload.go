package param

import (
	"meft/internal/simd"
	"meft/tensor"
)

// away is the state of a Dense in host memory: what ZeRO-Offload keeps there of a
// weight that is used on the device.
type away struct {
	w, m, v []float32 // the values that steps are made on, and the moments; no w with a Home
	stale   bool      // w is older than the weight on the device
}

// newAway allocates the moments.
func newAway(a *tensor.Arena, d *Dense) *away {
	n := d.W.Len()
	return &away{m: a.Float32(d.Name+".m", tensor.OnHost, n), v: a.Float32(d.Name+".v", tensor.OnHost, n)}
}

// pieceFloats is the most numbers of one copy: 2 MiB, at which a copy to or from
// an accelerator runs at full speed, and a slot stays in a core's cache.
const pieceFloats = 1 << 19

// ferry makes the steps of Dense on the host (Ren et al. 2021, ZeRO-Offload,
// https://arxiv.org/abs/2101.06840, section 4): gradients come down and values go
// up, both once a step, piece by piece through two slots of pinned memory that
// take turns. While one piece is worked on the next is on its way.
//
// It relies on the rules of tensor.Device's queues: a download waits for the
// kernels before it, and After makes those behind it wait for an upload.
type ferry struct {
	dev                tensor.Device
	pieces             []piece
	slots              [2][]float32
	down               [2]tensor.Ticket
	up                 [2]tensor.Ticket
	busy               [2]bool // an upload from the slot is to be awaited
	upBytes, downBytes int64
}

// piece is numbers [from, to) of a tensor.
type piece struct {
	d        *Dense
	from, to int
}

// NewOffloaded is NewOptimizer with the state of every Dense in host memory: its
// moments, and the values that steps are made on. The device keeps weights and
// gradients. A step has the bits that the same step has on package cpu, and
// copies every gradient to the host and every value to the device; the first
// after values were set from outside copies those to the host too. pool is for
// the steps of Dense as well; nil is one thread.
func NewOffloaded(a *tensor.Arena, pool *simd.Pool, set *Set, w AdamW, rate func(step int) float32) *Optimizer {
	o := newOptimizer(a, pool, set, w, rate)
	a = a.Sub("optimizer")
	f := &ferry{dev: o.dev}
	largest := 0
	for _, d := range o.dense {
		if d.Home != nil {
			continue
		}
		n := d.W.Len()
		largest = max(largest, n)
		d.away = newAway(a, d)
		d.away.w, d.away.stale = a.Float32(d.Name+".w", tensor.OnHost, n), true
		for from := 0; from < n; from += pieceFloats {
			f.pieces = append(f.pieces, piece{d, from, min(from+pieceFloats, n)})
		}
	}
	if largest == 0 {
		return o
	}
	for i, name := range [2]string{"even", "odd"} {
		f.slots[i] = a.Float32(name, tensor.Pinned, min(largest, pieceFloats))
	}
	o.ferry = f
	return o
}

// step makes a step on everything that has no Home.
func (f *ferry) step(h *hand, opts tensor.AdamWOpts) {
	for _, p := range f.pieces {
		if p.d.away.stale {
			f.fetch(p)
		}
	}
	for i := range len(f.pieces) + 1 {
		if i < len(f.pieces) {
			f.bring(i)
		}
		if i > 0 {
			f.settle(i-1, h, opts)
		}
	}
}

// fetch copies a piece of values that were set from outside to the host.
func (f *ferry) fetch(p piece) {
	slot := f.free(0)[:p.to-p.from]
	f.dev.Await(f.dev.Download(tensor.Bytes(slot), flat(p.d.W, p)))
	f.downBytes += 4 * int64(len(slot))
	copy(p.d.away.w[p.from:], slot)
	p.d.away.stale = p.to < p.d.W.Len()
}

// bring starts the copy of a piece's gradient to the host.
func (f *ferry) bring(i int) {
	p := f.pieces[i]
	slot := f.free(i % 2)[:p.to-p.from]
	f.down[i%2] = f.dev.Download(tensor.Bytes(slot), flat(p.d.D, p))
	f.downBytes += 4 * int64(len(slot))
}

// free is a slot from which nothing is being copied any more.
func (f *ferry) free(i int) []float32 {
	if f.busy[i] {
		f.dev.Await(f.up[i])
		f.busy[i] = false
	}
	return f.slots[i]
}

// settle makes the step on a piece whose gradient was brought, and starts the
// copy of its values to the device, from where the gradient was.
func (f *ferry) settle(i int, h *hand, opts tensor.AdamWOpts) {
	p := f.pieces[i]
	f.dev.Await(f.down[i%2])
	slot, a := f.slots[i%2][:p.to-p.from], p.d.away
	if !p.d.Still {
		h.adamw(a.w[p.from:p.to], slot, a.m[p.from:p.to], a.v[p.from:p.to], p.d.own(opts))
	}
	copy(slot, a.w[p.from:p.to])
	f.up[i%2] = f.dev.Upload(flat(p.d.W, p), tensor.Bytes(slot))
	f.dev.After(f.up[i%2])
	f.busy[i%2] = true
	f.upBytes += 4 * int64(len(slot))
}

// flat is a piece of a tensor.
func flat(t tensor.Tensor, p piece) tensor.Tensor { return t.View(t.Len()).Rows(p.from, p.to) }

// own is opts for this tensor.
func (d *Dense) own(opts tensor.AdamWOpts) tensor.AdamWOpts {
	if d.NoDecay {
		opts.Decay = 0
	}
	if d.Rate != 0 {
		opts.Rate *= d.Rate
	}
	return opts
}

// hand makes steps of Dense on the host, on all threads.
type hand struct {
	pool  *simd.Pool // nil: the caller's thread
	level simd.Level

	w, g, m, v []float32 // what Do works on
	adam       simd.AdamW
}

func newHand(pool *simd.Pool) hand {
	if pool == nil {
		return hand{level: simd.Best()}
	}
	return hand{pool: pool, level: pool.Level()}
}

// home makes the step of a Dense that lives on the host, where its values and its
// gradient are.
func (h *hand) home(d *Dense, opts tensor.AdamWOpts) {
	g := d.Home.D.Float32()
	if *d.Home.Zero {
		clear(g)
	}
	h.adamw(d.Home.W.Float32(), g, d.away.m, d.away.v, d.own(opts))
}

// shareFloats is what a thread takes at a time.
const shareFloats = 1 << 13

// adamw makes a step. No number depends on another, so the cuts show in no bit.
func (h *hand) adamw(w, g, m, v []float32, opts tensor.AdamWOpts) {
	h.w, h.g, h.m, h.v, h.adam = w, g, m, v, scalars(opts)
	n := (len(w) + shareFloats - 1) / shareFloats
	if h.pool != nil {
		h.pool.Run(n, h)
		return
	}
	for i := range n {
		h.Do(i, 0)
	}
}

// Do makes the step on share i.
func (h *hand) Do(i, _ int) {
	from, to := i*shareFloats, min((i+1)*shareFloats, len(h.w))
	h.level.AdamW(h.w[from:to], h.g[from:to], h.m[from:to], h.v[from:to], &h.adam)
}
