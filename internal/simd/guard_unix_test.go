//go:build unix

package simd

import (
	"syscall"
	"testing"
	"unsafe"
)

// guarded returns n zero elements that end where unreadable memory begins, so
// that a read or write past the end faults. Free it with the test.
func guarded[T any](t testing.TB, n int) []T {
	t.Helper()
	page := syscall.Getpagesize()
	var zero T
	size := n * int(unsafe.Sizeof(zero))
	pages := (size + page - 1) / page * page
	mem, err := syscall.Mmap(-1, 0, pages+page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Munmap(mem) })
	if err := syscall.Mprotect(mem[pages:], syscall.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&mem[pages-size:][0])), n)
}
