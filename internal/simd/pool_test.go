package simd

import (
	"sync/atomic"
	"testing"
	"time"
)

type taskFunc func(i, worker int)

func (f taskFunc) Do(i, worker int) { f(i, worker) }

func TestPoolRunsEveryPieceOnce(t *testing.T) {
	for _, threads := range []int{1, 2, 4, 7} {
		p := NewPool(threads, Portable)
		for round := range 300 {
			n := round % 40
			count := make([]atomic.Int32, n)
			inUse := make([]atomic.Int32, threads)
			p.Run(n, taskFunc(func(i, worker int) {
				if inUse[worker].Add(1) != 1 {
					t.Error("a worker runs two pieces at once")
				}
				count[i].Add(1)
				inUse[worker].Add(-1)
			}))
			for i := range count {
				if c := count[i].Load(); c != 1 {
					t.Fatalf("%d threads, %d pieces: piece %d ran %d times", threads, n, i, c)
				}
			}
			if round%100 == 99 {
				time.Sleep(time.Millisecond) // let the helpers fall asleep
			}
		}
		p.Close()
	}
}

func TestPoolRaisesPanicOfATaskInTheCaller(t *testing.T) {
	p := NewPool(3, Portable)
	defer p.Close()
	for round := range 20 {
		func() {
			defer func() {
				if v := recover(); v != "seven" {
					t.Fatalf("recovered %v", v)
				}
			}()
			p.Run(20, taskFunc(func(i, worker int) {
				if i == 7 {
					panic("seven")
				}
			}))
			t.Fatal("no panic in round ", round)
		}()
	}
	ran := false
	p.Run(1, taskFunc(func(int, int) { ran = true }))
	if !ran {
		t.Fatal("the pool does not work after a panic")
	}
}

func TestPoolRefusesNestedRun(t *testing.T) {
	p := NewPool(2, Portable)
	defer p.Close()
	defer func() {
		if recover() == nil {
			t.Fatal("no panic")
		}
	}()
	p.Run(1, taskFunc(func(int, int) { p.Run(1, taskFunc(func(int, int) {})) }))
}

func TestPoolWorkspaceIsBounded(t *testing.T) {
	for _, l := range shapes() {
		p := NewPool(4, l)
		if got := p.Bytes(); got > 4200<<10+4*600<<10 {
			t.Errorf("%v: %d bytes for 4 threads", l, got)
		}
		p.Close()
	}
}

func TestPoolRefusesWhatTheMachineLacks(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Fatal("no panic")
		}
	}()
	NewPool(1, Level(7))
}
