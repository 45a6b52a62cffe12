package compare

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	"meft"
)

// size is a method's setting that makes its adapter larger, with a value.
type size struct {
	setting string
	value   int
}

func (s size) String() string { return fmt.Sprintf("%s=%d", s.setting, s.value) }

// in is the configuration with that size.
func (s size) in(c meft.Config) meft.Config {
	c.Settings = maps.Clone(c.Settings)
	if c.Settings == nil {
		c.Settings = map[string]string{}
	}
	c.Settings[s.setting] = strconv.Itoa(s.value)
	return c
}

// most is where sizes end: no machine holds more of anything.
const most = 1 << 24

// largest is the largest size with which a configuration keeps its budgets, to a
// sixteenth; nil for a method without a size, and for one without a budget, which
// keeps its default. A problem says why nothing fits.
func largest(c meft.Config) (*size, string, error) {
	s, err := sizeOf(c.Method)
	if err != nil {
		return nil, "", err
	}
	fits := func(s *size) (bool, string, error) {
		at := c
		if s != nil {
			at = s.in(c)
		}
		p, err := meft.MakePlan(at)
		if err != nil {
			return false, "", err
		}
		return len(p.Problems) == 0, strings.Join(p.Problems, "; "), nil
	}
	if s == nil || c.DeviceMemory == 0 && c.HostMemory == 0 {
		ok, why, err := fits(s)
		if err != nil || !ok {
			return nil, "does not fit: " + why, err
		}
		return s, "", nil
	}
	ok, why, err := fits(s)
	if err != nil {
		return nil, "", err
	}
	low, high := s.value, s.value
	if !ok { // smaller ones
		for !ok {
			if high = low; low == 1 {
				return nil, "does not fit: " + why, nil
			}
			low = max(1, low/2)
			if ok, _, err = fits(&size{s.setting, low}); err != nil {
				// Such as fewer neurons than a token keeps: as small as it can be.
				return nil, fmt.Sprintf("does not fit, and %s=%d cannot be halved (%v): %s", s.setting, high, err, why), nil
			}
		}
	} else {
		for ok && high < most {
			low, high = high, 2*high
			if ok, _, err = fits(&size{s.setting, high}); err != nil {
				ok = false // such as a rank above the width: as large as the model allows
			}
		}
		if ok {
			return &size{s.setting, high}, "", nil
		}
	}
	for high-low > max(1, low/16) {
		mid := (low + high) / 2
		if ok, _, err := fits(&size{s.setting, mid}); err == nil && ok {
			low = mid
		} else {
			high = mid
		}
	}
	return &size{s.setting, low}, "", nil
}

// sizeOf is a method's size at its default, nil for one that has none.
func sizeOf(method string) (*size, error) {
	for _, m := range meft.Methods() {
		if m.Name != method || m.Size == "" {
			continue
		}
		for _, s := range m.Settings {
			if s.Name == m.Size {
				v, err := strconv.Atoi(s.Default)
				return &size{s.Name, v}, err
			}
		}
		return nil, fmt.Errorf("method %s has no setting %s", method, m.Size)
	}
	return nil, nil
}
