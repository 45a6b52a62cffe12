package tensor

// Uniform is number i of the random numbers of a key, from 0 to below 1 and a
// multiple of 2⁻²⁴: what Dropout draws. It is the SplitMix64 generator (Steele,
// Lea and Flood 2014, https://doi.org/10.1145/2714064.2660195) at place i, so
// that any part of the sequence can be made anywhere.
func Uniform(key uint64, i int) float32 {
	z := key + uint64(i+1)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return float32((z^z>>31)>>40) * 0x1p-24
}
