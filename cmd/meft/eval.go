package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"meft"
	"meft/model"
)

// evalFlags are the flags of meft eval.
type evalFlags struct {
	session meft.SessionOptions
	options meft.EvalOptions
	json    bool
}

func (a *app) evalCommand() *cobra.Command {
	var f evalFlags
	cmd := &cobra.Command{
		Use:   "eval --model DIR [--adapter DIR] --data FILE | eval --predictions FILE --data FILE",
		Short: "measure answers against references",
		Long: `Answers the questions of a data file and measures the answers: exact match,
containment and F1, and the loss. With --output the predictions are written to a
JSONL file as they come. With --predictions nothing is computed: the answers of a
file are measured, either {"id": "answer", ...} as SQuAD has them, or JSONL with
id and prediction.`,
		Example: `  meft eval --model llama --adapter runs/meft --data test.jsonl --output predictions.jsonl
  meft eval --predictions predictions.jsonl --data test.jsonl --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.eval(cmd, f) },
	}
	sessionFlags(cmd, &f.session)
	flags := cmd.Flags()
	o := &f.options
	flags.StringVar(&o.Task, "task", "qa", "`name` of the task: qa for questions of any kind, or nq, squad, toolbench, gsm8k")
	flags.StringVar(&o.Variant, "task-variant", "", "`way` to ask the task; its first if not given: see meft prepare --help")
	flags.StringVar(&o.Protocol, "protocol", "", "`way` to answer a task: standard (greedy, all rows) or paper (4 beams, repetition penalty 2, the first 501 rows); standard if not given")
	flags.StringVar(&o.Data, "data", "", "`file` or folder with questions and reference answers")
	flags.StringVar(&o.DataFormat, "data-format", "auto", "`form` of the rows: auto, messages, conversations, alpaca, prompt, question, context, squad, text")
	flags.StringVar(&o.Columns, "columns", "", "`fields` under other names: prompt=question,completion=answer")
	flags.StringVar(&o.PromptTemplate, "prompt-template", "", "`text` of the prompt with {instruction} and {input}")
	flags.IntVar(&o.Limit, "limit", 0, "take only the first `n` rows; 0 for all")
	flags.StringVar(&o.Output, "output", "", "JSONL `file` for the predictions")
	flags.BoolVar(&o.Resume, "resume", false, "go on with what an interrupted evaluation left in the file of --output")
	flags.StringVar(&o.Predictions, "predictions", "", "measure the answers of this `file` instead of a model's")
	flags.BoolVar(&o.TrainOnInputs, "train-on-inputs", false, "the loss is that of prompts too")
	flags.IntVar(&o.MaxLength, "max-length", 0, "`tokens` of a row the loss is taken of; longer ones are cut and counted; 0 for the model's context")
	flags.BoolVar(&o.SkipAnswers, "loss-only", false, "take the loss only: ask for no answers")
	decodingFlags(cmd, &o.Decoding, 64)
	flags.BoolVar(&f.json, "json", false, "print JSON")
	return cmd
}

func (a *app) eval(cmd *cobra.Command, f evalFlags) error {
	if err := checkEval(cmd, f); err != nil {
		return err
	}
	if f.options.Task != "qa" {
		f.options.Decoding = onlyGiven(cmd, f.options.Decoding)
	}
	result, err := a.measure(f)
	if err != nil {
		return err
	}
	a.tellLosses(result)
	if f.json {
		return a.document(result)
	}
	t := newTable("metric", ">value", ">stderr", ">n")
	for _, m := range result.Metrics {
		stderr := ""
		if m.StdErr > 0 {
			stderr = fmt.Sprintf("± %.4f", m.StdErr)
		}
		t.add(m.Name, fmt.Sprintf("%.4f", m.Value), stderr, count(int64(m.N)))
	}
	return t.write(a.out, "")
}

// tellLosses says what was left out of the numbers.
func (a *app) tellLosses(r *meft.EvalResult) {
	if r.Report != nil {
		for _, line := range r.Report.Lines() {
			a.sayf("%s: %s", r.Data, line)
		}
	}
	if r.Missing > 0 {
		a.sayf("%s: %d rows have no prediction and count as wrong", r.Data, r.Missing)
	}
	if r.Unused > 0 {
		a.sayf("%d predictions are for no row of %s", r.Unused, r.Data)
	}
}

// checkEval refuses what contradicts itself, and flags that would do nothing.
func checkEval(cmd *cobra.Command, f evalFlags) error {
	if err := need(cmd, "data"); err != nil {
		return err
	}
	if (f.session.Model == "") == (f.options.Predictions == "") {
		return usagef("give one of --model and --predictions")
	}
	if f.options.Resume && f.options.Output == "" {
		return usagef("--resume goes on with a file: give --output FILE")
	}
	if f.options.Limit < 0 || f.options.MaxLength < 0 {
		return usagef("--limit is %d and --max-length %d, wanted 0 (no limit) or more", f.options.Limit, f.options.MaxLength)
	}
	answering := []string{"output", "resume", "max-new-tokens", "temperature", "top-p", "top-k", "seed", "num-beams", "length-penalty", "repetition-penalty", "batch-size"}
	if f.options.Predictions != "" {
		computing := []string{"adapter", "base-dtype", "chat-template", "threads", "train-on-inputs", "max-length", "loss-only"}
		return idle(cmd, "--predictions computes nothing", append(computing, answering...))
	}
	if f.options.SkipAnswers {
		if err := idle(cmd, "--loss-only asks for no answers", answering); err != nil {
			return err
		}
	}
	if err := checkSession(f.session); err != nil {
		return err
	}
	return checkDecoding(cmd, f.options.Decoding)
}

// onlyGiven leaves to a task's protocol what no flag says.
func onlyGiven(cmd *cobra.Command, d model.Decoding) model.Decoding {
	if !cmd.Flags().Changed("max-new-tokens") {
		d.MaxNew = 0
	}
	if !cmd.Flags().Changed("num-beams") {
		d.Beams = 0
	}
	if !cmd.Flags().Changed("repetition-penalty") {
		d.RepetitionPenalty = 0
	}
	return d
}

// idle refuses flags that would do nothing.
func idle(cmd *cobra.Command, why string, names []string) error {
	var given []string
	for _, name := range names {
		if cmd.Flags().Changed(name) {
			given = append(given, "--"+name)
		}
	}
	if len(given) > 0 {
		return usagef("%s: leave out %s", why, strings.Join(given, ", "))
	}
	return nil
}

// measure gets the metrics, from a model or from a file of predictions.
func (a *app) measure(f evalFlags) (*meft.EvalResult, error) {
	if f.options.Predictions != "" {
		return meft.ScorePredictions(f.options)
	}
	s, err := meft.Open(f.session)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	show := a.newProgress("row", 10*time.Second)
	defer show.end()
	ctx, stop := a.interruptible(func() { show.say("interrupted: what was answered stays in the predictions file") })
	defer stop()
	return s.Evaluate(ctx, f.options, func(done, total int) { show.update(done, total, "") })
}
