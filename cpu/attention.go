package cpu

import (
	"math"

	"meft/internal/simd"
	"meft/tensor"
)

// attention is the attention kernel that runs, as job is for the others. It
// works on tiles of scores with online softmax (Dao et al. 2022,
// https://arxiv.org/abs/2205.14135): no score outlives its tile.
//
// Weights are powers of two, relative to a whole power of two near the largest.
// So when the largest score of a row grows, what was added up before shrinks
// exactly, and every sum over keys is one chain in their order: where blocks of
// keys begin, and which rows share a tile, shows in no bit.
type attention struct {
	tensor.AttentionSizes
	d                      *Device
	f                      func(a *attention, i, worker int)
	q, k, v, o, lse        []float32
	do, dq, dk, dv         []float32
	start, end             []int32
	scale                  float32
	blocks                 int  // of query rows or of keys, by piece
	rows, shared, parts    int  // of a piece: rows and heads; pieces a key head
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

// Attention is tensor.Kernels.Attention.
func (d *Device) Attention(o, lse, q, k, v tensor.Tensor, m tensor.Mask) {
	s := tensor.CheckAttention(o, lse, q, k, v, m)
	if s.N == 0 || s.H == 0 {
		return
	}
	a := d.attention(s, o, lse, q, k, v, m)
	most := tileCap(d.level, s.HD)
	a.shared = min(a.group, most)
	a.parts = (a.group + a.shared - 1) / a.shared
	a.rows = most / a.shared
	a.blocks = (s.N + a.rows - 1) / a.rows
	a.f = (*attention).forward
	d.pool.Run(a.blocks*s.HKV*a.parts, a)
	d.attn = attention{}
}

// forward does a block of query rows for heads that share a key head. The last
// rows come first: under a causal mask they have the most keys.
func (a *attention) forward(i, worker int) {
	t, l := &a.d.spaces[worker].tile, a.d.level
	units := a.HKV * a.parts
	from := (a.blocks - 1 - i/units) * a.rows
	kv, part := i%units/a.parts, i%units%a.parts
	heads := min(a.shared, a.group-part*a.shared)
	first := kv*a.group + part*a.shared // head
	lanes := (min(from+a.rows, a.N) - from) * heads
	for r := range lanes {
		row := from + r/heads
		t.start[r], t.end[r] = a.start[row], a.end[row]
		copy(t.out[r*a.HD:(r+1)*a.HD], a.q[row*a.row+(first+r%heads)*a.HD:])
	}
	t.begin(lanes, a.HD)
	l.Scale(a.powers(), t.out[:lanes*a.HD])
	few := lanes <= fewLanes && a.HD <= fewWide
	if few {
		copy(t.do[:], t.out[:lanes*a.HD])
	} else {
		l.SliversT(t.q[:], t.nr*a.HD, t.out[:], a.HD, a.HD, lanes)
	}
	t.weightless()
	for key := t.block(t.first, t.last); key < t.last; key = t.block(key+t.keys, t.last) {
		at := key*a.kvw + kv*a.HD
		if few {
			a.fewScores(t, worker, a.k[at:])
		} else {
			t.scores(l, t.s[:], a.k[at:], a.kvw, t.q[:])
		}
		t.weigh(l)
		l.Slivers(t.kv[:], t.keys*t.nr, a.v[at:], a.kvw, t.keys, a.HD)
		t.addToLanes(l, t.s[:])
	}
	for r := range lanes {
		row, head := from+r/heads, first+r%heads
		to := a.o[row*a.row+head*a.HD:][:a.HD]
		copy(to, t.out[r*t.pad:])
		l.Scale(1/t.sum[r], to)
		a.lse[row*a.H+head] = float32(float64(t.power[r])*math.Ln2 + math.Log(float64(t.sum[r])))
	}
}

// In decoding, queries are too few to fill a sliver: the matrix product has a
// kernel for such. Up to fewWide steps it adds up in one chain, as a tile does.
const (
	fewLanes = 4
	fewWide  = 256
)

// fewScores is tile.scores for few lanes, which lie in t.do as rows.
func (a *attention) fewScores(t *tile, worker int, k []float32) {
	a.d.pool.MatMulOn(worker, simd.NT, t.lanes, t.keys, a.HD, 1,
		simd.Mat{F32: t.do[:], Stride: a.HD}, simd.Mat{F32: k, Stride: a.kvw}, t.g[:], tileKeys, false)
	for r := range t.lanes {
		for i, s := range t.g[r*tileKeys : r*tileKeys+t.keys] {
			t.s[i*tileLanes+r] = s
		}
	}
}

// powers is what turns products of q and k into scores as powers of two.
func (a *attention) powers() float32 { return float32(float64(a.scale) * math.Log2E) }

// weightless sets all lanes to where no key is added up.
func (t *tile) weightless() {
	clear(t.out[:t.lanes*t.pad])
	for r := range roundUp(t.lanes, t.nr) {
		t.top[r], t.sum[r] = float32(math.Inf(-1)), 0
		t.limit[r], t.power[r], t.bias[r] = t.top[r], 0, -127
	}
}

// weigh turns the scores of a block into weights and adds these up.
func (t *tile) weigh(l simd.Level) {
	for v := 0; v < t.lanes; v += t.w {
		s := t.seen(v, v+t.w)
		if s.lo >= s.hi {
			t.unseen(t.s[:], v)
			continue
		}
		l.LaneTop(&t.by, v, t.s[:], tileLanes, s.lo, s.hi)
		for r := v; r < min(v+t.w, t.lanes); r++ {
			if top := t.top[r]; top >= t.limit[r] && !math.IsInf(float64(top), -1) {
				t.raise(l, r)
			}
		}
		l.LaneWeights(&t.by, v, t.s[:], tileLanes, t.keys, s.lo, s.hi)
	}
}

// raise makes the weights of lane r relative to its largest score so far.
func (t *tile) raise(l simd.Level, r int) {
	power := int32(math.RoundToEven(min(max(float64(t.top[r]), -1<<30), 1<<30)))
	if was := t.power[r]; !math.IsInf(float64(t.limit[r]), -1) && was != power {
		shrink := float32(math.Ldexp(1, int(was-power)))
		t.sum[r] *= shrink
		l.Scale(shrink, t.out[r*t.pad:(r+1)*t.pad])
	}
	t.power[r], t.bias[r], t.limit[r] = power, power-127, float32(power)+0.5
}

// unseen clears the block's weights of the vector of lanes from v.
func (t *tile) unseen(x []float32, v int) {
	for k := range t.keys {
		clear(x[k*tileLanes+v : k*tileLanes+v+t.w])
	}
}
