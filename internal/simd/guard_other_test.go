//go:build !unix

package simd

import "testing"

// guarded returns n zero elements; there is no guard page here.
func guarded[T any](t testing.TB, n int) []T { return make([]T, n) }
