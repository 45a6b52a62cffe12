package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// values are what a run measured, by name: tokens a second, GFLOP/s, MiB.
type values map[string]float64

// comparison is one of our programs' runs and those of others that do the same
// work. The first side is ours.
type comparison struct {
	name    string // such as train-15m-full-f32-t2
	table   string // it is shown in
	title   string // of its row
	threads int
	metrics []string // of the values, those that are shown
	sides   []side
}

// side is one program's part.
type side struct {
	program string
	need    []string // files without which it is not installed
	cmd     func() (command, error)
	read    func(output) (values, error)
}

func (c *comparison) programs() []string {
	var out []string
	for _, s := range c.sides {
		out = append(out, s.program)
	}
	return out
}

// record is a line of the file of runs.
type record struct {
	Type     string   `json:"type"` // run or machine
	Case     string   `json:"case,omitempty"`
	Table    string   `json:"table,omitempty"`
	Title    string   `json:"title,omitempty"`
	Metrics  []string `json:"metrics,omitempty"`
	Program  string   `json:"program,omitempty"`
	Ours     bool     `json:"ours,omitempty"`
	Threads  int      `json:"threads,omitempty"`
	Session  string   `json:"session"` // rounds of one session belong together
	Round    int      `json:"round"`
	Values   values   `json:"values,omitempty"`
	Error    string   `json:"error,omitempty"`
	Command  string   `json:"command,omitempty"`
	Noise    float64  `json:"noise_cores,omitempty"` // used by other programs
	Steal    float64  `json:"steal_cores,omitempty"` // used by other machines of the host
	Wall     float64  `json:"wall,omitempty"`
	Machine  []string `json:"machine,omitempty"` // lines for people
	Disturbd bool     `json:"disturbed,omitempty"`
}

// bench runs comparisons.
type bench struct {
	*options
	machine machine
	core    string // OpenBLAS core type, "" for its own choice
	session string
}

// prepare looks at the machine and notes it.
func (b *bench) prepare() error {
	b.machine = lookAround()
	b.session = now()
	lines := b.machine.lines()
	lines = append(lines, b.versions()...)
	core, said := b.chooseCore()
	b.core = core
	if said != "" {
		lines = append(lines, said)
	}
	for _, l := range lines {
		fmt.Println(l)
	}
	return b.note(record{Type: "machine", Machine: lines})
}

// note appends to the file of runs.
func (b *bench) note(r record) error {
	r.Session = b.session
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(b.raw, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

// compare runs the sides of a comparison in turns. A side that fails in the
// first round, and one that is not installed, is left out.
func (b *bench) compare(c *comparison) error {
	var sides []side
	for _, s := range c.sides {
		if missing := s.missing(); missing != "" {
			fmt.Printf("%s: %s is left out: %s is not there\n", c.name, s.program, missing)
			continue
		}
		sides = append(sides, s)
	}
	if len(sides) < 2 || sides[0].program != c.sides[0].program {
		fmt.Printf("%s: nothing to compare\n", c.name)
		return nil
	}
	failed := map[string]int{}
	for round := range b.rounds {
		for _, s := range sides {
			if failed[s.program] > 1 {
				continue
			}
			r := b.once(c, s)
			r.Round, r.Ours = round, s.program == sides[0].program
			if r.Error != "" {
				failed[s.program]++
			}
			if err := b.note(r); err != nil {
				return err
			}
			fmt.Printf("%s round %d %s: %s\n", c.name, round+1, s.program, r.summary())
			if r.Ours && r.Error != "" {
				return nil // the others have nothing to be compared with
			}
		}
	}
	return nil
}

// missing is the first file that is not there.
func (s side) missing() string {
	for _, f := range s.need {
		if _, err := os.Stat(f); err != nil {
			return f
		}
	}
	return ""
}

// once makes a run, again when others disturbed it.
func (b *bench) once(c *comparison, s side) record {
	r := record{Type: "run", Case: c.name, Table: c.table, Title: c.title, Metrics: c.metrics, Program: s.program, Threads: c.threads}
	cmd, err := s.cmd()
	if err != nil {
		r.Error = err.Error()
		return r
	}
	r.Command = b.shown(cmd)
	for try := 1; ; try++ {
		waitQuiet(b.noise)
		out, stats := cmd.run(b.noise)
		r.Noise, r.Steal, r.Wall = stats.noise, stats.steal, stats.wall
		r.Disturbd = stats.aborted || stats.noise > b.noise
		if r.Disturbd && try < b.tries {
			fmt.Printf("%s %s: disturbed by %.2f cores of others, again\n", c.name, s.program, stats.noise)
			continue
		}
		r.Values, err = s.read(out)
		if err != nil {
			r.Error = firstLine(err.Error())
		} else if _, has := r.Values["rss"]; !has && stats.rss > 0 {
			r.Values["rss"] = float64(stats.rss)
		}
		return r
	}
}

func (r record) summary() string {
	if r.Error != "" {
		return "failed: " + r.Error
	}
	var parts []string
	for _, m := range r.Metrics {
		if v, has := r.Values[m]; has {
			parts = append(parts, fmt.Sprintf("%s %s", m, figure(v)))
		}
	}
	return strings.Join(append(parts, fmt.Sprintf("(%.0f s)", r.Wall)), "  ")
}

// shown is a command without the places of this machine.
func (b *bench) shown(c command) string {
	words := append(append([]string{}, c.env...), c.args...)
	for i, w := range words {
		for _, p := range []struct{ path, name string }{{b.meft, "meft"}, {b.bin, "$BIN"}, {b.peers, "$PEERS"}, {b.data, "$DATA"}, {b.python, "python3"}} {
			if p.path != "" {
				w = strings.ReplaceAll(w, p.path, p.name)
			}
		}
		if strings.ContainsAny(w, " \n") {
			w = fmt.Sprintf("%q", w)
		}
		words[i] = w
	}
	return strings.Join(words, " ")
}

func (b *bench) program(name string) string { return filepath.Join(b.bin, name) }
func (b *bench) script(name string) string  { return filepath.Join(b.peers, name) }

func firstLine(s string) string {
	s = strings.TrimSpace(s)
	lines := strings.Split(s, "\n")
	return strings.TrimSpace(lines[len(lines)-1]) // programs say what was wrong at the end
}
