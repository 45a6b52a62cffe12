package task

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Split divides rows 0 to n-1 for training and validation. valid below 1 is a
// share of the rows, rounded, at least one row if it is not 0; from 1 on it is a
// number of rows. The choice depends on n, valid and seed only; both lists
// ascend. An error tells that no row would be left for training.
func Split(n int, valid float64, seed uint64) (train, validation []int, err error) {
	if math.IsNaN(valid) || valid < 0 {
		return nil, nil, fmt.Errorf("validation size is %v, wanted a share from 0 to 1 or a number of rows", valid)
	}
	k := int(min(math.Round(valid), float64(n)))
	if valid < 1 {
		k = int(math.Round(valid * float64(n)))
		if valid > 0 {
			k = max(k, 1)
		}
	}
	if k >= n && k > 0 {
		return nil, nil, fmt.Errorf("a validation size of %v leaves no row of %d for training", valid, n)
	}
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	// The rows with the k smallest hashes: a choice that no library version
	// changes, unlike a shuffle.
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(mix(seed, a), mix(seed, b)), cmp.Compare(a, b))
	})
	validation, train = slices.Clone(order[:k]), order[k:]
	slices.Sort(validation)
	slices.Sort(train)
	return train, validation, nil
}

// mix hashes a row number: SplitMix64's output function (Steele, Lea, Flood,
// OOPSLA 2014) at a state made of seed and row.
func mix(seed uint64, row int) uint64 {
	z := seed*0xd1342543de82ef95 + uint64(row+1)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
