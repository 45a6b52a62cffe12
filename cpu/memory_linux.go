package cpu

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// hugeFrom is the size from which huge pages are asked for: they save page
// faults and address look-ups, and waste at most a few percent.
const hugeFrom = 8 << 20

// reserve maps zeroed memory outside the Go heap, which the garbage collector
// neither scans nor counts, and fills it with real pages.
func reserve(bytes int) (mem []byte, free func([]byte), err error) {
	mem, err = unix.Mmap(-1, 0, bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, nil, fmt.Errorf("mmap: %w", err)
	}
	if bytes >= hugeFrom {
		// Advice only: without huge pages everything works as well, slower.
		_ = unix.Madvise(mem, unix.MADV_HUGEPAGE)
	}
	err = unix.Madvise(mem, unix.MADV_POPULATE_WRITE)
	if errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.EFAULT) {
		release(mem)
		return nil, nil, fmt.Errorf("filling it with pages: %w", err)
	}
	if err != nil { // a kernel before 5.14
		for i, page := 0, os.Getpagesize(); i < bytes; i += page {
			mem[i] = 0
		}
	}
	return mem, release, nil
}

func release(mem []byte) {
	if err := unix.Munmap(mem); err != nil {
		panic(fmt.Sprintf("cpu: munmap of %d bytes: %v", len(mem), err))
	}
}
