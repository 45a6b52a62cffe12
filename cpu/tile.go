package cpu

import (
	"math"

	"meft/internal/simd"
	"meft/tensor"
)

// The size of a tile of attention scores: keys by lanes, a lane being a query
// row of one head. One tile stays in the first-level cache, all of a worker in
// the second.
const (
	tileKeys  = 64
	tileLanes = 96
	// tileNumbers is the size of a packed operand: 96 lanes of heads up to 160
	// wide, and at least the widest sliver of any.
	tileNumbers = 32 * tensor.MaxHead
)

// tile is the room for attention of one worker.
type tile struct {
	s, g         [tileKeys * tileLanes]float32 // scores, then weights; gradients of scores
	q, do        [tileNumbers]float32          // packed with a lane in each column
	qRow, doRow  [tileNumbers]float32          // packed with a lane in each row
	kv           [tileNumbers]float32          // packed with a key in each row
	out          [tileNumbers]float32          // o or dq, a lane in each row
	start, end   [tileLanes]int32              // of the keys a lane sees
	lo, hi       [tileLanes]int32              // the same in the block, empty: 0, 0
	dist, half   [tileLanes]float32
	top, sum     [tileLanes]float32
	limit        [tileLanes]float32 // where the largest score asks for another T
	bias, power  [tileLanes]int32   // T-127, T
	lse, delta   [tileLanes]float32
	sliver       [tileLanes]span // keys of the block, by sliver
	cut          [tileLanes]int  // the end of the panel of lanes that begins here
	lanes        int             // in use
	first, last  int             // all keys that a lane sees
	late, early  int             // the last start and the first end
	keys         int             // of the block
	whole        bool            // every lane sees the whole block
	by           simd.Lanes      // the above for simd
	rows, nr, w  int             // simd's shapes
	cap, hd, pad int             // most lanes, head width, the same in whole slivers
}

// span is a range of keys of a block.
type span struct{ lo, hi int }

func (t *tile) init(l simd.Level) {
	t.rows, t.nr, t.w = l.TileShape()
	t.by = simd.Lanes{Dist: t.dist[:], Half: t.half[:], Top: t.top[:], Bias: t.bias[:], Sum: t.sum[:], LSE: t.lse[:], Delta: t.delta[:]}
}

// tileCap is the most lanes of a tile for heads of that width.
func tileCap(l simd.Level, hd int) int {
	_, nr, _ := l.TileShape()
	return min(tileLanes, tileNumbers/roundUp(hd, nr)/nr*nr)
}

func roundUp(n, to int) int { return (n + to - 1) / to * to }

// begin takes the ranges of keys from start and end of the lanes in use.
func (t *tile) begin(lanes, hd int) {
	t.lanes, t.hd, t.pad, t.whole = lanes, hd, roundUp(hd, t.nr), false
	t.first, t.last, t.late, t.early = math.MaxInt, 0, 0, math.MaxInt
	for r := range lanes {
		a, b := int(t.start[r]), int(t.end[r])
		t.first, t.last, t.late, t.early = min(t.first, a), max(t.last, b), max(t.late, a), min(t.early, b)
	}
	for r := 0; r < lanes; r = t.cut[r] {
		t.cut[r] = t.panel(r)
	}
	for r := lanes; r < roundUp(lanes, t.nr); r++ {
		t.start[r], t.end[r] = 0, 0
		t.lse[r], t.delta[r] = 0, 0
	}
}

// panel is the end of a panel of lanes from r on. Lanes that share no key go
// apart, since a weight of 0 would carry a NaN of one sequence into another.
func (t *tile) panel(r int) int {
	lo, hi := t.start[r], t.end[r]
	u := r + 1
	for ; u < min(r+t.rows, t.lanes) && t.start[u] < hi && t.end[u] > lo; u++ {
		lo, hi = min(lo, t.start[u]), max(hi, t.end[u])
	}
	return u
}

// block moves to the block of keys that holds the next that a lane sees, from
// key on and below last, and returns where it begins; last if there is none.
func (t *tile) block(key, last int) int {
	if key < t.late { // sequences of a tile may lie far apart
		next := last
		for r := range t.lanes {
			if int(t.end[r]) > key {
				next = min(next, max(key, int(t.start[r])))
			}
		}
		key = next
	}
	last = min(last, t.last)
	if key >= last {
		return last
	}
	keys := min(tileKeys, tileNumbers/t.pad, last-key)
	whole := key >= t.late && key+keys <= t.early
	if whole && t.whole && keys == t.keys {
		return key
	}
	t.keys, t.whole = keys, whole
	for r := range roundUp(t.lanes, t.nr) {
		lo, hi := max(int(t.start[r])-key, 0), min(int(t.end[r])-key, keys)
		if lo >= hi {
			lo, hi = 0, 0
		}
		t.lo[r], t.hi[r] = int32(lo), int32(hi)
		t.dist[r], t.half[r] = -0.5*float32(lo+hi-1), 0.5*float32(hi-lo)
	}
	for i := 0; i*t.nr < t.lanes; i++ {
		t.sliver[i] = t.seen(i*t.nr, (i+1)*t.nr)
	}
	return key
}

// seen is the keys of the block that lanes [a, b) see, and those between.
func (t *tile) seen(a, b int) span {
	if b = min(b, t.lanes); t.whole {
		return span{0, t.keys}
	}
	all := span{t.keys, 0}
	for r := a; r < b; r++ {
		if t.hi[r] > 0 {
			all = span{min(all.lo, int(t.lo[r])), max(all.hi, int(t.hi[r]))}
		}
	}
	return all
}

// seers is the range of lanes, in whole slivers, that see any of keys [a, b) of
// the block, and those between.
func (t *tile) seers(a, b int) (lo, hi int) {
	lo = t.lanes
	for i := 0; i*t.nr < t.lanes; i++ {
		if s := t.sliver[i]; s.lo < b && s.hi > a {
			lo, hi = min(lo, i*t.nr), (i+1)*t.nr
		}
	}
	return lo, hi
}

// scores computes one product of the block's keys, rows of x with that stride,
// with the lanes of packed, where a lane sees any of them.
func (t *tile) scores(l simd.Level, to, x []float32, stride int, packed []float32) {
	for k := 0; k < t.keys; k += t.rows {
		n := min(t.rows, t.keys-k)
		if a, b := t.seers(k, k+n); a < b {
			l.Tile(n, b-a, t.hd, x[k*stride:], stride, 1, packed[a*t.hd:], t.nr*t.hd, to[k*tileLanes+a:], tileLanes, false)
		}
	}
}

// addToLanes adds the products of the tile's weights with the block's keys, as
// they are in t.kv, to the rows of t.out.
func (t *tile) addToLanes(l simd.Level, weights []float32) {
	for r := 0; r < t.lanes; r = t.cut[r] {
		if s := t.seen(r, t.cut[r]); s.lo < s.hi {
			l.Tile(t.cut[r]-r, t.pad, s.hi-s.lo, weights[s.lo*tileLanes+r:], 1, tileLanes, t.kv[s.lo*t.nr:], t.keys*t.nr, t.out[r*t.pad:], t.pad, true)
		}
	}
}

// addToKeys adds the products of the tile's weights with the lanes in packed to
// the block's keys, rows of to with that stride.
func (t *tile) addToKeys(l simd.Level, to []float32, stride int, weights, packed []float32) {
	for k := 0; k < t.keys; k += t.rows {
		n := min(t.rows, t.keys-k)
		if a, b := t.seers(k, k+n); a < b {
			b = min(b, t.lanes)
			l.Tile(n, t.hd, b-a, weights[k*tileLanes+a:], tileLanes, 1, packed[a*t.nr:], t.lanes*t.nr, to[k*stride:], stride, true)
		}
	}
}
