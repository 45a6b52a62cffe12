//go:build !linux

package cpu

import "unsafe"

// reserve takes memory from the Go heap, 64 bytes more for the alignment.
func reserve(bytes int) (mem []byte, free func([]byte), err error) {
	raw := make([]byte, bytes+64)
	skip := int(-uintptr(unsafe.Pointer(&raw[0])) & 63)
	return raw[skip : skip+bytes : skip+bytes], func([]byte) {}, nil
}
