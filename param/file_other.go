//go:build !linux

package param

import (
	"fmt"
	"runtime"

	"meft/tensor"
)

// File is the memory of tables that may be larger than the RAM; only Linux has
// it.
type File struct{}

// NewFile is refused.
func NewFile(dir string, bytes int64) (*File, error) {
	return nil, fmt.Errorf("%s: tables on disk need Linux, this is %s; use host_store memory", dir, runtime.GOOS)
}

// Alloc is refused.
func (*File) Alloc(int64) (tensor.Buffer, error) {
	return nil, fmt.Errorf("tables on disk need Linux")
}

// Close does nothing.
func (*File) Close() {}
