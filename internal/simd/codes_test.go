package simd

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"
)

// magnitudes are those of all codes, ascending, as Portable decodes them.
func magnitudes(root bool) []float32 {
	codes := make([]byte, 128, 256)
	for i := range codes {
		codes[i] = byte(i)
	}
	if !root {
		values := make([]float32, 128)
		Portable.DecodeSigned(values, codes, 1)
		return values
	}
	values := make([]float32, 256)
	for i := range values {
		Portable.DecodeRoots(values[i:i+1], []byte{byte(i)}, 1)
		values[i] = float32(math.Sqrt(float64(values[i])))
	}
	return values
}

// TestCodesAreTheNearest compares with a search over all codes, and the codes
// with the numbers that bitsandbytes.functional.create_dynamic_map gives.
func TestCodesAreTheNearest(t *testing.T) {
	signed, roots := magnitudes(false), magnitudes(true)
	for _, c := range []struct {
		got  float32
		want float64
	}{
		{signed[0], 0}, {signed[1], 5.5e-7}, {signed[2], 3.25e-6}, {signed[127], 0.99296875},
		{roots[0], 0}, {roots[1], 3.25e-7}, {roots[2], 7.75e-7}, {roots[254], 0.996484375}, {roots[255], 1},
	} {
		if math.Abs(float64(c.got)-c.want) > 1e-6*c.want {
			t.Errorf("a magnitude is %v, wants %v", c.got, c.want)
		}
	}
	rng := rand.New(rand.NewPCG(31, 0))
	for _, values := range [][]float32{signed, roots} {
		last := values[len(values)-1]
		code := make([]byte, 1)
		for range 100_000 {
			x, best := float32(math.Exp(rng.Float64()*-20))*last, 0
			for i, v := range values {
				if math.Abs(float64(v-x)) < math.Abs(float64(values[best]-x)) {
					best = i
				}
			}
			if len(values) == 128 {
				Portable.EncodeSigned(code, []float32{x}, 1)
			} else {
				Portable.EncodeRoots(code, []float32{x * x}, 1)
				best = max(best, 1) // a root that is not 0 does not become 0
			}
			// The place of a number is rounded thrice, by 2^-17 parts at most; the
			// square and its root move it by a few 2^-24 of itself.
			near, far := math.Abs(float64(values[best]-x)), math.Abs(float64(values[code[0]]-x))
			if far > near+1e-4*math.Abs(float64(values[code[0]]-values[best]))+0x1p-21*float64(x) {
				t.Fatalf("%v is coded as %v, nearer is %v", x, values[code[0]], values[best])
			}
		}
	}
}

// Every level codes and decodes to the bits of Portable, at any length, and
// writes nothing else.
func TestCodesAreTheSameAtEveryLevel(t *testing.T) {
	eachLevel(t, Levels(), func(t *testing.T, l Level) {
		rng := rand.New(rand.NewPCG(32, uint64(l)))
		for _, n := range append([]int{256, 1000}, ragged...) {
			x, squares := guarded[float32](t, n), guarded[float32](t, n)
			for i := range x {
				x[i] = float32(math.Exp(-19*rng.Float64()) * (1 - 2*float64(rng.IntN(2))))
				squares[i] = x[i] * x[i]
				if rng.IntN(9) == 0 {
					x[i], squares[i] = 0, 0
				}
			}
			for _, root := range []bool{false, true} {
				got, want := guarded[byte](t, n), make([]byte, n)
				back, wantBack := guarded[float32](t, n), make([]float32, n)
				if root {
					l.EncodeRoots(got, squares, 0.99)
					Portable.EncodeRoots(want, squares, 0.99)
					l.DecodeRoots(back, got, 1.7)
					Portable.DecodeRoots(wantBack, want, 1.7)
				} else {
					l.EncodeSigned(got, x, 0.99)
					Portable.EncodeSigned(want, x, 0.99)
					l.DecodeSigned(back, got, 1.7)
					Portable.DecodeSigned(wantBack, want, 1.7)
				}
				if !bytes.Equal(got, want) {
					t.Fatalf("n %d, root %v: codes %v, portable %v, of %v", n, root, got, want, x)
				}
				for i, v := range back {
					if bits(v) != bits(wantBack[i]) {
						t.Fatalf("n %d, root %v: code %d is %v, portable %v", n, root, got[i], v, wantBack[i])
					}
				}
			}
		}
	})
}

func TestLargestIsOfMagnitudes(t *testing.T) {
	eachLevel(t, Levels(), func(t *testing.T, l Level) {
		rng := rand.New(rand.NewPCG(33, uint64(l)))
		for _, n := range ragged {
			x, want := vector(t, rng, n), float32(0)
			for _, v := range x {
				want = max(want, float32(math.Abs(float64(v))))
			}
			if got := l.Largest(x); got != want {
				t.Errorf("n %d: %v, want %v", n, got, want)
			}
			if n > 0 {
				x[rng.IntN(n)] = nan
				if got := l.Largest(x); got == got {
					t.Errorf("n %d: a NaN is lost, got %v", n, got)
				}
			}
		}
	})
}
