package train

import "math/rand/v2"

// openBins is how many bins packing keeps open at a time.
const openBins = 256

// packingStream is the stream of random numbers of the packing; epochs have the
// streams from 0 on.
const packingStream = 1 << 63

// shuffle fills order with a permutation that depends on the arguments and on
// its length only.
func shuffle(order []int32, seed, stream uint64) {
	for i := range order {
		order[i] = int32(i)
	}
	r := rand.New(rand.NewPCG(seed, stream))
	for i := len(order) - 1; i > 0; i-- {
		j := r.IntN(i + 1)
		order[i], order[j] = order[j], order[i]
	}
}

// bins are sets of examples that together fit into a given number of rows.
type bins struct {
	items []int32 // [examples] bin after bin
	ends  []int32 // [bins]     one past the last item
}

// openBin is a bin that may take more.
type openBin struct {
	index int32
	room  int // rows
}

// pack puts every example into the open bin that it fills best, the oldest of
// equal ones; where none has room, the fullest is closed and one is opened. The
// examples come in a shuffled order that depends on seed only, so that bins mix
// what lies together in a file. An example takes ahead rows beside its tokens,
// and every example fits into size rows.
func pack(d *Data, size, ahead int, seed uint64) bins {
	order := make([]int32, d.Len())
	shuffle(order, seed, packingStream)
	of := make([]int32, d.Len()) // bin of each example
	var open []openBin
	var counts []int32
	for _, e := range order {
		from, to := d.span(int(e))
		rows := to - from + ahead
		best := -1
		for i, b := range open {
			if b.room >= rows && (best < 0 || b.room < open[best].room) {
				best = i
			}
		}
		if best < 0 {
			if len(open) == openBins {
				open = closeFullest(open)
			}
			best = len(open)
			open = append(open, openBin{int32(len(counts)), size})
			counts = append(counts, 0)
		}
		open[best].room -= rows
		of[e] = open[best].index
		counts[open[best].index]++
	}
	b := bins{items: make([]int32, d.Len()), ends: make([]int32, len(counts))}
	next := make([]int32, len(counts))
	sum := int32(0)
	for i, n := range counts {
		next[i] = sum
		sum += n
		b.ends[i] = sum
	}
	for _, e := range order {
		b.items[next[of[e]]] = e
		next[of[e]]++
	}
	return b
}

func closeFullest(open []openBin) []openBin {
	full := 0
	for i, b := range open {
		if b.room < open[full].room {
			full = i
		}
	}
	return append(open[:full], open[full+1:]...)
}

// of are the examples of bin i.
func (b bins) of(i int32) []int32 {
	from := int32(0)
	if i > 0 {
		from = b.ends[i-1]
	}
	return b.items[from:b.ends[i]]
}
