package simd

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// The AVX-512 text gives, interpreted, what the AVX2 text gives where an
// element stands alone, and what the definition says where lanes are added up.
// Accesses outside the arguments fail in the interpreter.
func TestAVX512TextComputesTheDefinition(t *testing.T) {
	m := newMachine(t)
	rng := rand.New(rand.NewPCG(22, 0))
	seen := 0
	for name := range m.routines {
		base, wide := strings.CutSuffix(name, "AVX512")
		if !wide {
			continue
		}
		seen++
		for _, args := range routineArgs(rng, name) {
			before := copyArgs(args)
			got := m.call(name, args...)
			switch {
			case strings.HasPrefix(base, "kern"):
				checkKernel(t, name, args, before, func(x, y, sum float32) float32 { return fma32(x, y, sum) })
			case base == "pairBF16":
				checkPairing(t, args, before)
			case strings.HasPrefix(base, "pair"):
				checkKernel(t, name, args, before, func(x, y, sum float32) float32 { return dotPair(sum, bits(x), bits(y)) })
			case strings.HasPrefix(base, "tile"):
				checkTile(t, name, args, before)
			case strings.HasPrefix(base, "lane"):
				checkLanes(t, m, base, args, before)
			case base == "dots":
				checkDots(t, m, args)
			case base == "peak":
				checkPeak(t, args, before)
			case base == "dot" || base == "dotBF16" || base == "sum" || base == "sumSquares" || base == "max":
				checkReduction(t, base, args, got)
			default:
				want := m.call(base+"AVX2", before...)
				if base == "exp" && !math.IsNaN(want) && !math.IsInf(want, 0) {
					near(t, "sum of exp", got, want, 1e-14*want) // the order differs
					got = want
				}
				compareArgs(t, name, got, want, args, before)
			}
		}
	}
	if seen < 30 {
		t.Errorf("%d AVX-512 routines found", seen)
	}
}

// checkPairing compares with pairing by the portable loop.
func checkPairing(t *testing.T, args, before []any) {
	t.Helper()
	n, got, want, width := args[0].(int), args[1].([]float32), before[1].([]float32), args[2].(int)
	Portable.pairBF16(want, 2*n, width)
	for i, v := range got[:n*width] {
		if bits(v) != bits(want[i]) {
			t.Fatalf("pairBF16 n %d width %d: pair %d is %#x, want %#x", n, width, i, bits(v), bits(want[i]))
		}
	}
}

// checkKernel compares with the chain of additions that products promise.
func checkKernel(t *testing.T, name string, args, before []any, add func(x, y, sum float32) float32) {
	t.Helper()
	panels, kc, a, panel, b := args[0].(int), args[1].(int), args[2].([]float32), args[3].(int), args[4].([]float32)
	c, c0, ldc, acc, alpha := args[5].([]float32), before[5].([]float32), args[6].(int), args[7].(int), args[8].(float32)
	const nr, stride = 32, 14
	rows := (len(c) + ldc - 1) / ldc / panels
	for i, got := range c {
		row, col := i/ldc, i%ldc
		want := c0[i]
		if col < nr {
			var s float32
			for k := range kc {
				s = add(a[row/rows*panel+k*stride+row%rows], b[k*nr+col], s)
			}
			if acc != 0 {
				want = fma32(alpha, s, want)
			} else {
				want = alpha * s
			}
		}
		if !same32(got, want) {
			t.Fatalf("%s kc %d: c[%d,%d] = %g, want %g", name, kc, row, col, got, want)
		}
	}
}

// checkTile compares with the chain that Tile promises.
func checkTile(t *testing.T, name string, args, before []any) {
	t.Helper()
	const nr = 32
	slivers, kc, a, rs, ks := args[0].(int), args[1].(int), args[2].([]float32), args[3].(int), args[4].(int)
	b, skip, c, c0, ldc, acc := args[5].([]float32), args[6].(int), args[7].([]float32), before[7].([]float32), args[8].(int), args[9].(int)
	for i, got := range c {
		row, col := i/ldc, i%ldc
		want := c0[i]
		if col < slivers*nr {
			if acc == 0 {
				want = 0
			}
			for k := range kc {
				want = fma32(a[row*rs+k*ks], b[col/nr*(kc*nr+skip)+k*nr+col%nr], want)
			}
		}
		if !same32(got, want) {
			t.Fatalf("%s kc %d: c[%d,%d] = %g, want %g", name, kc, row, col, got, want)
		}
	}
}

// checkLanes compares with the narrow routine on either half of the vector.
func checkLanes(t *testing.T, m *machine, base string, args, before []any) {
	t.Helper()
	for half := 0; half < 16; half += 8 {
		cut := func(from []any) []any {
			out := copyArgs(from)
			for i, a := range out {
				switch a := a.(type) {
				case []float32:
					out[i] = a[half:]
				case []int32:
					out[i] = a[half:]
				}
			}
			return out
		}
		narrow, wide := cut(before), cut(args)
		m.call(base+"AVX2", narrow...)
		for i := range wide {
			w, ok := wide[i].([]float32)
			for j := range w {
				inside := j < 8
				if ld, tile := args[slices.IndexFunc(args, func(a any) bool { _, is := a.(int); return is && a.(int) >= 16 })].(int), len(w) > 16; tile {
					inside = j%ld < 8
				}
				if n := narrow[i].([]float32)[j]; ok && inside && !same32(w[j], n) {
					t.Fatalf("%s(%v): argument %d element %d is %g, the narrow routine says %g", base, sizes(args), i, j+half, w[j], n)
				}
			}
		}
	}
}

func checkDots(t *testing.T, m *machine, args []any) {
	t.Helper()
	n, x, dst, rows, stride := args[0].(int), args[1].([]float32), args[3].([]float32), args[4].([]float32), args[5].(int)
	for i, got := range dst {
		if want := float32(m.call("dotAVX512", n, x, rows[i*stride:i*stride+n])); got != want {
			t.Fatalf("dots n %d row %d: %g, dot %g", n, i, got, want)
		}
	}
}

func checkReduction(t *testing.T, base string, args []any, got float64) {
	t.Helper()
	x := args[1].([]float32)
	var want, size float64
	top := math.Inf(-1)
	for i, v := range x {
		p := float64(v)
		switch base {
		case "dot":
			p *= float64(args[2].([]float32)[i])
		case "dotBF16":
			p *= float64(widen(args[2].([]uint16)[i]))
		case "sumSquares":
			p *= p
		}
		want, size, top = want+p, size+math.Abs(p), max(top, p)
	}
	// As in TestReductionsEqualPlainLoop.
	bound := float64(2*len(x)) * 0x1p-24 * size
	switch base {
	case "sum", "sumSquares":
		bound = float64(len(x)+1) * 0x1p-52 * size
	case "max":
		want, bound = top, 0
	}
	near(t, base, got, want, bound)
}

// checkPeak follows every lane of the twelve sums.
func checkPeak(t *testing.T, args, before []any) {
	t.Helper()
	n, x, x0 := args[0].(int), args[1].([]float32), before[1].([]float32)
	for i := 2 * 16; i < len(x); i++ {
		want := x0[i]
		for range n {
			want = fma32(x0[i%16], x0[16+i%16], want)
		}
		if !same32(x[i], want) {
			t.Fatalf("peak %d: sum %d is %g, want %g", n, i, x[i], want)
		}
	}
}
