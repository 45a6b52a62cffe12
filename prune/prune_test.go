package prune

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"meft/internal/simd"
)

func newPool(t *testing.T, threads int) *simd.Pool {
	t.Helper()
	p := simd.NewPool(threads, simd.Best())
	t.Cleanup(p.Close)
	return p
}

// layer is weights, and the products of inputs that depend on each other.
func layer(out, in, n int) (w, h []float32) {
	r := rand.New(rand.NewPCG(7, uint64(in)))
	w, h = make([]float32, out*in), make([]float32, in*in)
	for i := range w {
		w[i] = float32(r.NormFloat64())
	}
	x := make([]float64, in)
	for range n {
		for i := range x {
			x[i] = r.NormFloat64() * (1 + float64(i%5))
			if i > 0 {
				x[i] += 0.7 * x[i-1]
			}
		}
		for i := range in {
			for j := range in {
				h[i*in+j] += float32(2 * x[i] * x[j] / float64(n))
			}
		}
	}
	return w, h
}

// factor64 is the upper Cholesky factor of the inverse of h with damping, by the
// textbook: invert by Gauss and Jordan, then factor.
func factor64(h []float32, n int) [][]float64 {
	a, mean := make([][]float64, n), 0.0
	for i := range n {
		mean += float64(h[i*n+i]) / float64(n)
	}
	for i := range n {
		a[i] = make([]float64, 2*n)
		for j := range n {
			a[i][j] = float64(h[i*n+j])
		}
		a[i][i] += Damping * mean
		a[i][n+i] = 1
	}
	for c := range n {
		d := a[c][c]
		for j := range 2 * n {
			a[c][j] /= d
		}
		for i := range n {
			if f := a[i][c]; i != c {
				for j := range 2 * n {
					a[i][j] -= f * a[c][j]
				}
			}
		}
	}
	u := make([][]float64, n)
	for i := range n {
		u[i] = make([]float64, n)
	}
	for i := range n {
		for j := i; j < n; j++ {
			sum := a[i][n+j]
			for k := range i {
				sum -= u[k][i] * u[k][j]
			}
			if i == j {
				u[i][i] = math.Sqrt(sum)
			} else {
				u[i][j] = sum / u[i][i]
			}
		}
	}
	return u
}

func TestFactorIsThatOfTheInverse(t *testing.T) {
	for _, n := range []int{1, 3, 63, 64, 65, 150} {
		_, h := layer(1, n, 3*n)
		want := factor64(h, n)
		s, err := NewSolver(newPool(t, 2), slices.Clone(h), n)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			for j := range n {
				// Condition numbers here are below 1e4, and float32 keeps 2^-24.
				if got := float64(s.u[i*n+j]); math.Abs(got-want[i][j]) > 1e-3*want[i][i] {
					t.Fatalf("n %d: u[%d,%d] is %v, wants %v", n, i, j, got, want[i][j])
				}
			}
		}
	}
}

// loss is the squared change of what a layer computes.
func loss(w, v, h []float32, in int) (sum float64) {
	for at := 0; at < len(w); at += in {
		for i := range in {
			for j := range in {
				sum += float64(w[at+i]-v[at+i]) * float64(h[i*in+j]) * float64(w[at+j]-v[at+j])
			}
		}
	}
	return sum
}

func TestPatternsAreExact(t *testing.T) {
	const out, in = 24, 256
	w, h := layer(out, in, 600)
	s, err := NewSolver(newPool(t, 2), h, in)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []Pattern{{Sparsity: 0.5}, {Sparsity: 0.3}, {N: 2, M: 4}, {N: 4, M: 8}, {Sparsity: 0}, {Sparsity: 1}} {
		for name, prune := range map[string]func(v []float32){
			"sparsegpt": func(v []float32) { s.Prune(v, out, p) },
			"magnitude": func(v []float32) { Magnitude(v, out, in, p) },
		} {
			v := slices.Clone(w)
			prune(v)
			zeros := 0
			for at := 0; at < len(v); at += max(1, p.M) {
				group := 0
				for _, x := range v[at : at+max(1, p.M)] {
					if x == 0 {
						group++
					}
				}
				zeros += group
				if p.M > 0 && group != p.N {
					t.Fatalf("%s %+v: %d zeros among weights from %d on", name, p, group, at)
				}
			}
			if p.M > 0 {
				continue
			}
			want := int(p.Sparsity * out * in)
			if name == "sparsegpt" { // rounded down in each block of columns
				want = 2 * int(p.Sparsity*out*Columns)
			}
			if zeros != want {
				t.Errorf("%s %+v: %d zeros, wants %d", name, p, zeros, want)
			}
		}
	}
}

func TestErrorIsBelowThatOfMagnitude(t *testing.T) {
	const out, in = 16, 200
	w, h := layer(out, in, 500)
	for _, p := range []Pattern{{Sparsity: 0.5}, {N: 2, M: 4}, {N: 4, M: 8}} {
		s, err := NewSolver(newPool(t, 2), slices.Clone(h), in)
		if err != nil {
			t.Fatal(err)
		}
		a, b := slices.Clone(w), slices.Clone(w)
		s.Prune(a, out, p)
		Magnitude(b, out, in, p)
		if x, y := loss(w, a, h, in), loss(w, b, h, in); !(x < 0.8*y) {
			t.Errorf("%+v: error %v, by magnitude %v", p, x, y)
		}
	}
}

// TestOneColumnIsSolvedExactly: with one weight gone of a row, the others are
// what least squares makes of them, and the error is the one that is told.
func TestOneColumnIsSolvedExactly(t *testing.T) {
	const in = 5
	_, h := layer(1, in, 50)
	w := []float32{0.01, 2, -3, 1, 4} // the first goes, so all others can make up for it
	v := slices.Clone(w)
	s, err := NewSolver(newPool(t, 1), slices.Clone(h), in)
	if err != nil {
		t.Fatal(err)
	}
	told := s.Prune(v, 1, Pattern{Sparsity: 0.2})
	// The optimum is w - w0·G[:,0]/G[0,0] with G the inverse of damped h.
	u := factor64(h, in)
	for j := range in {
		want := float64(w[j]) - float64(w[0])*u[0][j]/u[0][0]
		if math.Abs(float64(v[j])-want) > 1e-6*(1+math.Abs(want)) {
			t.Errorf("weight %d is %v, wants %v", j, v[j], want)
		}
	}
	if want := math.Pow(float64(w[0])/u[0][0], 2); math.Abs(told-want) > 1e-4*want {
		t.Errorf("told an error of %v, wants %v", told, want)
	}
}

func TestInputsThatAreAlwaysZeroLoseTheirWeights(t *testing.T) {
	const out, in = 4, 8
	w, h := layer(out, in, 40)
	for i := range in {
		h[3*in+i], h[i*in+3] = 0, 0
	}
	s, err := NewSolver(newPool(t, 1), h, in)
	if err != nil {
		t.Fatal(err)
	}
	s.Prune(w, out, Pattern{Sparsity: 0.5})
	for r := range out {
		if w[r*in+3] != 0 {
			t.Errorf("row %d keeps %v for an input that is always 0", r, w[r*in+3])
		}
	}
}

func TestThreadsShowInNoBit(t *testing.T) {
	const out, in = 70, 192
	w, h := layer(out, in, 400)
	var want []float32
	for _, threads := range []int{1, 3} {
		s, err := NewSolver(newPool(t, threads), slices.Clone(h), in)
		if err != nil {
			t.Fatal(err)
		}
		v := slices.Clone(w)
		s.Prune(v, out, Pattern{Sparsity: 0.6})
		if want == nil {
			want = v
		} else if !slices.Equal(v, want) {
			t.Error("one thread and three give different bits")
		}
	}
}

func TestProductsThatAreNotPositiveAreRefused(t *testing.T) {
	h := []float32{1, 2, 2, 1}
	if _, err := NewSolver(newPool(t, 1), h, 2); err == nil {
		t.Error("a matrix with a negative eigenvalue is factored")
	}
}

func TestSmallestTakesTheFirstOfEqualScores(t *testing.T) {
	for _, n := range []int{10, 1000} {
		scores := make([]float32, n)
		for i := range scores {
			scores[i] = float32(i % 3)
		}
		count := 0
		smallest(scores, n/2, func(i int, among bool) {
			if among {
				count++
			}
			if equal := i % 3; among && equal > 1 || !among && equal == 0 {
				t.Fatalf("score %d of %v: %v", i, scores[i], among)
			}
		})
		if count != n/2 {
			t.Errorf("%d of %d are the smallest %d", count, n, n/2)
		}
	}
}
