package param

import "math"

// code is an 8-bit number format for moments, the dynamic code of Dettmers 2016
// (https://arxiv.org/abs/1511.04561) as bitsandbytes makes it: within the decade
// [10^(i-7), 10^(i-6)], i from 0 to 6, magnitudes are the middles of 2^i equal
// parts (of 2^(i+1) without a sign), and there is 0. A block of numbers is
// divided by its largest magnitude and every one becomes the code of the nearest
// magnitude.
//
// First moments have a sign bit and 7 bits of magnitude. Second moments are
// never negative, so all 8 bits are magnitude (with 1 as the last), and it is
// their root that is coded: the root is what a step divides by, and has half the
// decades. A root that is not 0 is not made 0, so that no step divides by
// nothing but epsilon.
type code struct {
	value []float32   // magnitudes, ascending from 0
	edge  [256]uint32 // bits of the number halfway to the next, Inf for the last
	start [startLast + 1]byte
	root  bool
}

// The table start has the lowest code of numbers by their exponent and upper 7
// bits of fraction, from 2^-23, below which all are 0, to 1. No entry has more
// than one edge between two codes in its range, so a comparison finds the rest.
const (
	startShift = 16
	startFirst = (127 - 23) << 7
	startLast  = 127<<7 - startFirst
)

var signedCode, rootCode = newCode(false), newCode(true)

func newCode(root bool) *code {
	c := &code{root: root, value: []float32{0}}
	for i := range 7 {
		parts := 1 << i
		if root {
			parts *= 2
		}
		low := math.Pow(10, float64(i-7))
		for k := range parts {
			c.value = append(c.value, float32(low*(1+9*(float64(k)+0.5)/float64(parts))))
		}
	}
	if root {
		c.value = append(c.value, 1)
	}
	for i := range c.value {
		edge := float32(math.Inf(1))
		if i+1 < len(c.value) {
			edge = (c.value[i] + c.value[i+1]) / 2
		}
		c.edge[i] = math.Float32bits(edge)
	}
	at := 0
	for i := range c.start {
		for uint32(startFirst+i)<<startShift > c.edge[at] {
			at++
		}
		c.start[i] = byte(at)
	}
	return c
}

// nearest is the code of a magnitude from 0 to the largest, without a branch that
// data decides: magnitudes compare as their bits do.
func (c *code) nearest(x float32) byte {
	b := math.Float32bits(x)
	at := c.start[max(0, min(int(b>>startShift)-startFirst, startLast))]
	return at + byte((c.edge[at]-b)>>31)
}

// encode codes a block of at most 256 numbers and returns its scale.
func (c *code) encode(dst []byte, x []float32) (scale float32) {
	x = x[:len(dst)]
	top := uint32(0)
	for _, v := range x {
		top = max(top, math.Float32bits(v)&^(1<<31))
	}
	largest := math.Float32frombits(top)
	if c.root {
		largest = float32(math.Sqrt(float64(largest)))
	}
	last := c.value[len(c.value)-1]
	scale = largest / last
	if largest < 1e-30 { // its inverse may be Inf; nothing as small moves a weight
		clear(dst)
		return 0
	}
	inverse := last / largest
	if !c.root {
		for i, v := range x {
			b := math.Float32bits(v)
			dst[i] = c.nearest(math.Float32frombits(b&^(1<<31))*inverse) | byte(b>>24)&0x80
		}
		return scale
	}
	for i, v := range x {
		at := c.nearest(float32(math.Sqrt(float64(v))) * inverse)
		dst[i] = max(at, byte(-math.Float32bits(v)>>31)) // 1 at least where v is above 0
	}
	return scale
}

// decode is the way back.
func (c *code) decode(x []float32, codes []byte, scale float32) {
	x = x[:len(codes)]
	if c.root {
		value := (*[256]float32)(c.value)
		for i, at := range codes {
			root := float32(value[at] * scale)
			x[i] = float32(root * root)
		}
		return
	}
	value := (*[128]float32)(c.value)
	for i, at := range codes {
		b := math.Float32bits(float32(value[at&0x7f] * scale))
		x[i] = math.Float32frombits(b | uint32(at&0x80)<<24)
	}
}
