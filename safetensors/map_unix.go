//go:build unix

package safetensors

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// mapFile maps the first size bytes of f read-only; size is above 0. Pages are
// shared with the page cache, so two processes reading a model keep it once.
func mapFile(f *os.File, size int) ([]byte, error) {
	data, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	return data, nil
}

// unmapFile undoes mapFile.
func unmapFile(data []byte) error {
	return os.NewSyscallError("munmap", unix.Munmap(data))
}

// releasePages drops bytes lo to hi of a mapping from the memory of the
// process. The range grows to whole pages: a neighbour's bytes on the same page
// are read again from the file when needed, never lost.
func releasePages(data []byte, lo, hi int) {
	page := os.Getpagesize()
	lo = lo / page * page
	hi = min((hi+page-1)/page*page, len(data))
	if lo < hi {
		// Advice only: where the system refuses it, memory stays resident and
		// nothing else changes.
		_ = unix.Madvise(data[lo:hi], unix.MADV_DONTNEED)
	}
}

// syncDir makes a rename in dir survive a power cut. Some network and FUSE file
// systems cannot sync a folder and say so with EINVAL or ENOTSUP; for them
// there is nothing more to be done.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	err = d.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	return err
}
