package prune

import "math"

// smallest tells of every score whether it is among the n smallest, of equal ones
// those that come first. Scores are not negative. Numbers of that kind are in the
// order of their bits, so two counts by 16 bits find the last that is.
func smallest(scores []float32, n int, tell func(i int, among bool)) {
	if n <= 0 || n >= len(scores) {
		for i := range scores {
			tell(i, n > 0)
		}
		return
	}
	if len(scores) <= 64 {
		for i, v := range scores {
			before := 0
			for k, o := range scores {
				if o < v || o == v && k < i {
					before++
				}
			}
			tell(i, before < n)
		}
		return
	}
	find := func(keep func(b uint32) bool, part func(b uint32) uint32, n int) (uint32, int) {
		counts := make([]int, 1<<16)
		for _, v := range scores {
			if b := math.Float32bits(v); keep(b) {
				counts[part(b)]++
			}
		}
		at := uint32(0)
		for ; counts[at] < n; at++ {
			n -= counts[at]
		}
		return at, n
	}
	high, rest := find(func(uint32) bool { return true }, func(b uint32) uint32 { return b >> 16 }, n)
	low, rest := find(func(b uint32) bool { return b>>16 == high }, func(b uint32) uint32 { return b & 0xffff }, rest)
	last := high<<16 | low
	for i, v := range scores {
		b := math.Float32bits(v)
		among := b < last
		if b == last && rest > 0 {
			among = true
			rest--
		}
		tell(i, among)
	}
}
