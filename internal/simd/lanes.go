package simd

import "math"

// Lanes are what the routines by lane know of the columns of a tile, by lane.
// They do the vector of lanes that begins at a given one, a multiple of its
// width. A lane sees row i of its column where |Dist + i| < Half: with Dist =
// -(lo+hi-1)/2 and Half = (hi-lo)/2 these are rows [lo, hi).
type Lanes struct {
	Dist, Half []float32
	Top        []float32 // largest score so far
	Bias       []int32   // T-127, weights being relative to 2^T
	Sum        []float32 // of the weights
	LSE        []float32 // log2 of the sum of all powers
	Delta      []float32
}

// LaneTop takes rows [lo, hi), lo < hi, of a tile with row stride ld into the
// largest scores:
//
//	Top[j] = max(Top[j], s[i*ld+j]) over the rows i that lane j sees
func (l Level) LaneTop(x *Lanes, lane int, s []float32, ld, lo, hi int) {
	_, _, w := l.TileShape()
	at := s[lo*ld+lane:]
	_ = at[(hi-lo-1)*ld+w-1]
	switch l {
	case AVX2:
		laneTopAVX2(hi-lo, &at[0], ld, &x.Dist[lane], &x.Half[lane], float32(lo), &x.Top[lane])
	case AVX512:
		laneTopAVX512(hi-lo, &at[0], ld, &x.Dist[lane], &x.Half[lane], float32(lo), &x.Top[lane])
	default:
		for j := range w {
			for i := lo; i < hi; i++ {
				if v := at[(i-lo)*ld+j]; x.sees(i, lane+j) && v > x.Top[lane+j] {
					x.Top[lane+j] = v
				}
			}
		}
	}
}

// LaneWeights turns scores into weights, in rows [0, n) of a tile of which the
// lanes see some of [lo, hi) only, lo < hi:
//
//	s[i*ld+j] = 2^(s[i*ld+j] - T) if lane j sees row i, else 0
//	Sum[j] += s[i*ld+j]
//
// Scores count as powers of two and T is an integer not below any of them,
// rounded. So another T scales every weight by a power of two exactly, but for
// those below 2^-126, which are 0. The error of a weight is below 3 units in
// the last place. A NaN stays one.
func (l Level) LaneWeights(x *Lanes, lane int, s []float32, ld, n, lo, hi int) {
	_, _, w := l.TileShape()
	s = s[lane:]
	_ = s[(n-1)*ld+w-1]
	switch l {
	case AVX2:
		laneWeightsAVX2(lo, hi-lo, n-hi, &s[0], ld, &x.Dist[lane], &x.Half[lane], float32(lo), &x.Bias[lane], &x.Sum[lane])
	case AVX512:
		laneWeightsAVX512(lo, hi-lo, n-hi, &s[0], ld, &x.Dist[lane], &x.Half[lane], float32(lo), &x.Bias[lane], &x.Sum[lane])
	default:
		for i := range n {
			for j := range w {
				p := float32(0)
				if i >= lo && i < hi && x.sees(i, lane+j) {
					p = exp2(s[i*ld+j], x.Bias[lane+j])
					x.Sum[lane+j] += p
				}
				s[i*ld+j] = p
			}
		}
	}
}

// LaneGrads turns scores into weights and gradients of weights into gradients
// of scores, with rows as in [Level.LaneWeights]:
//
//	s[i*ld+j] = 2^(s[i*ld+j] - LSE[j]) if lane j sees row i, else 0
//	g[i*ld+j] = s[i*ld+j] * (scale*g[i*ld+j] + Delta[j])
func (l Level) LaneGrads(x *Lanes, lane int, s, g []float32, ld, n, lo, hi int, scale float32) {
	_, _, w := l.TileShape()
	s, g = s[lane:], g[lane:]
	_, _ = s[(n-1)*ld+w-1], g[(n-1)*ld+w-1]
	switch l {
	case AVX2:
		laneGradsAVX2(lo, hi-lo, n-hi, &s[0], &g[0], ld, &x.Dist[lane], &x.Half[lane], float32(lo), &x.LSE[lane], &x.Delta[lane], scale)
	case AVX512:
		laneGradsAVX512(lo, hi-lo, n-hi, &s[0], &g[0], ld, &x.Dist[lane], &x.Half[lane], float32(lo), &x.LSE[lane], &x.Delta[lane], scale)
	default:
		for i := range n {
			for j := range w {
				at, p, d := i*ld+j, float32(0), float32(0)
				if i >= lo && i < hi && x.sees(i, lane+j) {
					p = exp2(s[at]-x.LSE[lane+j], -127)
					d = p * (float32(scale*g[at]) + x.Delta[lane+j])
				}
				s[at], g[at] = p, d
			}
		}
	}
}

func (x *Lanes) sees(i, j int) bool {
	return math.Float32frombits(math.Float32bits(x.Dist[j]+float32(i))&0x7fffffff) < x.Half[j]
}

// exp2 is 2^(x-bias-127) by the method of the assembly: the nearest integer
// goes to the exponent, the rest through Cephes' polynomial.
func exp2(x float32, bias int32) float32 {
	n := int32(math.MinInt32) // as the conversion of the processors answers
	if r := math.RoundToEven(float64(x)); r >= math.MinInt32 && r <= math.MaxInt32 {
		n = int32(r)
	}
	r := x - float32(n)
	p := float32(1.535336188319500e-4)
	for _, c := range [...]float32{1.339887440266574e-3, 9.618437357674640e-3, 5.550332471162809e-2, 2.402264791363012e-1, 6.931472028550421e-1, 1} {
		p = float32(p*r) + c
	}
	return p * math.Float32frombits(uint32(max(n-bias, 0))<<23)
}
