package main

import "fmt"

// peakAccumulators are as many as keep two multiply-add units busy: each has
// work of its own for every cycle of the latency, up to six.
const peakAccumulators = 12

// peak adds the product of the first two vectors at x to each of the vectors
// after them, n times, in registers.
func (v vec) peak() {
	v.fn("peak", "", "n int", "x *float32")
	v.load("n", "CX", "x", "SI")
	at := func(i int) string { return fmt.Sprintf("%d(SI)", i*4*v.lanes()) }
	for i := range peakAccumulators + 2 {
		v.op("VMOVUPS", at(i), i)
	}
	v.p("\tPCALIGN $32\nloop:")
	for i := range peakAccumulators {
		v.op("VFMADD231PS", 0, 1, 2+i)
	}
	v.p("\tDECQ CX\n\tJNZ loop")
	for i := range peakAccumulators {
		v.op("VMOVUPS", 2+i, at(2+i))
	}
	v.end()
}
