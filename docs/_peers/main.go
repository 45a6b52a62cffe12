// Command _peers runs meft and the programs it is compared with one after
// another, in rounds (A B A B), on a quiet machine, and writes medians and
// ratios into docs/benchmarks.md:
//
//	go run ./docs/_peers -peers DIR -bin DIR [-only REGEXP] [-rounds 5]
//
// -peers is the folder with torch_peer.py, mkgguf.py, mkgpt2.py and
// mkllama2c.py, -bin the one with the programs of the peers. What is not
// installed is left out with a line that says so. docs/benchmarks.md says how to
// install the peers.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// options are the flags.
type options struct {
	peers, bin, data, python, meft string
	rounds                         int
	only, skip                     *regexp.Regexp
	threads                        []int
	raw, doc                       string
	list, write                    bool
	budget                         time.Duration
	noise                          float64
	tries                          int
}

func main() {
	o, err := parse(os.Args[1:])
	if err == nil {
		err = o.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func parse(args []string) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("peers", flag.ExitOnError)
	f.StringVar(&o.peers, "peers", "../shared/peers", "folder with torch_peer.py and the scripts that make models")
	f.StringVar(&o.bin, "bin", "bin", "folder with the peers' programs")
	f.StringVar(&o.data, "data", filepath.Join(os.TempDir(), "meft-peers"), "folder for models, made at first use (10 GB for all shapes)")
	f.StringVar(&o.python, "python", "/usr/bin/python3", "Python that has torch")
	f.StringVar(&o.meft, "meft", "", "our program; built from ./cmd/meft if not given")
	f.IntVar(&o.rounds, "rounds", 5, "rounds of every comparison")
	only := f.String("only", ".", "comparisons whose name matches")
	skip := f.String("skip", "^$", "but not those")
	threads := f.String("threads", "1,2", "numbers of threads")
	f.StringVar(&o.raw, "out", "peers.jsonl", "file that every run is appended to, and that the tables are made of")
	f.StringVar(&o.doc, "doc", "docs/benchmarks.md", "page whose marked section is written; empty for none")
	f.BoolVar(&o.list, "list", false, "list the comparisons")
	f.BoolVar(&o.write, "write", false, "run nothing: write the page from the file of -out")
	f.DurationVar(&o.budget, "budget", 0, "begin no further comparison after so long; 0 for no limit")
	f.Float64Var(&o.noise, "max-noise", 0.2, "cores that other programs may use: a run is waited with, and repeated, when it is more")
	f.IntVar(&o.tries, "tries", 4, "times a disturbed run is made before it counts")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return nil, fmt.Errorf("-only: %w", err)
	}
	if o.skip, err = regexp.Compile(*skip); err != nil {
		return nil, fmt.Errorf("-skip: %w", err)
	}
	for _, t := range strings.Split(*threads, ",") {
		n, err := strconv.Atoi(t)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("-threads has %q, wanted numbers from 1 up", t)
		}
		o.threads = append(o.threads, n)
	}
	return o, nil
}

// run does what the flags say.
func (o *options) run() error {
	if o.write {
		return o.writePage()
	}
	if err := os.MkdirAll(o.data, 0o755); err != nil {
		return err
	}
	b := &bench{options: o}
	if o.list {
		for _, c := range b.chosen() {
			fmt.Printf("%-40s %s\n", c.name, strings.Join(c.programs(), ", "))
		}
		return nil
	}
	if o.meft == "" {
		o.meft = filepath.Join(o.data, "meft")
		build := exec.Command("go", "build", "-o", o.meft, "./cmd/meft")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("building ./cmd/meft: %w (run this in the repository's root, or give -meft)", err)
		}
	}
	// The commands of the comparisons depend on what is found out here.
	if err := b.prepare(); err != nil {
		return err
	}
	start := time.Now()
	for _, c := range b.chosen() {
		if o.budget > 0 && time.Since(start) > o.budget {
			fmt.Printf("%s: not begun, the budget is used up\n", c.name)
			continue
		}
		if err := b.compare(c); err != nil {
			return err
		}
	}
	return o.writePage()
}

// chosen are the comparisons that -only and -skip leave.
func (b *bench) chosen() []*comparison {
	var out []*comparison
	for _, c := range b.comparisons() {
		if b.only.MatchString(c.name) && !b.skip.MatchString(c.name) {
			out = append(out, c)
		}
	}
	return out
}

// writePage makes the tables of the file of runs and puts them into the page.
func (o *options) writePage() error {
	records, err := readRecords(o.raw)
	if err != nil {
		return err
	}
	text := section(records)
	if o.doc == "" {
		fmt.Print(text)
		return nil
	}
	page, err := os.ReadFile(o.doc)
	if err != nil {
		return err
	}
	out, err := splice(string(page), text)
	if err != nil {
		return fmt.Errorf("%s: %w", o.doc, err)
	}
	return os.WriteFile(o.doc, []byte(out), 0o644)
}
