package param

import (
	"math"

	"meft/internal/simd"
)

// code is an 8-bit number format for moments, the dynamic code that
// [simd.Level.EncodeSigned] describes: a block of numbers is divided by its
// largest magnitude and every one becomes the code of the nearest magnitude.
//
// First moments are signed. Second moments are never negative, so all 8 bits are
// magnitude, and it is their root that is coded: the root is what a step divides
// by, and has half the decades. A root that is not 0 is not made 0, so that no
// step divides by nothing but epsilon.
type code struct {
	root bool
	last float32 // the largest magnitude
}

var signedCode, rootCode = &code{last: 1 - 0.45/64}, &code{root: true, last: 1}

// encode codes a block of numbers and returns its scale.
func (c *code) encode(l simd.Level, dst []byte, x []float32) (scale float32) {
	largest := l.Largest(x)
	if c.root {
		largest = float32(math.Sqrt(float64(largest)))
	}
	if largest < 1e-30 { // its inverse may be Inf; nothing as small moves a weight
		clear(dst)
		return 0
	}
	if c.root {
		l.EncodeRoots(dst, x, c.last/largest)
	} else {
		l.EncodeSigned(dst, x, c.last/largest)
	}
	return largest / c.last
}

// decode is the way back.
func (c *code) decode(l simd.Level, x []float32, codes []byte, scale float32) {
	if c.root {
		l.DecodeRoots(x, codes, scale)
	} else {
		l.DecodeSigned(x, codes, scale)
	}
}
