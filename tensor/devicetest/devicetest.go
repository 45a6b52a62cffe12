// Package devicetest is the conformance suite of devices: it compares every
// kernel with package ref. A device that passes runs every model and method.
//
// Outputs start as NaN where a kernel overwrites them, so that reading one
// shows. Every tensor is a view with NaN on both sides, and what a kernel was
// not given as an output has to keep its bits.
package devicetest

import (
	"hash/fnv"
	"math/rand/v2"
	"testing"

	"meft/ref"
	"meft/tensor"
)

// unit is the largest relative error of one float32 rounding. All bounds are
// multiples of it: a chain of k roundings errs by at most about k·unit times
// the sum of the absolute values that went into it.
const unit = 1.0 / (1 << 24)

// tiny is the absolute error allowed everywhere: results in the range of
// denormal numbers may be flushed to zero.
const tiny = 1e-37

// ragged are sizes around the widths of vector registers.
var ragged = []int{1, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65}

// suite is one run of all tests on one device.
type suite struct {
	dev  tensor.Device
	ref  *ref.Device
	bits map[string]uint64 // hash of every output by case
	half bool              // MatMul may round its operands to BF16
}

// Run tests the device that open returns. It closes the device.
func Run(t *testing.T, open func() tensor.Device) {
	t.Helper()
	Bits(t, open)
}

// Bits is Run; it returns a hash of the bits each case computed. A device that
// promises the same bits for, say, every number of threads compares the maps.
func Bits(t *testing.T, open func() tensor.Device) map[string]uint64 {
	t.Helper()
	s := &suite{dev: open(), ref: ref.New(), bits: map[string]uint64{}}
	for _, group := range groups() {
		t.Run(group.name, func(t *testing.T) { group.run(s, t) })
	}
	return s.end(t)
}

// BitsOfBF16Products is Bits for a device whose MatMul rounds both operands to
// BF16 and adds up in float32; of the kernels it tests MatMul and Convert only. The bound of
// an element grows by 2^-7 + 2^-16 of the sum of the absolute values of its
// products, which is what rounding two operands by 2^-8 each can do.
func BitsOfBF16Products(t *testing.T, open func() tensor.Device) map[string]uint64 {
	t.Helper()
	s := &suite{dev: open(), ref: ref.New(), bits: map[string]uint64{}, half: true}
	t.Run("matmul", s.matmul)
	t.Run("quantised", s.quantised)
	return s.end(t)
}

// group is the tests of some kernels.
type group struct {
	name string
	run  func(*suite, *testing.T)
}

func groups() []group {
	return []group{
		{"memory", (*suite).memory},
		{"copies", (*suite).copies},
		{"shapes", (*suite).shapes},
		{"matmul", (*suite).matmul},
		{"quantised", (*suite).quantised},
		{"gather", (*suite).gather},
		{"bias", (*suite).bias},
		{"columns", (*suite).columns},
		{"rmsnorm", (*suite).rmsnorm},
		{"rope", (*suite).rope},
		{"attention", (*suite).attention},
		{"swiglu", (*suite).swiglu},
		{"act", (*suite).act},
		{"dropout", (*suite).dropout},
		{"rows", (*suite).rows},
		{"gatedrelu", (*suite).gatedReLU},
		{"softmax", (*suite).softmax},
		{"pick", (*suite).pick},
		{"crossentropy", (*suite).crossEntropy},
		{"elements", (*suite).elements},
		{"convert", (*suite).convert},
		{"maskzeros", (*suite).maskZeros},
		{"sumsquares", (*suite).sumSquares},
		{"adamw", (*suite).adamw},
	}
}

// end checks that nothing is left of the device's memory, closes it and returns
// the bits.
func (s *suite) end(t *testing.T) map[string]uint64 {
	t.Helper()
	if err := s.dev.Sync(); err != nil {
		t.Errorf("sync: %v", err)
	}
	for p := tensor.Pool(0); p < tensor.Pools; p++ {
		if n := s.dev.Allocated(p); n != 0 {
			t.Errorf("%d bytes of %v memory are counted as allocated after everything was freed", n, p)
		}
	}
	if err := s.dev.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	return s.bits
}

// seeded is a random source that depends on the name only, so that a case
// computes the same alone and in the suite.
func seeded(name string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(name))
	return rand.New(rand.NewPCG(h.Sum64(), 1))
}
