// Package prune sets weights of a linear layer to zero with little change of
// what it computes: SparseGPT (Frantar and Alistarh 2023,
// https://arxiv.org/abs/2301.00774), and by magnitude. It works on matrices in
// host memory and knows nothing of models, data or files.
//
// Results have the same bits for any number of threads.
package prune

import (
	"fmt"

	"meft/internal/simd"
)

// Pattern says which weights go. With M 0 it is the share Sparsity of each block
// of Columns columns; else N of every M neighbours in a row.
type Pattern struct {
	Sparsity float64
	N, M     int
}

// Columns is how many columns are pruned at a time, the paper's block size.
const Columns = 128

// Damping is what is added to the diagonal of H, in shares of its mean.
const Damping = 0.01

// check panics on what no caller may give; the flags were checked before.
func (p Pattern) check(in int) {
	if p.M > 0 && (p.N < 0 || p.N > p.M || Columns%p.M != 0 || in%p.M != 0) || p.M == 0 && !(p.Sparsity >= 0 && p.Sparsity <= 1) {
		panic(fmt.Sprintf("prune: pattern %+v of %d columns", p, in))
	}
}

// Solver prunes the layers that share an input, of width in.
type Solver struct {
	pool *simd.Pool
	in   int
	u    []float32 // [in, in] upper: uᵀu is the inverse of H
	dead []bool    // inputs that are always 0
}

// NewSolver factors h [in, in], the sum of x·xᵀ over calibration inputs, times
// any constant. It overwrites h and keeps it. The error is about an h that is
// not positive definite, as one with values that are not finite is.
func NewSolver(pool *simd.Pool, h []float32, in int) (*Solver, error) {
	if len(h) != in*in || in == 0 {
		panic(fmt.Sprintf("prune: %d numbers for a matrix of %d rows", len(h), in))
	}
	s := &Solver{pool: pool, in: in, dead: make([]bool, in)}
	mean := 0.0
	for i := range in {
		if h[i*in+i] == 0 {
			s.dead[i] = true
			h[i*in+i] = 1
		}
		mean += float64(h[i*in+i]) / float64(in)
	}
	for i := range in {
		h[i*in+i] += float32(Damping * mean)
	}
	// With both orders turned round, H = L·Lᵀ becomes H = R·Rᵀ with R upper, and
	// u is the inverse of R: one factorisation and no inverse of H.
	turn(h)
	if err := factor(pool, h, in); err != nil {
		return nil, err
	}
	s.u = invert(pool, h, in)
	turn(s.u)
	return s, nil
}

// turn reverses the order of rows and of columns.
func turn(x []float32) {
	for i, j := 0, len(x)-1; i < j; i, j = i+1, j-1 {
		x[i], x[j] = x[j], x[i]
	}
}

// Prune prunes w [out, in] in place by algorithm 1 of the paper: of each block of
// columns go the weights with the smallest w²/u_jj², and what a row loses by one
// is made up for by its later columns. It returns the squared error that the
// algorithm accounts for: the sum of (w-w')²/u_jj², in units of h.
func (s *Solver) Prune(w []float32, out int, p Pattern) float64 {
	p.check(s.in)
	if len(w) != out*s.in {
		panic(fmt.Sprintf("prune: %d weights, wanted %d x %d", len(w), out, s.in))
	}
	for r := range out {
		for j, dead := range s.dead {
			if dead {
				w[r*s.in+j] = 0
			}
		}
	}
	b := &block{Solver: s, w: w, out: out, pattern: p, errs: make([]float32, out*Columns), mask: make([]bool, out*Columns), rows: make([]float64, out)}
	for b.at = 0; b.at < s.in; b.at += Columns {
		b.width = min(Columns, s.in-b.at)
		if p.M == 0 {
			b.choose()
		}
		pool := (out + rowsPerTask - 1) / rowsPerTask
		s.pool.Run(pool, b)
		if next := b.at + b.width; next < s.in {
			s.pool.MatMul(simd.NN, out, s.in-next, b.width, -1,
				simd.Mat{F32: b.errs, Stride: Columns}, simd.Mat{F32: s.u[b.at*s.in+next:], Stride: s.in}, w[next:], s.in, true)
		}
	}
	sum := 0.0
	for _, e := range b.rows {
		sum += e
	}
	return sum
}

// rowsPerTask is what a thread takes at a time.
const rowsPerTask = 16

// block is the columns [at, at+width) that are pruned.
type block struct {
	*Solver
	w         []float32
	out       int
	pattern   Pattern
	at, width int
	errs      []float32 // [out, Columns]
	mask      []bool    // [out, Columns] goes
	rows      []float64 // [out] error of each row
}

// choose marks the weights of the block that go, all rows taken together.
func (b *block) choose() {
	scores := make([]float32, b.out*b.width)
	for r := range b.out {
		for j := range b.width {
			scores[r*b.width+j] = b.score(r, j)
		}
	}
	smallest(scores, int(b.pattern.Sparsity*float64(len(scores))), func(i int, goes bool) {
		b.mask[i/b.width*Columns+i%b.width] = goes
	})
}

// score is w²/u² of column at+j in row r.
func (b *block) score(r, j int) float32 {
	c := b.at + j
	q := b.w[r*b.in+c] / b.u[c*b.in+c]
	return q * q
}

// Do prunes some rows.
func (b *block) Do(i, _ int) {
	for r := i * rowsPerTask; r < min((i+1)*rowsPerTask, b.out); r++ {
		b.row(r)
	}
}

// row prunes the block of a row, column by column.
func (b *block) row(r int) {
	w, errs, mask := b.w[r*b.in:(r+1)*b.in], b.errs[r*Columns:(r+1)*Columns], b.mask[r*Columns:(r+1)*Columns]
	for j := range b.width {
		if m := b.pattern.M; m > 0 && j%m == 0 {
			scores := make([]float32, m)
			for k := range scores {
				scores[k] = b.score(r, j+k)
			}
			smallest(scores, b.pattern.N, func(k int, goes bool) { mask[j+k] = goes })
		}
		c := b.at + j
		errs[j] = 0
		if !mask[j] {
			continue
		}
		u := b.u[c*b.in : (c+1)*b.in]
		e := w[c] / u[c]
		errs[j] = e
		b.rows[r] += float64(e) * float64(e)
		w[c] = 0
		for k := c + 1; k < b.at+b.width; k++ {
			w[k] -= e * u[k]
		}
	}
}

// Magnitude prunes w [out, in] in place by size alone: the pattern's share of
// the whole matrix, or of every group.
func Magnitude(w []float32, out, in int, p Pattern) {
	p.check(in)
	zero := func(part []float32, n int) {
		scores := make([]float32, len(part))
		for i, v := range part {
			scores[i] = v * v
		}
		smallest(scores, n, func(i int, goes bool) {
			if goes {
				part[i] = 0
			}
		})
	}
	if p.M == 0 {
		zero(w, int(p.Sparsity*float64(len(w))))
		return
	}
	for at := 0; at < len(w); at += p.M {
		zero(w[at:at+p.M], p.N)
	}
}
