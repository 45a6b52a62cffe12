package simd

// PeakRoom is the room of [Level.Peak]: two factors and twelve sums, each as
// wide as the widest vector.
type PeakRoom [14 * 16]float32

// Peak does n rounds of multiply-adds that do not wait for each other, on
// registers, and returns how many floating point operations that was:
//
//	for range n {
//		for i := range sums {
//			sums[i] += a * b
//		}
//	}
//
// The time they take is what products are measured against: one thread can do
// no more arithmetic than this. room holds a, b and the sums one after another,
// as wide as the level's vectors; zeros will do.
func (l Level) Peak(n int, room *PeakRoom) float64 {
	if n <= 0 {
		return 0
	}
	const sums = 12
	switch l {
	case AVX2:
		peakAVX2(n, &room[0])
		return 2 * 8 * sums * float64(n)
	case AVX512:
		peakAVX512(n, &room[0])
		return 2 * 16 * sums * float64(n)
	}
	a, b, s := room[0], room[1], [4]float32(room[2:])
	for range n * sums / len(s) {
		s[0] += float32(a * b)
		s[1] += float32(a * b)
		s[2] += float32(a * b)
		s[3] += float32(a * b)
	}
	copy(room[2:], s[:])
	return 2 * sums * float64(n)
}
