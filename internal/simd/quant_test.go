package simd

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// quantForm is one of the forms of codes and scales.
type quantForm struct {
	bits   int
	double bool
}

var quantForms = []quantForm{{4, false}, {4, true}, {8, false}}

// newQuant draws a matrix of codes and gives what it decodes to, element by
// element as Quant says. Blocks may go over rows.
func newQuant(t testing.TB, rng *rand.Rand, f quantForm, rows, cols int) (Mat, []float32) {
	n := rows * cols
	if f.bits == 4 {
		n = (n + 63) &^ 63
	}
	q := &Quant{Bits: f.bits, Codes: guarded[byte](t, n*f.bits/8), Row: cols}
	for i := range q.Codes {
		q.Codes[i] = byte(rng.Uint32())
	}
	scales := rows
	if f.bits == 4 {
		scales, q.Table = n/64, (*[16]float32)(vector(t, rng, 16))
	}
	if f.double {
		q.Codes8, q.Values, q.Mean = guarded[byte](t, scales), new([256]float32), 0.7
		for i := range q.Codes8 {
			q.Codes8[i] = byte(rng.Uint32())
		}
		copy(q.Values[:], vector(t, rng, 256))
		scales = (scales + 255) / 256
	}
	q.Scales = guarded[float32](t, scales)
	copy(q.Scales, vector(t, rng, scales))
	plain := make([]float32, rows*cols)
	for i := range plain {
		if f.bits == 8 {
			plain[i] = float32(int8(q.Codes[i])) * q.Scales[i/cols]
			continue
		}
		s := q.Scales[0]
		if f.double {
			s = float32(q.Values[q.Codes8[i/64]]*q.Scales[i/64/256]) + q.Mean
		} else {
			s = q.Scales[i/64]
		}
		plain[i] = q.Table[q.Codes[i/2]>>(4*(1-i&1))&15] * s
	}
	return Mat{Quant: q, Stride: cols}, plain
}

func TestDecodeOfAnyRange(t *testing.T) {
	eachLevel(t, Levels(), func(t *testing.T, l Level) {
		rng := rand.New(rand.NewPCG(31, 0))
		for _, f := range quantForms {
			m, want := newQuant(t, rng, f, 70, 288)
			for _, r := range [][2]int{{0, 0}, {0, 1}, {0, 64}, {1, 64}, {63, 65}, {32, 320}, {5, 40}, {288, 864}, {100, 9000}, {0, 70 * 288}, {70*288 - 3, 70 * 288}} {
				got := guarded[float32](t, r[1]-r[0])
				l.Decode(got, m.Quant, r[0])
				for i, v := range got {
					if math.Float32bits(v) != math.Float32bits(want[r[0]+i]) {
						t.Fatalf("%+v [%d, %d): element %d is %g, want %g", f, r[0], r[1], r[0]+i, v, want[r[0]+i])
					}
				}
			}
		}
	})
}

// A product of codes has the bits of the product of what they decode to, for few
// rows and many, in both forms of operands, for all of B and for its last rows.
func TestMatMulOfCodesEqualsThatOfTheirValues(t *testing.T) {
	eachLevel(t, shapes(), func(t *testing.T, l Level) {
		rng := rand.New(rand.NewPCG(32, 0))
		p := NewPool(3, l)
		defer p.Close()
		for _, s := range [][3]int{{1, 48, 64}, {1, 129, 384}, {3, 64, 128}, {2, 80, 160}, {4, 50, 96}, {5, 33, 640}, {6, 40, 96}, {7, 48, 64}, {8, 96, 256}, {9, 64, 320}, {30, 192, 128}, {7, 31, 12}, {70, 160, 36}, {67, 320, 704}, {2, 3, 5}} {
			m, n, k := s[0], s[1], s[2]
			for op := NT; op <= NN; op++ {
				rows, cols := n, k
				if op == NN {
					rows, cols = k, n
				}
				for _, f := range quantForms {
					a := newMatrix(t, rng, m, k, 0, false)
					b, plain := newQuant(t, rng, f, rows, cols)
					skip, n := 0, n
					if op == NT { // B may be some rows of a matrix
						skip = rng.IntN(n)
						n -= skip
					}
					b.Quant.First = skip * cols
					for name, product := range map[string]func(op Op, m, n, k int, alpha float32, a, b Mat, c []float32, ldc int, accumulate bool){"f32": p.MatMul, "bf16": p.MatMulBF16} {
						got, want := guarded[float32](t, m*n), make([]float32, m*n)
						product(op, m, n, k, 0.5, a.mat(), b, got, n, false)
						product(op, m, n, k, 0.5, a.mat(), Mat{F32: plain[skip*cols:], Stride: cols}, want, n, false)
						for i, v := range got {
							if math.Float32bits(v) != math.Float32bits(want[i]) {
								t.Fatalf("%s: element %d is %g, of the values %g", fmt.Sprint(name, op, m, n, k, f, skip), i, v, want[i])
							}
						}
					}
				}
			}
		}
	})
}
