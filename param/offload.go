package param

import (
	"meft/internal/simd"
	"meft/tensor"
)

// away is the part of a Dense that is in host memory while its weight is used on
// the device: what ZeRO-Offload keeps there.
type away struct {
	w, m, v []float32 // the values that steps are made on, and the moments
	stale   bool      // w is older than the weight on the device
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
	dev    tensor.Device
	pool   *simd.Pool // nil: the caller's thread
	level  simd.Level
	pieces []piece
	slots  [2][]float32
	down   [2]tensor.Ticket
	up     [2]tensor.Ticket
	busy   [2]bool // an upload from the slot is to be awaited

	work struct { // what Do works on
		w, g, m, v []float32
		adam       simd.AdamW
	}
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
	if len(o.dense) == 0 {
		return o
	}
	a = a.Sub("optimizer")
	f := &ferry{dev: o.dev, pool: pool, level: simd.Best()}
	if pool != nil {
		f.level = pool.Level()
	}
	largest := 0
	for _, d := range o.dense {
		n := d.W.Len()
		largest = max(largest, n)
		host := func(name string) []float32 { return a.Float32(d.Name+name, tensor.OnHost, n) }
		d.away = &away{w: host(".w"), m: host(".m"), v: host(".v"), stale: true}
		for from := 0; from < n; from += pieceFloats {
			f.pieces = append(f.pieces, piece{d, from, min(from+pieceFloats, n)})
		}
	}
	for i, name := range [2]string{"even", "odd"} {
		f.slots[i] = a.Float32(name, tensor.Pinned, min(largest, pieceFloats))
	}
	o.ferry = f
	return o
}

// step makes a step on everything.
func (f *ferry) step(opts tensor.AdamWOpts) {
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
			f.settle(i-1, opts)
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
func (f *ferry) settle(i int, opts tensor.AdamWOpts) {
	p := f.pieces[i]
	f.dev.Await(f.down[i%2])
	slot, a := f.slots[i%2][:p.to-p.from], p.d.away
	if !p.d.Still {
		f.adamw(a.w[p.from:p.to], slot, a.m[p.from:p.to], a.v[p.from:p.to], p.d.own(opts))
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

// shareFloats is what a thread takes of a piece at a time.
const shareFloats = 1 << 13

// adamw makes the step on all threads. No number depends on another, so the cuts
// show in no bit.
func (f *ferry) adamw(w, g, m, v []float32, opts tensor.AdamWOpts) {
	f.work.w, f.work.g, f.work.m, f.work.v, f.work.adam = w, g, m, v, scalars(opts)
	n := (len(w) + shareFloats - 1) / shareFloats
	if f.pool != nil {
		f.pool.Run(n, f)
		return
	}
	for i := range n {
		f.Do(i, 0)
	}
}

// Do makes the step on share i of a piece.
func (f *ferry) Do(i, _ int) {
	k := &f.work
	from, to := i*shareFloats, min((i+1)*shareFloats, len(k.w))
	f.level.AdamW(k.w[from:to], k.g[from:to], k.m[from:to], k.v[from:to], &k.adam)
}
