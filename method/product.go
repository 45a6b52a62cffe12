package method

import (
	"slices"

	"meft/tensor"
)

// Product keys. The input is two halves q1, q2, the router is two lists of √M
// sub-keys of half the width, one for each:
//
//	score of neuron a·√M + b = c1_a·q1 + c2_b·q2
//
// A token's two halves are two rows of the input seen as [2n, d/2], so that one
// product with the router [2√M, d/2] has all there is: of row 2t the first √M,
// of row 2t+1 the others. Seen as [n, 4√M] again, sub-key a of the first list is
// in column a and b of the second in column 3√M + b.

// productKeys finds the K highest of all M sums. With each list sorted, the sum
// of places i and j (from 0) is below or level with (i+1)(j+1)-1 others, so only
// those of (i+1)(j+1) ≤ K can be among the K highest: about K·ln K.
type productKeys struct{}

func (productKeys) pick(p *picker) { p.pool.Run(min(pickParts, p.n), (*productTask)(p)) }

// load counts the picks by the sub-key of the first half.
func (productKeys) load(p *picker) { p.loadOfPicks() }

// sums is an upper bound of the sums that are compared for a token.
func (s *sizes) sums() int {
	n, side := 0, min(s.top, s.side)
	for i := range side {
		n += min(s.top/(i+1), side)
	}
	return n
}

type productTask picker

// Do picks for part i of the tokens.
func (task *productTask) Do(i, _ int) {
	p := (*picker)(task)
	from, to, work := p.tokens(i)
	ints := p.ints[i*p.intRoom() : (i+1)*p.intRoom()]
	for t := from; t < to; t++ {
		p.productOf(t, work, ints)
	}
}

// intRoom is how many ids a part of the tokens works with.
func (s *sizes) intRoom() int { return 2*min(s.top, s.side) + s.sums() }

// productOf picks for token t, in room for two lists of sub-keys, sums and their
// ids.
func (p *picker) productOf(t int, work []float32, ints []int32) {
	k := min(p.top, p.side)
	g := p.logits(t)
	first, second, ids := ints[:k], ints[k:2*k], ints[2*k:]
	p.sorted(first, g[:p.side], work)
	p.sorted(second, g[3*p.side:], work)
	sums, n := work[:p.sums()], 0
	for i, a := range first {
		for _, b := range second[:min(p.top/(i+1), k)] {
			sums[n], ids[n] = g[a]+g[3*p.side+int(b)], a*int32(p.side)+b
			n++
		}
	}
	picks := p.b.picks[t*p.top : (t+1)*p.top]
	kept := highest(picks, sums[:n], work[len(sums):len(sums)+n])
	for j, at := range kept {
		kept[j] = ids[at]
	}
	slices.Sort(kept)
	for j, id := range kept {
		p.b.firsts[t*p.top+j] = id / int32(p.side)
		p.b.seconds[t*p.top+j] = int32(3*p.side) + id%int32(p.side)
	}
}

// sorted fills dst with the places of the highest scores, best first.
func (p *picker) sorted(dst []int32, score, work []float32) {
	n := len(score)
	copy(work, score)
	highest(dst, work[:n], work[n:2*n])
	slices.SortFunc(dst, func(a, b int32) int {
		switch x, y := score[a], score[b]; {
		case x > y || y != y && x == x:
			return -1
		case x < y || x != x && y == y:
			return 1
		}
		return int(a - b)
	})
}

// productGates are the gates of the picks of n tokens: their scores or the
// softmax of those. Backward finds them again.
func (b *neurons) productGates(p tensor.Tensor, n int) tensor.Tensor {
	g, part := b.gates.Rows(0, n), cut(b.mem.c, n, b.top)
	first, second := b.bringHalves(n)
	b.dev.Pick(g, p, first)
	b.dev.Pick(part, p, second)
	b.dev.Add(g, g, part)
	if b.gate == GateSoftmax {
		b.dev.Softmax(g, g)
	}
	return g
}

// productGrad carries dp, the gradient of the gates p of the picks, to the
// sub-keys and to dx. The logits are not wanted any more, their gradient takes
// their place.
func (b *neurons) productGrad(dp, p, dx, x tensor.Tensor) {
	n := x.Dim(0)
	if b.gate == GateSoftmax {
		b.dev.SoftmaxGrad(dp, dp, p)
	}
	dg := b.mem.p.Rows(0, n)
	first, second := b.bringHalves(n)
	b.dev.Fill(dg, 0)
	b.dev.PickGrad(dg, dp, first)
	b.dev.PickGrad(dg, dp, second)
	dg = dg.View(2*n, 2*b.side)
	if b.routerLearns() {
		b.dev.MatMul(b.router.D, dg, x.View(2*n, b.d/2), tensor.MatMulOpts{TransA: true, Accumulate: true}) // dC += dgᵀ·q
	}
	if !dx.None() {
		b.dev.MatMul(dx.View(2*n, b.d/2), dg, b.router.W, tensor.MatMulOpts{Accumulate: true}) // dq += dg·C
	}
}

// bringHalves puts the columns of the picks of n tokens on the device.
func (b *neurons) bringHalves(n int) (first, second tensor.Tensor) {
	first, second = b.mem.halves[0].Rows(0, n), b.mem.halves[1].Rows(0, n)
	for i, from := range [2][]int32{b.firsts, b.seconds} {
		to := [2]tensor.Tensor{first, second}[i]
		b.dev.After(b.dev.Upload(to, tensor.Bytes(from[:n*b.top])))
		b.counts.UpBytes += to.Bytes()
	}
	return first, second
}

// subKeys are the initial sub-keys: routerScale times the mean, over the other
// half of the neuron's number, of that half of the scored vectors.
func (b *neurons) subKeys() []float32 {
	out, row := make([]float32, b.routerRows*b.routerWidth), make([]float32, b.d)
	w := b.routerWidth
	for i := range b.m {
		b.table.Row(row, b.scored(), i)
		for half, at := range [2]int{i / b.side, b.side + i%b.side} {
			b.pool.Level().Axpy(routerScale/float32(b.side), row[half*w:(half+1)*w], out[at*w:(at+1)*w])
		}
	}
	return out
}
