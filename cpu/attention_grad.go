package cpu

import (
	"sort"

	"meft/internal/simd"
	"meft/tensor"
)

// AttentionGrad is tensor.Kernels.AttentionGrad. With p = exp(score - lse):
// dv = Σ p·do, ds = p·(do·v - do·o), dq = scale·Σ ds·k, dk = scale·Σ ds·q.
//
// Every sum is over tiles: dq in order of its keys' blocks, dk and dv in order
// of heads and within a head in order of query rows. There are two ways to go
// through the tiles in this order, which give the same bits. In one pass, a
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
	onePass := a.survey()
	switch {
	case s.N == 0 || s.Rows == 0 || s.H == 0:
	case onePass:
		a.f = (*attention).gradSequences
		a.blocks = (s.N + tileRows - 1) / tileRows
		d.pool.Run(a.blocks*s.HKV, a)
	default:
		a.f = (*attention).gradQueries
		a.blocks = (s.N + tileRows - 1) / tileRows
		d.pool.Run(a.blocks*s.H, a)
		a.f = (*attention).gradKeys
		a.blocks = (s.Rows + tileKeys - 1) / tileKeys
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
	kv, t := i%a.HKV, i/a.HKV*tileRows
	for last := min(t+tileRows, a.N); t < last; {
		if !a.begins(t) {
			t++
			continue
		}
		u := t + 1
		for u < a.N && !a.begins(u) {
			u++
		}
		// Blocks of keys lie as in the two passes; the sequence has a part of
		// the first and of the last.
		first, end := int(a.start[t]), int(a.end[u-1])
		for key := first - first%tileKeys; key < end; key += tileKeys {
			for t < u && int(a.end[t]) <= key {
				t++
			}
			for head := kv * a.group; head < (kv+1)*a.group; head++ {
				a.gradRows(t, u, key, min(key+tileKeys, a.Rows), head, worker, true, true)
			}
		}
		t = u
	}
}

// gradQueries does dq of a block of query rows of one head, the last rows first.
func (a *attention) gradQueries(i, worker int) {
	t := (a.blocks - 1 - i/a.H) * tileRows
	u := min(t+tileRows, a.N)
	first, last := a.Rows, 0
	for r := t; r < u; r++ {
		first, last = min(first, int(a.start[r])), max(last, int(a.end[r]))
	}
	for key := first - first%tileKeys; key < last; key += tileKeys {
		a.gradRows(t, u, key, min(key+tileKeys, a.Rows), i%a.H, worker, true, false)
	}
}

// gradKeys does dk and dv of a block of keys of one head. In an ordered mask
// the rows that see it lie together.
func (a *attention) gradKeys(i, worker int) {
	kv, key := i%a.HKV, i/a.HKV*tileKeys
	last := min(key+tileKeys, a.Rows)
	t, u := 0, a.N
	if a.ordered {
		t = sort.Search(a.N, func(r int) bool { return int(a.end[r]) > key })
		u = sort.Search(a.N, func(r int) bool { return int(a.start[r]) >= last })
	}
	for head := kv * a.group; head < (kv+1)*a.group; head++ {
		a.gradRows(t, u, key, last, head, worker, false, true)
	}
}

// gradRows does rows [t, u) against keys [key, last) of one head in tiles. A
// tile ends where the next row shares no key with its rows, as at the end of a
// sequence.
func (a *attention) gradRows(t, u, key, last, head, worker int, query, keys bool) {
	for t < u {
		lo, hi := max(key, int(a.start[t])), min(last, int(a.end[t]))
		if lo >= hi {
			t++
			continue
		}
		r := t + 1
		for ; r < u && r-t < tileRows; r++ {
			x, y := max(key, int(a.start[r])), min(last, int(a.end[r]))
			if x >= y || x >= hi || y <= lo {
				break
			}
			lo, hi = min(lo, x), max(hi, y)
		}
		a.gradTile(t, r-t, lo, hi-lo, head, worker, query, keys)
		t = r
	}
}

// gradTile does n rows from t against m keys from key: weights into sp.s, their
// gradients into sp.g.
func (a *attention) gradTile(t, n, key, m, head, worker int, query, keys bool) {
	sp, l, pool, kv := &a.d.spaces[worker], a.d.level, a.d.pool, head/a.group
	q, do := a.mat(a.q, t, head, a.row), a.mat(a.do, t, head, a.row)
	k, v := a.mat(a.k, key, kv, a.kvw), a.mat(a.v, key, kv, a.kvw)
	pool.MatMulOn(worker, simd.NT, n, m, a.HD, a.scale, q, k, sp.s[:], tileKeys, false)
	pool.MatMulOn(worker, simd.NT, n, m, a.HD, 1, do, v, sp.g[:], tileKeys, false)
	for r := range n {
		p, g := sp.s[r*tileKeys:r*tileKeys+m], sp.g[r*tileKeys:r*tileKeys+m]
		lo, hi := max(0, int(a.start[t+r])-key), min(m, int(a.end[t+r])-key)
		clear(p[:lo])
		clear(g[:lo])
		clear(p[hi:])
		clear(g[hi:])
		p, g = p[lo:hi], g[lo:hi]
		at := (t+r)*a.row + head*a.HD
		delta := l.Dot(a.do[at:at+a.HD], a.o[at:at+a.HD])
		l.Exp(p, p, a.lse[(t+r)*a.H+head])
		l.Mul(g, g, p)
		l.Axpy(-delta, p, g)
	}
	p, g := simd.Mat{F32: sp.s[:], Stride: tileKeys}, simd.Mat{F32: sp.g[:], Stride: tileKeys}
	if keys {
		pool.MatMulOn(worker, simd.TN, m, a.HD, n, 1, p, do, a.mat(a.dv, key, kv, a.kvw).F32, a.kvw, true)
		pool.MatMulOn(worker, simd.TN, m, a.HD, n, a.scale, g, q, a.mat(a.dk, key, kv, a.kvw).F32, a.kvw, true)
	}
	if query {
		pool.MatMulOn(worker, simd.NN, n, a.HD, m, a.scale, g, k, a.mat(a.dq, t, head, a.row).F32, a.row, true)
	}
}
