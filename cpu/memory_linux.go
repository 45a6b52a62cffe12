package cpu

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	hugePage = 2 << 20
	// regionBytes is the address space that allocations are cut from, one after
	// the other: a matrix of a layer is a few MB, and with a mapping of its own
	// most of it would lie on small pages, whose addresses take the processor
	// longer to look up than their numbers take to read.
	regionBytes = 64 << 20
)

// memory gives out memory outside the Go heap, which the garbage collector
// neither scans nor counts.
type memory struct{ last *region }

// region is a mapping that allocations share; huge ones have their own.
type region struct {
	mem  []byte
	end  int // bytes given out, whole pages
	live int // allocations that were not freed
}

// piece is an allocation: bytes [from, to) of a region.
type piece struct {
	in       *region
	from, to int
}

// reserve gives zeroed memory with real pages behind it.
func (m *memory) reserve(bytes int) (mem []byte, p piece, err error) {
	if bytes > 1<<46 {
		return nil, piece{}, unix.ENOMEM // more than there are addresses
	}
	whole := roundUp(bytes, os.Getpagesize())
	r := m.last
	if r == nil || r.live == 0 || whole > len(r.mem)-r.end {
		if r, err = newRegion(whole); err != nil {
			return nil, piece{}, fmt.Errorf("mmap: %w", err)
		}
		if whole < regionBytes/2 {
			m.last = r
		}
	}
	p = piece{r, r.end, r.end + whole}
	mem = r.mem[p.from:p.to:p.to]
	r.end += whole
	r.live++
	err = unix.Madvise(mem, unix.MADV_POPULATE_WRITE)
	if errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.EFAULT) {
		p.release()
		return nil, piece{}, fmt.Errorf("filling it with pages: %w", err)
	}
	if err != nil { // a kernel before 5.14
		for i := 0; i < whole; i += os.Getpagesize() {
			mem[i] = 0
		}
	}
	return mem[:bytes:bytes], p, nil
}

// newRegion maps a region for an allocation of so many bytes and, unless that is
// large, others. What is not given out has no pages but those that fill up the
// last huge one. Whole huge pages are mapped so that the system aligns them.
func newRegion(bytes int) (*region, error) {
	if bytes < regionBytes/2 {
		bytes = regionBytes
	}
	mem, err := unix.Mmap(-1, 0, roundUp(bytes, hugePage), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, err
	}
	// Advice only: without huge pages everything works as well, slower.
	_ = unix.Madvise(mem, unix.MADV_HUGEPAGE)
	return &region{mem: mem}, nil
}

// release takes an allocation back: its pages at once, its addresses when it is
// the last of its region or the only one left.
func (p piece) release() {
	r := p.in
	r.live--
	if r.live == 0 {
		if err := unix.Munmap(r.mem); err != nil {
			panic(fmt.Sprintf("cpu: munmap of %d bytes: %v", len(r.mem), err))
		}
		return
	}
	if err := unix.Madvise(r.mem[p.from:p.to], unix.MADV_DONTNEED); err != nil {
		panic(fmt.Sprintf("cpu: madvise of %d bytes: %v", p.to-p.from, err))
	}
	if p.to == r.end {
		r.end = p.from
	}
}
