//go:build !unix

package safetensors

import (
	"io"
	"os"
)

// mapFile reads the first size bytes of f into memory, for systems without mmap.
func mapFile(f *os.File, size int) ([]byte, error) {
	data := make([]byte, size)
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, err
	}
	return data, nil
}

// unmapFile has nothing to undo: the garbage collector frees the copy.
func unmapFile([]byte) error { return nil }

// releasePages does nothing: the copy cannot be read again.
func releasePages([]byte, int, int) {}

// syncDir does nothing: these systems cannot sync a folder.
func syncDir(string) error { return nil }
