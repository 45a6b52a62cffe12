package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"meft"
	"meft/compare"
)

// comparisonFlags are the flags of meft compare besides the options of a run.
type comparisonFlags struct {
	o      compare.Options
	asJSON bool
}

func (a *app) compareCommand() *cobra.Command {
	var s settings
	var f comparisonFlags
	cmd := &cobra.Command{
		Use:   "compare --model DIR --data FILE --eval-data FILE [config.yaml] [--flag value]... [key=value]...",
		Short: "train several methods with the same budget and say which one is best",
		Long: `Gives every method the same data, model, seed and budget (--device-memory,
--host-memory, --time), and for each finds the largest size that fits by the plan,
looks for a learning rate on a part of the steps, trains, evaluates, and measures
what was forgotten (--general). The result is a table, comparison.json and
report.html in --output-dir, where every run is a run directory. A comparison that
was interrupted goes on when it is called again.

The options of a run are those of meft train. Without budgets every method has the
size that its settings say.`,
		Example: `  meft compare --model llama --data train.jsonl --eval-data test.jsonl --device-memory 8GB --host-memory 64GB --time 2h
  meft compare --model llama --task nq --data train.jsonl --eval-data dev.jsonl --methods meft:nf4,lora:nf4,parallel`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			c := meft.Defaults()
			c.OutputDir = filepath.Join("runs", "compare")
			var err error
			if f.o.Config, err = s.configOver(a, c, args); err != nil {
				return err
			}
			if cmd.Flags().Changed("method") {
				return usagef("--method is one method; name those to compare with --methods")
			}
			return a.compare(f)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	o := &f.o
	flags.StringSliceVar(&o.Entries, "methods", compare.Defaults(), "`list` of methods, each with another type of the frozen weights where it has a colon, as in lora:nf4")
	flags.StringVar(&o.Eval.Data, "eval-data", "", "`file` with questions and reference answers that every method is asked")
	flags.IntVar(&o.Eval.Limit, "eval-rows", 0, "only the first `n` of these; 0 for all")
	flags.StringVar(&o.Eval.Protocol, "protocol", "", "`way` to answer a task: standard or paper; standard if not given")
	flags.StringVar(&o.Score, "score", "", "`metric` that counts; the first that meft eval prints after the perplexity if not given")
	flags.StringVar(&o.General, "general", "", "`file` with held-out text of another kind: how much its loss rises is what was forgotten")
	flags.IntVar(&o.Rates, "rates", 6, "learning rates tried at most, in steps of four from the method's own")
	flags.Float64Var(&o.Trial, "trial", 0.25, "`share` of the steps that trying a learning rate takes")
	flags.DurationVar(&o.Time, "time", 0, "`time` that training one method may take, as 2h or 30m; 0 for no limit")
	flags.BoolVar(&f.asJSON, "json", false, "print JSON")
	s.addFlags(cmd)
	return cmd
}

func (a *app) compare(f comparisonFlags) error {
	o := f.o
	c := o.Config
	o.Eval.Task, o.Eval.Variant, o.Eval.DataFormat, o.Eval.Columns, o.Eval.PromptTemplate = c.Task, c.TaskVariant, c.DataFormat, c.Columns, c.PromptTemplate
	o.Eval.Decoding.Batch = c.EvalBatch
	if c.Task == "" {
		o.Eval.Decoding.MaxNew = c.MaxNewTokens
	}
	ctx, stop := a.interruptible(func() { a.sayf("interrupted: call it again to go on") })
	defer stop()
	var last time.Time
	table, err := compare.Run(ctx, o, func(e compare.Event) {
		// Steps and answers are many; every other event is worth a line.
		often := strings.Contains(e.Text, "step ") || strings.HasPrefix(e.Text, "answer ")
		if often && time.Since(last) < 5*time.Second {
			return
		}
		last = time.Now()
		a.sayf("%s: %s", e.Entry, e.Text)
	})
	if err != nil {
		return err
	}
	if f.asJSON {
		return a.document(table)
	}
	return a.printComparison(c.OutputDir, table)
}

// printComparison prints the table, the best method first said.
func (a *app) printComparison(dir string, c *compare.Table) error {
	t := newTable("method", ">"+c.Base.Score.Name, ">stderr", "size", ">trained", ">rate", ">steps", ">device", ">host", ">moved a step", ">tokens/s", ">loss", ">general loss")
	general := func(r compare.Result) string {
		if r.General == nil {
			return ""
		}
		return fmt.Sprintf("%.3f", *r.General)
	}
	b := c.Base
	t.add("as it is", percent(b.Score.Value), percent(b.Score.StdErr), "", "", "", "", "", "", "", "", "", general(b))
	for _, r := range c.Rows {
		if r.Problem != "" {
			t.add(r.Entry, "-", "", "", "", "", "", "", "", "", "", "", "")
			a.sayf("%s: %s", r.Entry, r.Problem)
			continue
		}
		t.add(r.Entry, percent(r.Score.Value), percent(r.Score.StdErr), r.Size, fmt.Sprint(r.Trained), fmt.Sprintf("%.3g", r.Rate), fmt.Sprint(r.Steps), meft.Size(r.Device).String(),
			meft.Size(r.Host).String(), meft.Size(r.Moved).String(), fmt.Sprintf("%.0f", r.Speed), fmt.Sprintf("%.3f", r.Loss), general(r))
	}
	err := t.write(a.out, "")
	a.sayf("report: %s", filepath.Join(dir, "report.html"))
	return err
}
