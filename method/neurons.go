package method

import (
	"meft/internal/simd"
	"meft/param"
	"meft/tensor"
)

// crew is what the branches of one MEFT share.
type crew struct {
	sizes
	dev    tensor.Device
	pool   *simd.Pool
	stage  *stage
	picker *picker
	probes []int32 // of the branch made last, see MEFT.branch
	picks  []int32
	union  []int32
	gates  tensor.Tensor
}

// neurons is MEFT's branch of one block.
type neurons struct {
	*crew
	block  int
	table  *param.Table
	router *param.Dense // [N, d]
	mem    neuronMemory
	below  *neurons // next lower branch, nil for the lowest
	hold   bool     // keep the picks

	probes []int32 // [rows, P] pinned; experts of each token, ascending
	picks  []int32 // [rows, top] pinned; places in union, ascending, then -1
	union  []int32 // ids of all picked neurons, ascending; the first used count
	used   int
	rows   int     // of the last Forward
	fired  []int32 // one bit a neuron: picked since Attach
	counts Traffic

	gates tensor.Tensor // [n, P] with sizes.few: the router logits of probes; none otherwise
}

// neuronMemory is a branch's device scratch. n is Size.Rows, w the neurons of a
// token at a time: top with ShareToken, buffer with ShareUnion.
type neuronMemory struct {
	k, v    tensor.Tensor // [buffer, d] rows brought in
	k16     tensor.Tensor // BF16 [buffer, d] as they arrive; none but with a split master
	v16     tensor.Tensor
	ids     tensor.Tensor // I32 [n, w]  places among the rows, -1 for none; none with ShareUnion
	experts tensor.Tensor // I32 [n, w]  their columns of p, or with few of gates, -1 for none; none without a gate
	probes  tensor.Tensor // I32 [n, P]  the experts of each token; none without few
	p       tensor.Tensor // [n, N]      router logits or softmax; none if not routed
	u       tensor.Tensor // [n, w]      k·h
	c       tensor.Tensor // [n, w]      gate; none without one
	z       tensor.Tensor // [n, w]      relu(c·u), may be u without gradients

	dk, dv tensor.Tensor // [buffer, d]
	dz     tensor.Tensor // [n, w] then du
	dc     tensor.Tensor // [n, w]
	dp     tensor.Tensor // [n, N], with few [n, P]
}

func newNeuronMemory(a *tensor.Arena, s sizes) neuronMemory {
	f := func(name string, dims ...int) tensor.Tensor { return a.New(name, tensor.F32, dims...) }
	w := s.wide()
	m := neuronMemory{k: f("k", s.buffer, s.d), v: f("v", s.buffer, s.d), u: f("u", s.n, w)}
	m.z = m.u
	if s.master == param.SplitMaster {
		m.k16, m.v16 = a.New("k16", tensor.BF16, s.buffer, s.d), a.New("v16", tensor.BF16, s.buffer, s.d)
	}
	if !s.shared {
		m.ids = a.New("ids", tensor.I32, s.n, w)
	}
	if s.gated() {
		m.experts = a.New("experts", tensor.I32, s.n, w)
		m.c = f("c", s.n, w)
	}
	if s.routed() {
		m.p = f("p", s.n, s.experts)
	}
	if s.few() {
		m.probes = a.New("probes", tensor.I32, s.n, s.probe)
	}
	if !s.grad {
		return m
	}
	m.z, m.dz, m.dv = f("z", s.n, w), f("dz", s.n, w), f("dv", s.buffer, s.d)
	if s.keys {
		m.dk = f("dk", s.buffer, s.d)
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
	for _, rows := range []*tensor.Tensor{&m.k, &m.v, &m.k16, &m.v16, &m.dk, &m.dv} {
		*rows = cut(*rows, u, rows.Width())
	}
	m.ids, m.experts = cut(m.ids, n, w), cut(m.experts, n, w)
	m.u, m.c, m.z, m.dz, m.dc = cut(m.u, n, w), cut(m.c, n, w), cut(m.z, n, w), cut(m.dz, n, w), cut(m.dc, n, w)
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
	c := b.gating(p, n)
	b.stage.drop()
	for from := 0; from < b.used; from += b.buffer {
		m := b.bring(n, from)
		b.activate(m, c, x)
		if b.shared {
			b.dev.MatMul(y, m.z, m.v, tensor.MatMulOpts{Accumulate: true}) // y += z·V
		} else {
			b.dev.RowAdd(y, m.z, m.v, m.ids) // y_t += Σ z_i v_i
		}
	}
}

// logits is g = h·Gᵀ.
func (b *neurons) logits(x tensor.Tensor) tensor.Tensor {
	if !b.routed() {
		return tensor.Tensor{}
	}
	g := b.mem.p.Rows(0, x.Dim(0))
	b.dev.MatMul(g, x, b.router.W, tensor.MatMulOpts{TransB: true})
	return g
}

// gating is what scores are multiplied by, of n tokens: p, the router logits, made
// into a softmax, or with few those of the tokens' experts alone, which Backward
// finds again.
func (b *neurons) gating(p tensor.Tensor, n int) tensor.Tensor {
	if b.gate == GateSoftmax {
		b.dev.Softmax(p, p)
	}
	if !b.few() {
		return p
	}
	g := b.gates.Rows(0, n)
	b.dev.Pick(g, p, b.bringProbes(n))
	return g
}

// activate computes u, c and z of the rows brought in, with the gates p.
func (b *neurons) activate(m neuronMemory, p, x tensor.Tensor) {
	if b.shared {
		b.dev.MatMul(m.u, x, m.k, tensor.MatMulOpts{TransB: true}) // u = h·Kᵀ
	} else {
		b.dev.RowDots(m.u, x, m.k, m.ids) // u_i = k_i·h_t
	}
	if b.gated() {
		b.dev.Pick(m.c, p, m.experts) // c_i = p_e(i)
	}
	b.dev.GatedReLU(m.z, m.u, m.c) // z = relu(c·u)
}

// Backward mirrors Forward. Nothing is routed or picked again: the rows are
// those of the last Forward. The gradients of the last rows come back while the
// blocks below compute, up to the lowest branch, which waits for them.
func (b *neurons) Backward(dx, dy, x tensor.Tensor) {
	n := x.Dim(0)
	var p, dp tensor.Tensor
	if b.few() {
		p = b.gates.Rows(0, n)
	} else {
		p = b.gating(b.logits(x), n)
	}
	if b.gated() {
		dp = b.mem.dp.Rows(0, n)
		b.dev.Fill(dp, 0)
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
	dev := b.dev
	du := m.dz
	if b.shared {
		dev.MatMul(m.dv, m.z, dy, tensor.MatMulOpts{TransA: true}) // dV = zᵀ·dy
		dev.MatMul(m.dz, dy, m.v, tensor.MatMulOpts{TransB: true}) // dz = dy·Vᵀ
		dev.GatedReLUGrad(du, m.dc, m.dz, m.u, m.c)                // du = dz·c, dc = dz·u where c·u > 0
		if b.keys {
			dev.MatMul(m.dk, du, x, tensor.MatMulOpts{TransA: true}) // dK = duᵀ·h
		}
		if !dx.None() {
			dev.MatMul(dx, du, m.k, tensor.MatMulOpts{Accumulate: true}) // dh += du·K
		}
		return
	}
	dev.Fill(m.dv, 0)
	dev.RowOuter(m.dv, m.z, dy, m.ids)          // dv_i = Σ_t z_ti dy_t
	dev.RowDots(m.dz, dy, m.v, m.ids)           // dz_ti = v_i·dy_t
	dev.GatedReLUGrad(du, m.dc, m.dz, m.u, m.c) // du = dz·c, dc = dz·u where c·u > 0
	if b.keys {
		dev.Fill(m.dk, 0)
		dev.RowOuter(m.dk, du, x, m.ids) // dk_i = Σ_t du_ti h_t
	}
	if !dx.None() {
		dev.RowAdd(dx, du, m.k, m.ids) // dh_t += Σ du_ti k_i
	}
}

// routerGrad carries dp, the gradient of the gates p, to the router and to dx.
func (b *neurons) routerGrad(dp, p, dx, x tensor.Tensor) {
	if b.gate == GateSoftmax {
		b.dev.SoftmaxGrad(dp, dp, p)
	}
	if b.few() { // the same sums without the experts whose gradient is 0
		probes := b.bringProbes(x.Dim(0))
		if b.routerLearns() {
			b.dev.RowOuter(b.router.D, dp, x, probes) // dG_e += Σ_t dg_te h_t
		}
		if !dx.None() {
			b.dev.RowAdd(dx, dp, b.router.W, probes) // dh_t += Σ_e dg_te G_e
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

// part is the ids of the rows brought in together from place from on.
func (b *neurons) part(from int) []int32 {
	return b.union[from:min(from+b.buffer, b.used)]
}

// routerScale is how much larger a router row is than the mean key of its
// expert, as the authors initialise it.
const routerScale = 50

// init draws the keys, each row from its own stream, and derives the router.
// Values are 0.
func (b *neurons) init(seed uint64) {
	b.pool.Run(b.m, &keyTask{b: b, seed: seed})
	router, key := make([]float32, b.experts*b.d), make([]float32, b.d)
	for e := range b.experts {
		row := router[e*b.d : (e+1)*b.d]
		from, to := e*b.each, min((e+1)*b.each, b.m)
		for i := from; i < to; i++ {
			b.table.Key(key, i)
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
	k.b.table.SetKey(i, normal(k.b.d, meftKeys.stream(k.seed, k.b.block, i)))
}
