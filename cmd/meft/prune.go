package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"meft"
)

func (a *app) pruneCommand() *cobra.Command {
	var o meft.PruneOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "prune --model DIR --data FILE --output DIR",
		Short: "set weights of a model to zero, with little change of what it computes",
		Long: `Prunes the linear layers of every block in one pass (SparseGPT) and writes a
checkpoint of the same files and types, with the zeros. Calibration rows run through
the model block by block: what a layer loses is made up for by its other weights, as
well as its inputs on those rows allow. The perplexity of rows held out is measured
before and after.`,
		Example: `  meft prune --model llama --data text.txt --output llama-half
  meft prune --model llama --data text.txt --output llama-2-4 --pattern 2:4`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.prune(cmd, o, asJSON) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&o.Model, "model", "", "`folder` with config.json, *.safetensors and tokenizer files")
	flags.StringVar(&o.Output, "output", "", "`folder` to make")
	flags.StringVar(&o.Data, "data", "", "calibration text: a data `file`")
	flags.StringVar(&o.DataFormat, "data-format", "auto", "`form` of the rows, as for meft train")
	flags.StringVar(&o.Method, "method", "sparsegpt", "sparsegpt, or magnitude: the smallest weights, as a measure for comparison")
	flags.Float64Var(&o.Sparsity, "sparsity", 0.5, "`share` of the weights that go")
	flags.StringVar(&o.Pattern, "pattern", "", "instead of --sparsity: 2:4 or 4:8, so many of so many neighbours go")
	flags.IntVar(&o.Limit, "limit", 128, "calibration `rows`")
	flags.IntVar(&o.Held, "held-out", 32, "`rows` that are not calibrated on and that the perplexity is of; 0 for none")
	flags.IntVar(&o.MaxLength, "max-length", 0, "`tokens` of a row; 0 for the longest, up to the model's context")
	flags.IntVar(&o.Threads, "threads", 0, "CPU `threads`; 0 for all. Results do not depend on it")
	flags.Uint64Var(&o.Seed, "seed", 42, "of the choice of the rows held out")
	flags.BoolVar(&o.Overwrite, "overwrite", false, "replace the model that is at --output")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) prune(cmd *cobra.Command, o meft.PruneOptions, asJSON bool) error {
	if err := need(cmd, "model", "data", "output"); err != nil {
		return err
	}
	if o.Limit < 1 || o.Held < 0 || o.Threads < 0 || o.MaxLength < 0 {
		return usagef("--limit is %d, --held-out %d, --threads %d, --max-length %d; wanted 1 or more rows and none below 0", o.Limit, o.Held, o.Threads, o.MaxLength)
	}
	ctx, stop := a.interruptible(func() { a.sayf("interrupted: nothing is left of what was not finished") })
	defer stop()
	say := func(l meft.PruneLayer) { fmt.Fprintf(a.out, "%-40s error %.4f\n", l.Name, l.Error) }
	if asJSON {
		say = nil
	}
	r, err := meft.Prune(ctx, o, say)
	if err != nil {
		return err
	}
	if asJSON {
		return a.document(r)
	}
	_, err = fmt.Fprintf(a.out, "%s: %s of %s weights are 0 (%.4g %%), calibrated on %s tokens in %d rows\n", r.Output,
		count(r.Zeros), count(r.Weights), 100*float64(r.Zeros)/float64(r.Weights), count(r.Tokens), r.Rows)
	if err == nil && r.Before != nil && r.After != nil {
		_, err = fmt.Fprintf(a.out, "perplexity of the rows held out: %.4f, before %.4f\n", *r.After, *r.Before)
	}
	return err
}
