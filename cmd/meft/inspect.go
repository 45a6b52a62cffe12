package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"meft"
	"meft/task"
	"meft/token"
)

func (a *app) inspectCommand() *cobra.Command {
	var asJSON bool
	var model string
	cmd := &cobra.Command{
		Use:   "inspect PATH",
		Short: "say what a model, adapter, checkpoint, run or data file is",
		Long: `Says what a model, adapter, checkpoint, run directory, safetensors or data file
is: shapes, dtypes, parameters, rows, columns. With --model also how many tokens
the rows of a data file are, and how many of them would be trained.`,
		Example: `  meft inspect llama-2-7b
  meft inspect runs/meft/adapter --json
  meft inspect train.jsonl --model llama-2-7b`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("meft inspect takes one path, not %d; see meft inspect --help", len(args))
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error { return a.inspect(args[0], model, asJSON) },
	}
	cmd.Flags().StringVar(&model, "model", "", "`folder` with tokenizer files, to count the tokens of a data file")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) inspect(path, model string, asJSON bool) error {
	found, err := meft.Inspect(path)
	if err != nil {
		return err
	}
	var notes []string
	if model != "" {
		if found.Kind != "data" {
			return usagef("%s is a %s; --model is for counting the tokens of a data file", path, found.Kind)
		}
		report, err := countTokens(path, model)
		if err != nil {
			return err
		}
		found.Fields = append(found.Fields, meft.Field{Name: "tokens", Value: report.Tokens},
			meft.Field{Name: "supervised_tokens", Value: report.Supervised}, meft.Field{Name: "longest", Value: report.Longest})
		notes = report.Lines()[1:] // the first line is what the fields say
	}
	for _, n := range notes {
		a.sayf("%s: %s", path, n)
	}
	if asJSON {
		return a.document(found)
	}
	_, err = fmt.Fprintln(a.out, strings.Join(found.Lines(), "\n"))
	return err
}

// countTokens encodes all rows of a data file as training would.
func countTokens(path, model string) (*task.Report, error) {
	tok, err := token.Load(model)
	if err != nil {
		return nil, err
	}
	var chat *token.ChatTemplate
	if source := tok.ChatTemplate(); source != "" {
		if chat, err = token.ParseChat(model, source); err != nil {
			return nil, err
		}
	}
	enc := task.NewEncoder(tok, chat, task.EncodeOptions{})
	var report task.Report
	for e, err := range task.Examples(path, task.ReadOptions{}) {
		if err != nil {
			return nil, err
		}
		x, err := enc.Encode(e)
		if err != nil {
			return nil, err
		}
		report.Add(e, x)
	}
	return &report, nil
}
