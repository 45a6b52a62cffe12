//go:build !linux

package simd

import "time"

var started = time.Now()

// cpuTime is the elapsed time.
func cpuTime() time.Duration { return time.Since(started) }
