package method

import (
	"math"
	"math/bits"
)

// Traffic is what a method moved between host and device since the last
// ResetTraffic, summed over layers and batches.
type Traffic struct {
	RowsTouched int64 // table rows that hold a gradient
	Passes      int64 // layers times batches that went forward
	Union       int64 // rows brought to the device by them
	Neurons     int64 // rows they had to choose from
	Experts     int64 // experts with at least one row among those
	UpBytes     int64 // host to device
	DownBytes   int64 // device to host
	Dead        int64 // rows that no token has picked since Attach
	Dropped     int64 // tokens times layers that found their expert full

	Auxiliary   float64 // auxiliary loss of the router, in the batches that went forward in training
	LoadMax     float64 // of the expert with most tokens, in shares of the mean; mean of the layers. 0 before anything or with one expert
	LoadEntropy float64 // of the experts' shares of the tokens: 1 where they are alike, 0 where all are of one; mean of the layers
}

// UnionShare is the share of a layer's rows that a batch brings in, 0 before the
// first.
func (t Traffic) UnionShare() float64 {
	if t.Neurons == 0 {
		return 0
	}
	return float64(t.Union) / float64(t.Neurons)
}

// A Reporter is a method that can say what it moved.
type Reporter interface {
	Traffic() Traffic
	ResetTraffic()
}

// Traffic sums the counts of all blocks.
func (f *MEFT) Traffic() Traffic {
	var sum Traffic
	loaded := 0.0
	for _, b := range f.branches {
		c := b.counts
		sum.Dropped += c.Dropped
		sum.Auxiliary += c.Auxiliary
		if most, entropy := spread(b.loads); most > 0 {
			sum.LoadMax += most
			sum.LoadEntropy += entropy
			loaded++
		}
		sum.RowsTouched += int64(b.table.Touched())
		sum.Passes += c.Passes
		sum.Union += c.Union
		sum.Neurons += c.Neurons
		sum.Experts += c.Experts
		sum.UpBytes += c.UpBytes
		sum.DownBytes += c.DownBytes
		sum.Dead += int64(b.m)
		for _, w := range b.fired {
			sum.Dead -= int64(bits.OnesCount32(uint32(w)))
		}
	}
	if loaded > 0 {
		sum.LoadMax /= loaded
		sum.LoadEntropy /= loaded
	}
	return sum
}

// spread is the highest of the loads in shares of their mean, and their entropy
// in shares of its highest value; zeros where there is nothing or one load.
func spread(loads []int32) (most, entropy float64) {
	total, top := 0.0, 0.0
	for _, n := range loads {
		total += float64(n)
		top = max(top, float64(n))
	}
	if total == 0 || len(loads) < 2 {
		return 0, 0
	}
	for _, n := range loads {
		if share := float64(n) / total; share > 0 {
			entropy -= share * math.Log(share)
		}
	}
	return top * float64(len(loads)) / total, entropy / math.Log(float64(len(loads)))
}

// ResetTraffic starts the counts over.
func (f *MEFT) ResetTraffic() {
	for _, b := range f.branches {
		b.counts = Traffic{}
		clear(b.loads)
	}
}
