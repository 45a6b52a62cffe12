//go:build !race

package meft

// raceDetector reports whether the tests run under the race detector.
const raceDetector = false
