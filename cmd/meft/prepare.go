package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"meft"
	"meft/task"
)

// prepareFlags are the flags of meft prepare.
type prepareFlags struct {
	config meft.Config
	output string
	json   bool
}

func (a *app) prepareCommand() *cobra.Command {
	f := prepareFlags{config: meft.Defaults()}
	cmd := &cobra.Command{
		Use:   "prepare TASK --data FILE [--model DIR]",
		Short: "show the rows of a task as a run learns them and an evaluation asks them",
		Long: `Shows what becomes of the rows of a data file, row by row: the prompt, what is
learned behind it, the accepted answers and, with --model, the tokens and which of
them are learned. With --output they become a file of prompt and completion that
any trainer reads. TASK is qa for rows of any kind, or one of these:

` + taskList(),
		Example: `  meft prepare nq --data NQ-open.dev.jsonl --limit 3
  meft prepare gsm8k --data train.jsonl --task-variant plain --model llama --json
  meft prepare squad --data train-v1.1.json --task-variant open-book --output train.jsonl`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.prepare(cmd, args[0], f) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	c := &f.config
	flags.StringVar(&c.Data, "data", "", "`file` or folder with rows")
	flags.StringVar(&c.TaskVariant, "task-variant", "", "`way` to ask or learn the task; its first if not given")
	flags.StringVar(&c.Model, "model", "", "`folder` of a model, whose tokens are shown")
	flags.StringVar(&c.DataFormat, "data-format", "auto", "`form` of the rows of qa: as in meft train")
	flags.StringVar(&c.Columns, "columns", "", "`fields` under other names: prompt=question,completion=answer")
	flags.StringVar(&c.PromptTemplate, "prompt-template", "", "`template`: alpaca (the default of tasks), alpaca-indented, plain, chat, or a text with {instruction} and {input}")
	flags.StringVar(&c.ChatTemplate, "chat-template", "", "`file` with a Jinja chat template instead of the tokenizer's")
	flags.BoolVar(&c.TrainOnInputs, "train-on-inputs", false, "prompts are learned too")
	flags.IntVar(&c.MaxLength, "max-length", 0, "`tokens` of a row; 0 for the model's context")
	flags.IntVar(&c.Limit, "limit", 0, "only the first `n` rows; 0 for all")
	flags.StringVar(&f.output, "output", "", "JSONL `file` for the rows, instead of showing them")
	flags.BoolVar(&f.json, "json", false, "print one JSON object a line")
	return cmd
}

// taskList is every task with its variants, for the help.
func taskList() string {
	var b strings.Builder
	for _, t := range task.All() {
		fmt.Fprintf(&b, "  %s: %s\n", t.Name, t.Summary)
		for _, v := range t.Variants {
			fmt.Fprintf(&b, "    %s: %s\n", v.Name, v.Summary)
		}
	}
	return strings.TrimRight(b.String(), "\n")
}

func (a *app) prepare(cmd *cobra.Command, name string, f prepareFlags) (err error) {
	if err := need(cmd, "data"); err != nil {
		return err
	}
	if f.config.Limit < 0 || f.config.MaxLength < 0 {
		return usagef("--limit is %d and --max-length %d, wanted 0 (no limit) or more", f.config.Limit, f.config.MaxLength)
	}
	if f.config.Model == "" {
		if err := idle(cmd, "without --model no row becomes tokens", []string{"max-length", "train-on-inputs", "chat-template"}); err != nil {
			return err
		}
	}
	if name != "qa" {
		f.config.Task = name
	}
	to := io.Writer(a.out)
	if f.output != "" {
		file, err := os.Create(f.output)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		to = file
	}
	out := bufio.NewWriter(to)
	n := 0
	report, err := meft.Prepare(f.config, func(r meft.PreparedRow) error {
		n++
		if f.json || f.output != "" {
			return jsonLine(out, r)
		}
		return showRow(out, r)
	})
	if err = errors.Join(err, out.Flush()); err != nil {
		return err
	}
	a.sayf("%s rows of %s", count(int64(n)), f.config.Data)
	lines := report.Lines()
	if f.config.Model == "" {
		lines = lines[1:] // of tokens
	}
	for _, line := range lines {
		a.sayf("%s", line)
	}
	return nil
}

// showRow writes a row for people.
func showRow(w io.Writer, r meft.PreparedRow) error {
	block := func(title, text string) string {
		return fmt.Sprintf("  %-8s | %s\n", title, strings.ReplaceAll(text, "\n", "\n           | "))
	}
	s := fmt.Sprintf("%s  id %s\n", r.Where, r.ID) + block("prompt", r.Prompt) + block("learned", r.Completion)
	if len(r.Answers) > 0 {
		s += block("answers", strings.Join(r.Answers, "\n"))
	}
	if r.IDs != nil {
		var tokens strings.Builder
		learned := 0
		for i, p := range r.Pieces() {
			if r.Learned[i] {
				learned++
				p = "[" + p + "]"
			}
			tokens.WriteString(p + " ")
		}
		s += block("tokens", fmt.Sprintf("%d, in brackets the %d that are learned:\n%s", len(r.IDs), learned, strings.TrimRight(tokens.String(), " ")))
	}
	_, err := io.WriteString(w, s+"\n")
	return err
}
