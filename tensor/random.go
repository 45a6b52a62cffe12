package tensor

// Random is pair i of the 32-bit random numbers of a key, the first in the upper
// half: what Dropout draws. It is the SplitMix64 generator (Steele, Lea and Flood
// 2014, https://doi.org/10.1145/2714064.2660195) at place i, so that any part of
// the sequence can be made anywhere.
func Random(key uint64, i int) uint64 {
	z := key + uint64(i+1)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// DropBelow is the 32-bit number below which a share of p of all numbers lies: an
// element is dropped when its number is lower.
func DropBelow(p float32) uint32 { return uint32(float64(p) * (1 << 32)) }
