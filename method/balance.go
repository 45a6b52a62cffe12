package method

import "math"

// The auxiliary loss of a layer, with f_e the share of the T tokens that chose
// expert e and P_e the mean of its probability,
//
//	L = α·N·Σ_e f_e·P_e
//
// is 1·α where tokens are spread evenly. f counts as a constant, so that
// dL/dp_te = α·N·f_e/T. It adds to the gradients only. Batches that add to one
// gradient share α between them.

// weigh works out the gradient of every probability, the branch's bias, from the experts
// that tokens chose, and adds the loss to the counts.
func (p *picker) weigh() {
	clear(p.mean)
	p.pool.Run(min(pickParts, p.n), (*meanTask)(p))
	for _, e := range p.b.probes[:p.n] {
		p.b.bias[e]++
	}
	scale := p.balance * float64(p.experts) / float64(p.n) / float64(p.n) / float64(p.micros)
	for e, chosen := range p.b.bias {
		sum := 0.0
		for i := range pickParts {
			sum += float64(p.mean[i*p.experts+e])
		}
		p.b.counts.Auxiliary += scale * float64(chosen) * sum
		p.b.bias[e] = float32(scale * float64(chosen))
	}
}

type meanTask picker

// Do adds up the probabilities of part i of the tokens.
func (task *meanTask) Do(i, _ int) {
	p := (*picker)(task)
	from, to, work := p.tokens(i)
	sums := p.mean[i*p.experts : (i+1)*p.experts]
	for t := from; t < to; t++ {
		g, terms := p.logits(t), work[:p.experts]
		top, sum := float64(g[0]), 0.0
		for _, v := range g {
			top = max(top, float64(v))
		}
		for e, v := range g {
			x := math.Exp(float64(v) - top)
			terms[e] = float32(x)
			sum += x
		}
		p.pool.Level().Axpy(float32(1/sum), terms, sums)
	}
}
