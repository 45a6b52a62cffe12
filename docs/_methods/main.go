// Command _methods trains every method on the same facts with the same seed for
// the same number of steps, each at the best of the learning rates it is given,
// and writes the comparison into docs/benchmarks.md:
//
//	go run ./docs/_methods [-only REGEXP] [-stories DIR] [-steps 240]
//
// It does so on the demonstration's base model and on the small real checkpoint
// in the folder of -stories, which is left out where it is not there. Runs are
// appended to the file of -out and not repeated, so an interrupted comparison
// goes on where it was.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"meft/demo"
)

// options are the flags.
type options struct {
	stories, work, raw, doc string
	only                    *regexp.Regexp
	steps, threads          int
	write, again            bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parse(os.Args[1:])
	if err == nil {
		err = o.run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "methods:", err)
		os.Exit(1)
	}
}

func parse(args []string) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("methods", flag.ExitOnError)
	f.StringVar(&o.stories, "stories", "../shared/models/stories260K", "folder of the small checkpoint")
	f.StringVar(&o.work, "work", filepath.Join(os.TempDir(), "meft-methods"), "folder for models, data and runs")
	only := f.String("only", ".", "runs whose name matches, such as demo/lora or stories260K/")
	f.IntVar(&o.steps, "steps", 240, "optimizer steps of each run")
	f.IntVar(&o.threads, "threads", 0, "threads; 0 for all")
	f.StringVar(&o.raw, "out", "methods.jsonl", "file that every run is appended to, and that the tables are made of")
	f.StringVar(&o.doc, "doc", "docs/benchmarks.md", "page whose marked section is written; empty for none")
	f.BoolVar(&o.again, "again", false, "run every method again at its best rate, to take the speed on a quiet machine")
	f.BoolVar(&o.write, "write", false, "run nothing: write the page from the file of -out")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return nil, fmt.Errorf("-only: %w", err)
	}
	return o, nil
}

func (o *options) run(ctx context.Context) error {
	done, err := readRecords(o.raw)
	if err != nil {
		return err
	}
	if !o.write {
		if done, err = o.runAll(ctx, done); err != nil {
			return err
		}
	}
	text := section(done)
	fmt.Println(text)
	if o.doc == "" {
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

// runAll makes the runs that the file has not.
func (o *options) runAll(ctx context.Context, done []record) ([]record, error) {
	if err := os.RemoveAll(filepath.Join(o.work, "model")); err != nil { // of an earlier call
		return nil, err
	}
	if err := demo.WriteFiles(o.work, demo.Facts(0)); err != nil {
		return nil, err
	}
	have := map[string]bool{}
	for _, r := range done {
		have[r.key()] = true
	}
	for _, b := range bases(o) {
		if _, err := os.Stat(filepath.Join(b.model, "config.json")); err != nil {
			fmt.Printf("%s is left out: %v\n", b.name, err)
			continue
		}
		for _, e := range entries() {
			for _, rate := range o.rates(done, b, e) {
				r := record{Base: b.name, Entry: e.name, Steps: o.steps, Rate: rate}
				if !o.only.MatchString(b.name+"/"+e.name) || have[r.key()] && !o.again {
					continue
				}
				if err := o.measure(ctx, b, e, &r); err != nil {
					if ctx.Err() != nil {
						return nil, err
					}
					r.Error = strings.ReplaceAll(err.Error(), "\n", "; ")
				}
				fmt.Println(r)
				if err := r.append(o.raw); err != nil {
					return nil, err
				}
				done = append(done, r)
			}
		}
	}
	return done, nil
}

// rates are those an entry is tried with: on the first base all, on others the
// best one there; with -again the best one found.
func (o *options) rates(done []record, b base, e entry) []float64 {
	from := b.name
	if !o.again {
		from = bases(o)[0].name
	}
	if b.name != from || o.again {
		for _, r := range best(done, from) {
			if r.Entry == e.name {
				return []float64{r.Rate}
			}
		}
	}
	return e.rates
}
