package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"meft"
	"meft/model"
	"meft/task"
	"meft/token"
)

// generateFlags are the flags of meft generate.
type generateFlags struct {
	session   meft.SessionOptions
	prompts   []string
	file      string
	chat      bool
	ignoreEOS bool
	json      bool
	decoding  model.Decoding
}

func (a *app) generateCommand() *cobra.Command {
	var f generateFlags
	cmd := &cobra.Command{
		Use:   "generate --model DIR [--adapter DIR] (--prompt TEXT | --prompts-file FILE.jsonl)",
		Short: "continue prompts",
		Long: `Continues prompts, greedily unless --temperature or --num-beams says otherwise.
A prompts file has {"prompt"} a line, and may have an "id", which is passed
through. With --json the output is one object a line, in the order of the
prompts: prompt, prompt_ids (special tokens included), ids (new ones only), text
(of the new ids) and finish_reason (stop or length).`,
		Example: `  meft generate --model llama --prompt "Once upon a time"
  meft generate --model llama --adapter runs/meft --prompts-file questions.jsonl --json > answers.jsonl`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.generate(cmd, f) },
	}
	sessionFlags(cmd, &f.session)
	flags := cmd.Flags()
	flags.StringArrayVar(&f.prompts, "prompt", nil, "a `text` to continue; may be given several times")
	flags.StringVar(&f.file, "prompts-file", "", "JSONL `file` with {\"prompt\"} a line; - for standard input")
	flags.BoolVar(&f.chat, "chat", false, "each prompt is a message of the user in the model's chat template")
	decodingFlags(cmd, &f.decoding, 128)
	flags.BoolVar(&f.ignoreEOS, "ignore-eos", false, "go on behind tokens that end a text, up to --max-new-tokens")
	flags.BoolVar(&f.json, "json", false, "print one JSON object a prompt")
	return cmd
}

// decodingFlags are the flags that say how text is continued.
func decodingFlags(cmd *cobra.Command, d *model.Decoding, maxNew int) {
	flags := cmd.Flags()
	flags.IntVar(&d.MaxNew, "max-new-tokens", maxNew, "most new `tokens`")
	flags.Float64Var(&d.Temperature, "temperature", 0, "`t` above 0: sample from the softmax of logits / t; 0: greedy")
	flags.Float64Var(&d.TopP, "top-p", 1, "sample among the likeliest tokens that make up this `share`")
	flags.IntVar(&d.TopK, "top-k", 0, "sample among the `k` likeliest tokens; 0 for all")
	flags.Uint64Var(&d.Seed, "seed", 42, "`seed` of sampling")
	flags.IntVar(&d.Beams, "num-beams", 1, "beam search with `n` beams")
	flags.Float64Var(&d.LengthPenalty, "length-penalty", 1, "`exponent` of the length that beams are divided by")
	flags.IntVar(&d.Batch, "batch-size", 0, "prompts answered at once; 0 for as `many` as 1 GiB of keys and values has room for, up to 64. Answers do not depend on it")
	flags.Float64Var(&d.RepetitionPenalty, "repetition-penalty", 1, "above 1: tokens that were seen become less likely by this `factor`")
}

// checkDecoding refuses settings that contradict each other or would do
// nothing.
func checkDecoding(cmd *cobra.Command, d model.Decoding) error {
	if err := d.Check(); err != nil {
		return &meft.UsageError{Err: err}
	}
	if d.Beams < 1 {
		return usagef("--num-beams is %d, wanted 1 or more", d.Beams)
	}
	var idle []string
	for _, name := range []string{"top-p", "top-k", "seed"} {
		if cmd.Flags().Changed(name) && d.Temperature == 0 {
			idle = append(idle, "--"+name+" does nothing without --temperature above 0")
		}
	}
	if cmd.Flags().Changed("length-penalty") && d.Beams < 2 {
		idle = append(idle, "--length-penalty does nothing without --num-beams above 1")
	}
	if len(idle) > 0 {
		return usagef("%s", strings.Join(idle, "; "))
	}
	return nil
}

// prompt is a text to continue.
type prompt struct {
	where string          // for messages
	id    json.RawMessage // passed through, nil for none
	text  string
	ids   []int32
}

func (a *app) generate(cmd *cobra.Command, f generateFlags) error {
	if err := need(cmd, "model"); err != nil {
		return err
	}
	if (len(f.prompts) > 0) == (f.file != "") {
		return usagef("give one of --prompt and --prompts-file")
	}
	if err := checkSession(f.session); err != nil {
		return err
	}
	if err := checkDecoding(cmd, f.decoding); err != nil {
		return err
	}
	prompts, err := a.readPrompts(f)
	if err != nil {
		return err
	}
	s, enc, err := open(f.session)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := encodePrompts(s, enc, prompts, f); err != nil {
		return err
	}
	if !f.ignoreEOS {
		f.decoding.Stops = stops(s)
	}
	return a.continueAll(s, prompts, f)
}

// readPrompts takes the prompts of flags or file.
func (a *app) readPrompts(f generateFlags) ([]prompt, error) {
	var out []prompt
	for i, text := range f.prompts {
		out = append(out, prompt{where: fmt.Sprintf("prompt %d", i+1), text: text})
	}
	if f.file == "" {
		return out, nil
	}
	for row, err := range a.rows(f.file, "prompt", "id") {
		if err != nil {
			return nil, err
		}
		text, err := required(row, "prompt")
		if err != nil {
			return nil, err
		}
		out = append(out, prompt{row.Where(), row.Raw("id"), text, nil})
	}
	return out, nil
}

// encodePrompts makes ids of the prompts and checks that all fit the model.
func encodePrompts(s *meft.Session, enc *task.Encoder, prompts []prompt, f generateFlags) error {
	if f.chat && s.Chat() == nil {
		return fmt.Errorf("%s has no chat template; leave out --chat or give --chat-template FILE", f.session.Model)
	}
	var bad problems
	for i := range prompts {
		p := &prompts[i]
		x := task.Example{File: p.where, Prompt: p.text}
		if f.chat {
			x.Messages = []token.Message{{Role: "user", Content: p.text}}
		}
		ids, err := enc.Prompt(x)
		if err != nil {
			return err
		}
		p.ids = ids
		if len(ids) == 0 {
			bad.addf("%s: the prompt is empty, and the tokenizer puts no token before a text: give it some text", p.where)
		} else if why := tooLong(s, len(ids)+f.decoding.MaxNew); why != "" {
			bad.addf("%s: the prompt and %d new tokens make %s; the fix is a shorter prompt or a smaller --max-new-tokens", p.where, f.decoding.MaxNew, why)
		}
	}
	return bad.err()
}

// stops are the ids that end a text: the tokenizer's and the model's.
func stops(s *meft.Session) []int32 {
	out := s.Tokenizer().Stops()
	for _, id := range s.Config().EOS {
		if !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}

// continuation is what is printed for a prompt.
type continuation struct {
	ID           json.RawMessage `json:"id,omitempty"`
	Prompt       string          `json:"prompt"`
	PromptIDs    []int32         `json:"prompt_ids"`
	IDs          []int32         `json:"ids"`
	Text         string          `json:"text"`
	FinishReason string          `json:"finish_reason"`
}

// continueAll runs the prompts and prints the results in their order. When it is
// interrupted, it prints those that are there.
func (a *app) continueAll(s *meft.Session, prompts []prompt, f generateFlags) error {
	show := a.workProgress("prompt", len(prompts))
	defer show.end()
	results := ordered[model.Continuation]{write: func(i int, c model.Continuation) error {
		p := prompts[i]
		text := newText(s.Tokenizer(), p.ids, c.IDs)
		if f.json {
			return jsonLine(a.out, continuation{p.id, p.text, p.ids, append([]int32{}, c.IDs...), text, c.Reason})
		}
		if len(prompts) > 1 {
			text = "> " + p.text + "\n" + text
		}
		_, err := fmt.Fprintln(a.out, text)
		return err
	}}
	ids := make([][]int32, len(prompts))
	for i, p := range prompts {
		ids[i] = p.ids
	}
	ctx, stop := a.interruptible(func() { show.say("interrupted") })
	defer stop()
	done := 0
	err := s.Generate(ctx, ids, f.decoding, func(i int, c model.Continuation) error {
		done++
		show.update(done, len(ids), "")
		return results.put(i, c)
	})
	if errors.Is(err, context.Canceled) {
		err = errors.Join(results.flush(), fmt.Errorf("interrupted: %d of %d prompts were answered", done, len(ids)))
	}
	return err
}

// newText is the text of new ids behind a prompt's. It is the text of all ids
// without the prompt's: the new ones alone would lose the blank that begins
// them, which decoders take for the one that encoding adds, and a character
// whose bytes are divided between the two.
func newText(tok *token.Tokenizer, prompt, ids []int32) string {
	before := tok.Decode(prompt, true)
	all := tok.Decode(slices.Concat(prompt, ids), true)
	if rest, ok := strings.CutPrefix(all, before); ok {
		return rest
	}
	// The new ids changed how the prompt ends: a blank before a full stop that
	// is cleaned away, or a character that is whole only with them.
	n := 0
	for n < len(before) && n < len(all) && before[n] == all[n] {
		n++
	}
	for n > 0 && n < len(all) && !utf8.RuneStart(all[n]) {
		n--
	}
	return all[n:]
}
