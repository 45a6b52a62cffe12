package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// command is a program to be run.
type command struct {
	args  []string
	env   []string // NAME=value, over ours
	dir   string
	stdin string
	limit time.Duration
	// stamp matches what marks the end of a step in the output; after stamps of
	// them the program is ended.
	stamp  *regexp.Regexp
	stamps int
}

// output is what a program said, and when.
type output struct {
	text   string // standard output
	all    string // with standard error
	stamps []stamped
}

// stamped is a match of command.stamp.
type stamped struct {
	at    time.Time
	match []string
}

// stats are what a run was like.
type stats struct {
	wall         float64 // seconds
	noise, steal float64 // cores
	rss          int64   // MiB, largest
	aborted      bool    // others came alive
}

// run runs a program and watches the machine. It is ended when others need much
// more than noise cores for two seconds.
func (c command) run(noise float64) (output, stats) {
	limit := c.limit
	if limit == 0 {
		limit = 15 * time.Minute
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Env, cmd.Dir = append(os.Environ(), c.env...), c.dir
	if c.stdin != "" {
		cmd.Stdin = strings.NewReader(c.stdin)
	}
	rec := &recorder{stamp: c.stamp, most: c.stamps, enough: cancel}
	var text bytes.Buffer
	cmd.Stdout = teeing{rec, &text}
	cmd.Stderr = rec
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return output{all: err.Error()}, stats{}
	}
	w := &watch{pid: cmd.Process.Pid, start: start, max: noise, kill: cancel}
	w.from, w.stolen = cpuTimes()
	w.lastAt, w.last = start, w.from
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(50 * time.Millisecond):
				w.tick()
			}
		}
	})
	err := cmd.Wait()
	close(done)
	watching.Wait()
	all := rec.text()
	if err != nil && ctx.Err() == context.DeadlineExceeded {
		all += "\nended after " + limit.String()
	}
	return output{text: text.String(), all: all, stamps: rec.stamps}, w.stats()
}

// recorder keeps what a program writes and when the marks of steps came.
type recorder struct {
	mu     sync.Mutex
	all    bytes.Buffer
	stamp  *regexp.Regexp
	most   int
	enough func()
	stamps []stamped
	seen   int // bytes in which marks have been looked for
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all.Write(p)
	if r.stamp == nil {
		return len(p), nil
	}
	for {
		rest := r.all.Bytes()[r.seen:]
		at := r.stamp.FindSubmatchIndex(rest)
		if at == nil {
			return len(p), nil
		}
		var match []string
		for i := 0; i < len(at); i += 2 {
			if at[i] < 0 {
				match = append(match, "")
			} else {
				match = append(match, string(rest[at[i]:at[i+1]]))
			}
		}
		r.stamps = append(r.stamps, stamped{time.Now(), match})
		r.seen += at[1]
		if r.most > 0 && len(r.stamps) >= r.most {
			r.enough()
		}
	}
}

func (r *recorder) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all.String()
}

// teeing writes to a recorder and a buffer.
type teeing struct {
	r *recorder
	b *bytes.Buffer
}

func (t teeing) Write(p []byte) (int, error) {
	t.b.Write(p)
	return t.r.Write(p)
}

// watch follows a process and what others use beside it.
type watch struct {
	pid     int
	start   time.Time
	max     float64
	kill    func()
	from    float64 // CPU seconds of the whole machine at the start
	stolen  float64
	own     float64 // of the process
	peak    int64   // KiB
	aborted bool

	lastAt        time.Time
	last, lastOwn float64
	noise, steal  float64
}

func (w *watch) tick() {
	if data, err := os.ReadFile("/proc/" + strconv.Itoa(w.pid) + "/status"); err == nil {
		w.peak = max(w.peak, number(field(string(data), "VmHWM:")))
	}
	own, ok := processTime(w.pid)
	if !ok {
		return
	}
	w.own = max(w.own, own)
	busy, stolen := cpuTimes()
	now := time.Now()
	if d := now.Sub(w.start).Seconds(); d > 0.5 {
		w.noise, w.steal = max(0, (busy-w.from-w.own)/d), (stolen-w.stolen)/d
	}
	if d := now.Sub(w.lastAt).Seconds(); d >= 2 {
		if (busy-w.last-(w.own-w.lastOwn))/d > w.max+0.45 {
			w.aborted = true
			w.kill()
		}
		w.lastAt, w.last, w.lastOwn = now, busy, w.own
	}
}

func (w *watch) stats() stats {
	return stats{wall: time.Since(w.start).Seconds(), noise: w.noise, steal: w.steal, rss: w.peak >> 10, aborted: w.aborted}
}

// ticks is the number of clock ticks a second in /proc: 100 on every Linux that
// these programs run on.
const ticks = 100

// cpuTimes are the CPU seconds that all programs have used, and those that the
// host gave to others.
func cpuTimes() (busy, stolen float64) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	line, _, _ := strings.Cut(string(data), "\n")
	v := strings.Fields(line)
	for _, i := range []int{1, 2, 3, 6, 7} { // user, nice, system, irq, softirq
		if i < len(v) {
			busy += float64(number(v[i])) / ticks
		}
	}
	if len(v) > 8 {
		stolen = float64(number(v[8])) / ticks
	}
	return busy, stolen
}

// processTime is the CPU seconds of a process, all its threads and the children
// it has waited for.
func processTime(pid int) (float64, bool) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	v := strings.Fields(rest)
	if len(v) < 15 {
		return 0, false
	}
	sum := 0.0
	for _, f := range v[11:15] {
		sum += float64(number(f)) / ticks
	}
	return sum, true
}

// quietLimit is how long a quiet machine is waited for.
const quietLimit = 10 * time.Minute

// waitQuiet waits until others use fewer than so many cores for a moment.
func waitQuiet(cores float64) {
	told := time.Now()
	for end := time.Now().Add(quietLimit); time.Now().Before(end); time.Sleep(time.Second) {
		from, _ := cpuTimes()
		start := time.Now()
		time.Sleep(700 * time.Millisecond)
		to, _ := cpuTimes()
		used := (to - from) / time.Since(start).Seconds()
		if used <= cores {
			return
		}
		if time.Since(told) > 20*time.Second {
			fmt.Printf("waiting: other programs use %.1f cores\n", used)
			told = time.Now()
		}
	}
}

// field is what follows a name in a text of lines, up to the end of the line.
func field(text, name string) string {
	_, rest, found := strings.Cut(text, name)
	if !found {
		return ""
	}
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}

// number reads the digits a text begins with.
func number(s string) int64 {
	end := 0
	for end < len(s) && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	n, _ := strconv.ParseInt(s[:end], 10, 64)
	return n
}
