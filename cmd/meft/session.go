package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"meft"
	"meft/task"
)

// sessionFlags are the flags of the commands that open a model.
func sessionFlags(cmd *cobra.Command, o *meft.SessionOptions) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&o.Model, "model", "", "`folder` with config.json, *.safetensors and tokenizer files")
	flags.StringVar(&o.Adapter, "adapter", "", "`folder` of an adapter or of a run")
	flags.BoolVar(&o.OtherBase, "allow-other-base", false, "take an adapter that was trained on another model or tokenizer")
	flags.StringVar(&o.BaseDType, "base-dtype", "auto", "`type` weights are kept in: auto (as stored), f32, bf16, or quantised: nf4, fp4 or\nint8, which leave embedding and head in bf16")
	flags.Var((*inverted)(&o.PlainScales), "bnb-4bit-use-double-quant", "with nf4 and fp4: quantise the scales too")
	flags.Lookup("bnb-4bit-use-double-quant").NoOptDefVal = "true"
	flags.StringVar(&o.ComputeDType, "compute-dtype", "f32", "`numbers` that linear layers multiply: f32, or bf16, which is faster only\nwhere the processor has AVX512_BF16 (meft version says so)")
	flags.StringVar(&o.ChatTemplate, "chat-template", "", "`file` with a Jinja chat template instead of the tokenizer's")
	flags.IntVar(&o.Threads, "threads", 0, "CPU `threads`; 0 for all. Results do not depend on it")
}

// inverted is a flag that is true where a field is false.
type inverted bool

// String is the flag's value.
func (v *inverted) String() string { return strconv.FormatBool(!bool(*v)) }

// Set takes true or false.
func (v *inverted) Set(text string) error {
	on, err := strconv.ParseBool(text)
	*v = inverted(!on)
	return err
}

// Type is the word for the value in the help.
func (*inverted) Type() string { return "bool" }

// checkSession refuses bad values before anything is opened.
func checkSession(o meft.SessionOptions) error {
	switch o.BaseDType {
	case "auto", "f32", "bf16", "nf4", "fp4", "int8":
	default:
		return usagef("--base-dtype is %q, wanted auto, f32, bf16, nf4, fp4 or int8", o.BaseDType)
	}
	switch o.ComputeDType {
	case "f32", "bf16":
	default:
		return usagef("--compute-dtype is %q, wanted f32 or bf16", o.ComputeDType)
	}
	if o.Threads < 0 {
		return usagef("--threads is %d, wanted 0 (all) or more", o.Threads)
	}
	return nil
}

// open opens the model of a command that reads text.
func open(o meft.SessionOptions) (*meft.Session, *task.Encoder, error) {
	s, err := meft.Open(o)
	if err != nil {
		return nil, nil, err
	}
	return s, task.NewEncoder(s.Tokenizer(), s.Chat(), task.EncodeOptions{}), nil
}

// tooLong says why a text of n tokens, new ones included, does not fit the
// model, "" if it does.
func tooLong(s *meft.Session, n int) string {
	c := s.Config()
	if n <= c.MaxPositions || c.Scaling.Kind == "dynamic" {
		return ""
	}
	return fmt.Sprintf("%d tokens, more than the %d the model was trained for (max_position_embeddings)", n, c.MaxPositions)
}

// workProgress is the progress of a command that writes results to standard
// output: none for a single one, and none where bar and results would share a
// terminal.
func (a *app) workProgress(unit string, total int) progress {
	if total < 2 || a.env.outTerminal && a.env.errTerminal {
		return silent{}
	}
	return a.newProgress(unit, 10*time.Second)
}

// silent shows nothing.
type silent struct{}

func (silent) update(int, int, string) {}
func (silent) say(string)              {}
func (silent) end()                    {}
