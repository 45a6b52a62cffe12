package meft

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"meft/cpu"
	"meft/method"
	"meft/model"
	"meft/tensor"
)

// KernelBench is the speed of the kernels at the sizes that training a shape
// gives them, beside what the machine can do at the same moment.
type KernelBench struct {
	BenchCase
	Batch      int           `json:"batch"`
	Seq        int           `json:"seq"`
	PeakGFlops float64       `json:"peak_gflops"` // multiply-adds on registers, median
	ReadGBs    float64       `json:"read_gbs"`    // reading from memory, median
	Kernels    []KernelSpeed `json:"kernels"`
}

// KernelSpeed is one kernel at one size.
type KernelSpeed struct {
	Name    string  `json:"name"`
	Op      string  `json:"op"`               // the kind of work, as in the parts of training
	Sizes   string  `json:"sizes"`            // of products: rows x inner x columns
	Seconds float64 `json:"seconds"`          // of a call, median
	GFlops  float64 `json:"gflops,omitempty"` // a second, of kernels that compute
	GBs     float64 `json:"gbs,omitempty"`    // read and written, of kernels that move
	Share   float64 `json:"share"`            // of the peak, or of the reading speed; median of the rounds
	Bound   string  `json:"bound"`            // what it is a share of: peak or read
}

// kernelCase is a kernel to be measured. Either flops or bytes counts.
type kernelCase struct {
	name, sizes string
	op          tensor.Op
	flops       float64 // of a call
	bytes       float64 // read and written by a call
	run         func()
}

// BenchKernels measures the kernels that training as c describes it runs: the
// products of every kind of weight forward (nt) and backward (nn, tn), products
// of few rows as in generation, attention, and what passes over memory.
func BenchKernels(ctx context.Context, c Config, o BenchOptions) (*KernelBench, error) {
	o, err := o.filled()
	if err != nil {
		return nil, err
	}
	j, err := benchJob(c)
	if err != nil {
		return nil, err
	}
	dev := j.base.device(c.Threads)
	defer dev.Close()
	s := &kernelSet{dev: dev, c: j.base.config, seq: j.length, n: c.Batch * j.length, frozen: j.base.frozen}
	if s.probe, s.close, err = s.memory(); err != nil {
		return nil, err
	}
	defer s.close()
	b := &KernelBench{BenchCase: benchCase("kernels", j.base, dev), Batch: c.Batch, Seq: j.length}
	var peaks, reads []float64
	for _, k := range s.cases(j.method) {
		speed, bound, err := s.probe.measure(ctx, k, o.Repeats)
		if err != nil {
			return nil, err
		}
		if b.Kernels = append(b.Kernels, speed); speed.Bound == "peak" {
			peaks = append(peaks, bound...)
		} else {
			reads = append(reads, bound...)
		}
	}
	b.PeakGFlops, b.ReadGBs = spreadOf(peaks).median/1e9, spreadOf(reads).median/1e9
	return b, nil
}

// measureSpan is about how long one round of a kernel takes.
const measureSpan = 10 * time.Millisecond

// measure runs a kernel in rounds, each beside a probe of the machine, whose
// results it returns as well.
func (p *probe) measure(ctx context.Context, k kernelCase, rounds int) (KernelSpeed, []float64, error) {
	best := p.peak
	work, bound := k.flops, "peak"
	if k.flops == 0 {
		best, work, bound = p.read, k.bytes, "read"
	}
	start := time.Now()
	k.run()
	calls := max(1, min(1000, int(measureSpan/max(1, time.Since(start)))))
	var took, bests, shares []float64
	for range rounds {
		if err := ctx.Err(); err != nil {
			return KernelSpeed{}, nil, err
		}
		b := best()
		start := time.Now()
		for range calls {
			k.run()
		}
		t := time.Since(start).Seconds() / float64(calls)
		took, bests, shares = append(took, t), append(bests, b), append(shares, work/t/b)
	}
	s := KernelSpeed{Name: k.name, Op: k.op.String(), Sizes: k.sizes, Seconds: spreadOf(took).median, Share: spreadOf(shares).median, Bound: bound}
	if k.flops > 0 {
		s.GFlops = k.flops / s.Seconds / 1e9
	} else {
		s.GBs = k.bytes / s.Seconds / 1e9
	}
	return s, bests, nil
}

// kernelSet is memory to run kernels of a shape on.
type kernelSet struct {
	dev    *cpu.Device
	c      model.Config
	seq, n int // tokens of a row, of a batch
	frozen tensor.DType
	probe  *probe
	close  func()

	a, b, d tensor.Tensor // F32: inputs, outputs, gradients of weights or logits
	ints    tensor.Tensor // I32: ids, positions, bounds
	w       int           // where in the probe's memory the next weight begins
}

// site is one kind of weight matrix [out, in].
type site struct {
	name    string
	out, in int
	rows    int
	dtype   tensor.DType // it is kept in
}

func (s *kernelSet) sites() []site {
	c, t := s.c, s.frozen
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	all := []site{{"q", q, c.Dim, s.n, t}}
	if kv != q {
		all = append(all, site{"k", kv, c.Dim, s.n, t})
	}
	if q != c.Dim {
		all = append(all, site{"o", c.Dim, q, s.n, t})
	}
	head := min(s.n, max(16, (16<<20)/4/c.Vocab)) // as many rows as the loss takes at a time
	return append(all, site{"gate", c.Hidden, c.Dim, s.n, t}, site{"down", c.Dim, c.Hidden, s.n, t}, site{"head", c.Vocab, c.Dim, head, model.HeadType(t)})
}

// adamElements is the size of an optimizer step, well above any cache.
const adamElements = 4 << 20

// memory allocates what the kernels work on.
func (s *kernelSet) memory() (*probe, func(), error) {
	wide, large := 0, 3*adamElements
	for _, w := range s.sites() {
		wide, large = max(wide, w.rows*max(w.out, w.in)), max(large, w.out*w.in)
	}
	wide = max(wide, 4*s.n*max(s.c.Dim, s.c.Hidden, s.c.Heads*s.c.HeadDim))
	var l tensor.Ledger
	a := tensor.NewArena(s.dev, &l, nil)
	s.a, s.b = a.New("bench.in", tensor.F32, wide), a.New("bench.out", tensor.F32, wide)
	s.d = a.New("bench.gradient", tensor.F32, large)
	s.ints = a.New("bench.ids", tensor.I32, 3*s.n+s.n*1024)
	p, err := newProbe(s.dev, a, int64(4*large))
	if err != nil {
		a.Close()
		return nil, nil, err
	}
	for _, x := range []tensor.Tensor{s.a, s.b, s.d} {
		s.dev.Fill(x, benchFill)
	}
	return p, a.Close, nil
}

// part is a tensor in the memory of t from element at on.
func part(t tensor.Tensor, at int, dims ...int) tensor.Tensor {
	n := 1
	for _, d := range dims {
		n *= d
	}
	return t.Rows(at, at+n).View(dims...)
}

// weight is a matrix in the type that it is kept in, each call another one, so
// that few-row products read from memory as they do when a model's blocks take
// turns. It has a buffer of its own, as tensors of quantised types must.
func (s *kernelSet) weight(w site) tensor.Tensor {
	mem := s.probe.memory.Buf.Host()
	size := int(w.dtype.Bytes(w.out, w.in))
	if s.w+size > len(mem) {
		s.w = 0
	}
	t := tensor.Tensor{Buf: window(mem[s.w : s.w+size]), DType: w.dtype, Rank: 2, Dims: [tensor.MaxRank]int{w.out, w.in}, Whole: w.out}
	s.w += (size + 63) &^ 63
	return t
}

// window is a part of a buffer.
type window []byte

// Bytes is the length of the part.
func (w window) Bytes() int64 { return int64(len(w)) }

// Host is the part.
func (w window) Host() []byte { return w }

// cases are the kernels of a training step, then those of generation.
func (s *kernelSet) cases(m method.Method) []kernelCase {
	var all []kernelCase
	for _, w := range s.sites() {
		all = append(all, s.products(w)...)
	}
	for _, rows := range []int{1, 4, 8} {
		for _, w := range s.sites() {
			all = append(all, s.thin(w, rows))
		}
	}
	all = append(all, s.attention()...)
	if f, ok := m.(*method.MEFT); ok {
		all = append(all, s.neurons(f)...)
	}
	return append(all, s.passes()...)
}

// products are y = x·Wᵀ, dx = dy·W and dW = dyᵀ·x.
func (s *kernelSet) products(w site) []kernelCase {
	x, y, dw := part(s.a, 0, w.rows, w.in), part(s.b, 0, w.rows, w.out), part(s.d, 0, w.out, w.in)
	k := s.weight(w)
	flops := 2 * float64(w.rows) * float64(w.in) * float64(w.out)
	size := func(m, k, n int) string { return fmt.Sprintf("%dx%dx%d", m, k, n) }
	return []kernelCase{
		{w.name, size(w.rows, w.in, w.out), tensor.OpMatMulNT, flops, 0, func() { s.dev.MatMul(y, x, k, tensor.MatMulOpts{TransB: true}) }},
		{w.name, size(w.rows, w.out, w.in), tensor.OpMatMulNN, flops, 0, func() { s.dev.MatMul(x, y, k, tensor.MatMulOpts{}) }},
		{w.name, size(w.out, w.rows, w.in), tensor.OpMatMulTN, flops, 0, func() { s.dev.MatMul(dw, y, x, tensor.MatMulOpts{TransA: true}) }},
	}
}

// thin is y = x·Wᵀ of few rows: its bytes are those of the weights.
func (s *kernelSet) thin(w site, rows int) kernelCase {
	x, y := part(s.a, 0, rows, w.in), part(s.b, 0, rows, w.out)
	bytes := float64(w.dtype.Bytes(w.out, w.in))
	return kernelCase{fmt.Sprintf("%s, %d rows", w.name, rows), fmt.Sprintf("%dx%dx%d", rows, w.in, w.out), tensor.OpMatMulNT, 0, bytes,
		func() { s.dev.MatMul(y, x, s.weight(w), tensor.MatMulOpts{TransB: true}) }}
}

// attention counts the products that the mask lets through: two a pair of query
// and key forwards, five backwards.
func (s *kernelSet) attention() []kernelCase {
	c, n := s.c, s.n
	start, end := part(s.ints, 0, n), part(s.ints, n, n)
	for i := range n {
		start.Int32()[i], end.Int32()[i] = int32(i-i%s.seq), int32(i+1)
	}
	q, kv := n*c.Heads*c.HeadDim, n*c.KVHeads*c.HeadDim
	three := func(t tensor.Tensor, at, h int) tensor.Tensor { return part(t, at, n, h, c.HeadDim) }
	Q, K, V := three(s.a, 0, c.Heads), three(s.a, q, c.KVHeads), three(s.a, q+kv, c.KVHeads)
	O, lse := three(s.b, 0, c.Heads), part(s.d, 0, n, c.Heads)
	dQ, dK, dV := three(s.b, q, c.Heads), three(s.b, 2*q, c.KVHeads), three(s.b, 2*q+kv, c.KVHeads)
	m := tensor.Mask{Start: start, End: end, Scale: float32(1 / math.Sqrt(float64(c.HeadDim)))}
	pairs := float64(n) * float64(s.seq+1) / 2 * float64(c.Heads*c.HeadDim)
	sizes := fmt.Sprintf("%d rows of %d, %d heads of %d", n/s.seq, s.seq, c.Heads, c.HeadDim)
	return []kernelCase{
		{"attention", sizes, tensor.OpAttention, 4 * pairs, 0, func() { s.dev.Attention(O, lse, Q, K, V, m) }},
		{"attention grad", sizes, tensor.OpAttentionGrad, 10 * pairs, 0, func() { s.dev.AttentionGrad(dQ, dK, dV, O, O, lse, Q, K, V, m) }},
	}
}

// neurons are the kernels of a MEFT branch on the neurons that tokens keep.
func (s *kernelSet) neurons(f *method.MEFT) []kernelCase {
	n, d, k := s.n, s.c.Dim, min(f.TopK, f.Neurons, 1024)
	u := min(4096, f.Neurons)
	ids := part(s.ints, 3*n, n, k)
	r := rand.New(rand.NewPCG(1, 0))
	for t := range n { // distinct for a token, as its picks are
		at := r.IntN(u)
		for i := range k {
			ids.Int32()[t*k+i] = int32((at + i*(u/k)) % u)
		}
	}
	rows, x, z := part(s.d, 0, u, d), part(s.a, 0, n, d), part(s.b, 0, n, k)
	sizes := fmt.Sprintf("%d tokens, %d of %d rows of %d", n, k, u, d)
	flops := 2 * float64(n) * float64(k) * float64(d)
	return []kernelCase{
		{"row dots", sizes, tensor.OpRowDots, flops, 0, func() { s.dev.RowDots(z, x, rows, ids) }},
		{"row add", sizes, tensor.OpRowAdd, flops, 0, func() { s.dev.RowAdd(x, z, rows, ids) }},
		{"row outer", sizes, tensor.OpRowOuter, flops, 0, func() { s.dev.RowOuter(rows, z, x, ids) }},
	}
}

// passes are the kernels that go over memory once: bytes are read and written.
func (s *kernelSet) passes() []kernelCase {
	c, n, e := s.c, s.n, adamElements
	x, y, w, r := part(s.a, 0, n, c.Dim), part(s.b, 0, n, c.Dim), part(s.d, 0, c.Dim), part(s.d, c.Dim, n)
	gate, up := part(s.a, 0, n, c.Hidden), part(s.a, n*c.Hidden, n, c.Hidden)
	dgate, dup, act := part(s.b, 0, n, c.Hidden), part(s.b, n*c.Hidden, n, c.Hidden), part(s.b, 2*n*c.Hidden, n, c.Hidden)
	rows := s.sites()[len(s.sites())-1].rows
	logits, loss, targets := part(s.b, 0, rows, c.Vocab), part(s.d, 0, rows), part(s.ints, 2*n, rows)
	flat := func(t tensor.Tensor, i int) tensor.Tensor { return part(t, i*e, e) }
	memory := s.probe.memory
	nd, nh := 4*float64(n*c.Dim), 4*float64(n*c.Hidden)
	size := func(a, b int) string { return fmt.Sprintf("%dx%d", a, b) }
	return []kernelCase{
		{"rmsnorm", size(n, c.Dim), tensor.OpRMSNorm, 0, 2 * nd, func() { s.dev.RMSNorm(y, r, x, w, 1e-5) }},
		{"rmsnorm grad", size(n, c.Dim), tensor.OpRMSNormGrad, 0, 4 * nd, func() { s.dev.RMSNormGrad(y, tensor.Tensor{}, x, x, w, r) }},
		{"swiglu", size(n, c.Hidden), tensor.OpSwiGLU, 0, 3 * nh, func() { s.dev.SwiGLU(act, gate, up) }},
		{"swiglu grad", size(n, c.Hidden), tensor.OpSwiGLUGrad, 0, 5 * nh, func() { s.dev.SwiGLUGrad(dgate, dup, act, gate, up) }},
		{"add", size(n, c.Dim), tensor.OpAdd, 0, 3 * nd, func() { s.dev.Add(y, y, x) }},
		{"cross entropy", size(rows, c.Vocab), tensor.OpCrossEntropy, 0, 8 * float64(rows*c.Vocab), func() { s.dev.CrossEntropy(loss, logits, targets, 1) }},
		{"adamw", fmt.Sprint(e), tensor.OpAdamW, 0, 28 * float64(e), func() {
			s.dev.AdamW(flat(s.d, 0), flat(s.d, 1), flat(s.d, 2), flat(memory, 0), tensor.AdamWOpts{Rate: 1e-4, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Correct1: 0.1, Correct2: 0.001, Scale: 1})
		}},
	}
}
