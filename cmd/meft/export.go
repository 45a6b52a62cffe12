package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"meft"
)

func (a *app) exportCommand() *cobra.Command {
	var o meft.ExportOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "export --gguf FILE --model DIR [--adapter DIR]",
		Short: "write a model or a LoRA adapter as a GGUF file",
		Long: `Writes a model, with an adapter folded into its weights, as a GGUF file that
llama.cpp and what is built on it load: with its tokenizer and chat template. With
--adapter-only the file is the LoRA adapter alone, to be given to llama.cpp beside
the model's own file. Weights are made one at a time; the file appears complete or
not at all.

Which adapters fold: see meft methods.`,
		Example: `  meft export --gguf llama-tuned.gguf --model llama --adapter runs/lora --dtype q8_0
  meft export --gguf lora.gguf --model llama --adapter runs/lora --adapter-only`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.export(cmd, o, asJSON) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&o.Output, "gguf", "", "`file` to make")
	flags.StringVar(&o.Model, "model", "", "`folder` with config.json, *.safetensors and tokenizer files")
	flags.StringVar(&o.Adapter, "adapter", "", "`folder` of an adapter or of a run")
	flags.BoolVar(&o.AdapterOnly, "adapter-only", false, "write the LoRA adapter alone")
	flags.StringVar(&o.DType, "dtype", "", "`type` of the matrices: f32, f16, bf16 or q8_0; if not set f16, of an adapter alone f32")
	flags.BoolVar(&o.Overwrite, "overwrite", false, "replace a file that is there")
	flags.BoolVar(&o.OtherBase, "allow-other-base", false, "take an adapter that was trained on another model or tokenizer")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) export(cmd *cobra.Command, o meft.ExportOptions, asJSON bool) error {
	if err := need(cmd, "gguf", "model"); err != nil {
		return err
	}
	ctx, stop := a.interruptible(func() { a.sayf("interrupted: nothing is left of what was not finished") })
	defer stop()
	r, err := meft.Export(ctx, o)
	if err != nil {
		return err
	}
	for _, note := range r.Notes {
		a.sayf("%s: %s", o.Output, note)
	}
	if asJSON {
		return a.document(r)
	}
	tokenizer := ""
	if r.Tokenizer != "" {
		tokenizer = ", tokenizer " + r.Tokenizer
	}
	_, err = fmt.Fprintf(a.out, "%s: %s of architecture %s%s, %s parameters in %d tensors, %s, %v\n", r.Output, r.Kind, r.Architecture, tokenizer, count(r.Parameters), r.Tensors, r.DType, meft.Size(r.Bytes))
	return err
}
