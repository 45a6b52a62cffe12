package param

import (
	"fmt"
	"math"
)

// Schedules are the names Schedule knows.
func Schedules() []string { return []string{"linear", "cosine", "constant", "constant_with_warmup"} }

// Schedule gives the learning rate of a step, which is the number of steps made
// before it, so that the first is 0. All but "constant" rise linearly from 0 to
// peak in the first warmup steps; "linear" and "cosine" then fall to 0 at step
// total. They are the formulas of Hugging Face's get_scheduler. The function is
// pure. The error names an unknown kind or impossible numbers.
func Schedule(kind string, peak float64, warmup, total int) (func(step int) float32, error) {
	if warmup < 0 || total < 0 || math.IsNaN(peak) || math.IsInf(peak, 0) || peak < 0 {
		return nil, fmt.Errorf("schedule %q: peak %v, %d warmup steps, %d steps in all; wants none below 0", kind, peak, warmup, total)
	}
	var after func(step int) float64 // the factor once warm
	switch kind {
	case "constant":
		return func(int) float32 { return float32(peak) }, nil
	case "constant_with_warmup":
		after = func(int) float64 { return 1 }
	case "linear":
		after = func(step int) float64 { return max(0, float64(total-step)/float64(max(1, total-warmup))) }
	case "cosine":
		after = func(step int) float64 {
			progress := float64(step-warmup) / float64(max(1, total-warmup))
			// Past the end the cosine would rise again.
			return max(0, 0.5*(1+math.Cos(math.Pi*min(1, progress))))
		}
	default:
		return nil, fmt.Errorf("schedule %q is unknown, wants one of %q", kind, Schedules())
	}
	return func(step int) float32 {
		if step < warmup {
			return float32(peak * float64(step) / float64(warmup))
		}
		return float32(peak * after(step))
	}, nil
}
