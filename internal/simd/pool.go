package simd

import (
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"time"
)

// Task is work in numbered pieces. Do runs piece i on the given worker, which
// is below [Pool.Threads]; pieces of one task run at the same time, each
// worker runs one at a time.
type Task interface{ Do(i, worker int) }

// Pool runs tasks on a fixed number of threads, the calling goroutine being
// one, and owns the workspace of the matrix products. It serves one goroutine
// at a time: calling Run or MatMul from a task or from two goroutines at once
// panics. Helpers spin about 20 µs after a task, then block until the next.
type Pool struct {
	level   Level
	pairs   bool     // MatMulBF16 multiplies pairs
	workers []worker // workspace by worker; 0 is the caller
	helpers []helper
	job     matMul
	a       []float32 // packed A of a phase of MatMul
	busy    atomic.Bool
	closed  atomic.Bool
	task    Task
	n       int64
	failure atomic.Pointer[failure]
	watch   func(t Task, took time.Duration) // nil for nobody

	_     [64]byte // the two words that threads fight over get lines of their own
	next  atomic.Int64
	_     [64]byte
	state atomic.Uint64 // generation<<32 | open bit | helpers inside
	_     [64]byte
}

const doorOpen = 1 << 31

// helper is the sleeping place of one helper.
type helper struct {
	parked atomic.Bool
	wake   chan struct{} // capacity 1
}

// failure is the first panic of a task.
type failure struct{ value any }

// spinRounds is about 20 µs of polling.
const spinRounds = 20000

// NewPool starts a pool of threads workers (at least 1) at a level that this
// machine has, and panics otherwise. Close it to end its goroutines.
func NewPool(threads int, level Level) *Pool {
	if threads < 1 {
		panic(fmt.Sprintf("simd: pool of %d threads", threads))
	}
	if level != wideTest && !slices.Contains(Levels(), level) {
		panic(fmt.Sprintf("simd: this machine or build has no %v", level))
	}
	p := &Pool{level: level, pairs: level == AVX512 && DotsBF16(), workers: make([]worker, threads), helpers: make([]helper, threads-1)}
	shape := level.blocks()
	p.a = aligned(phaseDepth * shape.aLen(phaseRows))
	for i := range p.workers {
		p.workers[i].init(level, shape)
	}
	for i := range p.helpers {
		p.helpers[i].wake = make(chan struct{}, 1)
		go p.help(i)
	}
	return p
}

// Threads is the number of workers, the caller included.
func (p *Pool) Threads() int { return len(p.workers) }

// Level is the level of the pool's matrix products.
func (p *Pool) Level() Level { return p.level }

// Bytes is the size of the workspace in bytes. It does not change.
func (p *Pool) Bytes() int64 {
	total := 4 * int64(cap(p.a))
	for i := range p.workers {
		total += p.workers[i].bytes()
	}
	return total
}

// Close ends the helper goroutines. The pool must be idle and is not used
// again.
func (p *Pool) Close() {
	p.enter()
	p.closed.Store(true)
	p.state.Add(1 << 32)
	for i := range p.helpers {
		p.helpers[i].rouse()
	}
}

// Run calls t.Do(i, worker) once for every i in [0, n) and returns when all
// calls have. Workers take the next i as they become free. One piece, or a
// pool of one thread, runs inline. The first panic of a piece is raised again
// here, after pieces in progress have ended; the others are dropped.
func (p *Pool) Run(n int, t Task) {
	p.enter()
	if p.watch == nil {
		p.run(n, t)
	} else {
		start := time.Now()
		p.run(n, t)
		p.watch(t, time.Since(start))
	}
	p.busy.Store(false)
}

// Watch tells f of every task that Run did and how long it took, for
// measurements; nil ends it. The pool must be idle.
func (p *Pool) Watch(f func(t Task, took time.Duration)) { p.watch = f }

func (p *Pool) enter() {
	if !p.busy.CompareAndSwap(false, true) {
		if p.closed.Load() {
			panic("simd: pool used after Close")
		}
		panic("simd: pool used by a task or by two goroutines at once")
	}
}

// run is Run for a caller that has entered.
func (p *Pool) run(n int, t Task) {
	p.task, p.n = t, int64(n)
	p.next.Store(0)
	if n <= 1 || len(p.helpers) == 0 {
		p.work(0)
	} else {
		// The door opens with a new generation; helpers that come while it is
		// open are counted. One that sleeps through the task is not waited for.
		p.state.Store((p.state.Load()>>32+1)<<32 | doorOpen)
		for i := range min(len(p.helpers), n-1) {
			p.helpers[i].rouse()
		}
		p.work(0)
		for {
			s := p.state.Load()
			if p.state.CompareAndSwap(s, s&^doorOpen) {
				break
			}
		}
		p.settle()
	}
	p.task = nil
	if f := p.failure.Swap(nil); f != nil {
		p.busy.Store(false)
		panic(f.value)
	}
}

// settle waits for the helpers that are inside. One that the system has taken
// off its core on a busy machine is not waited for at full speed.
func (p *Pool) settle() {
	for i := 1; uint32(p.state.Load()) != 0; i++ {
		switch {
		case i > 10*spinRounds:
			time.Sleep(20 * time.Microsecond)
		case i%1000 == 0:
			runtime.Gosched()
		}
	}
}

// work takes pieces until none is left.
func (p *Pool) work(worker int) {
	defer p.rescue()
	for {
		i := p.next.Add(1) - 1
		if i >= p.n {
			return
		}
		p.task.Do(int(i), worker)
	}
}

// rescue keeps the first panic for the caller and stops handing out pieces.
func (p *Pool) rescue() {
	if v := recover(); v != nil {
		p.failure.CompareAndSwap(nil, &failure{v})
		p.next.Store(p.n)
	}
}

func (h *helper) rouse() {
	if h.parked.CompareAndSwap(true, false) {
		h.wake <- struct{}{}
	}
}

// help is the life of helper h.
func (p *Pool) help(h int) {
	last := uint64(0)
	for {
		last = p.await(&p.helpers[h], last)
		if p.closed.Load() {
			return
		}
		for {
			s := p.state.Load()
			if s&doorOpen == 0 || s>>32 != last {
				break
			}
			if p.state.CompareAndSwap(s, s+1) {
				p.work(h + 1)
				p.state.Add(^uint64(0))
				break
			}
		}
	}
}

// await returns the generation that follows last: first by polling, then
// asleep.
func (p *Pool) await(h *helper, last uint64) uint64 {
	for i := 0; ; i++ {
		if g := p.state.Load() >> 32; g != last {
			return g
		}
		if i < spinRounds {
			continue
		}
		h.parked.Store(true)
		// A task that came before parked was set did not rouse this helper.
		if p.state.Load()>>32 == last || !h.parked.CompareAndSwap(true, false) {
			<-h.wake
		}
		i = 0
	}
}
