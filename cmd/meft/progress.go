package main

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// progress shows how far a long command is. say may be called from another
// goroutine.
type progress interface {
	update(done, total int, detail string) // detail is for people: "loss 2.31"
	say(line string)                       // a line that stays
	end()                                  // once, whatever became of the command
}

// newProgress is a bar on a terminal and lines elsewhere, at most one in every
// interval besides the first and the last.
func (a *app) newProgress(unit string, every time.Duration) progress {
	if a.env.errTerminal {
		return &barProgress{w: a.err, unit: unit, width: a.env.width}
	}
	return &lineProgress{w: a.err, unit: unit, every: every}
}

// remaining estimates how long the rest takes, from the pace since the first
// update: what was done before it, by a run that this one resumes, took no time
// here.
type remaining struct {
	first int
	start time.Time
}

func (r *remaining) text(done, total int) string {
	if r.start.IsZero() {
		r.first, r.start = done, time.Now()
	}
	if done == r.first || done >= total {
		return ""
	}
	pace := time.Since(r.start) / time.Duration(done-r.first)
	return "eta " + span((pace * time.Duration(total-done)).Round(time.Second))
}

// span writes a duration in its two largest units.
func span(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.2gs", d.Seconds())
	}
	d = d.Round(time.Second)
	h, m, s := int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60
	switch {
	case h > 99:
		return "99h+"
	case h > 0:
		return fmt.Sprintf("%dh%02dm", h, m)
	case m > 0:
		return fmt.Sprintf("%dm%02ds", m, s)
	}
	return fmt.Sprintf("%ds", s)
}

// lineProgress writes plain lines.
type lineProgress struct {
	mu    sync.Mutex
	w     io.Writer
	unit  string
	every time.Duration
	last  time.Time
	eta   remaining
}

func (p *lineProgress) update(done, total int, detail string) {
	eta := p.eta.text(done, total)
	if done < total && time.Since(p.last) < p.every {
		return
	}
	p.last = time.Now()
	line := fmt.Sprintf("%s %d/%d", p.unit, done, total)
	for _, part := range []string{detail, eta} {
		if part != "" {
			line += "  " + part
		}
	}
	p.say(line)
}

func (p *lineProgress) say(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintln(p.w, line)
}

func (p *lineProgress) end() {}

// barProgress is a bar that is redrawn in place, with the details on a line of
// their own, so that both fit a narrow terminal.
type barProgress struct {
	mu     sync.Mutex
	w      io.Writer
	unit   string
	width  int
	eta    remaining
	left   atomic.Value // string: the estimate
	detail atomic.Value // string
	screen *mpb.Progress
	bar    *mpb.Bar
}

func (p *barProgress) update(done, total int, detail string) {
	if total < 1 {
		return
	}
	p.detail.Store(detail)
	p.left.Store(p.eta.text(done, total))
	p.mu.Lock()
	if p.bar == nil {
		p.draw(total)
	}
	p.mu.Unlock()
	p.bar.SetCurrent(int64(done))
}

// draw makes the bar. That the output is a terminal was found out before.
func (p *barProgress) draw(total int) {
	p.screen = mpb.New(mpb.WithOutput(p.w), mpb.WithWidth(p.width), mpb.ForceTTY(), mpb.WithAutoRefresh())
	left := decor.Any(func(decor.Statistics) string { return p.left.Load().(string) }, decor.WCSyncSpace)
	detail := mpb.BarFillerFunc(func(w io.Writer, _ decor.Statistics) error {
		_, err := fmt.Fprintln(w, p.detail.Load())
		return err
	})
	p.bar = p.screen.AddBar(int64(total),
		mpb.BarExtender(detail, false),
		mpb.PrependDecorators(decor.Name(p.unit+" "), decor.CountersNoUnit("%d/%d")),
		mpb.AppendDecorators(decor.Percentage(decor.WCSyncSpace), left))
}

// say writes above the bar.
func (p *barProgress) say(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.w
	if p.screen != nil {
		w = p.screen
	}
	if _, err := fmt.Fprintln(w, line); err != nil {
		_, _ = fmt.Fprintln(p.w, line) // the bar has ended
	}
}

func (p *barProgress) end() {
	p.mu.Lock()
	screen := p.screen
	p.mu.Unlock()
	if screen == nil {
		return
	}
	p.bar.Abort(false) // nothing if it is full
	screen.Wait()
}
