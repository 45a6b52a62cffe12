package quant

import (
	"math"
	"slices"
)

// nibbles is a code of 4 bits. Numbers in [-1, 1] fall into cells of equal width,
// at most one edge between two codes to a cell, so that the nearest code is found
// without searching: data cannot be foretold, and branches on it cost.
type nibbles struct {
	value [16]float32
	low   [nibbleCells]byte    // the lower of the codes that a cell's numbers may have,
	high  [nibbleCells]byte    // the upper,
	edge  [nibbleCells]float32 // and the largest number that has the lower
}

// With an odd number of cells to a side no edge of NF4 or FP4 lies where two
// cells meet, and rounding cannot put a number into the wrong one.
const (
	nibbleSide  = 255
	nibbleCells = 2*nibbleSide + 1
)

func newNibbles(value [16]float32) *nibbles {
	n := &nibbles{value: value}
	codes := ascending(value[:])
	at := 0
	for i := range nibbleCells {
		end := float32(i+1)/nibbleSide - 1
		n.low[i], n.high[i], n.edge[i] = codes[at], codes[at], float32(math.Inf(1))
		if at+1 < len(codes) {
			if edge := between(value[codes[at]], value[codes[at+1]]); edge < end {
				at++
				n.high[i], n.edge[i] = codes[at], edge
			}
		}
	}
	return n
}

// nearest is the code of a number in [-1, 1]; halfway between two it is the lower.
func (n *nibbles) nearest(x float32) byte {
	cell := min(max(int((x+1)*nibbleSide), 0), nibbleCells-1)
	code := n.low[cell]
	if x > n.edge[cell] {
		code = n.high[cell]
	}
	return code
}

// between is the edge of two codes.
func between(a, b float32) float32 { return (a + b) / 2 }

// ascending are the codes of different values in the order of these.
func ascending(value []float32) []byte {
	var codes []byte
	for i, v := range value {
		if !slices.Contains(value[:i], v) {
			codes = append(codes, byte(i))
		}
	}
	slices.SortFunc(codes, func(a, b byte) int {
		if value[a] < value[b] {
			return -1
		}
		return 1
	})
	return codes
}

// bytes is the signed dynamic code of 8 bits (Dettmers 2016,
// https://arxiv.org/abs/1511.04561) as bitsandbytes makes it: in the decade
// [10^(i-7), 10^(i-6)], i from 0 to 6, magnitudes are the middles of 2^i equal
// parts; with both signs, 0 and 1 that is 256 values, in ascending order.
type bytes struct{ value [256]float32 }

func newBytes() *bytes {
	value := []float32{0, 1}
	for i := range 7 {
		parts := 1 << i
		low := math.Pow(10, float64(i-7))
		for k := range parts {
			v := float32(low * (1 + 9*(float64(k)+0.5)/float64(parts)))
			value = append(value, v, -v)
		}
	}
	slices.Sort(value)
	return &bytes{[256]float32(value)}
}

// nearest is the code of a number in [-1, 1]; halfway between two it is the lower.
func (b *bytes) nearest(x float32) byte {
	at, _ := slices.BinarySearch(b.value[:], x)
	switch {
	case at == 0:
		return 0
	case at == len(b.value):
		return 255
	case x > between(b.value[at-1], b.value[at]):
		return byte(at)
	}
	return byte(at - 1)
}
