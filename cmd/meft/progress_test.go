package main

import (
	"strings"
	"testing"
	"time"
)

func TestLinesAreThinnedButFirstAndLastAreShown(t *testing.T) {
	var w locked
	p := &lineProgress{w: &w, unit: "step", every: time.Hour}
	for i := range 5 {
		p.update(i+1, 5, "loss 2")
	}
	p.end()
	if want := "step 1/5  loss 2\nstep 5/5  loss 2\n"; w.String() != want {
		t.Errorf("%q, want %q", w.String(), want)
	}
}

func TestEstimateGoesByThePaceOfThisSession(t *testing.T) {
	r := remaining{first: 900, start: time.Now().Add(-10 * time.Second)}
	// 50 steps in 10 seconds leave 50 more; the 900 before cost nothing here.
	if got := r.text(950, 1000); got != "eta 10s" {
		t.Errorf("got %q, want %q", got, "eta 10s")
	}
	if got := (&remaining{}).text(3, 10); got != "" {
		t.Errorf("an estimate from nothing: %q", got)
	}
}

func TestSpans(t *testing.T) {
	for d, want := range map[time.Duration]string{
		20 * time.Millisecond: "0.02s", 59 * time.Second: "59s", 61 * time.Second: "1m01s", 3*time.Hour + 5*time.Minute: "3h05m", 400 * time.Hour: "99h+",
	} {
		if got := span(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

func TestTerminalShowsABarAndKeepsLines(t *testing.T) {
	var w locked
	e := quiet()
	e.errTerminal, e.width = true, 80
	a := &app{err: &w, env: e}
	p := a.newProgress("step", time.Hour)
	p.say("before")
	p.update(1, 4, "loss 3")
	p.say("between")
	p.update(4, 4, "loss 1")
	p.end()
	p.say("after")
	got := w.String()
	for _, want := range []string{"before\n", "between\n", "after\n", "step 4/4 [", "100 %", "loss 1"} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q:\n%q", want, got)
		}
	}
}

func TestUnfinishedBarEnds(t *testing.T) {
	var w locked
	e := quiet()
	e.errTerminal, e.width = true, 80
	p := (&app{err: &w, env: e}).newProgress("step", time.Hour)
	p.update(1, 4, "loss 3")
	done := make(chan struct{})
	go func() {
		p.end()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("end hangs")
	}
}

func TestTableIsAligned(t *testing.T) {
	tab := newTable("name", ">bytes")
	tab.add("a", "1")
	tab.add("größer", "1,000")
	var b strings.Builder
	if err := tab.write(&b, " "); err != nil {
		t.Fatal(err)
	}
	if want := " name    bytes\n a           1\n größer  1,000\n"; b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestCountsAreGrouped(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000", -100: "-100"} {
		if got := count(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
