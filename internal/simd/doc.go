// Package simd has matrix products and vector primitives for the CPU, in Go
// assembly for AVX2 and AVX-512 with a portable Go loop beside every routine.
// The portable loop is the definition and the reference of the tests; build
// tag purego leaves it alone.
//
// Every routine gives the same bits for the same input at one Level: the order
// of additions depends on the length of the sum only, never on the number of
// threads, the neighbours of a row or the place of an element. Levels may
// differ from each other by rounding.
//
// The package never allocates after [NewPool] and keeps no state of its own.
package simd

//go:generate go run ./_gen
