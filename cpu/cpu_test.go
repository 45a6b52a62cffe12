package cpu

import (
	"fmt"
	"testing"

	"meft/internal/simd"
	"meft/tensor"
	"meft/tensor/devicetest"
)

var _ tensor.Device = (*Device)(nil)

// TestConforms runs the suite at every level of the machine with 1, 2 and 3
// threads and wants the same bits for each number of threads.
func TestConforms(t *testing.T) {
	conforms(t, 500, devicetest.Bits, tensor.F32)
}

// TestProductsOfBF16Conform is TestConforms for products of rounded operands.
func TestProductsOfBF16Conform(t *testing.T) {
	conforms(t, 100, devicetest.BitsOfBF16Products, tensor.BF16)
}

func conforms(t *testing.T, cases int, suite func(*testing.T, func() tensor.Device) map[string]uint64, compute tensor.DType) {
	for _, level := range simd.Levels() {
		if testing.Short() && level == simd.Portable && len(simd.Levels()) > 1 {
			continue // the race detector takes ten minutes for its loops; how work is shared out is the same
		}
		var first map[string]uint64
		for threads := 1; threads <= 3; threads++ {
			if testing.Short() && threads != 2 {
				continue
			}
			t.Run(fmt.Sprintf("%v/%d", level, threads), func(t *testing.T) {
				bits := suite(t, func() tensor.Device {
					d := NewLevel(threads, level)
					d.SetCompute(compute)
					return d
				})
				if len(bits) < cases {
					t.Fatalf("only %d cases ran", len(bits))
				}
				if first == nil {
					first = bits
				}
				for name, want := range first {
					if bits[name] != want {
						t.Errorf("%s has other bits than with 1 thread", name)
					}
				}
			})
		}
	}
}
