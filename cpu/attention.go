package cpu

import (
	"math"

	"meft/internal/simd"
	"meft/tensor"
)

// attention is the attention kernel that runs, as job is for the others. It
// works on tiles of scores, query rows by keys, with online softmax (Dao et al.
// 2022, https://arxiv.org/abs/2205.14135): no score outlives its tile.
type attention struct {
	tensor.AttentionSizes
	d                      *Device
	f                      func(a *attention, i, worker int)
	q, k, v, o, lse        []float32
	do, dq, dk, dv         []float32
	start, end             []int32
	scale                  float32
	blocks                 int  // of query rows or of keys, by piece
	ordered                bool // neither start nor end ever falls
	heads, group, row, kvw int  // query heads, of them by key head, widths of rows of q and of k
}

// Do does piece i.
func (a *attention) Do(i, worker int) { a.f(a, i, worker) }

func (d *Device) attention(s tensor.AttentionSizes, o, lse, q, k, v tensor.Tensor, m tensor.Mask) *attention {
	d.attn = attention{
		AttentionSizes: s, d: d,
		q: q.Float32(), k: k.Float32(), v: v.Float32(), o: o.Float32(), lse: lse.Float32(),
		start: m.Start.Int32(), end: m.End.Int32(), scale: m.Scale,
		heads: s.H, group: s.H / s.HKV, row: s.H * s.HD, kvw: s.HKV * s.HD,
	}
	return &d.attn
}

// mat is the part of x, whose rows are stride wide, that starts at row i and at
// the given head.
func (a *attention) mat(x []float32, i, head, stride int) simd.Mat {
	return simd.Mat{F32: x[i*stride+head*a.HD:], Stride: stride}
}

// Attention is tensor.Kernels.Attention.
func (d *Device) Attention(o, lse, q, k, v tensor.Tensor, m tensor.Mask) {
	s := tensor.CheckAttention(o, lse, q, k, v, m)
	if s.N == 0 || s.H == 0 {
		return
	}
	a := d.attention(s, o, lse, q, k, v, m)
	a.blocks = (s.N + tileRows - 1) / tileRows
	a.f = (*attention).forward
	d.pool.Run(a.blocks*s.H, a)
	d.attn = attention{}
}

// forward does a block of query rows of one head. The last rows come first:
// under a causal mask they have the most keys.
//
// Rows with an equal start go together, and blocks of keys count from it. So
// the sums of a row are cut in the same places in a batch of one, as in
// decoding. Under a sliding window every row has a start of its own and goes
// alone, which is right but slower.
func (a *attention) forward(i, worker int) {
	first := (a.blocks - 1 - i/a.H) * tileRows
	last := min(first+tileRows, a.N)
	for t := first; t < last; {
		u := t + 1
		for u < last && a.start[u] == a.start[t] {
			u++
		}
		a.forwardRows(t, u, i%a.H, worker)
		t = u
	}
}

// forwardRows does rows [t, u) of one head, which have one start.
func (a *attention) forwardRows(t, u, head, worker int) {
	sp, pool, kv, n := &a.d.spaces[worker], a.d.pool, head/a.group, u-t
	last := 0
	for r := range n {
		sp.top[r], sp.sum[r] = float32(math.Inf(-1)), 0
		last = max(last, int(a.end[t+r]))
	}
	first, done := int(a.start[t]), 0
	for key := first; key < last; key += tileKeys {
		keys := min(tileKeys, last-key)
		for key > first && int(a.end[t+done]) <= key {
			done++ // under a causal mask the first rows see no further keys
		}
		s := simd.Mat{F32: sp.s[done*tileKeys:], Stride: tileKeys}
		pool.MatMulOn(worker, simd.NT, n-done, keys, a.HD, a.scale,
			a.mat(a.q, t+done, head, a.row), a.mat(a.k, key, kv, a.kvw), s.F32, tileKeys, false)
		for r := done; r < n; r++ {
			a.weigh(sp, r, t+r, head, keys, int(a.end[t+r])-key, key == first)
		}
		pool.MatMulOn(worker, simd.NN, n-done, a.HD, keys, 1, s, a.mat(a.v, key, kv, a.kvw),
			a.mat(a.o, t+done, head, a.row).F32, a.row, key > first)
	}
	for r := range n {
		a.d.level.Scale(float32(1/sp.sum[r]), a.mat(a.o, t+r, head, a.row).F32[:a.HD])
		a.lse[(t+r)*a.H+head] = float32(float64(sp.top[r]) + math.Log(sp.sum[r]))
	}
}

// weigh turns row r of the tile from scores of keys, of which query row t sees
// the first few, into weights relative to the largest score so far. When that
// grows, what was added up with the smaller one shrinks.
func (a *attention) weigh(sp *space, r, t, head, keys, seen int, first bool) {
	l, s := a.d.level, sp.s[r*tileKeys:r*tileKeys+keys]
	seen = min(max(seen, 0), keys)
	clear(s[seen:])
	if seen == 0 {
		return
	}
	s = s[:seen]
	if top := l.Max(s); top > sp.top[r] {
		if !first {
			shrink := math.Exp(float64(sp.top[r]) - float64(top))
			sp.sum[r] *= shrink
			l.Scale(float32(shrink), a.mat(a.o, t, head, a.row).F32[:a.HD])
		}
		sp.top[r] = top
	}
	sp.sum[r] += l.Exp(s, s, sp.top[r])
}
