package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// outcome is what a run of the program came to.
type outcome struct {
	code     int
	out, err string
}

// quiet is an env without terminal, signals or variables.
func quiet() env {
	return env{
		lookup: func(string) (string, bool) { return "", false },
		notify: func(chan<- os.Signal) func() { return func() {} },
	}
}

// meftIn runs the program in process.
func meftIn(stdin string, e env, args ...string) outcome {
	var out, err locked
	code := run(args, strings.NewReader(stdin), &out, &err, e)
	return outcome{code, out.String(), err.String()}
}

// invoke runs the program without terminal or input.
func invoke(args ...string) outcome { return meftIn("", quiet(), args...) }

// must runs the program and wants exit code 0.
func must(t *testing.T, args ...string) outcome {
	t.Helper()
	o := invoke(args...)
	if o.code != 0 {
		t.Fatalf("meft %s: exit code %d\n%s", strings.Join(args, " "), o.code, o.err)
	}
	return o
}

// refused runs the program and wants an exit code, nothing on standard output
// and all the words in the message.
func refused(t *testing.T, code int, words []string, args ...string) {
	t.Helper()
	o := invoke(args...)
	if o.code != code {
		t.Errorf("meft %s: exit code %d, want %d\n%s", strings.Join(args, " "), o.code, code, o.err)
	}
	if o.out != "" {
		t.Errorf("meft %s: wrote %q to standard output", strings.Join(args, " "), o.out)
	}
	for _, w := range words {
		if !strings.Contains(o.err, w) {
			t.Errorf("meft %s: the message lacks %q:\n%s", strings.Join(args, " "), w, o.err)
		}
	}
}

// locked is a buffer that several goroutines may write.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// shared is a path in the test material beside the repository.
func shared(t *testing.T, parts ...string) string {
	t.Helper()
	path := filepath.Join(append([]string{"..", "..", "..", "shared"}, parts...)...)
	if _, err := os.Stat(path); err != nil {
		t.Skip("shared test material not found")
	}
	return path
}

// stories is the folder of the small trained model.
func stories(t *testing.T) string {
	t.Helper()
	return shared(t, "models", "stories260K")
}

// file writes a file of the test and returns its path.
func file(t *testing.T, name string, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// decode reads one JSON document.
func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return v
}

// decodeLines reads one JSON object a line.
func decodeLines[T any](t *testing.T, text string) []T {
	t.Helper()
	var out []T
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		out = append(out, decode[T](t, line))
	}
	return out
}

// jsonOf is a value as one line.
func jsonOf(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestMistypedCommandNamesTheNearest(t *testing.T) {
	refused(t, 2, []string{`unknown command "trian"`, `"train"`}, "trian", "--learning-rate", "1")
	refused(t, 2, []string{`unknown command "xyzzyxyzzy"`, "train, plan"}, "xyzzyxyzzy")
}

func TestMistypedFlagNamesTheNearest(t *testing.T) {
	for _, c := range [][3]string{
		{"train", "--lerning-rate", "--learning-rate"}, {"train", "--lerning_rate", "--learning-rate"}, {"plan", "--cutof-len", "--cutoff-len"},
		{"generate", "--max-new-token", "--max-new-tokens"}, {"score", "--inptu", "--input"}, {"tokenize", "--nospecial", "--no-special"},
		{"eval", "--predictons", "--predictions"}, {"inspect", "--jsn", "--json"}, {"version", "--jsom", "--json"}, {"demo", "--treads", "--threads"},
	} {
		refused(t, 2, []string{"unknown flag " + c[1], "did you mean " + c[2]}, c[0], c[1]+"=1")
	}
	refused(t, 2, []string{"two hyphens"}, "train", "-o", "x")
}

func TestNoCommandShowsTheListAsAnError(t *testing.T) {
	refused(t, 2, []string{"demo", "train", "plan", "eval", "generate", "score", "tokenize", "inspect", "version"})
}

func TestMissingFlagsAreNamedTogether(t *testing.T) {
	refused(t, 2, []string{"--model and --input"}, "score")
	refused(t, 2, []string{"--model"}, "generate", "--prompt", "x")
	refused(t, 2, []string{"--model"}, "tokenize", "--text", "x")
	refused(t, 2, []string{"--data"}, "eval", "--model", "m")
	refused(t, 2, []string{"one path"}, "inspect")
	refused(t, 2, []string{"one path"}, "inspect", "a", "b")
	refused(t, 2, []string{"flags only"}, "version", "x")
	refused(t, 2, []string{"flags only"}, "generate", "x")
}

func TestHelpGoesToStandardOutput(t *testing.T) {
	for _, c := range []string{"demo", "train", "plan", "eval", "generate", "score", "tokenize", "inspect", "version"} {
		o := must(t, c, "--help")
		if !strings.Contains(o.out, "Usage:\n  meft "+c) || o.err != "" {
			t.Errorf("%s --help:\n%s\nstandard error: %s", c, o.out, o.err)
		}
		if h := must(t, "help", c); h.out != o.out {
			t.Errorf("help %s differs from %s --help:\n%s", c, c, h.out)
		}
	}
	if o := must(t, "--help"); !strings.Contains(o.out, "Commands:") {
		t.Errorf("--help:\n%s", o.out)
	}
}

func TestVersionReportsTheMachine(t *testing.T) {
	v := decode[versionReport](t, must(t, "version", "--json").out)
	if v.Version == "" || !strings.HasPrefix(v.Go, "go1.") || v.Features == "" || v.Threads < 1 || len(v.Devices) == 0 || v.Devices[0].Kind != "cpu" {
		t.Errorf("%+v", v)
	}
	text := must(t, "version").out
	for _, want := range []string{"meft", v.Version, v.Go, v.Features, v.Devices[0].Name} {
		if !strings.Contains(text, want) {
			t.Errorf("version lacks %q:\n%s", want, text)
		}
	}
	if o := must(t, "--version"); o.out != "meft "+v.Version+"\n" {
		t.Errorf("--version: %q", o.out)
	}
}
