package simd

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// ragged lengths surround the vector widths and unrolled steps.
var ragged = []int{0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 47, 63, 64, 65, 100, 127, 128, 129, 200, 257}

// vector is n random floats that end at unreadable memory.
func vector(t testing.TB, rng *rand.Rand, n int) []float32 {
	x := guarded[float32](t, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64() * 2)
	}
	return x
}

func near(t *testing.T, what string, got, want, bound float64) {
	t.Helper()
	if !(math.Abs(got-want) <= bound) {
		t.Fatalf("%s: %g, want %g ± %g", what, got, want, bound)
	}
}

// The ulp of float32 around x.
func ulp(x float64) float64 {
	_, e := math.Frexp(x)
	return math.Ldexp(1, max(e-24, -149))
}

func TestReductionsEqualPlainLoop(t *testing.T) {
	eachLevel(t, Levels(), func(t *testing.T, l Level) {
		rng := rand.New(rand.NewPCG(5, uint64(l)))
		for _, n := range ragged {
			x, y := vector(t, rng, n), vector(t, rng, n)
			half := guarded[uint16](t, n)
			var dot, dotHalf, size, sizeHalf, sum, squares float64
			top := math.Inf(-1)
			for i := range x {
				half[i] = narrow(y[i])
				u, v, w := float64(x[i]), float64(y[i]), float64(widen(half[i]))
				dot, size = dot+u*v, size+math.Abs(u*v)
				dotHalf, sizeHalf = dotHalf+u*w, sizeHalf+math.Abs(u*w)
				sum, squares, top = sum+u, squares+u*u, max(top, u)
			}
			what := fmt.Sprint("n ", n)
			// n products and n sums, each off by 2^-24 of the absolute sum.
			near(t, what+" dot", float64(l.Dot(x, y)), dot, float64(2*n)*0x1p-24*size)
			near(t, what+" dotBF16", float64(l.DotBF16(x, half)), dotHalf, float64(2*n)*0x1p-24*sizeHalf)
			near(t, what+" sum", l.Sum(x), sum, float64(n*n+1)*0x1p-50)
			near(t, what+" squares", l.SumSquares(x), squares, float64(n+1)*0x1p-52*squares)
			if got := l.Max(x); float64(got) != top {
				t.Fatalf("%s max: %g, want %g", what, got, top)
			}
		}
	})
}

func TestMaxFindsEveryPlace(t *testing.T) {
	eachLevel(t, Levels(), func(t *testing.T, l Level) {
		for _, n := range ragged {
			x := guarded[float32](t, n)
			for at := range x {
				for i := range x {
					x[i] = -3
				}
				if x[at] = -2; l.Max(x) != -2 {
					t.Fatalf("n %d: maximum at %d not found", n, at)
				}
			}
		}
	})
}

func TestDotsHaveTheBitsOfDot(t *testing.T) {
	eachLevel(t, Levels(), func(t *testing.T, l Level) {
		rng := rand.New(rand.NewPCG(6, uint64(l)))
		for _, n := range ragged {
			for _, m := range []int{0, 1, 2, 3, 4, 5, 8} {
				stride := n + m%3
				x, rows := vector(t, rng, n), vector(t, rng, max(0, (m-1)*stride+n))
				dst := guarded[float32](t, m)
				l.Dots(dst, x, rows, stride)
				for i, got := range dst {
					if want := l.Dot(x, rows[i*stride:]); got != want {
						t.Fatalf("n %d m %d row %d: %g, dot %g", n, m, i, got, want)
					}
				}
			}
		}
	})
}

// elementCase is an element-wise routine: run takes outputs and inputs, want
// gives the results and how many ulps of what size each may be off.
type elementCase struct {
	name string
	outs int // the first outs slices are written, all are read
	args int
	run  func(l Level, s [][]float32)
	want func(s []float64) (out, size [4]float64)
	ulps float64
}

func sig(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

func geluGate64(x float64) float64 { return sig(2 * geluScale * (x + geluCube*x*x*x)) }

var adam = newAdamW(1e-2, 0.9, 0.99, 1e-6, 0.1, 0.5, 3)

func elementCases() []elementCase {
	one := func(f func(s []float64) float64) func([]float64) (out, size [4]float64) {
		return func(s []float64) (out, size [4]float64) {
			v := f(s)
			return [4]float64{v}, [4]float64{v}
		}
	}
	return []elementCase{
		// One rounding, or two on the size of the larger term.
		{"axpy", 1, 2, func(l Level, s [][]float32) { l.Axpy(0.7, s[1], s[0]) }, func(s []float64) (o, z [4]float64) {
			a := float64(float32(0.7)) * s[1]
			return [4]float64{s[0] + a}, [4]float64{math.Abs(s[0]) + math.Abs(a)}
		}, 1},
		{"scale", 1, 1, func(l Level, s [][]float32) { l.Scale(-3, s[0]) }, one(func(s []float64) float64 { return -3 * s[0] }), 0.5},
		{"add", 1, 3, func(l Level, s [][]float32) { l.Add(s[0], s[1], s[2]) }, one(func(s []float64) float64 { return s[1] + s[2] }), 0.5},
		{"mul", 1, 3, func(l Level, s [][]float32) { l.Mul(s[0], s[1], s[2]) }, one(func(s []float64) float64 { return s[1] * s[2] }), 0.5},
		{"mulAdd", 1, 3, func(l Level, s [][]float32) { l.MulAdd(s[0], s[1], s[2]) }, func(s []float64) (o, z [4]float64) {
			a := s[1] * s[2]
			return [4]float64{s[0] + a}, [4]float64{math.Abs(s[0]) + math.Abs(a)}
		}, 1},
		{"mulScaled", 1, 3, func(l Level, s [][]float32) { l.MulScaled(s[0], 0.5, s[1], s[2]) }, one(func(s []float64) float64 { return 0.5 * s[1] * s[2] }), 1},
		{"rotate", 2, 4, func(l Level, s [][]float32) { l.Rotate(s[0], s[1], s[2], s[3]) }, func(s []float64) (o, z [4]float64) {
			return [4]float64{s[0]*s[2] - s[1]*s[3], s[0]*s[3] + s[1]*s[2]},
				[4]float64{math.Abs(s[0]*s[2]) + math.Abs(s[1]*s[3]), math.Abs(s[0]*s[3]) + math.Abs(s[1]*s[2])}
		}, 1.5},
		{"rotateBack", 2, 4, func(l Level, s [][]float32) { l.RotateBack(s[0], s[1], s[2], s[3]) }, func(s []float64) (o, z [4]float64) {
			return [4]float64{s[0]*s[2] + s[1]*s[3], s[1]*s[2] - s[0]*s[3]},
				[4]float64{math.Abs(s[0]*s[2]) + math.Abs(s[1]*s[3]), math.Abs(s[0]*s[3]) + math.Abs(s[1]*s[2])}
		}, 1.5},
		{"relu", 1, 2, func(l Level, s [][]float32) { l.ReLU(s[0], s[1]) }, one(func(s []float64) float64 { return max(s[1], 0) }), 0},
		{"reluBackward", 1, 3, func(l Level, s [][]float32) { l.ReLUBackward(s[0], s[1], s[2]) }, one(func(s []float64) float64 {
			if s[1] > 0 {
				return s[2]
			}
			return 0
		}), 0},
		// 1.5 ulps of the exponential and a rounding a step.
		{"exp", 1, 2, func(l Level, s [][]float32) { l.Exp(s[0], s[1], 0) }, one(func(s []float64) float64 { return math.Exp(s[1]) }), 1.5},
		{"sigmoid", 1, 2, func(l Level, s [][]float32) { l.Sigmoid(s[0], s[1]) }, one(func(s []float64) float64 { return sig(s[1]) }), 3.5},
		{"silu", 1, 2, func(l Level, s [][]float32) { l.SiLU(s[0], s[1]) }, one(func(s []float64) float64 { return s[1] * sig(s[1]) }), 5},
		{"siluBackward", 1, 3, func(l Level, s [][]float32) { l.SiLUBackward(s[0], s[1], s[2]) }, func(s []float64) (o, z [4]float64) {
			x, d, g := s[1], s[2], sig(s[1])
			return [4]float64{d * g * (1 + x*(1-g))}, [4]float64{math.Abs(d) * g * (1 + math.Abs(x)*(1-g))}
		}, 12},
		{"swiglu", 1, 3, func(l Level, s [][]float32) { l.SwiGLU(s[0], s[1], s[2]) }, one(func(s []float64) float64 { return s[1] * sig(s[1]) * s[2] }), 6},
		{"swigluBackward", 2, 5, func(l Level, s [][]float32) { l.SwiGLUBackward(s[0], s[1], s[2], s[3], s[4]) }, func(s []float64) (o, z [4]float64) {
			x, u, d, g := s[2], s[3], s[4], sig(s[2])
			o = [4]float64{d * u * g * (1 + x*(1-g)), d * x * g}
			return o, [4]float64{math.Abs(d*u) * g * (1 + math.Abs(x)*(1-g)), o[1]}
		}, 13},
		{"tanh", 1, 2, func(l Level, s [][]float32) { l.Tanh(s[0], s[1]) }, one(func(s []float64) float64 { return math.Tanh(s[1]) }), 4},
		// The slope is the product of 1-t and 1+t, which are off by the error of t.
		{"tanhBackward", 1, 3, func(l Level, s [][]float32) { l.TanhBackward(s[0], s[1], s[2]) }, func(s []float64) (o, z [4]float64) {
			g := math.Tanh(s[1])
			return [4]float64{s[2] * (1 - g*g)}, [4]float64{s[2]}
		}, 10},
		// The exponent is off by its size, up to 30 here, times a few roundings.
		{"gelu", 1, 2, func(l Level, s [][]float32) { l.GELU(s[0], s[1]) }, func(s []float64) (o, z [4]float64) {
			return [4]float64{s[1] * geluGate64(s[1])}, [4]float64{s[1]}
		}, 4},
		{"geluBackward", 1, 3, func(l Level, s [][]float32) { l.GELUBackward(s[0], s[1], s[2]) }, func(s []float64) (o, z [4]float64) {
			x, d, g := s[1], s[2], geluGate64(s[1])
			return [4]float64{d * (g + 2*x*g*(1-g)*geluScale*(1+3*geluCube*x*x))}, [4]float64{d * (1 + math.Abs(x)*(1+x*x))}
		}, 6},
	}
}

func TestElementwiseEqualsPlainLoop(t *testing.T) {
	eachLevel(t, Levels(), func(t *testing.T, l Level) {
		rng := rand.New(rand.NewPCG(7, uint64(l)))
		for _, c := range elementCases() {
			for _, n := range ragged {
				s, before := make([][]float32, c.args), make([][]float32, c.args)
				for i := range s {
					s[i] = vector(t, rng, n)
					before[i] = append([]float32(nil), s[i]...)
				}
				c.run(l, s)
				in := make([]float64, c.args)
				for e := range n {
					for i := range in {
						in[i] = float64(before[i][e])
					}
					want, size := c.want(in)
					for o := range c.outs {
						near(t, fmt.Sprintf("%s n %d out %d element %d of %v", c.name, n, o, e, in), float64(s[o][e]), want[o], c.ulps*ulp(size[o]))
					}
				}
			}
		}
	})
}

// An element's bits depend on its inputs only: every rotation of the arrays
// gives the rotated result.
func TestElementwiseBitsDoNotDependOnPlace(t *testing.T) {
	eachLevel(t, Levels(), func(t *testing.T, l Level) {
		rng := rand.New(rand.NewPCG(8, uint64(l)))
		for _, c := range elementCases() {
			const n = 37
			base := make([][]float32, c.args)
			for i := range base {
				base[i] = vector(t, rng, n)
			}
			run := func(from, to int) [][]float32 {
				s := make([][]float32, c.args)
				for i := range s {
					s[i] = append([]float32(nil), base[i][from:to]...)
				}
				c.run(l, s)
				return s
			}
			whole := run(0, n)
			for from := range n {
				part := run(from, n)
				for o := range c.outs {
					for i, v := range part[o] {
						if math.Float32bits(v) != math.Float32bits(whole[o][from+i]) {
							t.Fatalf("%s: element %d is %g, %g when the array starts at %d", c.name, from+i, whole[o][from+i], v, from)
						}
					}
				}
			}
		}
	})
}

// Where the outputs may be inputs, they give the same bits as apart.
func TestElementwiseWorksInPlace(t *testing.T) {
	pairings := func(c elementCase) (all [][2]int) { // inputs that outputs 0 and 1 take the place of
		switch {
		case c.name == "swigluBackward":
			return [][2]int{{2, 3}, {3, 2}, {4, 2}, {2, 4}, {4, 3}, {3, 4}}
		case c.outs == 1:
			for i := 1; i < c.args; i++ {
				all = append(all, [2]int{i, i})
			}
		}
		return all
	}
	eachLevel(t, Levels(), func(t *testing.T, l Level) {
		rng := rand.New(rand.NewPCG(12, uint64(l)))
		for _, c := range elementCases() {
			for _, pair := range pairings(c) {
				const n = 45
				apart, joined := make([][]float32, c.args), make([][]float32, c.args)
				for i := c.args - 1; i >= 0; i-- {
					if i < c.outs {
						apart[i], joined[i] = append([]float32(nil), apart[pair[i]]...), joined[pair[i]]
						continue
					}
					apart[i] = vector(t, rng, n)
					joined[i] = append([]float32(nil), apart[i]...)
				}
				c.run(l, apart)
				c.run(l, joined)
				for o := range c.outs {
					for i, v := range joined[o] {
						if bits(v) != bits(apart[o][i]) {
							t.Fatalf("%s over argument %d: output %d element %d is %g, apart %g", c.name, pair[o], o, i, v, apart[o][i])
						}
					}
				}
			}
		}
	})
}

func TestExpIsAccurateOverTheWholeRange(t *testing.T) {
	eachLevel(t, Levels(), func(t *testing.T, l Level) {
		var x, y [4096]float32
		worst, at := 0.0, float32(0)
		check := func() {
			sum, want := l.Exp(y[:], x[:], 0), 0.0
			for i, v := range x {
				want += float64(y[i])
				exact := math.Exp(float64(v))
				if exact >= math.MaxFloat32 {
					if !math.IsInf(float64(y[i]), 1) && exact > math.MaxFloat32*(1+0x1p-22) {
						t.Fatalf("exp(%g) = %g", v, y[i])
					}
					continue
				}
				if d := math.Abs(float64(y[i])-exact) / ulp(exact); d > worst {
					worst, at = d, v
				}
			}
			if !(math.Abs(sum-want) <= 1e-12*want) && !math.IsInf(want, 1) {
				t.Fatalf("sum %g, want %g", sum, want)
			}
		}
		for from := -106.0; from < 88.7; from += 0.7 {
			for i := range x {
				x[i] = float32(from + float64(i)*0.7/4096)
			}
			check()
		}
		t.Logf("largest error %.3f ulp, at %g", worst, at)
		if worst > 1.5 {
			t.Errorf("error %g ulp at %g", worst, at)
		}
		inf := float32(math.Inf(1))
		for v, want := range map[float32]float32{0: 1, -inf: 0, inf: inf, -200: 0, -1e30: 0, 1e30: inf, 100: inf} {
			in, out := []float32{v}, []float32{7}
			if l.Exp(out, in, 0); out[0] != want {
				t.Errorf("exp(%g) = %g, want %g", v, out[0], want)
			}
		}
		in := []float32{nan, 1}
		if sum := l.Exp(in, in, 0); in[0] == in[0] || sum == sum {
			t.Error("a NaN is lost")
		}
		if sum := l.Exp([]float32{0, 0, 0}, []float32{5, 5, 5}, 5); sum != 3 {
			t.Errorf("sum %g of three ones", sum)
		}
	})
}

func TestSigmoidAtTheEnds(t *testing.T) {
	eachLevel(t, Levels(), func(t *testing.T, l Level) {
		x := []float32{-200, -90, 0, 90, 200, float32(math.Inf(-1)), float32(math.Inf(1))}
		y, dx := make([]float32, len(x)), make([]float32, len(x))
		l.Sigmoid(y, x)
		if y[0] != 0 || y[2] != 0.5 || y[3] != 1 || y[4] != 1 || y[5] != 0 || y[6] != 1 || y[1] > 1e-38 {
			t.Errorf("sigmoid of %v is %v", x, y)
		}
		l.SiLUBackward(dx[:5], x[:5], []float32{1, 1, 1, 1, 1})
		if dx[0] != 0 || dx[2] != 0.5 || dx[3] != 1 || dx[4] != 1 {
			t.Errorf("slope of silu at %v is %v", x, dx)
		}
	})
}

// tanh keeps the digits of numbers of any size, its sign, its ends and a NaN.
func TestTanhIsAccurateOverTheWholeRange(t *testing.T) {
	eachLevel(t, Levels(), func(t *testing.T, l Level) {
		tanh := func(v float32) float32 {
			x := []float32{v}
			l.Tanh(x, x)
			return x[0]
		}
		worst := 0.0
		for e := -149.0; e < 6; e += 0.001 {
			x := float32(math.Exp2(e))
			want := math.Tanh(float64(x))
			worst = max(worst, math.Abs(float64(tanh(x))-want)/ulp(want), math.Abs(float64(tanh(-x))+want)/ulp(want))
		}
		t.Logf("largest error %.3f ulp", worst)
		if worst > 4 {
			t.Errorf("error %g ulp", worst)
		}
		inf := float32(math.Inf(1))
		for x, want := range map[float32]float32{0: 0, inf: 1, -inf: -1, 50: 1, -50: -1} {
			if got := tanh(x); got != want {
				t.Errorf("tanh(%g) is %g", x, got)
			}
		}
		if y := tanh(nan); y == y {
			t.Errorf("tanh of a NaN is %g", y)
		}
	})
}

func TestGELUAtTheEnds(t *testing.T) {
	eachLevel(t, Levels(), func(t *testing.T, l Level) {
		x, y, dx := []float32{-1e30, -60, 0, 60, 1e30}, make([]float32, 5), make([]float32, 5)
		l.GELU(y, x)
		l.GELUBackward(dx, x, []float32{1, 1, 1, 1, 1})
		if y[0] != 0 || y[1] != 0 || y[2] != 0 || y[3] != 60 || y[4] != 1e30 {
			t.Errorf("gelu of %v is %v", x, y)
		}
		if dx[0] != 0 || dx[1] != 0 || dx[2] != 0.5 || dx[3] != 1 || dx[4] != 1 {
			t.Errorf("slope of gelu at %v is %v", x, dx)
		}
	})
}

func TestReLUKeepsNaN(t *testing.T) {
	eachLevel(t, Levels(), func(t *testing.T, l Level) {
		x := []float32{nan, -1, 2, 0}
		if l.ReLU(x, x); x[0] == x[0] || x[1] != 0 || x[2] != 2 {
			t.Errorf("got %v", x)
		}
	})
}

func TestRMSNormHasUnitMeanSquare(t *testing.T) {
	eachLevel(t, Levels(), func(t *testing.T, l Level) {
		rng := rand.New(rand.NewPCG(9, uint64(l)))
		for _, n := range ragged[1:] {
			x, w, y := vector(t, rng, n), vector(t, rng, n), guarded[float32](t, n)
			rstd := float64(l.RMSNorm(y, x, w, 1e-5))
			squares := 0.0
			for _, v := range x {
				squares += float64(v) * float64(v)
			}
			want := 1 / math.Sqrt(squares/float64(n)+float64(float32(1e-5)))
			near(t, "rstd", rstd, want, ulp(want)) // one rounding, to float32
			for i := range y {
				v := want * float64(x[i]) * float64(w[i])
				near(t, "y", float64(y[i]), v, 3*ulp(v))
			}
		}
	})
}

func TestAdamWEqualsPlainLoop(t *testing.T) {
	eachLevel(t, Levels(), func(t *testing.T, l Level) {
		rng := rand.New(rand.NewPCG(10, uint64(l)))
		for _, n := range ragged {
			w, g, m, v := vector(t, rng, n), vector(t, rng, n), vector(t, rng, n), vector(t, rng, n)
			for i := range v {
				v[i] *= v[i]
			}
			w0, m0, v0 := append([]float32(nil), w...), append([]float32(nil), m...), append([]float32(nil), v...)
			l.AdamW(w, g, m, v, &adam)
			for i := range w {
				d := 0.5 * float64(g[i])
				m1 := 0.9*float64(m0[i]) + 0.1*d
				v1 := 0.99*float64(v0[i]) + 0.01*d*d
				mh, vh := m1/(1-math.Pow(0.9, 3)), v1/(1-math.Pow(0.99, 3))
				step := 1e-2 * mh / (math.Sqrt(vh) + 1e-6)
				// The scalars are rounded to float32: a few ulps of each term.
				near(t, "m", float64(m[i]), m1, 4*ulp(math.Abs(0.9*float64(m0[i]))+math.Abs(0.1*d)))
				near(t, "v", float64(v[i]), v1, 4*ulp(v1))
				near(t, "w", float64(w[i]), float64(w0[i])*(1-1e-3)-step, 2*ulp(float64(w0[i]))+1e-5*math.Abs(step)+1e-8)
			}
		}
	})
}

// newAdamW returns the scalars of step t, counted from 1, with learning rate
// lr, gradients multiplied by gradScale.
func newAdamW(lr, beta1, beta2, eps, weightDecay, gradScale float64, t int) AdamW {
	return AdamW{
		GradScale: float32(gradScale),
		Decay:     float32(1 - lr*weightDecay),
		Beta1:     float32(beta1),
		Rest1:     float32(1 - beta1),
		Beta2:     float32(beta2),
		Rest2:     float32(1 - beta2),
		Step:      float32(lr / (1 - math.Pow(beta1, float64(t)))),
		Eps:       float32(eps),
		Unbias:    float32(1 / math.Sqrt(1-math.Pow(beta2, float64(t)))),
	}
}
