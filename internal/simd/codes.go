package simd

import "math"

// The 8-bit numbers of this file are the dynamic code of Dettmers 2016
// (https://arxiv.org/abs/1511.04561) as bitsandbytes makes it: within the decade
// [10^(i-7), 10^(i-6)], i from 0 to 6, magnitudes are the middles of 2^i equal
// parts (of 2^(i+1) without a sign), and there is 0. The codes of a decade are
// 2^i+k, k the part; without a sign they are 2^(i+1)-1+k, and 255 is 1.

// codeLines: the place of a magnitude x among the codes of decade i is
// a·x + b, which is 2^i+k at the lower end of part k. The lines are flatter from
// decade to decade, so that the least of them is that of the decade of x.
type codeLines [7]struct{ a, b float32 }

var signedLines, rootLines = newLines(1), newLines(2)

func newLines(root float64) (l codeLines) {
	for i := range l {
		parts := math.Ldexp(root, i)
		l[i].a, l[i].b = float32(parts*math.Pow10(7-i)/9), float32(parts*8/9)
	}
	return l
}

// codeParts has the width of a part and the middle of the first part of each
// decade, by the lowest four bits of the exponent, as float32 has it, of the
// code of the first part. Three bits are enough, so eight lanes are too.
type codeParts struct{ width, middle [16]float32 }

var signedParts, rootParts = newParts(1), newParts(2)

func newParts(root float64) (p codeParts) {
	for i := range 7 {
		parts := math.Ldexp(root, i)
		at := math.Float32bits(float32(parts)) >> 23 & 7
		low := math.Pow10(i - 7)
		for ; at < 16; at += 8 {
			p.width[at], p.middle[at] = float32(9*low/parts), float32(low*(1+4.5/parts))
		}
	}
	if root == 2 { // 256 is the only code of its decade
		at := math.Float32bits(256) >> 23 & 7
		p.middle[at], p.middle[at+8] = 1, 1
	}
	return p
}

// magnitude is that of the code 2^i+k.
func (p *codeParts) magnitude(code int32) float32 {
	f := float32(code)
	low := math.Float32bits(f) &^ (1<<23 - 1)
	at := low >> 23 & 7
	return float32((f-math.Float32frombits(low))*p.width[at]) + p.middle[at]
}

// nearest is the code 2^i+k of the magnitude that is nearest to x, to within
// rounding, and the place of x.
func (l *codeLines) nearest(x float32) (code int32, place float32) {
	place = float32(l[0].a*x) + l[0].b
	for _, line := range l[1:] {
		place = min(place, float32(line.a*x)+line.b)
	}
	low := math.Float32frombits(math.Float32bits(place) &^ (1<<23 - 1))
	// The middles on the two sides of the border of decades are not equally far:
	// the first fifth of a decade's first part is nearer to the last part before.
	below := int32(math.Float32bits(place-low-0.2)) >> 31
	return int32(place) + below, place
}

// lowestEdge is halfway from 0 to the first magnitude, 5.5e-7.
const lowestEdge = 2.75e-7

// DecodeSigned gives x the numbers of codes, seven bits of magnitude and the
// sign, times scale:
//
//	for i, c := range codes {
//		x[i] = sign(c) * magnitude(c&127) * scale
//	}
func (l Level) DecodeSigned(x []float32, codes []byte, scale float32) {
	x = x[:len(codes)]
	if n := l.whole(len(x)); n > 0 {
		if l == AVX512 {
			decodeSignedAVX512(n, &x[0], &codes[0], scale, &signedParts.width[0])
		} else {
			decodeSignedAVX2(n, &x[0], &codes[0], scale, &signedParts.width[0])
		}
		x, codes = x[n:], codes[n:]
	}
	for i, c := range codes {
		v := float32(0)
		if c&0x7f != 0 {
			v = float32(signedParts.magnitude(int32(c&0x7f)) * scale)
		}
		x[i] = math.Float32frombits(math.Float32bits(v) | uint32(c&0x80)<<24)
	}
}

// DecodeRoots gives x the squares of the numbers of codes, eight bits of
// magnitude, times scale:
//
//	for i, c := range codes {
//		x[i] = (magnitude(c) * scale)²
//	}
func (l Level) DecodeRoots(x []float32, codes []byte, scale float32) {
	x = x[:len(codes)]
	if n := l.whole(len(x)); n > 0 {
		if l == AVX512 {
			decodeRootsAVX512(n, &x[0], &codes[0], scale, &rootParts.width[0])
		} else {
			decodeRootsAVX2(n, &x[0], &codes[0], scale, &rootParts.width[0])
		}
		x, codes = x[n:], codes[n:]
	}
	for i, c := range codes {
		v := float32(0)
		if c != 0 {
			v = float32(rootParts.magnitude(int32(c)+1) * scale)
		}
		x[i] = float32(v * v)
	}
}

// EncodeSigned gives codes the nearest numbers to x·factor, which is at most 1
// in magnitude:
//
//	for i, v := range x {
//		codes[i] = sign(v) | nearest(abs(v) * factor)
//	}
func (l Level) EncodeSigned(codes []byte, x []float32, factor float32) {
	codes = codes[:len(x)]
	if n := l.whole(len(x)); n > 0 {
		if l == AVX512 {
			encodeSignedAVX512(n, &x[0], &codes[0], factor)
		} else {
			encodeSignedAVX2(n, &x[0], &codes[0], factor)
		}
		x, codes = x[n:], codes[n:]
	}
	for i, v := range x {
		b := math.Float32bits(v)
		y := float32(math.Float32frombits(b&^(1<<31)) * factor)
		c, _ := signedLines.nearest(y)
		c = max(c, 1)
		if y < lowestEdge {
			c = 0
		}
		codes[i] = byte(c) | byte(b>>31<<7)
	}
}

// EncodeRoots gives codes the nearest numbers to the roots of x times factor,
// which are at most 1. What is above 0 is not made 0:
//
//	for i, v := range x {
//		codes[i] = nearest(sqrt(v) * factor)
//	}
func (l Level) EncodeRoots(codes []byte, x []float32, factor float32) {
	codes = codes[:len(x)]
	if n := l.whole(len(x)); n > 0 {
		if l == AVX512 {
			encodeRootsAVX512(n, &x[0], &codes[0], factor)
		} else {
			encodeRootsAVX2(n, &x[0], &codes[0], factor)
		}
		x, codes = x[n:], codes[n:]
	}
	for i, v := range x {
		c, place := rootLines.nearest(float32(float32(math.Sqrt(float64(v))) * factor))
		c = max(c-1, 1)
		if place > 255.75 { // halfway to 1
			c = 255
		}
		if v <= 0 {
			c = 0
		}
		codes[i] = byte(c)
	}
}

// Largest is the largest magnitude of x, a NaN if there is one, 0 if x is empty:
//
//	for _, v := range x {
//		m = max(m, abs(v))
//	}
func (l Level) Largest(x []float32) (m float32) {
	if n := l.whole(len(x)); n > 0 {
		if l == AVX512 {
			m = largestAVX512(n, &x[0])
		} else {
			m = largestAVX2(n, &x[0])
		}
		x = x[n:]
	}
	top := math.Float32bits(m)
	for _, v := range x {
		top = max(top, math.Float32bits(v)&^(1<<31))
	}
	return math.Float32frombits(top)
}
