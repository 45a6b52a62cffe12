package tensor

import (
	"math"
	"testing"
)

// Of n numbers a share of p is dropped, within five standard deviations, by every
// key, and neighbours in place or key drop independently of each other.
func TestDropBelowDropsItsShare(t *testing.T) {
	const n = 1 << 16
	for _, p := range []float32{0.05, 0.5, 0.9} {
		drop := func(key uint64, i int) float64 {
			if uint32(Random(key, i/2)>>(32*(1-i%2))) < DropBelow(p) {
				return 1
			}
			return 0
		}
		for key := range uint64(4) {
			alone, after, beside := 0.0, 0.0, 0.0
			for i := range n {
				d := drop(key, i)
				alone += d
				after += d * drop(key, i+1)
				beside += d * drop(key+1, i)
			}
			for what, c := range map[string][2]float64{"alone": {alone, float64(p)}, "after one": {after, float64(p * p)}, "of two keys": {beside, float64(p * p)}} {
				if off := math.Abs(c[0]-n*c[1]) / math.Sqrt(n*c[1]*(1-c[1])); off > 5 {
					t.Errorf("p %v, key %d, %s: %v of %d dropped, %.1f standard deviations off", p, key, what, c[0], n, off)
				}
			}
		}
	}
	if DropBelow(0) != 0 {
		t.Error("a share of 0 drops something")
	}
}
