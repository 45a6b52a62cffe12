package method

import "math/bits"

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
	for _, b := range f.branches {
		c := b.counts
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
	return sum
}

// ResetTraffic starts the counts over.
func (f *MEFT) ResetTraffic() {
	for _, b := range f.branches {
		b.counts = Traffic{}
	}
}
