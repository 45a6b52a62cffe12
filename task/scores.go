package task

import (
	"fmt"
	"iter"
	"math"
)

// Mean is an average of item scores with its standard error (sample standard
// deviation over the root of n; 0 below two items). Both run from 0 to 1.
type Mean struct {
	Value  float64 `json:"value"`
	StdErr float64 `json:"stderr"`
}

// Scores are the averages over a data set. An example without a prediction
// counts as wrong and in Missing. The JSON is what meft eval writes.
type Scores struct {
	N            int  `json:"n"`
	Missing      int  `json:"missing"`
	Unused       int  `json:"unused"` // predictions for no example
	Exact        Mean `json:"exact_match"`
	F1           Mean `json:"f1"`
	Strict       Mean `json:"strict_match"`
	Contains     Mean `json:"contains"`
	ContainsFold Mean `json:"contains_ignore_case"`
}

// ItemScore holds the scores of one answer, 0 to 1 each.
type ItemScore struct {
	Exact        float64 `json:"exact_match"`
	F1           float64 `json:"f1"`
	Strict       float64 `json:"strict_match"`
	Contains     float64 `json:"contains"`
	ContainsFold float64 `json:"contains_ignore_case"`
}

// Mark scores one answer against its references.
func Mark(answer string, references []string) ItemScore {
	is := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	return ItemScore{
		Exact:        is(Exact(answer, references)),
		F1:           F1(answer, references),
		Strict:       is(Strict(answer, references)),
		Contains:     is(Contains(answer, references)),
		ContainsFold: is(ContainsFold(answer, references)),
	}
}

// A Tally adds up item scores. The zero value is empty; the result depends on
// the order of the items only in the last digits.
type Tally struct {
	n, missing int
	sums       [5]moments
}

// moments are sums over items whose scores lie between 0 and 1: at any number of
// items that fits a machine, nothing cancels that a report would show.
type moments struct{ sum, squares float64 }

// Add counts one marked answer.
func (t *Tally) Add(s ItemScore) {
	t.n++
	for i, v := range [5]float64{s.Exact, s.F1, s.Strict, s.Contains, s.ContainsFold} {
		t.sums[i].sum += v
		t.sums[i].squares += v * v
	}
}

// AddMissing counts an example that was not answered: wrong in every score.
func (t *Tally) AddMissing() {
	t.missing++
	t.Add(ItemScore{})
}

// Scores returns the averages so far.
func (t *Tally) Scores() Scores {
	mean := func(i int) Mean {
		n := float64(t.n)
		if t.n == 0 {
			return Mean{}
		}
		m := Mean{Value: t.sums[i].sum / n}
		if t.n > 1 {
			m.StdErr = math.Sqrt(max(t.sums[i].squares/n-m.Value*m.Value, 0) / (n - 1))
		}
		return m
	}
	return Scores{N: t.n, Missing: t.missing, Exact: mean(0), F1: mean(1), Strict: mean(2), Contains: mean(3), ContainsFold: mean(4)}
}

// Score marks predictions, by example id, against the references of examples.
// Errors: one of examples, a repeated id, an example without references, or no
// prediction with the id of any example.
func Score(examples iter.Seq2[Example, error], predictions map[string]string) (Scores, error) {
	var t Tally
	seen := map[string]string{}
	for e, err := range examples {
		if err != nil {
			return Scores{}, err
		}
		if err := e.once(seen); err != nil {
			return Scores{}, err
		}
		if p, ok := predictions[e.ID]; ok {
			t.Add(Mark(p, e.Answers))
		} else {
			t.AddMissing()
		}
	}
	s := t.Scores()
	for id := range predictions {
		if _, ok := seen[id]; !ok {
			s.Unused++
		}
	}
	if s.N > 0 && s.Missing == s.N {
		return s, fmt.Errorf("none of the %d predictions has the id of one of the %d examples", len(predictions), s.N)
	}
	return s, nil
}
