package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"meft"
)

// mergeFlags are the flags of meft merge.
type mergeFlags struct {
	options meft.MergeOptions
	shard   string
	json    bool
}

func (a *app) mergeCommand() *cobra.Command {
	var f mergeFlags
	cmd := &cobra.Command{
		Use:   "merge --model DIR --adapter DIR --output DIR",
		Short: "fold an adapter into its model: a plain checkpoint",
		Long: `Folds an adapter into the weights of its model and writes a plain Hugging Face
checkpoint, which other programs load without knowing of adapters. Weights are
made one at a time; the folder appears complete or not at all. Then the model
with the adapter and the result are loaded, one after the other, and their logits
compared on some tokens: text of the model's own, --text, or the rows of --data.
An adapter that was trained on a quantised model (--base-dtype) is folded into the
weights that the checkpoint has, and is compared on both.

Which adapters fold: see meft methods. A run of method full is copied, in the type
that --dtype says.`,
		Example: `  meft merge --model llama --adapter runs/lora --output llama-tuned
  meft merge --model llama --adapter runs/lora --output llama-tuned --dtype bf16 --max-shard-size 2GB`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.merge(cmd, f) },
	}
	flags, o := cmd.Flags(), &f.options
	flags.SortFlags = false
	flags.StringVar(&o.Model, "model", "", "`folder` with config.json, *.safetensors and tokenizer files")
	flags.StringVar(&o.Adapter, "adapter", "", "`folder` of an adapter or of a run")
	flags.BoolVar(&o.OtherBase, "allow-other-base", false, "take an adapter that was trained on another model or tokenizer")
	flags.StringVar(&o.Output, "output", "", "`folder` to make")
	flags.StringVar(&o.DType, "dtype", "auto", "`type` of the weights written: auto (as the model is stored), f32, bf16 or f16")
	flags.StringVar(&f.shard, "max-shard-size", "5GB", "largest `size` of a file with weights; more become several files and an index")
	flags.BoolVar(&o.Overwrite, "overwrite", false, "replace the model that is at --output")
	compareFlags(cmd, &o.Compare)
	flags.BoolVar(&f.json, "json", false, "print JSON")
	return cmd
}

// compareFlags are the flags of a comparison after something was written.
func compareFlags(cmd *cobra.Command, o *meft.CompareOptions) {
	flags := cmd.Flags()
	flags.IntVar(&o.Tokens, "compare-tokens", 128, "most `tokens` that the logits are compared on; 0 for no comparison")
	flags.StringVar(&o.Text, "text", "", "compare on this `text`")
	flags.StringVar(&o.Data, "data", "", "compare on the rows of this data `file`")
	flags.IntVar(&o.Threads, "threads", 0, "CPU `threads` of the comparison; 0 for all. Results do not depend on it")
}

func (a *app) merge(cmd *cobra.Command, f mergeFlags) error {
	if err := need(cmd, "model", "adapter", "output"); err != nil {
		return err
	}
	shard, err := meft.ParseSize(f.shard)
	if err != nil || shard == 0 {
		return usagef("--max-shard-size is %q, wanted a size such as 5GB or 512MiB", f.shard)
	}
	o := f.options
	o.MaxShard = shard
	if o.Compare.Tokens < 0 || o.Compare.Threads < 0 {
		return usagef("--compare-tokens is %d, --threads %d; wanted 0 or more", o.Compare.Tokens, o.Compare.Threads)
	}
	ctx, stop := a.interruptible(func() { a.sayf("interrupted: nothing is left of what was not finished") })
	defer stop()
	r, err := meft.Merge(ctx, o)
	if err != nil {
		return err
	}
	if f.json {
		return a.document(r)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s parameters in %d tensors, %s, %v in %s\n", r.Output, count(r.Parameters), r.Tensors, r.DType, meft.Size(r.Bytes), files(len(r.Files)))
	fmt.Fprintf(&b, "the adapter is in %d tensors\n", r.Changed)
	if r.Neurons > 0 {
		fmt.Fprintf(&b, "intermediate_size is %d: %d more than before\n", r.Intermediate, r.Neurons)
	}
	if r.Filled != "" {
		fmt.Fprintf(&b, "the model is pruned (%s), and the adapter fills its zeros: the result is not sparse\n", r.Filled)
	}
	if r.Gap != "" {
		fmt.Fprintf(&b, "not exact: %s\n", r.Gap)
	}
	if r.Difference != nil {
		fmt.Fprintf(&b, "%s\n", differenceLine(*r.Difference))
	}
	if r.Base != "" {
		fmt.Fprintf(&b, "the adapter was trained on the model in %s, and is folded into its weights as they are stored\n", r.Base)
	}
	if r.Trained != nil {
		fmt.Fprintf(&b, "against adapter and model in %s: %s\n", r.Base, differenceLine(*r.Trained))
	}
	_, err = fmt.Fprint(a.out, b.String())
	return err
}

func files(n int) string {
	if n == 1 {
		return "a file"
	}
	return fmt.Sprintf("%d files", n)
}

// differenceLine says how far two models are apart.
func differenceLine(d meft.Difference) string {
	return fmt.Sprintf("logits after %d tokens of %s: differ by at most %.3g (relative %.3g), KL %.3g nats, same likeliest token at %.4g %%",
		d.Tokens, d.Of, d.MaxAbs, d.Relative, d.KL, 100*d.Agreement)
}
