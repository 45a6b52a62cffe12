package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"meft"
	"meft/task"
)

// scoreFlags are the flags of meft score.
type scoreFlags struct {
	session meft.SessionOptions
	input   string
}

func (a *app) scoreCommand() *cobra.Command {
	var f scoreFlags
	cmd := &cobra.Command{
		Use:   "score --model DIR [--adapter DIR] --input FILE.jsonl",
		Short: "say how likely the model finds texts",
		Long: `Scores texts: {"text"} or {"prompt","completion"} a line, and maybe an "id", which
is passed through. Out come, one JSON object a line and in the same order: ids
(special tokens included; no end token is added), logprobs (natural logarithm,
one for each id after the first) and nll (the mean of -logprob over the text, or
over the completion).`,
		Example: `  meft score --model llama --input texts.jsonl > scores.jsonl`,
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.score(cmd, f) },
	}
	sessionFlags(cmd, &f.session)
	cmd.Flags().StringVar(&f.input, "input", "", "JSONL `file`; - for standard input")
	alwaysJSON(cmd)
	return cmd
}

// scored is what is printed for a text.
type scored struct {
	ID       json.RawMessage `json:"id,omitempty"`
	IDs      []int32         `json:"ids"`
	LogProbs []float32       `json:"logprobs"`
	NLL      float64         `json:"nll"`
}

func (a *app) score(cmd *cobra.Command, f scoreFlags) error {
	if err := need(cmd, "model", "input"); err != nil {
		return err
	}
	if err := checkSession(f.session); err != nil {
		return err
	}
	s, enc, err := open(f.session)
	if err != nil {
		return err
	}
	defer s.Close()
	inputs, passed, err := a.readTexts(s, enc, f.input)
	if err != nil {
		return err
	}
	show := a.workProgress("text", len(inputs))
	defer show.end()
	ctx, stop := a.interruptible(func() { show.say("interrupted: what is above was scored") })
	defer stop()
	return s.Score(ctx, inputs, func(i int, o meft.ScoreOutput) error {
		show.update(i+1, len(inputs), "")
		return jsonLine(a.out, scored{passed[i], inputs[i].IDs, o.LogProbs, o.NLL})
	})
}

// readTexts makes ids of all lines, so that a broken one stops the command
// before the model is loaded, and checks that all fit the model.
func (a *app) readTexts(s *meft.Session, enc *task.Encoder, path string) (in []meft.ScoreInput, passed []json.RawMessage, err error) {
	var bad problems
	for row, err := range a.rows(path, "text", "prompt", "completion", "id") {
		if err != nil {
			return nil, nil, err
		}
		x, err := encodeText(enc, s.Tokenizer(), row)
		if err != nil {
			return nil, nil, err
		}
		if x.From >= len(x.IDs) {
			bad.addf("%s: no token is left to score; give it more text", row.Where())
		} else if why := tooLong(s, len(x.IDs)); why != "" {
			bad.addf("%s: %s", row.Where(), why)
		}
		in, passed = append(in, x), append(passed, row.Raw("id"))
	}
	return in, passed, bad.err()
}

// encodeText makes ids of a line as training does, up to the end token: that is
// no part of what was asked about.
func encodeText(enc *task.Encoder, tok interface {
	EOS() int32
	Piece(int32) string
}, row task.Row) (meft.ScoreInput, error) {
	fail := func(err error) (meft.ScoreInput, error) { return meft.ScoreInput{}, err }
	isText, hasPrompt, hasCompletion := row.Has("text"), row.Has("prompt"), row.Has("completion")
	if hasPrompt != hasCompletion || isText == hasPrompt {
		return fail(fmt.Errorf(`%s: wanted either "text", or "prompt" and "completion"`, row.Where()))
	}
	if isText {
		text, err := row.Text("text")
		if err != nil {
			return fail(err)
		}
		ids, err := enc.Prompt(task.Example{Prompt: text})
		return meft.ScoreInput{IDs: ids, From: 1}, err
	}
	given, err := row.Text("prompt")
	if err != nil {
		return fail(err)
	}
	completion, err := row.Text("completion")
	if err != nil {
		return fail(err)
	}
	if completion == "" {
		return fail(fmt.Errorf("%s: the completion is empty: nothing to score", row.Where()))
	}
	x, err := enc.Encode(task.Example{File: row.File, Row: row.Number, Prompt: given, Completion: completion})
	if err != nil {
		return fail(err)
	}
	n := len(x.IDs)
	if end := tok.EOS(); x.EOS && n > 0 && x.IDs[n-1] == end && !strings.HasSuffix(completion, tok.Piece(end)) {
		x.IDs = x.IDs[:n-1]
	}
	from := slices.Index(x.Train, true)
	if from < 0 {
		from = len(x.IDs)
	}
	return meft.ScoreInput{IDs: x.IDs, From: from}, nil
}
