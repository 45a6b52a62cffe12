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

// Mat is a row-major matrix: exactly one of F32 and BF16 (bfloat16 bits) is
// set. Row i starts at element i·Stride; the last row may be short of Stride.
type Mat struct {
	F32    []float32
	BF16   []uint16
	Stride int
}

func (a Mat) len() int { return max(len(a.F32), len(a.BF16)) }

// kcMax bounds the steps of k that are added up in registers. A product is
// cut into the fewest blocks of at most kcMax steps, equal in size and a
// multiple of 32 but for the last, so the cuts depend on k only.
const kcMax = 256

// blocks is the block shape of a level: micro-kernels compute mr rows by nr
// columns, a worker packs up to aLen floats of A, in blocks of at most mc rows.
type blocks struct{ mr, nr, mc, aLen int }

// panelPad separates panels of packed A: packing stores whole vectors, the
// last of which runs up to 8 floats past the panel.
const panelPad = 16

func (l Level) blocks() blocks {
	s := blocks{mr: 4, nr: 4, mc: 128}
	switch l {
	case AVX2:
		s = blocks{mr: 6, nr: 16, mc: 264}
	case AVX512, wideTest:
		s = blocks{mr: 14, nr: 32, mc: 266}
	}
	s.aLen = s.mc / s.mr * (s.mr*kcMax + panelPad)
	return s
}

// matMul is a product being computed; its pieces are blocks of C.
type matMul struct {
	pool         *Pool
	op           Op
	m, n, k      int
	alpha        float32
	a, b         Mat
	c            []float32
	ldc          int
	accumulate   bool
	kc           int // steps of k in a block
	rows, cols   int // size of a piece
	piecesAcross int
}

// MatMul computes C = alpha·op(A, B), or C += alpha·op(A, B) if accumulate is
// set. C is [m, n] with row stride ldc; it must not overlap A or B. A is
// float32, B either type (bfloat16 is widened exactly). Broken shapes panic.
//
// Every element of C is, for blocks of k in ascending order (see kcMax),
// c += alpha·s with s the sum of the block's products in ascending k, from 0,
// each step one fused multiply-add (Portable: multiply, then add). Neither m,
// n, the place of the element nor the number of threads changes its bits.
func (p *Pool) MatMul(op Op, m, n, k int, alpha float32, a, b Mat, c []float32, ldc int, accumulate bool) {
	checkShapes(op, m, n, k, a, b, c, ldc)
	p.enter()
	if job := &p.job; job.set(p, op, m, n, k, alpha, a, b, c, ldc, accumulate) {
		if pieces := job.split(len(p.workers)); pieces == 1 {
			job.block(&p.workers[0], 0, m, 0, n)
		} else {
			p.run(pieces, job)
		}
	}
	p.job = matMul{} // keep nothing of the caller's alive
	p.busy.Store(false)
}

// MatMulOn is MatMul on one thread, for use inside a task: it computes on the
// calling goroutine with the workspace of the worker that the task was given.
func (p *Pool) MatMulOn(worker int, op Op, m, n, k int, alpha float32, a, b Mat, c []float32, ldc int, accumulate bool) {
	checkShapes(op, m, n, k, a, b, c, ldc)
	job := &p.workers[worker].job
	if job.set(p, op, m, n, k, alpha, a, b, c, ldc, accumulate) {
		job.block(&p.workers[worker], 0, m, 0, n)
	}
	*job = matMul{}
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
	if m < 0 || n < 0 || k < 0 || a.BF16 != nil || b.F32 != nil && b.BF16 != nil ||
		!fits(len(a.F32), a.Stride, ar, ac) || !fits(b.len(), b.Stride, br, bc) || !fits(len(c), ldc, m, n) {
		panic(fmt.Sprintf("simd: %v of m %d, n %d, k %d: a has %d f32 and %d bf16, stride %d; b has %d f32 and %d bf16, stride %d; c has %d, stride %d",
			op, m, n, k, len(a.F32), len(a.BF16), a.Stride, len(b.F32), len(b.BF16), b.Stride, len(c), ldc))
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
	kc := ((k+count-1)/count + 31) &^ 31
	*j = matMul{pool: p, op: op, m: m, n: n, k: k, alpha: alpha, a: a, b: b, c: c, ldc: ldc, accumulate: accumulate, kc: kc}
	return true
}

// minPiece is the number of multiply-adds that pays for handing a piece to
// another thread: about 10 µs of one core.
const minPiece = 1 << 19

// split cuts C into pieces for the threads and returns their number. Packing
// repeats per piece (A for every column of pieces, B for every row), so the
// longer side is cut first and slivers stay wide.
func (j *matMul) split(threads int) int {
	s := j.pool.level.blocks()
	down, across := 1, 1
	j.rows, j.cols, j.piecesAcross = j.m, j.n, 1
	if threads == 1 {
		return 1
	}
	want := min(4*threads, j.m*j.n*j.k/minPiece)
	for down*across < want {
		switch {
		case j.cols > 2*s.nr && (j.cols >= j.rows || j.rows <= 2*s.mr):
			across++
			j.cols = ((j.n+across-1)/across + s.nr - 1) / s.nr * s.nr
		case j.rows > 2*s.mr:
			down++
			j.rows = ((j.m+down-1)/down + s.mr - 1) / s.mr * s.mr
		default:
			want = 0
		}
	}
	j.piecesAcross = (j.n + j.cols - 1) / j.cols
	return (j.m + j.rows - 1) / j.rows * j.piecesAcross
}

// Do computes piece i.
func (j *matMul) Do(i, worker int) {
	r, c := i/j.piecesAcross*j.rows, i%j.piecesAcross*j.cols
	j.block(&j.pool.workers[worker], r, min(r+j.rows, j.m), c, min(c+j.cols, j.n))
}

// block computes rows [i0, i1) by columns [j0, j1) of C. A block of A that
// stays in the second-level cache is packed once and meets every sliver of B
// (nr columns), which is packed straight into the first-level cache. When A is
// small the block spans several or all steps of k, so that a sliver of B is
// read from end to end.
func (j *matMul) block(w *worker, i0, i1, j0, j1 int) {
	if j.thin(w) { // m is small, so the rows are not cut
		if j0 = j.thinBlock(j0, j1); j0 == j1 {
			return
		}
	}
	s := w.shape
	for left := (i1 - i0 + s.mc - 1) / s.mc; left > 0; left-- {
		rows := (i1 - i0 + left - 1) / left // equal blocks: a thin one packs B for little
		panels := (rows + s.mr - 1) / s.mr
		panel := s.mr*j.kc + panelPad
		deep := max(1, s.aLen/(panels*panel)) // blocks of k that fit
		for p0 := 0; p0 < j.k; p0 += deep * j.kc {
			p1 := min(p0+deep*j.kc, j.k)
			at := 0
			for p := p0; p < p1; p += j.kc {
				for i := range panels {
					r, mr, _ := panelRows(rows, panels, i)
					w.packA(j.op, j.a, i0+r, mr, p, min(j.kc, p1-p), w.a[at:at+panel])
					at += panel
				}
			}
			for col := j0; col < j1; col += s.nr {
				at = 0
				for p := p0; p < p1; p += j.kc {
					kc := min(j.kc, p1-p)
					w.packB(j.op, j.b, col, min(s.nr, j1-col), p, kc)
					if p+kc < p1 {
						w.announce(j.op, j.b, col, min(s.nr, j1-col), p+kc, min(j.kc, p1-p-kc))
					} else {
						w.announce(j.op, j.b, col+s.nr, min(s.nr, j1-col-s.nr), p0, min(j.kc, p1-p0))
					}
					j.sliver(w, i0, rows, panels, panel, at, col, min(s.nr, j1-col), kc, p > 0 || j.accumulate)
					at += panels * panel
				}
			}
		}
		i0 += rows
	}
	w.next = lines{} // keep nothing of the caller's alive
}

// sliver multiplies all panels of packed A from offset at with the packed
// sliver of B. A narrow sliver goes through a whole tile: the padding lanes
// hold anything and are not copied back.
func (j *matMul) sliver(w *worker, i0, rows, panels, panel, at, col, cols, kc int, add bool) {
	acc := 0
	if add {
		acc = 1
	}
	nr := w.shape.nr
	for i := 0; i < panels; {
		r, mr, same := panelRows(rows, panels, i)
		a := w.a[at+i*panel : at+(i+same)*panel]
		c := j.c[(i0+r)*j.ldc+col:]
		if cols == nr {
			w.kernel(mr, same, kc, a, panel, w.b, c, j.ldc, acc, j.alpha)
			i += same
			continue
		}
		for r := 0; r < mr && add; r++ {
			copy(w.tile[r*nr:r*nr+cols], c[r*j.ldc:])
		}
		w.kernel(mr, 1, kc, a, panel, w.b, w.tile, nr, acc, j.alpha)
		for r := range mr {
			copy(c[r*j.ldc:r*j.ldc+cols], w.tile[r*nr:])
		}
		i++
	}
}

// panelRows cuts rows into panels that differ by one row at most, the higher
// ones first: panel i starts at row r, is mr rows high, and same panels from i
// on are of that height.
func panelRows(rows, panels, i int) (r, mr, same int) {
	mr, high := rows/panels, rows%panels
	if i < high {
		return i * (mr + 1), mr + 1, high - i
	}
	return i*mr + high, mr, panels - i
}
