//go:build !linux

package meft

// freeDisk is not known here.
func freeDisk(string) (int64, bool) { return 0, false }

// peakRSS is not known here.
func peakRSS() int64 { return 0 }

// forgetPeakRSS is not possible here.
func forgetPeakRSS() bool { return false }

// lockFolder is not done here.
func lockFolder(string) (unlock func(), err error) { return func() {}, nil }
