package method

import (
	"math"

	"meft/param"
	"meft/tensor"
)

// RouteStable is StableMoE (Dai et al. 2022, https://arxiv.org/abs/2204.08396,
// section 3): for the first share of the steps a token goes to the expert of its
// highest logit s_e = G_e·h, while a token router, R_e·w with the token's input
// embedding w, learns to foretell that; from then on, and wherever nothing is
// trained, the token router alone decides, and stands still. It knows a token's
// expert from the token. Gates are σ(s_e).
//
// While routing is learned two auxiliary losses, of one weight β, add to the
// gradients, with T tokens, those A_e of expert e, |A_e| = (1+x_e)·T/N:
//
//	β/T · Σ_e x_e Σ_t∈A_e σ(s_te)            into G and h: full experts are left
//	β/T · Σ_t -log softmax(R·w_t)[e(t)]      into R
const RouteStable = "stable"

// gateSigmoid is the gate of RouteStable.
const gateSigmoid = "sigmoid"

// A Scheduled method changes with the progress of training.
type Scheduled interface {
	// At says that the step of that number, from 0, of so many comes next.
	At(step, steps int)
}

// At ends the learning of routes at its share of the steps.
func (f *MEFT) At(step, steps int) {
	for _, b := range f.branches {
		if b.stable() {
			b.crew.learning = step < int(math.Ceil(f.StableShare*float64(steps)))
			b.tokens.Still = !b.learning
		}
	}
}

// stable reports whether tokens are routed by their embeddings in the end.
func (s *sizes) stable() bool { return s.routing == RouteStable }

// distils reports whether there are the auxiliary losses of learning routes.
func (s *sizes) distils() bool { return s.stable() && s.routerLearns() && s.stableLoss > 0 }

// stableMemory is the device scratch of RouteStable.
type stableMemory struct {
	words tensor.Tensor    // [n, d] input embeddings
	room  [2]tensor.Tensor // [n, 1]
	loss  tensor.Tensor    // [n] of the token router
}

func newStableMemory(a *tensor.Arena, s sizes) (m stableMemory) {
	m.words = a.New("words", tensor.F32, s.n, s.d)
	m.room = [2]tensor.Tensor{a.New("room1", tensor.F32, s.n, 1), a.New("room2", tensor.F32, s.n, 1)}
	if s.distils() {
		m.loss = a.New("loss", tensor.F32, s.n)
	}
	return m
}

// tokenLogits is what the token router says of the rows of x.
func (b *neurons) tokenLogits(n int) tensor.Tensor {
	words, g := b.mem.words.Rows(0, n), b.mem.p.Rows(0, n)
	b.model.Words(words)
	b.dev.MatMul(g, words, b.tokens.W, tensor.MatMulOpts{TransB: true}) // r = w·Rᵀ
	return g
}

// learns reports whether this pass learns routes.
func (b *neurons) learns() bool { return b.learning && b.training() }

// sigmoidGates are σ(G_e·h) of the expert of each token.
func (b *neurons) sigmoidGates(x tensor.Tensor) tensor.Tensor {
	n := x.Dim(0)
	g, half := b.gates.Rows(0, n), b.mem.room[0].Rows(0, n)
	b.dev.RowDots(g, x, b.router.W, b.bringProbes(n)) // s_te
	b.dev.Fill(half, 0)
	b.dev.Axpy(half, 0.5, g)
	b.dev.Act(half, half, tensor.Tanh)
	b.dev.Fill(g, 0.5)
	b.dev.Axpy(g, 0.5, half) // σ(s) = 1/2 + tanh(s/2)/2
	return g
}

// sigmoidGrad makes dp, the gradient of the gates p, that of their logits.
func (b *neurons) sigmoidGrad(dp, p tensor.Tensor) {
	n := dp.Dim(0)
	one, two := b.mem.room[0].Rows(0, n), b.mem.room[1].Rows(0, n)
	b.dev.Mul(one, dp, p)
	b.dev.Mul(two, one, p)
	b.dev.Fill(dp, 0)
	b.dev.Axpy(dp, 1, one)
	b.dev.Axpy(dp, -1, two) // dp·(σ - σ²)
}

// distil adds the gradient of the token router. Tokens are on the device, in
// mem.probes.
func (b *neurons) distil(n int) {
	r, loss := b.tokenLogits(n), b.mem.loss.Rows(0, n)
	scale := b.stableLoss / float64(n) / float64(b.micros)
	b.dev.CrossEntropy(loss, r, b.mem.probes.Rows(0, n).View(n), float32(scale))
	b.dev.MatMul(b.tokens.D, r, b.mem.words.Rows(0, n), tensor.MatMulOpts{TransA: true, Accumulate: true}) // dR += drᵀ·w
	host := b.picker.loss[:n]
	b.dev.Await(b.dev.Download(tensor.Bytes(host), loss))
	for _, v := range host {
		b.counts.Auxiliary += scale * float64(v)
	}
}

// even works out the gradient of every token's gate by the balance loss, the
// branch's bias, and adds the loss to the counts.
func (p *picker) even() {
	b, n := p.b, p.n
	clear(p.first)
	for _, e := range b.probes[:n] {
		p.first[e]++
	}
	scale := p.stableLoss / float64(n) / float64(p.micros)
	for t, e := range b.probes[:n] {
		x := float64(p.first[e])*float64(p.experts)/float64(n) - 1
		b.bias[t] = float32(scale * x)
		b.counts.Auxiliary += scale * x / (1 + math.Exp(-float64(p.logits(t)[e])))
	}
}

// newTokenRouter allocates R, [N, d], which stands still until At says otherwise.
func newTokenRouter(a *tensor.Arena, name string, s sizes) *param.Dense {
	if !s.distils() {
		return param.NewFixed(a, name+".token_router", s.experts, s.d)
	}
	d := param.NewDense(a, name+".token_router", s.experts, s.d)
	d.Still = true
	return d
}
