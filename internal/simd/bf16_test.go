package simd

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestBF16RoundsToNearestEven(t *testing.T) {
	eachLevel(t, Levels(), func(t *testing.T, l Level) {
		for high := 0; high < 1<<16; high++ {
			var src [18]float32
			for i, low := range []uint32{0, 1, 0x7fff, 0x8000, 0x8001, 0xffff} {
				for j := i; j < len(src); j += 6 {
					src[j] = math.Float32frombits(uint32(high)<<16 | low)
				}
			}
			var dst [18]uint16
			l.ToBF16(dst[:], src[:])
			for i, got := range dst {
				if want := nearestBF16(src[i]); got != want && !(src[i] != src[i] && widen(got) != widen(got)) {
					t.Fatalf("%#x rounds to %#x, want %#x", math.Float32bits(src[i]), got, want)
				}
			}
		}
		rng := rand.New(rand.NewPCG(11, 0))
		for _, n := range ragged {
			src, half, back := vector(t, rng, n), guarded[uint16](t, n), guarded[float32](t, n)
			l.ToBF16(half, src)
			l.FromBF16(back, half)
			for i := range src {
				if back[i] != widen(narrow(src[i])) {
					t.Fatalf("n %d: element %d: %g becomes %g", n, i, src[i], back[i])
				}
			}
		}
	})
}

// nearestBF16 compares the two neighbours in float64.
func nearestBF16(v float32) uint16 {
	b := math.Float32bits(v)
	lo := uint16(b >> 16)
	if b&0xffff == 0 || lo&0x7f80 == 0x7f80 {
		return lo
	}
	switch hi := lo + 1; { // magnitudes grow with the bits
	case b&0xffff > 0x8000:
		return hi
	case b&0xffff < 0x8000:
		return lo
	default:
		return lo + lo&1
	}
}
