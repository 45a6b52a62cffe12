package prune

import (
	"fmt"
	"math"

	"meft/internal/simd"
)

// panel is how many columns are factored at a time: within a panel numbers are
// float64, between panels they are the vector unit's products in float32.
const panel = 64

// factor replaces the lower half of the symmetric a [n, n] by L with L·Lᵀ = a,
// panel by panel, each brought up to date by all columns before it. The other
// half is of no use afterwards.
func factor(pool *simd.Pool, a []float32, n int) error {
	inverse, column := make([]float32, panel*panel), make([]float32, n*panel)
	for at := 0; at < n; at += panel {
		w, m := min(panel, n-at), n-at
		if at > 0 { // a[at:, at:at+w] -= L[at:, :at]·L[at:at+w, :at]ᵀ
			left := simd.Mat{F32: a[at*n:], Stride: n}
			pool.MatMul(simd.NT, m, w, at, -1, left, left, a[at*n+at:], n, true)
		}
		if err := diagonal(a[at*n+at:], n, w, inverse); err != nil {
			return fmt.Errorf("column %d of %d: %w", at, n, err)
		}
		if m == w {
			return nil
		}
		below := a[(at+w)*n+at:]
		pool.MatMul(simd.NT, m-w, w, w, 1, simd.Mat{F32: below, Stride: n}, simd.Mat{F32: inverse, Stride: panel}, column, panel, false)
		for i := range m - w {
			copy(below[i*n:i*n+w], column[i*panel:])
		}
	}
	return nil
}

// diagonal factors a block of w columns with row stride n, and sets inverse
// [w, panel] to that of its factor, the upper half 0.
func diagonal(a []float32, n, w int, inverse []float32) error {
	var l, x [panel][panel]float64
	for i := range w {
		for j := range i + 1 {
			sum := float64(a[i*n+j])
			for k := range j {
				sum -= l[i][k] * l[j][k]
			}
			if i > j {
				l[i][j] = sum / l[j][j]
				continue
			}
			if !(sum > 0) || math.IsInf(sum, 0) {
				return fmt.Errorf("the inputs' products are not positive definite (%v): more calibration rows may help", sum)
			}
			l[i][i] = math.Sqrt(sum)
		}
	}
	clear(inverse)
	for i := range w {
		x[i][i] = 1 / l[i][i]
		for j := range i {
			sum := 0.0
			for k := j; k < i; k++ {
				sum += l[i][k] * x[k][j]
			}
			x[i][j] = -sum * x[i][i]
		}
		for j := range i + 1 {
			a[i*n+j], inverse[i*panel+j] = float32(l[i][j]), float32(x[i][j])
		}
	}
	return nil
}

// invert is the inverse of the lower triangle of l [n, n], rows by panels:
// X[i,i] = inverse of L[i,i], X[i,:i] = -X[i,i]·L[i,:i]·X[:i,:i].
func invert(pool *simd.Pool, l []float32, n int) []float32 {
	x, sums := make([]float32, n*n), make([]float32, panel*n)
	inverse := make([]float32, panel*panel)
	for at := 0; at < n; at += panel {
		w := min(panel, n-at)
		triangle(l[at*n+at:], n, w, inverse)
		if at > 0 {
			pool.MatMul(simd.NN, w, at, at, 1, simd.Mat{F32: l[at*n:], Stride: n}, simd.Mat{F32: x, Stride: n}, sums, n, false)
			pool.MatMul(simd.NN, w, at, w, -1, simd.Mat{F32: inverse, Stride: panel}, simd.Mat{F32: sums, Stride: n}, x[at*n:], n, false)
		}
		for i := range w {
			copy(x[(at+i)*n+at:(at+i)*n+at+i+1], inverse[i*panel:])
		}
	}
	return x
}

// triangle sets inverse [w, panel] to that of a lower triangle with row stride n.
func triangle(l []float32, n, w int, inverse []float32) {
	var x [panel][panel]float64
	clear(inverse)
	for i := range w {
		x[i][i] = 1 / float64(l[i*n+i])
		for j := range i {
			sum := 0.0
			for k := j; k < i; k++ {
				sum += float64(l[i*n+k]) * x[k][j]
			}
			x[i][j] = -sum * x[i][i]
		}
		for j := range i + 1 {
			inverse[i*panel+j] = float32(x[i][j])
		}
	}
}
