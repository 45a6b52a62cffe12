package simd

import "fmt"

// Op names the orientation of a matrix product.
type Op int

const (
	NT Op = iota // C[m,n] = A·Bᵀ with A[m,k], B[n,k]: a linear layer
	NN           // C[m,n] = A·B  with A[m,k], B[k,n]: the gradient of its input
	TN           // C[m,n] = Aᵀ·B with A[k,m], B[k,n]: the gradient of its weights
)

// String returns "NT", "NN" or "TN".
func (o Op) String() string { return [...]string{"NT", "NN", "TN"}[o] }

// Mat is a row-major matrix: exactly one of F32, BF16 (bfloat16 bits) and Quant
// is set. Row i starts at element i·Stride; the last row may be short of Stride.
type Mat struct {
	F32    []float32
	BF16   []uint16
	Quant  *Quant
	Stride int
}

// bytes is the memory of n elements, of the codes where there are codes.
func (a Mat) bytes(n int) int {
	switch {
	case a.Quant != nil:
		return n * a.Quant.Bits / 8
	case a.BF16 != nil:
		return 2 * n
	}
	return 4 * n
}

func (a Mat) len() int {
	if a.Quant != nil {
		return a.Quant.len()
	}
	return max(len(a.F32), len(a.BF16))
}

// kinds is how many of the forms of elements are set.
func (a Mat) kinds() int {
	n := 0
	for _, set := range [...]bool{a.F32 != nil, a.BF16 != nil, a.Quant != nil} {
		if set {
			n++
		}
	}
	return n
}

// kcMax bounds the steps of k that are added up in registers. A product is
// cut into the fewest blocks of at most kcMax steps, equal in size and a
// multiple of 32 but for the last, so the cuts depend on k only. Up to kcOnce
// steps stay whole: C is written once, and that pays for a sliver of B that
// just fits into the first-level cache.
const (
	kcMax  = 256
	kcOnce = 320
)

// blocks is the block shape of a level: micro-kernels compute mr rows by nr
// columns, and mc rows of packed A stay in the second-level cache.
type blocks struct{ mr, nr, mc int }

// panelPad separates panels of packed A: packing stores whole vectors, the
// last of which runs up to 8 floats past the panel.
const panelPad = 16

func (l Level) blocks() blocks {
	switch l {
	case AVX2:
		return blocks{mr: 6, nr: 16, mc: 264}
	case AVX512, wideTest:
		return blocks{mr: 14, nr: 32, mc: 266}
	}
	return blocks{mr: 4, nr: 4, mc: 128}
}

// aLen is the size of packed A of so many rows and kcOnce steps.
func (s blocks) aLen(rows int) int { return (rows + s.mr - 1) / s.mr * (s.mr*kcOnce + panelPad) }

// matMul is a product being computed.
type matMul struct {
	pool       *Pool
	op         Op
	m, n, k    int
	alpha      float32
	a, b       Mat
	c          []float32
	ldc        int
	accumulate bool
	form       form
	kc         int // steps of k in a block
	phase
}

// MatMul computes C = alpha·op(A, B), or C += alpha·op(A, B) if accumulate is
// set. C is [m, n] with row stride ldc; it must not overlap A or B. A is
// float32, B any type (bfloat16 is widened exactly, a quantised B, which TN does
// not take, is decoded as Quant says). Broken shapes panic.
//
// Every element of C is, for blocks of k in ascending order (see kcMax),
// c += alpha·s with s the sum of the block's products in ascending k, from 0,
// each step one fused multiply-add (Portable: multiply, then add). Neither m,
// n, the place of the element nor the number of threads changes its bits.
func (p *Pool) MatMul(op Op, m, n, k int, alpha float32, a, b Mat, c []float32, ldc int, accumulate bool) {
	p.matMul(op, m, n, k, alpha, a, b, c, ldc, accumulate, exact)
}

// MatMulBF16 is MatMul of operands rounded to bfloat16, to nearest with ties to
// even; products, which are exact, are added up in float32. An element differs
// from MatMul's by at most 2^-7 + 2^-16 of the sum of the absolute values of its
// products (2^-8 where B is bfloat16 already), and what the additions round.
//
// With DotsBF16 the products of a block of k are added up in pairs, the second
// of a pair first, and numbers below 2^-126 count as 0. Otherwise they are
// rounded while packing and added up as MatMul does, at no gain in speed. Either
// way m, n, the place of an element and the threads do not change its bits.
func (p *Pool) MatMulBF16(op Op, m, n, k int, alpha float32, a, b Mat, c []float32, ldc int, accumulate bool) {
	as := rounded
	if p.pairs {
		as = paired
	}
	p.matMul(op, m, n, k, alpha, a, b, c, ldc, accumulate, as)
}

func (p *Pool) matMul(op Op, m, n, k int, alpha float32, a, b Mat, c []float32, ldc int, accumulate bool, as form) {
	checkShapes(op, m, n, k, a, b, c, ldc)
	p.enter()
	j := &p.job
	if j.set(p, op, m, n, k, alpha, a, b, c, ldc, accumulate) {
		j.form = as
		if j.thin(p.a) {
			p.run(j.thinPieces(len(p.workers), p.a), (*thinning)(j))
		}
		for j.start(p.a, phaseRows); j.more(); j.advance() {
			pieces := j.split(len(p.workers))
			if pieces == 1 {
				j.pack(&p.workers[0], 0, j.packs)
				j.multiply(&p.workers[0], 0)
				continue
			}
			p.run((j.packs+packsPiece-1)/packsPiece, (*packing)(j))
			p.run(pieces, (*multiplying)(j))
		}
	}
	p.job = matMul{} // keep nothing of the caller's alive
	p.busy.Store(false)
}

// form is what packing makes of operands.
type form int

const (
	exact   form = iota // float32, or bfloat16 widened
	rounded             // float32 rounded to bfloat16
	paired              // pairs of bfloat16, for DotsBF16
)

// MatMulOn is MatMul on one thread, for use inside a task: it computes on the
// calling goroutine with the workspace of the worker that the task was given.
func (p *Pool) MatMulOn(worker int, op Op, m, n, k int, alpha float32, a, b Mat, c []float32, ldc int, accumulate bool) {
	checkShapes(op, m, n, k, a, b, c, ldc)
	w := &p.workers[worker]
	j := &w.job
	if j.set(p, op, m, n, k, alpha, a, b, c, ldc, accumulate) {
		if j.thin(w.a) {
			j.thinPieces(1, w.a)
			j.thinPiece(w, 0)
		}
		for j.start(w.a, w.shape.mc); j.more(); j.advance() {
			j.split(1)
			j.pack(w, 0, j.packs)
			j.multiply(w, 0)
		}
	}
	*j = matMul{}
}

// checkShapes panics unless the operands hold the matrices.
func checkShapes(op Op, m, n, k int, a, b Mat, c []float32, ldc int) {
	ar, ac, br, bc := m, k, n, k
	switch op {
	case NN:
		br, bc = k, n
	case TN:
		ar, ac, br, bc = k, m, k, n
	}
	fits := func(have, stride, rows, cols int) bool {
		return rows == 0 || cols == 0 || stride >= cols && have >= (rows-1)*stride+cols
	}
	if m < 0 || n < 0 || k < 0 || a.BF16 != nil || a.Quant != nil || b.kinds() > 1 || op == TN && b.Quant != nil ||
		!fits(len(a.F32), a.Stride, ar, ac) || !fits(b.len(), b.Stride, br, bc) || !fits(len(c), ldc, m, n) {
		panic(fmt.Sprintf("simd: %v of m %d, n %d, k %d: a has %d f32 of %d elements, stride %d; b has %d f32, %d bf16 of %d elements, stride %d; c has %d, stride %d",
			op, m, n, k, len(a.F32), a.len(), a.Stride, len(b.F32), len(b.BF16), b.len(), b.Stride, len(c), ldc))
	}
}

// set takes the operands, whose shapes are right, and reports whether there is
// anything to multiply.
func (j *matMul) set(p *Pool, op Op, m, n, k int, alpha float32, a, b Mat, c []float32, ldc int, accumulate bool) bool {
	if m == 0 || n == 0 {
		return false
	}
	if k == 0 {
		for i := 0; i < m && !accumulate; i++ {
			clear(c[i*ldc : i*ldc+n])
		}
		return false
	}
	count := (k + kcMax - 1) / kcMax
	if k <= kcOnce {
		count = 1
	}
	kc := ((k+count-1)/count + 31) &^ 31
	*j = matMul{pool: p, op: op, m: m, n: n, k: k, alpha: alpha, a: a, b: b, c: c, ldc: ldc, accumulate: accumulate, kc: kc}
	return true
}
