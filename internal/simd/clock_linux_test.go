package simd

import (
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is the time that this thread has run, which other programs on the
// machine do not lengthen.
func cpuTime() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
