package method

import (
	"math"
	"math/bits"

	"meft/internal/simd"
	"meft/tensor"
)

// picker chooses the neurons of each token on the host. It is shared by the
// branches, which run one after another.
type picker struct {
	sizes
	pool *simd.Pool
	x    []float32 // [n, d] pinned copy of the branch input
	g    []float32 // [n, N] pinned copy of the router logits; nil if not routed
	work []float32 // [pickParts, 2·max(candidates, N)]
	near []int32   // [pickParts, P] experts probed
	mark []int32   // one bit a neuron: in the union
	at   []int32   // [M] place in the union of the neurons marked

	b *neurons // branch at work, and its token rows
	n int
}

// pickParts is the number of parts that tokens are shared out in. It does not
// follow the number of threads, so that a plan made on another machine holds.
const pickParts = 32

func newPicker(a *tensor.Arena, s sizes, pool *simd.Pool) *picker {
	p := &picker{sizes: s, pool: pool, x: a.Float32("x", tensor.Pinned, s.n*s.d)}
	if s.routed() {
		p.g = a.Float32("logits", tensor.Pinned, s.n*s.experts)
	}
	p.work = a.Float32("scores", tensor.OnHost, pickParts*2*max(s.candidates, s.experts))
	p.near = a.Int32("probed", tensor.OnHost, pickParts*s.probe)
	p.mark = a.Int32("marks", tensor.OnHost, ceilDiv(s.m, 32))
	p.at = a.Int32("places", tensor.OnHost, s.m)
	return p
}

// choose fills the branch's picks and union for input x and router logits g.
func (b *neurons) choose(g, x tensor.Tensor) {
	p, n := b.picker, x.Dim(0)
	down := b.dev.Download(tensor.Bytes(p.x[:n*b.d]), x)
	b.counts.DownBytes += x.Bytes()
	if b.routed() {
		b.dev.Await(b.dev.Download(tensor.Bytes(p.g[:n*b.experts]), g))
		b.counts.DownBytes += g.Bytes()
	}
	b.dev.Await(down)
	p.b, p.n = b, n
	p.pool.Run(min(pickParts, n), p)
	p.b = nil
	b.rows = n
	p.unite(b)
}

// Do picks for part i of the tokens.
func (p *picker) Do(i, _ int) {
	parts := min(pickParts, p.n)
	room := len(p.work) / pickParts
	work, near := p.work[i*room:(i+1)*room], p.near[i*p.probe:(i+1)*p.probe]
	for t := i * p.n / parts; t < (i+1)*p.n/parts; t++ {
		p.pick(t, work, near)
	}
}

// pick writes the ids that token t keeps, ascending, then -1.
func (p *picker) pick(t int, work []float32, near []int32) {
	var g []float32
	if p.g != nil {
		g = p.g[t*p.experts : (t+1)*p.experts]
	}
	half := len(work) / 2
	score, spare := work[:half], work[half:]
	near = p.probed(near, g, score, spare)
	top, sum := softmaxTerms(g, p.gate)
	x, level, count := p.x[t*p.d:(t+1)*p.d], p.pool.Level(), 0
	for _, e := range near {
		from, to := int(e)*p.each, min((int(e)+1)*p.each, p.m)
		s := score[count : count+to-from]
		level.Dots(s, x, p.b.table.K[from*p.d:to*p.d], p.d)
		switch p.gate {
		case GateLogit:
			level.Scale(g[e], s)
		case GateSoftmax:
			level.Scale(float32(math.Exp(float64(g[e])-top)/sum), s)
		}
		count += to - from
	}
	kept := highest(p.b.picks[t*p.top:(t+1)*p.top], score[:count], spare[:count])
	for j, at := range kept {
		// Candidates are consecutive within an expert; only the last expert is
		// short, and it comes last.
		e := int(at) / p.each
		kept[j] = near[e]*int32(p.each) + at%int32(p.each)
	}
	for j := len(kept); j < p.top; j++ {
		p.b.picks[t*p.top+j] = -1
	}
}

// probed are the experts of the highest logits, ascending.
func (p *picker) probed(near []int32, g, score, spare []float32) []int32 {
	if p.probe == p.experts {
		for e := range near {
			near[e] = int32(e)
		}
		return near
	}
	copy(score, g)
	return highest(near, score[:p.experts], spare[:p.experts])
}

// softmaxTerms are the largest logit and the sum of exponentials above it.
func softmaxTerms(g []float32, gate string) (top, sum float64) {
	if gate != GateSoftmax {
		return 0, 1
	}
	top = math.Inf(-1)
	for _, v := range g {
		top = max(top, float64(v))
	}
	for _, v := range g {
		sum += math.Exp(float64(v) - top)
	}
	return top, sum
}

// highest fills dst with the places of the len(dst) highest scores, ascending,
// or of all if there are fewer, and returns the part that it filled. Of equal
// scores the lower place wins; what is not a number counts as the lowest. spare
// is as long as score; both are overwritten.
func highest(dst []int32, score, spare []float32) []int32 {
	k := min(len(dst), len(score))
	for i, v := range score {
		if v != v {
			score[i] = float32(math.Inf(-1))
		}
	}
	if k <= fewHighest && 4*k <= len(score) {
		return highestFew(dst[:k], score, spare[:k])
	}
	copy(spare, score)
	bound := kth(spare[:len(score)], k)
	above := 0
	for _, v := range score {
		if v > bound {
			above++
		}
	}
	equal, n := k-above, 0
	for i, v := range score {
		if v < bound || v == bound && equal == 0 {
			continue
		}
		if v == bound {
			equal--
		}
		dst[n] = int32(i)
		n++
	}
	return dst[:n]
}

// fewHighest is the most that highestFew is used for: with more, moving the list
// costs more than partitioning the scores.
const fewHighest = 16

// highestFew is highest for a short dst: it keeps the list of the best so far,
// which nearly all scores fail to enter. best is as long as dst.
func highestFew(dst []int32, score, best []float32) []int32 {
	n := 0
	for i, v := range score {
		if n == len(best) && v <= best[n-1] {
			continue
		}
		at := min(n, len(best)-1)
		for at > 0 && best[at-1] < v { // behind equal scores: they have lower places
			best[at], dst[at] = best[at-1], dst[at-1]
			at--
		}
		best[at], dst[at] = v, int32(i)
		n = min(n+1, len(best))
	}
	for i := 1; i < len(dst); i++ { // ascending places; the list is short
		v, at := dst[i], i
		for at > 0 && dst[at-1] > v {
			dst[at] = dst[at-1]
			at--
		}
		dst[at] = v
	}
	return dst
}

// kth is the k-th highest of x, k from 1 to len(x), and reorders x. Values equal
// to the pivot are set aside in one pass, so that many equal scores cost no more
// than different ones.
func kth(x []float32, k int) float32 {
	for {
		pivot := median(x[0], x[len(x)/2], x[len(x)-1])
		// x is [above | equal | not looked at | below].
		above, i, below := 0, 0, len(x)
		for i < below {
			switch v := x[i]; {
			case v > pivot:
				x[i], x[above] = x[above], v
				above++
				i++
			case v < pivot:
				below--
				x[i], x[below] = x[below], v
			default:
				i++
			}
		}
		switch {
		case k <= above:
			x = x[:above]
		case k <= below:
			return pivot
		default:
			x, k = x[below:], k-below
		}
	}
}

func median(a, b, c float32) float32 { return max(min(a, b), min(max(a, b), c)) }

// unite collects the picked ids in the branch's union, ascending, and turns its
// picks into places there.
func (p *picker) unite(b *neurons) {
	picks := b.picks[:b.rows*b.top]
	for _, id := range picks {
		if id >= 0 {
			p.mark[id>>5] |= 1 << (id & 31)
		}
	}
	b.used = 0
	for w, word := range p.mark {
		for set := uint32(word); set != 0; set &= set - 1 {
			id := int32(w*32 + bits.TrailingZeros32(set))
			p.at[id] = int32(b.used)
			b.union[b.used] = id
			b.used++
		}
		b.fired[w] |= word
		p.mark[w] = 0
	}
	for i, id := range picks {
		if id >= 0 {
			picks[i] = p.at[id]
		}
	}
	b.counts.Passes++
	b.counts.Union += int64(b.used)
	b.counts.Neurons += int64(b.m)
	last := int32(-1)
	for _, id := range b.union[:b.used] {
		if e := id / int32(b.each); e != last {
			b.counts.Experts++
			last = e
		}
	}
}
