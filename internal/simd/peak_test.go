package simd

import (
	"testing"
	"time"
)

// Every sum gets a·b once a round, and the count is two operations for each.
func TestPeakDoesTheRoundsItCounts(t *testing.T) {
	const rounds = 6
	for _, l := range Levels() {
		var room PeakRoom
		for i := range room[:32] {
			room[i] = 0.5 // factors of the widest level; narrower ones start their sums with some
		}
		before := room
		flops := l.Peak(rounds, &room)
		added := 0.0
		for i := range room {
			added += float64(room[i] - before[i])
		}
		// A round adds 0.25 to a sum and is two operations; the four sums of
		// the portable loop stand for three rounds each.
		if want := flops / 2 * 0.25; added != want || flops == 0 {
			t.Errorf("%v: the sums grew by %v, %v operations make %v", l, added, flops, want)
		}
		if l.Peak(0, &room) != 0 {
			t.Errorf("%v: no rounds are operations", l)
		}
	}
}

// napTask takes about a millisecond.
type napTask struct{}

func (napTask) Do(int, int) { time.Sleep(time.Millisecond) }

func TestWatchIsToldOfEveryTask(t *testing.T) {
	p := NewPool(2, Best())
	defer p.Close()
	told := 0
	p.Watch(func(task Task, took time.Duration) {
		if _, mine := task.(napTask); !mine || took < time.Millisecond {
			t.Errorf("told of %T, which took %v", task, took)
		}
		told++
	})
	p.Run(3, napTask{})
	p.Run(1, napTask{})
	p.Watch(nil)
	p.Run(2, napTask{})
	if told != 2 {
		t.Errorf("told of %d tasks, ran 2", told)
	}
}
