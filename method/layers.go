package method

import (
	"fmt"
	"strconv"
	"strings"
)

// parseLayers reads a choice of layers of a model that has n: "all", or numbers
// and ranges from 0 such as "8-15" or "0,3,5-7". The result is ascending.
func parseLayers(setting, s string, n int) ([]int, error) {
	chosen := make([]bool, n)
	if s == "all" {
		s = fmt.Sprintf("0-%d", n-1)
	}
	for part := range strings.SplitSeq(s, ",") {
		low, high, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			high = low
		}
		from, err1 := strconv.Atoi(low)
		to, err2 := strconv.Atoi(high)
		if err1 != nil || err2 != nil || from > to {
			return nil, fmt.Errorf("%s is %q: %q is not a layer or a range; write \"all\", \"8-15\" or \"0,3,5\"", setting, s, part)
		}
		if from < 0 || to >= n {
			return nil, fmt.Errorf("%s is %q: the model has layers 0 to %d", setting, s, n-1)
		}
		for i := from; i <= to; i++ {
			if chosen[i] {
				return nil, fmt.Errorf("%s is %q: layer %d is named twice", setting, s, i)
			}
			chosen[i] = true
		}
	}
	var layers []int
	for i, c := range chosen {
		if c {
			layers = append(layers, i)
		}
	}
	return layers, nil
}
