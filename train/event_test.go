package train

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"meft/task"
)

func some() []Event {
	loss, f1 := 1.25, 0.5
	return []Event{
		Memory{Groups: []MemoryGroup{{"weights", "device", 3, 99}}, Device: 99, DeviceBudget: 100},
		Dataset{Split: "train", Examples: 3, Tokens: 40, Supervised: 12, Report: &task.Report{Rows: 4, Dropped: 1}},
		Step{Step: 1, Steps: 3, Epoch: 0.5, Loss: 2.5, LearningRate: 1e-3, GradNorm: 0.7, Tokens: 20, RowsTouched: 7, Seconds: 0.1},
		Eval{Step: 1, Epoch: 0.5, Loss: &loss, F1: &f1, Best: true},
		Saved{Step: 1, Dir: "checkpoint-1", Bytes: 4096, Removed: []string{"checkpoint-0"}},
		Step{Step: 2, Steps: 3, Epoch: 1, Loss: 2.25},
		Note{Step: 2, Text: "a \"quoted\"\nnote"},
		Step{Step: 3, Steps: 3, Epoch: 1.5, Loss: 2},
		Done{Step: 3, Epoch: 1.5, Reason: "done", Loss: 2.25, Best: &Best{"loss", 1.25, 1}},
	}
}

func TestEventsAreReadAsTheyWereWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	w, err := OpenWriter(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range some() {
		w.Observe(e)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := ReadEvents(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, some()) {
		t.Errorf("read %+v", got)
	}
	text, _ := os.ReadFile(path)
	if !strings.HasPrefix(string(text), `{"type":"memory","groups":[`) {
		t.Errorf("the file begins with %.60s", text)
	}
}

// What was written after the step a run goes on from is cut, whatever is left of
// the last line; what was written before stays byte for byte.
func TestResumedEventsListNoStepTwice(t *testing.T) {
	var whole []byte
	var ends []int // of each line
	for _, e := range some() {
		line, err := EncodeEvent(e)
		if err != nil {
			t.Fatal(err)
		}
		whole = append(append(whole, line...), '\n')
		ends = append(ends, len(whole))
	}
	for _, c := range []struct {
		name  string
		data  []byte
		step  int
		lines int // kept
	}{
		{"a finished run goes on", whole, 3, 8},
		{"from step 2", whole, 2, 7},
		{"from step 1", whole, 1, 5},
		{"from the start", whole, 0, 2},
		{"anew", whole, -1, 0},
		{"killed within a line", whole[:ends[6]-3], 2, 6},
		{"killed before a line end", whole[:ends[6]-1], 2, 6},
		{"zeros of a power cut", append(bytes.Clone(whole[:ends[4]]), make([]byte, 50)...), 9, 5},
		{"a broken line in the middle", append(append(bytes.Clone(whole[:ends[2]]), "oops\n"...), whole[ends[2]:]...), 9, 3},
		{"no file yet", nil, 5, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "events.jsonl")
			if c.data != nil {
				if err := os.WriteFile(path, c.data, 0o666); err != nil {
					t.Fatal(err)
				}
			}
			w, err := OpenWriter(path, c.step)
			if err != nil {
				t.Fatal(err)
			}
			w.Observe(Note{Step: c.step, Text: "on"})
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			got, _ := os.ReadFile(path)
			kept := 0
			if c.lines > 0 {
				kept = ends[c.lines-1]
			}
			if !bytes.HasPrefix(got, whole[:kept]) || !strings.HasPrefix(string(got[kept:]), `{"type":"note"`) || bytes.Count(got[kept:], []byte("\n")) != 1 {
				t.Errorf("%d lines and a note wanted, the file is %s", c.lines, got)
			}
		})
	}
}

func TestLastLineMayBeIncompleteAndNoOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"type":"note","step":1,"text":"a"}` + "\n" + `{"type":"st`)
	if got, err := ReadEvents(path); err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{`{"type":"st`, `{"type":"nothing"}`, `{}`, `[]`, `{"type":"step","loss":"low"}`} {
		write(`{"type":"note","step":1,"text":"a"}` + "\n" + bad + "\n" + `{"type":"note","step":2,"text":"b"}` + "\n")
		got, err := ReadEvents(path)
		if err == nil || !strings.HasPrefix(err.Error(), path+":2: ") || len(got) != 1 {
			t.Errorf("%s: %v, %v", bad, got, err)
		}
	}
	if _, err := ReadEvents(path + "x"); !missing(err) {
		t.Errorf("no file: %v", err)
	}
}

func TestWriterKeepsItsFirstFailure(t *testing.T) {
	w, err := OpenWriter(filepath.Join(t.TempDir(), "events.jsonl"), 0)
	if err != nil {
		t.Fatal(err)
	}
	w.Observe(Step{Step: 1, Loss: math.Inf(1)})
	first := w.Err()
	w.Observe(Note{Text: "fine"})
	if first == nil || w.Err() != first {
		t.Errorf("first %v, then %v", first, w.Err())
	}
	if err := w.Close(); err == nil {
		t.Error("Close tells nothing of it")
	}
}

func TestTeeTellsAllInOrder(t *testing.T) {
	var heard []string
	hear := func(name string) func(Event) { return func(e Event) { heard = append(heard, name+e.kind()) } }
	Tee(hear("a "), nil, hear("b "))(Note{})
	if strings.Join(heard, ", ") != "a note, b note" {
		t.Errorf("heard %v", heard)
	}
}

// Whatever the file holds, reading does not panic, uses whole lines only, and
// what was understood can be written and read again.
func FuzzParseEvents(f *testing.F) {
	for _, e := range some() {
		line, err := EncodeEvent(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(append(line, '\n'))
		f.Add(line[:len(line)/2])
	}
	f.Add([]byte("{\"type\":\"step\",\"step\":1e99}\n"))
	f.Add([]byte("null\n\n{\"type\":null}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		events, used, err := ParseEvents(data)
		if used > len(data) || used > 0 && data[used-1] != '\n' || err == nil && bytes.IndexByte(data[used:], '\n') >= 0 {
			t.Fatalf("used %d of %q, error %v", used, data, err)
		}
		for _, e := range events {
			line, err := EncodeEvent(e)
			if err != nil {
				t.Fatalf("%+v: %v", e, err)
			}
			again, err := DecodeEvent(line)
			if err != nil || !sameEvent(again, e) {
				t.Fatalf("%+v is read as %+v: %v", e, again, err)
			}
		}
		keepUntil(data, 3)
	})
}

// sameEvent compares what is written of events: an empty list and none are
// written alike.
func sameEvent(a, b Event) bool {
	x, errX := EncodeEvent(a)
	y, errY := EncodeEvent(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
