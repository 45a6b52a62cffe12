package param

import (
	"math"
	"strings"
	"testing"
)

// TestScheduleValuesByHand has the values of get_scheduler's formulas for a
// peak of 8, 4 warmup steps and 12 steps in all.
func TestScheduleValuesByHand(t *testing.T) {
	for kind, want := range map[string]map[int]float64{
		"constant":             {0: 8, 3: 8, 11: 8, 100: 8},
		"constant_with_warmup": {0: 0, 1: 2, 3: 6, 4: 8, 11: 8, 100: 8},
		"linear":               {0: 0, 1: 2, 3: 6, 4: 8, 5: 7, 8: 4, 11: 1, 12: 0, 100: 0},
		"cosine": {0: 0, 2: 4, 4: 8, 6: 4 * (1 + math.Sqrt2/2), 8: 4, 10: 4 * (1 - math.Sqrt2/2),
			12: 0, 20: 0},
	} {
		rate, err := Schedule(kind, 8, 4, 12)
		if err != nil {
			t.Fatal(err)
		}
		for step, v := range want {
			if got := float64(rate(step)); math.Abs(got-v) > 1e-6 {
				t.Errorf("%s at step %d is %v, wants %v", kind, step, got, v)
			}
		}
	}
}

func TestScheduleWithoutWarmupStartsAtThePeak(t *testing.T) {
	for _, kind := range Schedules() {
		rate, err := Schedule(kind, 3, 0, 10)
		if err != nil || rate(0) != 3 {
			t.Errorf("%s starts at %v, %v; wants 3", kind, rate(0), err)
		}
	}
}

func TestScheduleRefusesNonsense(t *testing.T) {
	if _, err := Schedule("polynomial", 1, 0, 1); err == nil || !strings.Contains(err.Error(), "cosine") {
		t.Errorf("unknown kind gives %v, wants the list of kinds", err)
	}
	for _, c := range []struct {
		peak          float64
		warmup, total int
	}{{-1, 0, 1}, {math.NaN(), 0, 1}, {1, -1, 1}, {1, 0, -1}} {
		if _, err := Schedule("linear", c.peak, c.warmup, c.total); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}
