package task

import (
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
)

// TaskScore is the average of one way to mark over a data set. The standard error
// is that of the bootstrap: the deviation of the averages of as many items drawn
// with replacement, 1000 times, always the same draws.
type TaskScore struct {
	Marker Marker
	Mean
	N int
}

// Marks are the marks of a data set's answers. The zero value is not ready: see
// NewMarks.
type Marks struct {
	Task    Task
	Missing int // examples without a prediction: wrong in every way
	Unused  int // predictions for no example
	items   [][]float64
}

// NewMarks are no marks yet.
func NewMarks(t Task) *Marks { return &Marks{Task: t} }

// Add marks one answer and returns its marks in the order of Task.Marks.
func (m *Marks) Add(answer string, references []string) []float64 {
	item := m.Task.Mark(answer, references)
	m.items = append(m.items, item)
	return item
}

// AddMissing counts an example that was not answered.
func (m *Marks) AddMissing() {
	m.Missing++
	m.items = append(m.items, make([]float64, len(m.Task.Marks)))
}

// Scores are the averages, in the order of Task.Marks.
func (m *Marks) Scores() []TaskScore {
	var out []TaskScore
	for i, k := range m.Task.Marks {
		x := make([]float64, len(m.items))
		for j, item := range m.items {
			x[j] = item[i]
		}
		out = append(out, TaskScore{k, bootstrap(x), len(x)})
	}
	return out
}

// bootstrap is the mean with its bootstrap standard error.
func bootstrap(x []float64) Mean {
	if len(x) == 0 {
		return Mean{}
	}
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	m := Mean{Value: sum / float64(len(x))}
	if len(x) < 2 {
		return m
	}
	const draws = 1000
	r := rand.New(rand.NewPCG(1, 2))
	var s, squares float64
	for range draws {
		sum := 0.0
		for range x {
			sum += x[r.IntN(len(x))]
		}
		d := sum/float64(len(x)) - m.Value // small numbers, so that squares do not cancel
		s, squares = s+d, squares+d*d
	}
	m.StdErr = math.Sqrt(max(0, squares/draws-(s/draws)*(s/draws)))
	return m
}

// ScoreTask marks predictions, by example id, against the references of
// examples. Errors are those of Score.
func ScoreTask(t Task, examples iter.Seq2[Example, error], predictions map[string]string) (*Marks, error) {
	m := NewMarks(t)
	seen := map[string]string{}
	for e, err := range examples {
		if err != nil {
			return nil, err
		}
		if err := e.once(seen); err != nil {
			return nil, err
		}
		if p, ok := predictions[e.ID]; ok {
			m.Add(p, e.Answers)
		} else {
			m.AddMissing()
		}
	}
	for id := range predictions {
		if _, ok := seen[id]; !ok {
			m.Unused++
		}
	}
	if len(seen) > 0 && m.Missing == len(seen) {
		return m, fmt.Errorf("none of the %d predictions has the id of one of the %d examples: are they of another set?", len(predictions), len(seen))
	}
	return m, nil
}

// once notes the example's id, and refuses one that was there, and an example
// that no answer could be right for.
func (e Example) once(seen map[string]string) error {
	if where, ok := seen[e.ID]; ok {
		return fmt.Errorf("%s: id %q was used before (%s)", e.Where(), e.ID, where)
	}
	seen[e.ID] = e.Where()
	if len(e.Answers) == 0 && !e.Unanswerable {
		return fmt.Errorf("%s: no reference to mark an answer with", e.Where())
	}
	return nil
}
