package cpu

import (
	"math"
	"sort"

	"meft/tensor"
)

// pieceKeys is how many keys a piece of the second pass does: several blocks, so
// that packing a tile's queries pays.
const pieceKeys = 4 * tileKeys

// AttentionGrad is tensor.Kernels.AttentionGrad. With p = exp(score - lse):
// dv = Σ p·do, ds = p·(do·v - do·o), dq = scale·Σ ds·k, dk = scale·Σ ds·q.
//
// Every sum is one chain: dq in order of keys, dk and dv in order of heads and
// within a head of query rows. There are two ways to go through the tiles in
// this order, which give the same bits. In one pass, a
// thread does whole sequences of one key head; that is cheaper. In two passes,
// a thread does blocks of query rows for dq, then blocks of keys for dk and dv;
// that computes scores twice, and keeps all threads busy when one sequence is
// most of the work.
func (d *Device) AttentionGrad(dq, dk, dv, do, o, lse, q, k, v tensor.Tensor, m tensor.Mask) {
	s := tensor.CheckAttentionGrad(dq, dk, dv, do, o, lse, q, k, v, m)
	a := d.attention(s, o, lse, q, k, v, m)
	a.do, a.dq, a.dk, a.dv = do.Float32(), dq.Float32(), dk.Float32(), dv.Float32()
	for _, x := range [...]tensor.Tensor{dq, dk, dv} {
		d.Fill(x, 0)
	}
	a.rows = tileCap(d.level, s.HD)
	onePass := a.survey()
	switch {
	case s.N == 0 || s.Rows == 0 || s.H == 0:
	case onePass:
		a.f = (*attention).gradSequences
		a.blocks = (s.N + a.rows - 1) / a.rows
		d.pool.Run(a.blocks*s.HKV, a)
	default:
		a.f = (*attention).gradQueries
		a.blocks = (s.N + a.rows - 1) / a.rows
		d.pool.Run(a.blocks*s.H, a)
		a.f = (*attention).gradKeys
		a.blocks = (s.Rows + pieceKeys - 1) / pieceKeys
		d.pool.Run(a.blocks*s.HKV, a)
	}
	d.attn = attention{}
}

// survey notes whether the mask is ordered and reports whether one pass by
// sequence is faster than two passes. It computes five products a tile where
// two passes compute seven, but a thread has whole sequences of a head to do;
// the longest of them is taken for all.
func (a *attention) survey() bool {
	a.ordered = true
	total, longest, run := 0, 0, 0
	for t := range a.N {
		if t > 0 && (a.start[t] < a.start[t-1] || a.end[t] < a.end[t-1]) {
			a.ordered = false
			return false
		}
		if a.begins(t) {
			run = 0
		}
		keys := int(a.end[t] - a.start[t])
		total += keys
		run += keys
		longest = max(longest, run)
	}
	total *= a.HKV
	threads := a.d.Threads()
	turns := (total + threads*longest - 1) / max(1, threads*longest)
	return threads == 1 || 5*turns*longest*threads <= 7*total
}

// begins reports whether row t shares no key with the rows before it; the mask
// is ordered.
func (a *attention) begins(t int) bool { return t == 0 || a.start[t] >= a.end[t-1] }

// gradSequences does the sequences of one key head that begin in a block of
// query rows.
func (a *attention) gradSequences(i, worker int) {
	kv, t := i%a.HKV, i/a.HKV*a.rows
	for last := min(t+a.rows, a.N); t < last; {
		if !a.begins(t) {
			t++
			continue
		}
		u := t + 1
		for u < a.N && !a.begins(u) {
			u++
		}
		for head := kv * a.group; head < (kv+1)*a.group; head++ {
			a.gradRows(t, u, 0, a.Rows, head, worker, true, true)
		}
		t = u
	}
}

// gradQueries does dq of a block of query rows of one head, the last rows first.
func (a *attention) gradQueries(i, worker int) {
	t := (a.blocks - 1 - i/a.H) * a.rows
	a.gradRows(t, min(t+a.rows, a.N), 0, a.Rows, i%a.H, worker, true, false)
}

// gradKeys does dk and dv of a block of keys of one head. In an ordered mask
// the rows that see it lie together.
func (a *attention) gradKeys(i, worker int) {
	kv, key := i%a.HKV, i/a.HKV*pieceKeys
	last := min(key+pieceKeys, a.Rows)
	t, u := 0, a.N
	if a.ordered {
		t = sort.Search(a.N, func(r int) bool { return int(a.end[r]) > key })
		u = sort.Search(a.N, func(r int) bool { return int(a.start[r]) >= last })
	}
	for head := kv * a.group; head < (kv+1)*a.group; head++ {
		a.gradRows(t, u, key, last, head, worker, false, true)
	}
}

// gradRows does rows [t, u) against keys [key, last) of one head in tiles: dq
// with query, dk and dv with keys. A tile ends where the next row shares no key
// with its rows, as at the end of a sequence, so that a NaN stays in its own.
func (a *attention) gradRows(t, u, key, last, head, worker int, query, keys bool) {
	for t < u {
		lo, hi := a.start[t], a.end[t]
		r := t + 1
		for ; r < min(t+a.rows, u) && a.start[r] < hi && a.end[r] > lo; r++ {
			lo, hi = min(lo, a.start[r]), max(hi, a.end[r])
		}
		a.gradTile(t, r-t, key, last, head, worker, query, keys)
		t = r
	}
}

func (a *attention) gradTile(row, n, key, last, head, worker int, query, keys bool) {
	t, l, kv := &a.d.spaces[worker].tile, a.d.level, head/a.group
	for r := range n {
		t.start[r], t.end[r] = a.start[row+r], a.end[row+r]
	}
	t.begin(n, a.HD)
	last = min(last, t.last)
	if key = t.block(max(key, t.first), last); key >= last {
		return
	}
	a.loadGrad(t, row, head, keys)
	clear(t.out[:n*t.pad])
	for ; key < last; key = t.block(key+t.keys, last) {
		at := key*a.kvw + kv*a.HD
		t.scores(l, t.s[:], a.k[at:], a.kvw, t.q[:])
		t.scores(l, t.g[:], a.v[at:], a.kvw, t.do[:])
		for v := 0; v < n; v += t.w {
			if s := t.seen(v, v+t.w); s.lo < s.hi {
				l.LaneGrads(&t.by, v, t.s[:], t.g[:], tileLanes, t.keys, s.lo, s.hi, a.scale)
			} else {
				t.unseen(t.s[:], v)
				t.unseen(t.g[:], v)
			}
		}
		if keys {
			t.addToKeys(l, a.dv[at:], a.kvw, t.s[:], t.doRow[:])
			t.addToKeys(l, a.dk[at:], a.kvw, t.g[:], t.qRow[:])
		}
		if query {
			l.Slivers(t.kv[:], t.keys*t.nr, a.k[at:], a.kvw, t.keys, a.HD)
			t.addToLanes(l, t.g[:])
		}
	}
	for r := 0; r < n && query; r++ {
		copy(a.dq[(row+r)*a.row+head*a.HD:][:a.HD], t.out[r*t.pad:])
	}
}

// loadGrad packs q and do of the tile's rows, twice for the gradients of keys:
// as columns and as rows.
func (a *attention) loadGrad(t *tile, row, head int, keys bool) {
	l, n, hd := a.d.level, t.lanes, a.HD
	at := row*a.row + head*hd
	q, do, o := a.q[at:], a.do[at:], a.o[at:]
	l.SliversT(t.q[:], t.nr*hd, q, a.row, hd, n)
	l.Scale(a.powers(), t.q[:roundUp(n, t.nr)*hd])
	l.SliversT(t.do[:], t.nr*hd, do, a.row, hd, n)
	if keys {
		l.Slivers(t.qRow[:], n*t.nr, q, a.row, n, hd)
		l.Slivers(t.doRow[:], n*t.nr, do, a.row, n, hd)
	}
	for r := range n {
		t.lse[r] = float32(float64(a.lse[(row+r)*a.H+head]) * math.Log2E)
		t.delta[r] = -a.scale * l.Dot(do[r*a.row:r*a.row+hd], o[r*a.row:r*a.row+hd])
	}
}
