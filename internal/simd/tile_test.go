package simd

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestTileIsOneChainOverK: with A by rows or by columns, whole and narrow
// slivers, an element has the bits of its own chain, and cutting k between two
// calls changes none.
func TestTileIsOneChainOverK(t *testing.T) {
	eachLevel(t, Levels(), func(t *testing.T, l Level) {
		rng := rand.New(rand.NewPCG(31, 0))
		mr, nr, _ := l.TileShape()
		for _, m := range []int{1, mr - 1, mr, 2*mr + 1} {
			for _, n := range []int{1, nr - 1, nr, 2*nr + 3} {
				for _, k := range []int{1, 7, 16, 33} {
					for _, byColumn := range []bool{false, true} {
						rows := vector(t, rng, k*n) // B as it lies: k rows of n
						step := k*nr + 3
						b := make([]float32, (n-1)/nr*step+k*nr+panelPad)
						l.Slivers(b, step, rows, n, k, n)
						rs, ks := k, 1
						if byColumn {
							rs, ks = 1, m
						}
						a := vector(t, rng, m*k)
						c := vector(t, rng, m*n)
						first := append([]float32(nil), c...)
						cut := append([]float32(nil), c...)
						l.Tile(m, n, k, a, rs, ks, b, step, c, n, true)
						h := k / 2
						l.Tile(m, n, h, a, rs, ks, b, step, cut, n, true)
						l.Tile(m, n, k-h, a[h*ks:], rs, ks, b[h*nr:], step, cut, n, true)
						fresh := vector(t, rng, m*n)
						l.Tile(m, n, k, a, rs, ks, b, step, fresh, n, false)
						for i := range c {
							var zero float32
							want, bare := first[i], zero
							for p := range k {
								x, y := a[i/n*rs+p*ks], rows[p*n+i%n]
								if l == Portable {
									want, bare = want+float32(x*y), bare+float32(x*y)
								} else {
									want, bare = fma32(x, y, want), fma32(x, y, bare)
								}
							}
							if c[i] != want || cut[i] != want || fresh[i] != bare {
								t.Fatalf("m %d n %d k %d columns %v: element %d is %g, cut %g, fresh %g; want %g and %g", m, n, k, byColumn, i, c[i], cut[i], fresh[i], want, bare)
							}
						}
					}
				}
			}
		}
	})
}

func TestSliversTIsTheTranspose(t *testing.T) {
	eachLevel(t, Levels(), func(t *testing.T, l Level) {
		rng := rand.New(rand.NewPCG(32, 0))
		_, nr, _ := l.TileShape()
		for _, n := range []int{1, 7, nr, nr + 5, 3 * nr} {
			for _, k := range []int{1, 8, 19, 48} {
				src := vector(t, rng, n*k)
				step := k * nr
				dst := make([]float32, (n+nr-1)/nr*step+panelPad)
				l.SliversT(dst, step, src, k, k, n)
				for i := range n {
					for p := range k {
						if got := dst[i/nr*step+p*nr+i%nr]; got != src[i*k+p] {
							t.Fatalf("n %d k %d: (%d, %d) is %g, want %g", n, k, i, p, got, src[i*k+p])
						}
					}
				}
			}
		}
	})
}

// laneTile is a tile of n rows by two vectors of lanes and what its lanes see.
func laneTile(rng *rand.Rand, l Level, n int) (x Lanes, s []float32, ld int, lo, hi []int) {
	_, _, w := l.TileShape()
	ld = 2 * w
	f := func() []float32 { return make([]float32, ld) }
	x = Lanes{Dist: f(), Half: f(), Top: f(), Sum: f(), LSE: f(), Delta: f(), Bias: make([]int32, ld)}
	for j := range ld {
		a := rng.IntN(n)
		b := a + 1 + rng.IntN(n-a)
		if j%5 == 4 {
			a, b = 0, 0
		}
		lo, hi = append(lo, a), append(hi, b)
		x.Dist[j], x.Half[j] = -0.5*float32(a+b-1), 0.5*float32(b-a)
		x.Top[j] = float32(math.Inf(-1))
	}
	s = make([]float32, n*ld)
	for i := range s {
		s[i] = float32(20 * rng.NormFloat64())
	}
	return x, s, ld, lo, hi
}

// TestLaneWeightsArePowersOfTwo: the polynomial and its rounding err by less
// than 3 units in the last place; sums are chains in order of rows; scaling by
// another T is exact.
func TestLaneWeightsArePowersOfTwo(t *testing.T) {
	eachLevel(t, Levels(), func(t *testing.T, l Level) {
		rng := rand.New(rand.NewPCG(33, 0))
		_, _, w := l.TileShape()
		for _, n := range []int{1, 3, 64} {
			x, scores, ld, lo, hi := laneTile(rng, l, n)
			s := append([]float32(nil), scores...)
			for v := 0; v < ld; v += w {
				l.LaneTop(&x, v, s, ld, 0, n)
			}
			for j := range ld {
				top := math.Inf(-1)
				for i := lo[j]; i < hi[j]; i++ {
					top = max(top, float64(s[i*ld+j]))
				}
				if float64(x.Top[j]) != top {
					t.Fatalf("n %d: top %d is %g, want %g", n, j, x.Top[j], top)
				}
				if hi[j] > 0 {
					x.Bias[j] = int32(math.RoundToEven(top)) - 127
				}
			}
			higher := append([]float32(nil), scores...)
			for v := 0; v < ld; v += w {
				l.LaneWeights(&x, v, s, ld, n, 0, n)
			}
			sums := append([]float32(nil), x.Sum...)
			for j := range ld {
				x.Bias[j] += 9
			}
			for v := 0; v < ld; v += w {
				l.LaneWeights(&x, v, higher, ld, n, 0, n)
			}
			for j := range ld {
				var sum float32
				for i := range n {
					want, got := 0.0, float64(s[i*ld+j])
					if i >= lo[j] && i < hi[j] {
						want = math.Exp2(float64(scores[i*ld+j]) - float64(x.Bias[j]-9+127))
					}
					sum += float32(got)
					near(t, "weight", got, want, 3*ulp(want)+0x1p-126)
					if want > 0x1p-110 || want == 0 {
						near(t, "weight of a higher T", float64(higher[i*ld+j]), got/512, 0)
					}
				}
				near(t, "sum", float64(sums[j]), float64(sum), 0)
			}
		}
	})
}

// TestLaneGradsFollowTheFormula: a power as above, a product and a sum more.
func TestLaneGradsFollowTheFormula(t *testing.T) {
	eachLevel(t, Levels(), func(t *testing.T, l Level) {
		rng := rand.New(rand.NewPCG(34, 0))
		_, _, w := l.TileShape()
		for _, n := range []int{1, 3, 64} {
			x, scores, ld, lo, hi := laneTile(rng, l, n)
			first := make([]float32, n*ld)
			for i := range first {
				first[i] = float32(rng.NormFloat64())
			}
			for j := range ld {
				x.LSE[j], x.Delta[j] = float32(60+10*rng.Float64()), float32(rng.NormFloat64())
			}
			s, g := append([]float32(nil), scores...), append([]float32(nil), first...)
			for v := 0; v < ld; v += w {
				l.LaneGrads(&x, v, s, g, ld, n, 0, n, 0.25)
			}
			for i := range s {
				j, p, d, size := i%ld, 0.0, 0.0, 0.0
				if i/ld >= lo[j] && i/ld < hi[j] {
					p = math.Exp2(float64(scores[i] - x.LSE[j]))
					d = p * (0.25*float64(first[i]) + float64(x.Delta[j]))
					size = p * (0.25*math.Abs(float64(first[i])) + math.Abs(float64(x.Delta[j])))
				}
				near(t, "weight", float64(s[i]), p, 3*ulp(p)+0x1p-126)
				near(t, "gradient", float64(g[i]), d, 6*0x1p-23*size+0x1p-120)
			}
		}
	})
}
