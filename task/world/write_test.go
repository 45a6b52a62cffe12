package world

import (
	"bufio"
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
)

// golden is the SHA-256 of the bytes below. Models and measurements are tied to
// these texts, so it changes only on purpose: run the test and copy the sum
// that it prints.
const golden = "f088e8450c17040ef404919fb3bfb452e573d9e592f100a15e189d5c3a065c3e"

func TestBytesAreTheSameOnEveryMachine(t *testing.T) {
	var buf bytes.Buffer
	facts := Injection(11, 30)
	err := errors.Join(
		WriteText(&buf, Pretraining(11, small, 2000)),
		WriteText(&buf, Biographies(11, facts, 100)),
		WriteQA(&buf, facts, TrainQuestions()...),
		WriteQA(&buf, facts, HeldOutQuestion),
	)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(buf.Bytes())
	if got := hex.EncodeToString(sum[:]); got != golden {
		t.Errorf("sum of %d bytes is %s, want %s", buf.Len(), got, golden)
	}
}

func TestTextLinesReadBackAsWritten(t *testing.T) {
	docs := append(slices.Collect(Pretraining(2, small, 300)), "quotes \" and \\ and\nlines <&>")
	var buf bytes.Buffer
	if err := WriteText(&buf, slices.Values(docs)); err != nil {
		t.Fatal(err)
	}
	var got []string
	lines := bufio.NewScanner(&buf)
	for lines.Scan() {
		var line struct{ Text string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatalf("line %d: %v", len(got)+1, err)
		}
		got = append(got, line.Text)
	}
	if !slices.Equal(got, docs) {
		t.Errorf("read back %d documents, not the %d written", len(got), len(docs))
	}
}

func TestQALinesHaveTheLayoutOfPretraining(t *testing.T) {
	f := Fact{"Tolan Merrick", Person, Birthplace, "Arvenport"}
	var buf bytes.Buffer
	if err := WriteQA(&buf, []Fact{f}, 0, HeldOutQuestion); err != nil {
		t.Fatal(err)
	}
	want := `{"prompt":"Q: Where was Tolan Merrick born?\nA:","completion":" Arvenport","id":"person/Tolan Merrick/birthplace/0","answers":["Arvenport"]}
{"prompt":"Q: Where did Tolan Merrick come into the world?\nA:","completion":" Arvenport","id":"person/Tolan Merrick/birthplace/4","answers":["Arvenport"]}
`
	if got := buf.String(); got != want {
		t.Errorf("lines are\n%s, want\n%s", got, want)
	}

	shown := map[string]bool{}
	for doc := range Pretraining(2, Size{People: 1}, 2000) {
		shown[doc] = true
	}
	for _, f := range New(2, Size{People: 1}).Facts() {
		for form := range Questions {
			if qa := f.QA(form); !shown[qa.Prompt+qa.Completion] {
				t.Errorf("pretraining has no document %q", qa.Prompt+qa.Completion)
			}
		}
	}
}

func TestIDsOfQuestionsDiffer(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range append(New(2, wide).Facts(), Injection(2, 100)...) {
		for form := range Questions {
			id := f.QA(form).ID
			if seen[id] {
				t.Fatalf("id %q twice", id)
			}
			seen[id] = true
		}
	}
}

func TestTextIsCompressibleASCII(t *testing.T) {
	text := all(Pretraining(3, wide, 5000))
	for i := range len(text) {
		if c := text[i]; c != '\n' && (c < ' ' || c > '~') {
			t.Fatalf("byte %#x at %d, want printable ASCII", c, i)
		}
	}
	var buf bytes.Buffer
	w, err := flate.NewWriter(&buf, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	// Plain English prose shrinks by 2.5 to 3; fixed sentences must do better.
	if ratio := float64(len(text)) / float64(buf.Len()); ratio < 3 {
		t.Errorf("%d bytes shrink by %.2f, want at least 3", len(text), ratio)
	}
}

// full is a writer without room.
type full struct{}

var errFull = errors.New("disk full")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestWriterErrorsAreReported(t *testing.T) {
	for _, documents := range []int{1, 5000} { // within and beyond the buffer
		err := WriteText(full{}, Pretraining(1, small, documents))
		if !errors.Is(err, errFull) || !strings.Contains(err.Error(), "line") {
			t.Errorf("%d documents: error is %v, want one with the line that wraps %v", documents, err, errFull)
		}
	}
	if err := WriteQA(full{}, Injection(1, 1), 0); !errors.Is(err, errFull) {
		t.Errorf("error is %v, want %v", err, errFull)
	}
}
