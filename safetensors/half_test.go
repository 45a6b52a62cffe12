package safetensors

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Every half survives, and of any other number the result is the nearer of its
// neighbours, the even one of two as near.
func TestHalvesAreRoundedToTheNearest(t *testing.T) {
	all := make([]uint16, 1<<16)
	for i := range all {
		all[i] = uint16(i)
	}
	wide, back := make([]float32, len(all)), make([]uint16, len(all))
	F32FromF16(wide, all)
	F16FromF32(back, wide)
	for i, h := range back {
		if v := wide[i]; v != v {
			if h&0x7c00 != 0x7c00 || h&0x3ff == 0 {
				t.Fatalf("NaN %04x became %04x", all[i], h)
			}
		} else if h != all[i] {
			t.Fatalf("half %04x, %v, became %04x", all[i], v, h)
		}
	}
	value := func(h uint16) float64 {
		if h == 0x7c00 {
			return 65536 // where the next half would be
		}
		return float64(wide[h])
	}
	check := func(x float32) {
		t.Helper()
		var got [1]uint16
		F16FromF32(got[:], []float32{x})
		h, v := got[0]&0x7fff, math.Abs(float64(x))
		if math.Signbit(float64(x)) != (got[0]&0x8000 != 0) {
			t.Fatalf("%v became %04x: another sign", x, got[0])
		}
		for _, other := range []int{int(h) - 1, int(h) + 1} {
			if other < 0 || other > 0x7c00 || h == 0x7c00 && v > 65536 {
				continue
			}
			mine, its := math.Abs(v-value(h)), math.Abs(v-value(uint16(other)))
			if its < mine || its == mine && h&1 == 1 {
				t.Fatalf("%v became %04x (%v), %04x (%v) is nearer or even", x, h, value(h), other, value(uint16(other)))
			}
		}
	}
	for h := range uint16(0x7c00) { // half way between neighbours, and just beside it
		middle := float32((value(h) + value(h+1)) / 2)
		for _, x := range []float32{middle, math.Nextafter32(middle, 0), math.Nextafter32(middle, math.MaxFloat32)} {
			check(x)
			check(-x)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 100000 {
		if x := math.Float32frombits(r.Uint32()); x == x {
			check(x)
		}
	}
}
