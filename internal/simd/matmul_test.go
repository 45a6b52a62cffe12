package simd

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

var nan = float32(math.NaN())

// shapes are the levels of the machine and the portable one in the block shape
// of AVX-512.
func shapes() []Level { return append(Levels(), wideTest) }

func eachLevel(t *testing.T, levels []Level, f func(t *testing.T, l Level)) {
	for _, l := range levels {
		t.Run(l.String(), func(t *testing.T) { f(t, l) })
	}
}

// matrix is a random row-major matrix that ends at unreadable memory; the gaps
// between its rows are NaN.
type matrix struct {
	rows, cols, stride int
	data               []float32
	half               []uint16 // bfloat16 form, data being its exact values
}

func newMatrix(t testing.TB, rng *rand.Rand, rows, cols, gap int, bf16 bool) matrix {
	m := matrix{rows: rows, cols: cols, stride: cols + gap}
	n := 0
	if rows > 0 {
		n = (rows-1)*m.stride + cols
	}
	m.data = guarded[float32](t, n)
	if bf16 {
		m.half = guarded[uint16](t, n)
	}
	for i := range m.data {
		if m.data[i] = float32(rng.NormFloat64()); i%m.stride >= cols {
			m.data[i] = nan
		}
		if bf16 {
			m.half[i] = narrow(m.data[i])
			m.data[i] = widen(m.half[i])
		}
	}
	return m
}

func (m matrix) mat() Mat {
	if m.half != nil {
		return Mat{BF16: m.half, Stride: m.stride}
	}
	return Mat{F32: m.data, Stride: m.stride}
}

func (m matrix) at(i, j int) float64 { return float64(m.data[i*m.stride+j]) }

// operands draws A, B and C of a product.
func operands(t testing.TB, rng *rand.Rand, op Op, m, n, k int, bf16 bool) (a, b, c matrix) {
	ar, ac, br, bc := m, k, n, k
	switch op {
	case NN:
		br, bc = k, n
	case TN:
		ar, ac, br, bc = k, m, k, n
	}
	return newMatrix(t, rng, ar, ac, rng.IntN(4), false), newMatrix(t, rng, br, bc, rng.IntN(4), bf16), newMatrix(t, rng, m, n, rng.IntN(4), false)
}

// element is c[i,j] of the product in float64 and the sum of absolute values.
func element(op Op, k, i, j int, a, b matrix) (sum, size float64) {
	for p := range k {
		var x, y float64
		switch op {
		case NT:
			x, y = a.at(i, p), b.at(j, p)
		case NN:
			x, y = a.at(i, p), b.at(p, j)
		case TN:
			x, y = a.at(p, i), b.at(p, j)
		}
		sum += x * y
		size += math.Abs(x * y)
	}
	return sum, size
}

func checkMatMul(t *testing.T, p *Pool, rng *rand.Rand, op Op, m, n, k int, alpha float32, bf16, accumulate bool) {
	t.Helper()
	a, b, c := operands(t, rng, op, m, n, k, bf16)
	before := append([]float32(nil), c.data...)
	p.MatMul(op, m, n, k, alpha, a.mat(), b.mat(), c.data, c.stride, accumulate)
	for i, got := range c.data {
		row, col := i/c.stride, i%c.stride
		if col >= n {
			if got == got {
				t.Fatalf("%v m %d n %d k %d: wrote between rows at %d,%d", op, m, n, k, row, col)
			}
			continue
		}
		want, size := element(op, k, row, col, a, b)
		want, size = want*float64(alpha), size*math.Abs(float64(alpha))
		if accumulate {
			want += float64(before[i])
			size += math.Abs(float64(before[i]))
		}
		// Each of the k products and additions, and the scaling and addition
		// at the end, is off by at most 2^-24 of the sum of absolute values.
		bound := float64(2*k+4) * 0x1p-24 * size
		if d := math.Abs(float64(got) - want); !(d <= bound) {
			t.Fatalf("%v %v m %d n %d k %d alpha %g bf16 %v accumulate %v: c[%d,%d] = %g, want %g ± %g",
				p.Level(), op, m, n, k, alpha, bf16, accumulate, row, col, got, want, bound)
		}
	}
}

func TestMatMulEqualsPlainLoop(t *testing.T) {
	sizes := []int{0, 1, 2, 3, 5, 6, 7, 8, 9, 13, 14, 15, 16, 17, 23, 28, 29, 31, 32, 33, 48, 65, 100}
	depths := []int{0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 64, 255, 256, 257, 272, 300, 520}
	eachLevel(t, shapes(), func(t *testing.T, l Level) {
		const seed = 1
		rng := rand.New(rand.NewPCG(seed, uint64(l)))
		pools := []*Pool{NewPool(1, l), NewPool(3, l)}
		rounds := 700
		if testing.Short() {
			rounds = 150
		}
		for i := range rounds {
			m, n, k := sizes[rng.IntN(len(sizes))], sizes[rng.IntN(len(sizes))], depths[rng.IntN(len(depths))]
			alpha := []float32{1, -0.75, 2}[rng.IntN(3)]
			checkMatMul(t, pools[i%2], rng, Op(rng.IntN(3)), m, n, k, alpha, rng.IntN(2) == 0, rng.IntN(2) == 0)
		}
		// Shapes that need several blocks of rows and several groups of k, cut
		// into pieces for the threads.
		for op := NT; op <= TN; op++ {
			for _, s := range [][3]int{{300, 70, 600}, {70, 300, 40}, {514, 33, 260}} {
				checkMatMul(t, pools[1], rng, op, s[0], s[1], s[2], 1, op == NN, true)
			}
		}
		for _, p := range pools {
			p.Close()
		}
	})
}

// A row of a product has the same bits alone, among other rows, in another
// column range and with any number of threads.
func TestMatMulBitsDependOnDepthOnly(t *testing.T) {
	eachLevel(t, shapes(), func(t *testing.T, l Level) {
		rng := rand.New(rand.NewPCG(2, uint64(l)))
		one := NewPool(1, l)
		defer one.Close()
		for _, k := range []int{5, 64, 272, 768} {
			for op := NT; op <= TN; op++ {
				for _, bf16 := range []bool{false, true} {
					const m, n = 267, 75
					a, b, c := operands(t, rng, op, m, n, k, bf16)
					one.MatMul(op, m, n, k, 0.5, a.mat(), b.mat(), c.data, c.stride, false)
					for _, threads := range []int{2, 5} {
						p := NewPool(threads, l)
						sameBits(t, fmt.Sprint(op, k, " threads ", threads), c, func(dst []float32, i0, rows, j0, cols int) {
							p.MatMul(op, m, n, k, 0.5, a.mat(), b.mat(), dst, n, false)
						}, 0, m, 0, n)
						p.Close()
					}
					for _, part := range [][4]int{{0, 1, 0, n}, {66, 1, 0, n}, {1, 2, 3, 16}, {13, 3, 32, 32}, {5, 4, 1, 17}, {7, 8, 0, 48}, {50, 13, 74, 1}, {2, 19, 20, 55}, {31, 5, 3, 72}, {40, 6, 0, 16}, {200, 7, 10, 33}} {
						sameBits(t, fmt.Sprint(op, k, bf16, part), c, func(dst []float32, i0, rows, j0, cols int) {
							pa, pb := a.mat(), b.mat()
							pa.F32 = shift(pa.F32, op == TN, i0, pa.Stride)
							pb.F32, pb.BF16 = shift(pb.F32, op != NT, j0, pb.Stride), shift(pb.BF16, op != NT, j0, pb.Stride)
							one.MatMul(op, rows, cols, k, 0.5, pa, pb, dst, cols, false)
						}, part[0], part[1], part[2], part[3])
					}
				}
			}
		}
	})
}

// shift starts a matrix i columns or rows later.
func shift[T any](x []T, columns bool, i, stride int) []T {
	if x == nil || columns {
		return x[min(i, len(x)):]
	}
	return x[i*stride:]
}

func sameBits(t *testing.T, what string, c matrix, product func(dst []float32, i0, rows, j0, cols int), i0, rows, j0, cols int) {
	t.Helper()
	dst := make([]float32, rows*cols)
	product(dst, i0, rows, j0, cols)
	for i := range rows {
		for j := range cols {
			got, want := dst[i*cols+j], c.data[(i0+i)*c.stride+j0+j]
			if math.Float32bits(got) != math.Float32bits(want) {
				t.Fatalf("%s: element %d,%d is %g, %g in the whole product", what, i0+i, j0+j, got, want)
			}
		}
	}
}

// Inside a task MatMulOn gives the bits of MatMul.
func TestMatMulOnInsideTask(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 0))
	const m, n, k, pieces = 37, 50, 90, 12
	a, b, c := operands(t, rng, NT, m, n, k, false)
	p := NewPool(3, Best())
	defer p.Close()
	p.MatMul(NT, m, n, k, 1, a.mat(), b.mat(), c.data, c.stride, false)
	out := make([][]float32, pieces)
	p.Run(pieces, taskFunc(func(i, worker int) {
		out[i] = make([]float32, m*n)
		p.MatMulOn(worker, NT, m, n, k, 1, a.mat(), b.mat(), out[i], n, false)
	}))
	for i := range out {
		sameBits(t, fmt.Sprint("piece ", i), c, func(dst []float32, _, _, _, _ int) { copy(dst, out[i]) }, 0, m, 0, n)
	}
}

func TestMatMulDoesNotAllocate(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 0))
	for _, threads := range []int{1, 2} {
		p := NewPool(threads, Best())
		a, b, c := operands(t, rng, NT, 65, 130, 100, true)
		p.MatMul(NT, 65, 130, 100, 1, a.mat(), b.mat(), c.data, c.stride, false)
		if got := testing.AllocsPerRun(20, func() {
			p.MatMul(NT, 65, 130, 100, 1, a.mat(), b.mat(), c.data, c.stride, false)
		}); got != 0 {
			t.Errorf("%d threads: %g allocations a product", threads, got)
		}
		p.Close()
	}
}

func TestMatMulPanicsOnBrokenShapes(t *testing.T) {
	p := NewPool(1, Best())
	defer p.Close()
	x := make([]float32, 12)
	for name, f := range map[string]func(){
		"short a":       func() { p.MatMul(NT, 4, 3, 4, 1, Mat{F32: x, Stride: 4}, Mat{F32: x, Stride: 4}, x, 3, false) },
		"short c":       func() { p.MatMul(NT, 3, 4, 4, 1, Mat{F32: x, Stride: 4}, Mat{F32: x, Stride: 3}, x, 4, false) },
		"narrow stride": func() { p.MatMul(NN, 3, 3, 4, 1, Mat{F32: x, Stride: 4}, Mat{F32: x, Stride: 2}, x, 3, false) },
		"two types": func() {
			p.MatMul(NT, 1, 1, 1, 1, Mat{F32: x, Stride: 4}, Mat{F32: x, BF16: []uint16{1}, Stride: 2}, x, 3, false)
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
	p.MatMul(NT, 3, 3, 4, 1, Mat{F32: x, Stride: 4}, Mat{F32: x, Stride: 4}, make([]float32, 9), 3, false) // still works
}

// bf16Pools are pools whose MatMulBF16 rounds, and one that multiplies pairs, by
// the portable kernel where the machine has none.
func bf16Pools(threads int) map[string]*Pool {
	all := map[string]*Pool{}
	for _, l := range shapes() {
		all[l.String()] = NewPool(threads, l)
	}
	p := NewPool(threads, wideTest)
	p.pairs = true
	all["wide pairs"] = p
	return all
}

// rounds is m with its numbers rounded to bfloat16.
func (m matrix) rounds() matrix {
	r := m
	r.data = make([]float32, len(m.data))
	for i, v := range m.data {
		r.data[i] = widen(narrow(v))
	}
	return r
}

func TestMatMulBF16EqualsPlainLoopOfRoundedOperands(t *testing.T) {
	for name, p := range bf16Pools(3) {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(5, 0))
			for i := range 200 {
				m, n, k := []int{1, 2, 6, 9, 15, 40}[rng.IntN(6)], []int{1, 8, 16, 33, 70, 150}[rng.IntN(6)], []int{1, 7, 32, 64, 255, 300, 513}[rng.IntN(7)]
				op, accumulate := Op(rng.IntN(3)), rng.IntN(2) == 0
				a, b, c := operands(t, rng, op, m, n, k, i%2 == 0)
				ra, rb := a.rounds(), b.rounds()
				before := append([]float32(nil), c.data...)
				p.MatMulBF16(op, m, n, k, -0.75, a.mat(), b.mat(), c.data, c.stride, accumulate)
				for row := range m {
					for col := range n {
						at := row*c.stride + col
						want, size := element(op, k, row, col, ra, rb)
						want, size = -0.75*want, 0.75*size
						full, fullSize := element(op, k, row, col, a, b)
						full, fullSize = -0.75*full, 0.75*fullSize
						if accumulate {
							want, size = want+float64(before[at]), size+math.Abs(float64(before[at]))
							full, fullSize = full+float64(before[at]), fullSize+math.Abs(float64(before[at]))
						}
						// What the additions round, as in checkMatMul.
						bound := float64(2*k+4) * 0x1p-24 * size
						if d := math.Abs(float64(c.data[at]) - want); !(d <= bound) {
							t.Fatalf("%v m %d n %d k %d: c[%d,%d] = %g, want %g ± %g", op, m, n, k, row, col, c.data[at], want, bound)
						}
						// Rounding is off by 2^-8 in each operand that is float32.
						bound += (0x1p-7 + 0x1p-16) * fullSize
						if b.half != nil {
							bound -= (0x1p-8 + 0x1p-16) * fullSize
						}
						if d := math.Abs(float64(c.data[at]) - full); !(d <= bound) {
							t.Fatalf("%v m %d n %d k %d: c[%d,%d] = %g, %g unrounded ± %g", op, m, n, k, row, col, c.data[at], full, bound)
						}
					}
				}
			}
			p.Close()
		})
	}
}

// As TestMatMulBitsDependOnDepthOnly.
func TestMatMulBF16BitsDependOnDepthOnly(t *testing.T) {
	one := bf16Pools(1)
	for name, p := range bf16Pools(3) {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(6, 0))
			const m, n = 67, 53
			for _, k := range []int{31, 64, 288, 520} {
				for op := NT; op <= TN; op++ {
					a, b, c := operands(t, rng, op, m, n, k, k == 64)
					p.MatMulBF16(op, m, n, k, 1, a.mat(), b.mat(), c.data, c.stride, false)
					for _, part := range [][4]int{{0, m, 0, n}, {3, 1, 0, n}, {5, 3, 16, 32}, {9, 8, 5, 24}, {20, 20, 7, 46}} {
						sameBits(t, fmt.Sprint(op, k, part), c, func(dst []float32, i0, rows, j0, cols int) {
							pa, pb := a.mat(), b.mat()
							pa.F32 = shift(pa.F32, op == TN, i0, pa.Stride)
							pb.F32, pb.BF16 = shift(pb.F32, op != NT, j0, pb.Stride), shift(pb.BF16, op != NT, j0, pb.Stride)
							one[name].MatMulBF16(op, rows, cols, k, 1, pa, pb, dst, cols, false)
						}, part[0], part[1], part[2], part[3])
					}
				}
			}
		})
		p.Close()
		one[name].Close()
	}
}
