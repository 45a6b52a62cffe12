package devicetest

import (
	"testing"

	"meft/ref"
	"meft/tensor"
)

// TestReferencePassesItself shows that the suite's own bookkeeping holds.
func TestReferencePassesItself(t *testing.T) {
	Run(t, func() tensor.Device { return ref.New() })
}
