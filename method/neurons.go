package method

import (
	"meft/internal/simd"
	"meft/model"
	"meft/param"
	"meft/tensor"
)

// crew is what the branches of one MEFT share.
type crew struct {
	sizes
	model           *model.Model
	dev             tensor.Device
	pool            *simd.Pool
	stage           *stage
	picker          *picker
	learning        bool    // routes of RouteStable are learned in training
	probes          []int32 // of the branch made last, see MEFT.branch
	picks           []int32
	union           []int32
	firsts, seconds []int32
	gates           tensor.Tensor
}

// neurons is MEFT's branch of one block.
type neurons struct {
	*crew
	block  int
	table  *param.Table
	router *param.Dense // [N, d], of product keys [2√M, d/2]
	tokens *param.Dense // [N, d] token router of RouteStable; nil without it
	mem    neuronMemory
	below  *neurons // next lower branch, nil for the lowest
	hold   bool     // keep the picks

	probes          []int32   // [rows, P] pinned; experts of each token, ascending; -1 for one dropped
	firsts, seconds []int32   // [rows, top] pinned; columns of p of the sub-keys of each pick; none but with product keys
	loads           []int32   // [N] see way
	bias            []float32 // [N] pinned; gradient of every probability by the auxiliary loss; none without one
	picks           []int32   // [rows, top] pinned; places in union, ascending, then -1
	union           []int32   // ids of all picked neurons, ascending; the first used count
	used            int
	rows            int     // of the last Forward
	fired           []int32 // one bit a neuron: picked since Attach
	counts          Traffic

	gates tensor.Tensor // with sizes.few [n, P], the router logits of probes; of product keys [n, top]; none otherwise
}

// neuronMemory is a branch's device scratch. n is Size.Rows, w the neurons of a
// token at a time: top with ShareToken, buffer with ShareUnion.
type neuronMemory struct {
	rows    parts            // [buffer, d] brought in
	rows16  parts            // BF16 [buffer, d] as they arrive; none but with a split master
	ids     tensor.Tensor    // I32 [n, w]  places among the rows, -1 for none; none with ShareUnion
	experts tensor.Tensor    // I32 [n, w]  their columns of p, or with few of gates, -1 for none; none without a gate
	probes  tensor.Tensor    // I32 [n, P]  the experts of each token; none without few
	halves  [2]tensor.Tensor // I32 [n, top] columns of p of the sub-keys of each pick; none but with product keys
	bias    tensor.Tensor    // [N]         gradient of every probability by the auxiliary loss; none without one
	p       tensor.Tensor    // [n, N]      router logits or softmax; of product keys [n, 4√M]; none if not routed
	u       tensor.Tensor    // [n, w]      k·h
	c       tensor.Tensor    // [n, w]      gate; none without one
	z       tensor.Tensor    // [n, w]      relu(c·u), may be u without gradients; with swiglu silu(a)·u
	s       tensor.Tensor    // [n, w]      g·h of swiglu
	a       tensor.Tensor    // [n, w]      c·s of swiglu, may be s without gradients or gate

	stableMemory // none but with RouteStable

	drows parts         // [buffer, d]; none where a part is not trained
	dz    tensor.Tensor // [n, w] then du, with swiglu da
	dc    tensor.Tensor // [n, w]
	dp    tensor.Tensor // [n, N], with few [n, P], of product keys [n, top]
}

// parts are a tensor for every vector of a neuron; those there are not, are none.
type parts [param.Parts]tensor.Tensor

// partNames are the vectors of a neuron in formulas and ledgers.
var partNames = [param.Parts]string{"k", "v", "g"}

var allParts = [param.Parts]param.Part{param.Key, param.Value, param.Gate}

// vectors are the parts of a neuron, ascending.
func (s *sizes) vectors() []param.Part {
	if s.swiglu {
		return allParts[:]
	}
	return allParts[:param.Gate]
}

func newNeuronMemory(a *tensor.Arena, s sizes) neuronMemory {
	f := func(name string, dims ...int) tensor.Tensor { return a.New(name, tensor.F32, dims...) }
	w := s.wide()
	m := neuronMemory{u: f("u", s.n, w)}
	m.z = m.u
	for _, p := range s.vectors() {
		m.rows[p] = f(partNames[p], s.buffer, s.d)
		if s.master == param.SplitMaster {
			m.rows16[p] = a.New(partNames[p]+"16", tensor.BF16, s.buffer, s.d)
		}
	}
	if s.swiglu {
		m.s = f("s", s.n, w)
		m.a = m.s
	}
	if !s.shared {
		m.ids = a.New("ids", tensor.I32, s.n, w)
	}
	if s.gated() {
		m.experts = a.New("experts", tensor.I32, s.n, w)
		m.c = f("c", s.n, w)
	}
	if s.routed() {
		m.p = f("p", s.n, s.logitWidth)
	}
	if s.few() {
		m.probes = a.New("probes", tensor.I32, s.n, s.probe)
	}
	if s.product() && s.gated() {
		m.halves = [2]tensor.Tensor{a.New("firsts", tensor.I32, s.n, s.top), a.New("seconds", tensor.I32, s.n, s.top)}
	}
	if s.stable() {
		m.stableMemory = newStableMemory(a, s)
	}
	if s.balanced() {
		m.bias = f("bias", s.experts)
	}
	if !s.grad {
		return m
	}
	m.z, m.dz = f("z", s.n, w), f("dz", s.n, w)
	for _, p := range s.vectors() {
		if s.trains(p) {
			m.drows[p] = f("d"+partNames[p], s.buffer, s.d)
		}
	}
	if s.swiglu && s.gated() {
		m.a = f("a", s.n, w)
	}
	if s.gated() {
		m.dc, m.dp = f("dc", s.n, w), f("dp", s.n, s.gateWidth())
	}
	return m
}

// cut is the view of n rows of width w, packed, at the beginning of t.
func cut(t tensor.Tensor, n, w int) tensor.Tensor {
	if t.None() {
		return t
	}
	return t.View(t.Len()).Rows(0, n*w).View(n, w)
}

// first is the memory for n token rows, u neuron rows and w neurons a token.
func (m neuronMemory) first(n, u, w int) neuronMemory {
	for _, all := range []*parts{&m.rows, &m.rows16, &m.drows} {
		for p, t := range all {
			all[p] = cut(t, u, t.Width())
		}
	}
	for _, t := range []*tensor.Tensor{&m.ids, &m.experts, &m.u, &m.c, &m.z, &m.s, &m.a, &m.dz, &m.dc} {
		*t = cut(*t, n, w)
	}
	return m
}

// Forward routes, picks, brings the picked neurons in and adds their output to
// y. A rebuild needs nothing: picks are on the host and Backward computes the
// rest again.
func (b *neurons) Forward(y, x tensor.Tensor) {
	if y.None() {
		return
	}
	n := x.Dim(0)
	p := b.logits(x)
	if !b.hold || b.rows != n {
		b.choose(p, x)
	}
	c := b.gating(p, x)
	b.stage.drop()
	for from := 0; from < b.used; from += b.buffer {
		m := b.bring(n, from)
		b.activate(m, c, x)
		if b.shared {
			b.dev.MatMul(y, m.z, m.rows[param.Value], tensor.MatMulOpts{Accumulate: true}) // y += z·V
		} else {
			b.dev.RowAdd(y, m.z, m.rows[param.Value], m.ids) // y_t += Σ z_i v_i
		}
	}
}

// logits is g = h·Gᵀ.
func (b *neurons) logits(x tensor.Tensor) tensor.Tensor {
	if !b.routed() {
		return tensor.Tensor{}
	}
	n := x.Dim(0)
	if b.stable() && !b.learns() {
		return b.tokenLogits(n)
	}
	g := b.mem.p.Rows(0, n)
	if b.product() {
		b.dev.MatMul(g.View(2*n, 2*b.side), x.View(2*n, b.d/2), b.router.W, tensor.MatMulOpts{TransB: true})
	} else {
		b.dev.MatMul(g, x, b.router.W, tensor.MatMulOpts{TransB: true})
	}
	return g
}

// gating is what scores are multiplied by, of the tokens of x: p, the router logits, made
// into a softmax, or with few those of the tokens' experts alone, which Backward
// finds again.
func (b *neurons) gating(p, x tensor.Tensor) tensor.Tensor {
	n := x.Dim(0)
	switch {
	case b.stable():
		return b.sigmoidGates(x)
	case b.product() && b.gated():
		return b.productGates(p, n)
	case b.gate == GateSoftmax:
		b.dev.Softmax(p, p)
	}
	if !b.few() {
		return p
	}
	g := b.gates.Rows(0, n)
	b.dev.Pick(g, p, b.bringProbes(n))
	return g
}

// activate computes u, c and z, with swiglu s and a too, of the rows brought in,
// with the gates p.
func (b *neurons) activate(m neuronMemory, p, x tensor.Tensor) {
	b.meet(m.u, param.Key, m, x) // u_i = k_i·h_t
	if b.gated() {
		b.dev.Pick(m.c, p, m.experts) // c_i = p_e(i)
	}
	if !b.swiglu {
		b.dev.GatedReLU(m.z, m.u, m.c) // z = relu(c·u)
		return
	}
	b.meet(m.s, param.Gate, m, x) // s_i = g_i·h_t
	if b.gated() {
		b.dev.Mul(m.a, m.s, m.c) // a = c·s
	}
	b.dev.SwiGLU(m.z, m.a, m.u) // z = silu(a)·u
}

// meet is the product of one vector of every neuron brought in with the inputs
// of the tokens that use it.
func (b *neurons) meet(to tensor.Tensor, p param.Part, m neuronMemory, x tensor.Tensor) {
	if b.shared {
		b.dev.MatMul(to, x, m.rows[p], tensor.MatMulOpts{TransB: true}) // h·Kᵀ
	} else {
		b.dev.RowDots(to, x, m.rows[p], m.ids) // k_i·h_t
	}
}

// Backward mirrors Forward. Nothing is routed or picked again: the rows are
// those of the last Forward. The gradients of the last rows come back while the
// blocks below compute, up to the lowest branch, which waits for them.
func (b *neurons) Backward(dx, dy, x tensor.Tensor) {
	n := x.Dim(0)
	var p, dp tensor.Tensor
	if b.own() {
		p = b.gates.Rows(0, n)
	} else if b.gated() {
		p = b.gating(b.logits(x), x)
	}
	if b.gated() {
		dp = b.mem.dp.Rows(0, n)
		b.dev.Fill(dp, 0)
	}
	if b.distils() && b.learns() {
		b.dev.After(b.dev.Upload(dp, tensor.Bytes(b.bias[:n])))
		b.counts.UpBytes += dp.Bytes()
	}
	if b.balanced() {
		b.dev.After(b.dev.Upload(b.mem.bias, tensor.Bytes(b.bias)))
		b.counts.UpBytes += b.mem.bias.Bytes()
		b.dev.AddBias(dp, b.mem.bias)
	}
	for from := 0; from < b.used; from += b.buffer {
		m := b.bring(n, from)
		b.activate(m, p, x)
		b.stage.settle()
		b.rowGrads(m, dx, dy, x)
		if b.gated() {
			b.dev.PickGrad(dp, m.dc, m.experts) // dp_e += Σ dc_i
		}
		b.stage.returnGrads(b, m, from)
	}
	if b.gated() {
		b.routerGrad(dp, p, dx, x)
	}
	if b.below != nil {
		b.stage.load(b.below.table, b.below.part(0))
	} else {
		b.stage.settle()
	}
}

// rowGrads computes the gradients of the rows brought in and adds what flows
// through them to dx.
func (b *neurons) rowGrads(m neuronMemory, dx, dy, x tensor.Tensor) {
	b.outer(m.drows[param.Value], m.z, dy, m) // dv_i = Σ_t z_ti dy_t
	if b.shared {
		b.dev.MatMul(m.dz, dy, m.rows[param.Value], tensor.MatMulOpts{TransB: true}) // dz = dy·Vᵀ
	} else {
		b.dev.RowDots(m.dz, dy, m.rows[param.Value], m.ids) // dz_ti = v_i·dy_t
	}
	if !b.swiglu {
		b.dev.GatedReLUGrad(m.dz, m.dc, m.dz, m.u, m.c) // du = dz·c, dc = dz·u where c·u > 0
		b.inward(param.Key, m.dz, m, dx, x)
		return
	}
	da, du := m.dz, m.z // z has been used
	b.dev.SwiGLUGrad(da, du, m.dz, m.a, m.u)
	b.inward(param.Key, du, m, dx, x)
	if b.gated() {
		b.dev.Mul(m.dc, da, m.s) // dc = da·s
		b.dev.Mul(da, da, m.c)   // ds = da·c
	}
	b.inward(param.Gate, da, m, dx, x)
}

// inward carries du, the gradient of the products of one vector with the inputs,
// to that vector and to dx.
func (b *neurons) inward(p param.Part, du tensor.Tensor, m neuronMemory, dx, x tensor.Tensor) {
	if b.trains(p) {
		b.outer(m.drows[p], du, x, m) // dk_i = Σ_t du_ti h_t
	}
	switch {
	case dx.None():
	case b.shared:
		b.dev.MatMul(dx, du, m.rows[p], tensor.MatMulOpts{Accumulate: true}) // dh += du·K
	default:
		b.dev.RowAdd(dx, du, m.rows[p], m.ids) // dh_t += Σ du_ti k_i
	}
}

// outer is drows_i = Σ_t z_ti x_t over the tokens that use neuron i.
func (b *neurons) outer(drows, z, x tensor.Tensor, m neuronMemory) {
	if b.shared {
		b.dev.MatMul(drows, z, x, tensor.MatMulOpts{TransA: true}) // zᵀ·x
		return
	}
	b.dev.Fill(drows, 0)
	b.dev.RowOuter(drows, z, x, m.ids)
}

// routerGrad carries dp, the gradient of the gates p, to the router and to dx.
func (b *neurons) routerGrad(dp, p, dx, x tensor.Tensor) {
	if b.product() {
		b.productGrad(dp, p, dx, x)
		return
	}
	if b.gate == GateSoftmax {
		b.dev.SoftmaxGrad(dp, dp, p)
	}
	if b.stable() {
		b.sigmoidGrad(dp, p)
	}
	if b.few() { // the same sums without the experts whose gradient is 0
		probes := b.bringProbes(x.Dim(0))
		if b.routerLearns() {
			b.dev.RowOuter(b.router.D, dp, x, probes) // dG_e += Σ_t dg_te h_t
		}
		if !dx.None() {
			b.dev.RowAdd(dx, dp, b.router.W, probes) // dh_t += Σ_e dg_te G_e
		}
		if b.distils() && b.learns() {
			b.distil(x.Dim(0))
		}
		return
	}
	if b.routerLearns() {
		b.dev.MatMul(b.router.D, dp, x, tensor.MatMulOpts{TransA: true, Accumulate: true}) // dG += dgᵀ·h
	}
	if !dx.None() {
		b.dev.MatMul(dx, dp, b.router.W, tensor.MatMulOpts{Accumulate: true}) // dh += dg·G
	}
}

// training reports whether the pass is one of training: only then are tokens
// dropped and experts evened out.
func (b *neurons) training() bool { return b.model.Draw() != 0 }

// part is the ids of the rows brought in together from place from on.
func (b *neurons) part(from int) []int32 {
	return b.union[from:min(from+b.buffer, b.used)]
}

// routerScale is how much larger a router row is than the mean scored vector of
// its expert, as the authors initialise it.
const routerScale = 50

// init draws keys and gates, each row from its own stream, and derives the router.
// Values are 0.
func (b *neurons) init(seed uint64) {
	b.pool.Run(b.m, &keyTask{b: b, seed: seed})
	if b.tokens != nil {
		b.tokens.Fill(normal(b.experts*b.d, meftTokens.stream(seed, b.block, 0)))
	}
	if b.product() {
		b.router.Fill(b.subKeys())
		return
	}
	router, key := make([]float32, b.experts*b.d), make([]float32, b.d)
	for e := range b.experts {
		row := router[e*b.d : (e+1)*b.d]
		from, to := e*b.each, min((e+1)*b.each, b.m)
		for i := from; i < to; i++ {
			b.table.Row(key, b.scored(), i)
			b.pool.Level().Axpy(routerScale/float32(to-from), key, row)
		}
	}
	b.router.Fill(router)
}

type keyTask struct {
	b    *neurons
	seed uint64
}

// Do draws row i.
func (k *keyTask) Do(i, _ int) {
	b := k.b
	b.table.SetRow(param.Key, i, normal(b.d, meftKeys.stream(k.seed, b.block, i)))
	if b.swiglu {
		b.table.SetRow(param.Gate, i, normal(b.d, meftGates.stream(k.seed, b.block, i)))
	}
}
