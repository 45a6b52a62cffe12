package meft

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes.
type Size int64

// String is the size in the largest fitting decimal unit.
func (s Size) String() string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	v, u := float64(s), 0
	for v >= 999.5 && u < len(units)-1 {
		v /= 1000
		u++
	}
	if u == 0 || v >= 100 {
		return fmt.Sprintf("%.0f %s", v, units[u])
	}
	return fmt.Sprintf("%.3g %s", v, units[u])
}

// ParseSize reads 8GB, 512MiB, 1.5e9 or 0. Units are decimal, with an i binary.
func ParseSize(text string) (Size, error) {
	t := strings.ToLower(strings.TrimSpace(text))
	i := strings.LastIndexAny(t, "0123456789.") + 1
	number, unit := t[:i], strings.TrimSpace(t[i:])
	scale := map[string]float64{"": 1, "b": 1, "k": 1e3, "kb": 1e3, "m": 1e6, "mb": 1e6, "g": 1e9, "gb": 1e9, "t": 1e12, "tb": 1e12,
		"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}[unit]
	if n, err := strconv.ParseInt(number, 10, 64); err == nil && scale == 1 && n >= 0 {
		return Size(n), nil // every byte counts, also beyond what a float holds
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || scale == 0 || v < 0 || v*scale >= math.MaxInt64 {
		return 0, fmt.Errorf("a size such as 8GB or 512MiB")
	}
	return Size(v * scale), nil
}
