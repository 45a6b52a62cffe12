package method

import (
	"math"
	"math/bits"

	"meft/internal/simd"
	"meft/tensor"
)

// picker chooses the neurons of each token on the host; how, is its way. With
// keys to score, it is in three passes that
// the threads share: the experts of every token, the scores of every expert's
// tokens (one product of those tokens with the expert's keys, which are read
// from memory once however many tokens want them), the best of every token. It
// is shared by the branches, which run one after another.
type picker struct {
	sizes
	pool  *simd.Pool
	x     []float32 // [n, d] pinned copy of the branch input
	g     []float32 // [n, N] pinned copy of the router logits, of product keys [n, 4√M]; nil if not routed
	loss  []float32 // [n] pinned copy of those of the token router; nil without one that learns
	mean  []float32 // [pickParts, N] sums of probabilities; nil without an auxiliary loss
	ints  []int32   // [pickParts, intRoom]; nil but with product keys, which want nothing of what is below but work, mark and below
	score []float32 // [n, candidates]
	work  []float32 // [pickParts, room] see room
	first []int32   // [N+1] where an expert's pairs begin
	pairs []int32   // [n·P] token·P + place among its experts, by expert
	mark  []int32   // one bit a neuron: in the union
	below []int32   // for each word of mark, the bits set in those before it

	b *neurons // branch at work, and its token rows
	n int
}

// pickParts is the number of parts that tokens are shared out in. It does not
// follow the number of threads, so that a plan made on another machine holds.
const pickParts = 32

// How many tokens of an expert are multiplied with how many of its keys at once.
const (
	together = 24
	keyBlock = 256
)

// room is what a part works in: the inputs of tokens and their scores, or two
// lists of logits or one of candidates.
func (s *sizes) room() int {
	if s.product() {
		return 2 * max(s.side, s.sums())
	}
	return max(together*(s.d+min(s.each, keyBlock)), s.candidates, 2*s.experts)
}

func newPicker(a *tensor.Arena, s sizes, pool *simd.Pool) *picker {
	p := &picker{sizes: s, pool: pool}
	if s.routed() {
		p.g = a.Float32("logits", tensor.Pinned, s.n*s.logitWidth)
	}
	p.work = a.Float32("work", tensor.OnHost, pickParts*s.room())
	if s.product() {
		p.ints = a.Int32("ids", tensor.OnHost, pickParts*s.intRoom())
	} else {
		p.x = a.Float32("x", tensor.Pinned, s.n*s.d)
		p.score = a.Float32("scores", tensor.OnHost, s.n*s.candidates)
		p.first = a.Int32("firsts", tensor.OnHost, s.experts+1)
		p.pairs = a.Int32("pairs", tensor.OnHost, s.n*s.probe)
	}
	if s.distils() {
		p.loss = a.Float32("losses", tensor.Pinned, s.n)
	}
	if s.balanced() {
		p.mean = a.Float32("means", tensor.OnHost, pickParts*s.experts)
	}
	p.mark = a.Int32("marks", tensor.OnHost, ceilDiv(s.m, 32))
	p.below = a.Int32("places", tensor.OnHost, ceilDiv(s.m, 32))
	return p
}

// choose fills the branch's experts, picks and union for input x and router
// logits g.
func (b *neurons) choose(g, x tensor.Tensor) {
	p, n := b.picker, x.Dim(0)
	var down tensor.Ticket
	if !b.product() {
		down = b.dev.Download(tensor.Bytes(p.x[:n*b.d]), x)
		b.counts.DownBytes += x.Bytes()
	}
	if b.routed() {
		b.dev.Await(b.dev.Download(tensor.Bytes(p.g[:n*b.logitWidth]), g))
		b.counts.DownBytes += g.Bytes()
	}
	if !b.product() {
		b.dev.Await(down)
	}
	p.b, p.n = b, n
	way := p.way()
	way.pick(p)
	way.load(p)
	b.rows = n
	p.unite(b)
	p.b = nil
}

// tokens is part i of the tokens, with its room.
func (p *picker) tokens(i int) (from, to int, work []float32) {
	parts := min(pickParts, p.n)
	return i * p.n / parts, (i + 1) * p.n / parts, p.work[i*p.room() : (i+1)*p.room()]
}

// probed are the experts of token t, ascending.
func (b *neurons) probed(t int) []int32 { return b.probes[t*b.probe : (t+1)*b.probe] }

type probeTask picker

// Do finds the experts of part i of the tokens: those of the highest logits.
func (task *probeTask) Do(i, _ int) {
	p := (*picker)(task)
	from, to, work := p.tokens(i)
	for t := from; t < to; t++ {
		near := p.b.probed(t)
		if p.probe == p.experts {
			for e := range near {
				near[e] = int32(e)
			}
			continue
		}
		copy(work, p.logits(t))
		highest(near, work[:p.experts], work[p.experts:2*p.experts])
	}
}

// logits are the router's for token t, nil if there are none.
func (p *picker) logits(t int) []float32 {
	if p.g == nil {
		return nil
	}
	return p.g[t*p.logitWidth : (t+1)*p.logitWidth]
}

// group lists the pairs of a token and an expert by expert, tokens ascending.
func (p *picker) group() {
	probes := p.b.probes[:p.n*p.probe]
	clear(p.first)
	for _, e := range probes {
		if e >= 0 {
			p.first[e]++
		}
	}
	sum := int32(0)
	for e, n := range p.first {
		p.first[e], sum = sum, sum+n
	}
	for pair, e := range probes {
		if e < 0 {
			continue
		}
		p.pairs[p.first[e]] = int32(pair)
		p.first[e]++
	}
	// Each entry has moved on to the beginning of the next.
	copy(p.first[1:], p.first)
	p.first[0] = 0
}

type scoreTask picker

// Do scores the keys of part i of the experts for the tokens that probe them.
func (task *scoreTask) Do(i, worker int) {
	p := (*picker)(task)
	work := p.work[i*p.room() : (i+1)*p.room()]
	for e := i * p.experts / pickParts; e < (i+1)*p.experts/pickParts; e++ {
		for from, to := p.first[e], p.first[e+1]; from < to; from += together {
			p.scoreExpert(worker, e, p.pairs[from:min(from+together, to)], work)
		}
	}
}

// scoreExpert scores the keys of expert e for at most together pairs.
func (p *picker) scoreExpert(worker, e int, pairs []int32, work []float32) {
	x, s := work[:together*p.d], work[together*p.d:]
	for j, pair := range pairs {
		t := int(pair) / p.probe
		copy(x[j*p.d:(j+1)*p.d], p.x[t*p.d:(t+1)*p.d])
	}
	end := min((e+1)*p.each, p.m)
	for from := e * p.each; from < end; from += keyBlock {
		n := min(keyBlock, end-from)
		rows := p.b.table.Range(p.scored(), from, from+n)
		keys := simd.Mat{F32: rows.F32, BF16: rows.BF16, Stride: p.d}
		p.pool.MatMulOn(worker, simd.NT, len(pairs), n, p.d, 1, simd.Mat{F32: x, Stride: p.d}, keys, s, n, false)
		for j, pair := range pairs {
			t, at := int(pair)/p.probe, int(pair)%p.probe*p.each+from-e*p.each
			copy(p.score[t*p.candidates+at:], s[j*n:(j+1)*n])
		}
	}
}

type keepTask picker

// Do keeps the best neurons of part i of the tokens.
func (task *keepTask) Do(i, _ int) {
	p := (*picker)(task)
	from, to, work := p.tokens(i)
	for t := from; t < to; t++ {
		p.keep(t, work)
	}
}

// keep writes the ids that token t keeps, ascending, then -1.
func (p *picker) keep(t int, spare []float32) {
	near, g := p.b.probed(t), p.logits(t)
	picks := p.b.picks[t*p.top : (t+1)*p.top]
	if near[0] < 0 { // dropped
		for j := range picks {
			picks[j] = -1
		}
		return
	}
	score, count := p.score[t*p.candidates:(t+1)*p.candidates], 0
	top, sum := softmaxTerms(g, p.gate)
	for _, e := range near {
		// Candidates are consecutive within an expert; only the last expert is
		// short, and it comes last.
		n := min((int(e)+1)*p.each, p.m) - int(e)*p.each
		s := score[count : count+n]
		switch p.gate {
		case GateLogit:
			p.pool.Level().Scale(g[e], s)
		case GateSoftmax:
			p.pool.Level().Scale(float32(math.Exp(float64(g[e])-top)/sum), s)
		}
		count += n
	}
	kept := highest(picks, score[:count], spare[:count])
	for j, at := range kept {
		kept[j] = near[int(at)/p.each]*int32(p.each) + at%int32(p.each)
	}
	for j := len(kept); j < p.top; j++ {
		picks[j] = -1
	}
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

// unite collects the picked ids in the branch's union, ascending, and turns its
// picks into places there. The place of an id is the number of bits set below
// its own.
func (p *picker) unite(b *neurons) {
	picks := b.picks[:b.rows*b.top]
	for _, id := range picks {
		if id >= 0 {
			p.mark[id>>5] |= 1 << (id & 31)
		}
	}
	b.used = 0
	for w, word := range p.mark {
		p.below[w] = int32(b.used)
		if word == 0 {
			continue
		}
		b.fired[w] |= word
		for set := uint32(word); set != 0; set &= set - 1 {
			b.union[b.used] = int32(w*32 + bits.TrailingZeros32(set))
			b.used++
		}
	}
	for i, id := range picks {
		if id >= 0 {
			lower := uint32(p.mark[id>>5]) & (1<<(id&31) - 1)
			picks[i] = p.below[id>>5] + int32(bits.OnesCount32(lower))
		}
	}
	clear(p.mark)
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
