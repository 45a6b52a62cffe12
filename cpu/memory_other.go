//go:build !linux

package cpu

import "unsafe"

type memory struct{}

type piece struct{}

// reserve takes memory from the Go heap, 64 bytes more for the alignment.
func (*memory) reserve(bytes int) (mem []byte, p piece, err error) {
	raw := make([]byte, bytes+64)
	skip := int(-uintptr(unsafe.Pointer(&raw[0])) & 63)
	return raw[skip : skip+bytes : skip+bytes], piece{}, nil
}

func (piece) release() {}
