package task

import (
	"slices"
	"testing"
)

func TestSplitIsAPartitionOfTheAskedSize(t *testing.T) {
	for _, c := range []struct {
		n     int
		valid float64
		want  int
	}{{100, 0.1, 10}, {100, 0, 0}, {100, 7, 7}, {3, 0.01, 1}, {1000, 0.0505, 51}, {0, 0, 0}, {2, 1, 1}} {
		train, valid, err := Split(c.n, c.valid, 42)
		if err != nil || len(valid) != c.want || len(train)+len(valid) != c.n {
			t.Errorf("Split(%d, %v): %d and %d rows, %v; want %d", c.n, c.valid, len(train), len(valid), err, c.want)
			continue
		}
		if !slices.IsSorted(train) || !slices.IsSorted(valid) {
			t.Errorf("Split(%d, %v) is not in order", c.n, c.valid)
		}
		all := slices.Concat(train, valid)
		slices.Sort(all)
		for i, v := range all {
			if i != v {
				t.Fatalf("Split(%d, %v): row %d is missing or there twice", c.n, c.valid, i)
			}
		}
	}
	for _, bad := range []float64{-1, 10, 11} {
		if _, _, err := Split(10, bad, 0); err == nil {
			t.Errorf("Split(10, %v): no error", bad)
		}
	}
}

// TestSplitNeverChanges pins the choice: a run that is resumed with another
// version must not train on its validation rows.
func TestSplitNeverChanges(t *testing.T) {
	_, a, _ := Split(1000, 5, 42)
	_, b, _ := Split(1000, 5, 43)
	if want := []int{49, 354, 470, 633, 823}; !slices.Equal(a, want) {
		t.Errorf("seed 42 chose %v, want %v", a, want)
	}
	if slices.Equal(a, b) {
		t.Error("the seed changes nothing")
	}
}

func TestSplitSpreadsOverTheData(t *testing.T) {
	const n, parts = 100000, 10
	_, valid, err := Split(n, 0.1, 7)
	if err != nil {
		t.Fatal(err)
	}
	var count [parts]int
	for _, i := range valid {
		count[i*parts/n]++
	}
	for p, c := range count {
		// 1000 expected with a standard deviation near 28; 6 of them is 170.
		if c < 830 || c > 1170 {
			t.Errorf("part %d of the data has %d of 10000 rows", p, c)
		}
	}
}
