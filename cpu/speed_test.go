package cpu

import (
	"math"
	"testing"
	"time"

	"meft/internal/simd"
	"meft/tensor"
	"meft/tensor/devicetest"
)

// The speeds are positive numbers for every level and number of threads; how
// large they are is for measurements to say.
func TestSpeedsAreMeasuredAtEveryLevel(t *testing.T) {
	for _, level := range simd.Levels() {
		for threads := 1; threads <= 2; threads++ {
			d := NewLevel(threads, level)
			var l tensor.Ledger
			a := tensor.NewArena(d, &l, nil)
			x := a.New("x", tensor.F32, 3, readPiece) // more pieces than threads
			for name, speed := range map[string]float64{"peak": d.PeakSpeed(time.Microsecond), "read": d.ReadSpeed(x)} {
				if !(speed > 0) || math.IsInf(speed, 0) {
					t.Errorf("%v, %d threads: %s speed is %v", level, threads, name, speed)
				}
			}
			a.Close()
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A measured device computes the same.
func TestTimedDeviceConforms(t *testing.T) {
	var plain map[string]uint64
	t.Run("device", func(t *testing.T) {
		plain = devicetest.Bits(t, func() tensor.Device { return New(2) })
	})
	timed := &tensor.Timed{}
	t.Run("device", func(t *testing.T) { // the same name, which is part of the cases'
		for name, bits := range devicetest.Bits(t, func() tensor.Device { timed.Device = New(2); return timed }) {
			if want, known := plain[name]; !known || bits != want {
				t.Errorf("%s has other bits when it is measured", name)
			}
		}
	})
	for o, s := range timed.Spent {
		if s.Calls == 0 || s.Time <= 0 {
			t.Errorf("%v: %d calls took %v", tensor.Op(o), s.Calls, s.Time)
		}
	}
}
