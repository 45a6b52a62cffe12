package main

import "runtime/debug"

// heapGrowth is how many percent the Go heap may grow before it is collected.
// Weights, activations and host tables lie outside that heap, so what is in it
// is data rows, token ids and vocabularies: at most a few hundred megabytes
// that are cheap to scan. At Go's own 100 they would count twice in a machine
// whose memory the user has divided up with meft plan; at 25 they count 1.25
// times, and the extra collections are lost in the time of one matrix product.
const heapGrowth = 25

// boundHeap sets the heap's growth unless the user did.
func boundHeap(e env) {
	if _, set := e.lookup("GOGC"); !set {
		debug.SetGCPercent(heapGrowth)
	}
}
