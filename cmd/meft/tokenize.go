package main

import (
	"bufio"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"meft/task"
	"meft/token"
)

// tokenizeFlags are the flags of meft tokenize.
type tokenizeFlags struct {
	model, text, input             string
	noSpecial, onlySpelled, decode bool
}

func (a *app) tokenizeCommand() *cobra.Command {
	var f tokenizeFlags
	cmd := &cobra.Command{
		Use:   "tokenize --model DIR (--text TEXT | --input FILE.jsonl)",
		Short: "turn text into token ids, or back",
		Long: `Turns text into token ids: {"text"} in, {"ids","pieces"} out, one JSON object a
line, in the same order. With --decode {"ids"} in, {"text"} out. The folder may
hold only tokenizer files.`,
		Example: `  meft tokenize --model llama --text "Once upon a time"
  meft tokenize --model llama --input texts.jsonl > ids.jsonl
  meft tokenize --model llama --input ids.jsonl --decode`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.tokenize(cmd, f) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.model, "model", "", "`folder` with tokenizer files, or one such file")
	flags.StringVar(&f.text, "text", "", "one `text`")
	flags.StringVar(&f.input, "input", "", "JSONL `file` with {\"text\"} (with --decode {\"ids\"}) a line; - for standard input")
	flags.BoolVar(&f.decode, "decode", false, "ids to text")
	const none = "no special tokens at all: none are put around the text, and spellings of them are ordinary text; with --decode: leave them out of the text (also --plain)"
	flags.BoolVar(&f.noSpecial, "no-special", false, none)
	flags.BoolVar(&f.noSpecial, "plain", false, none)
	flags.Lookup("plain").Hidden = true
	flags.BoolVar(&f.onlySpelled, "only-spelled", false, "special tokens only where the text spells them: none are put around it")
	alwaysJSON(cmd)
	return cmd
}

func (a *app) tokenize(cmd *cobra.Command, f tokenizeFlags) error {
	if err := need(cmd, "model"); err != nil {
		return err
	}
	text, input := cmd.Flags().Changed("text"), f.input != ""
	switch {
	case text == input:
		return usagef("give one of --text and --input")
	case f.decode && text:
		return usagef("--decode takes ids: give them with --input, {\"ids\": [...]} a line")
	case f.onlySpelled && (f.decode || f.noSpecial):
		return usagef("--only-spelled is about encoding with special tokens; leave out --decode and --no-special")
	}
	tok, err := token.Load(f.model)
	if err != nil {
		return err
	}
	if text {
		return jsonLine(a.out, f.encode(tok, f.text))
	}
	out := bufio.NewWriter(a.out)
	err = a.tokenizeFile(out, tok, f)
	if flushed := out.Flush(); err == nil {
		err = flushed
	}
	return err
}

func (a *app) tokenizeFile(out *bufio.Writer, tok *token.Tokenizer, f tokenizeFlags) error {
	key := "text"
	if f.decode {
		key = "ids"
	}
	for row, err := range a.rows(f.input, key) {
		if err != nil {
			return err
		}
		var v any
		if f.decode {
			v, err = decodeRow(tok, row, f.noSpecial)
		} else {
			var s string
			s, err = required(row, "text")
			v = f.encode(tok, s)
		}
		if err == nil {
			err = jsonLine(out, v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// encoding is what is printed for a text.
type encoding struct {
	IDs    []int32  `json:"ids"`
	Pieces []string `json:"pieces"`
}

func (f tokenizeFlags) encode(tok *token.Tokenizer, text string) encoding {
	e := encoding{IDs: []int32{}, Pieces: []string{}}
	if f.noSpecial {
		e.IDs = append(e.IDs, tok.EncodePlain(text)...)
	} else {
		e.IDs = append(e.IDs, tok.Encode(text, !f.onlySpelled)...)
	}
	for _, id := range e.IDs {
		e.Pieces = append(e.Pieces, tok.Piece(id))
	}
	return e
}

// decoding is what is printed for ids.
type decoding struct {
	Text string `json:"text"`
}

func decodeRow(tok *token.Tokenizer, row task.Row, noSpecial bool) (decoding, error) {
	if !row.Has("ids") {
		return decoding{}, fmt.Errorf(`%s: "ids" is missing`, row.Where())
	}
	var ids []int32
	if err := json.Unmarshal(row.Raw("ids"), &ids); err != nil {
		return decoding{}, fmt.Errorf(`%s: "ids" is not a list of token ids: %w`, row.Where(), err)
	}
	for _, id := range ids {
		// Decode passes over such an id; here it means another vocabulary.
		if id < 0 || int(id) >= tok.Size() {
			return decoding{}, fmt.Errorf("%s: id %d is not in the vocabulary of %d tokens; is it another model's?", row.Where(), id, tok.Size())
		}
	}
	return decoding{tok.Decode(ids, noSpecial)}, nil
}
