package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// vector is a line of the shared tokenizer vectors.
type vector struct {
	Text           string  `json:"text"`
	IDs            []int32 `json:"ids"`
	WithSpecial    []int32 `json:"ids_with_special"`
	DecodedSpecial *string `json:"decoded_with_special"`
	Decoded        *string `json:"decoded_without_special"`
}

func vectors(t *testing.T, path string) []vector {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []vector
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<24)
	for s.Scan() {
		out = append(out, decode[vector](t, s.Text()))
	}
	return out
}

// tokenizerOf is the folder of the tokenizer that a file of vectors is about.
func tokenizerOf(t *testing.T, path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".")
	if name == "stories260K" {
		return stories(t)
	}
	return shared(t, "data", "tokenizers", name)
}

func TestTokenizeAgreesWithAllVectors(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(shared(t, "data", "tokenizers", "vectors"), "*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	byModel := map[string][]vector{}
	for _, path := range files {
		model := tokenizerOf(t, path)
		byModel[model] = append(byModel[model], vectors(t, path)...)
	}
	for model, all := range byModel {
		t.Run(filepath.Base(model), func(t *testing.T) {
			var plain, special []vector
			for _, v := range all {
				if v.IDs != nil {
					plain = append(plain, v)
				} else {
					v.IDs = v.WithSpecial
					special = append(special, v)
				}
			}
			agree(t, plain, "--model", model, "--no-special")
			agree(t, special, "--model", model)
		})
	}
}

// agree runs tokenize on the vectors' texts.
func agree(t *testing.T, all []vector, flags ...string) {
	t.Helper()
	if len(all) == 0 {
		return
	}
	var lines []string
	for _, v := range all {
		lines = append(lines, fmt.Sprintf(`{"text":%s}`, jsonOf(t, v.Text)))
	}
	got := decodeLines[encoding](t, must(t, append([]string{"tokenize", "--input", file(t, "in.jsonl", lines...)}, flags...)...).out)
	if len(got) != len(all) {
		t.Fatalf("%d lines, want %d", len(got), len(all))
	}
	for i, v := range all {
		if !slices.Equal(got[i].IDs, v.IDs) || len(got[i].Pieces) != len(v.IDs) {
			t.Errorf("%s: %v (%d pieces), want %v", lines[i], got[i].IDs, len(got[i].Pieces), v.IDs)
		}
	}
}

func TestDecodeAgreesWithAllVectors(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(shared(t, "data", "tokenizers", "vectors"), "*.transformers_js.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, path := range files {
		for _, special := range []bool{false, true} {
			var lines, want []string
			for _, v := range vectors(t, path) {
				text := v.Decoded
				if special {
					text = v.DecodedSpecial
				}
				if text != nil {
					lines, want = append(lines, fmt.Sprintf(`{"ids":%s}`, jsonOf(t, v.WithSpecial))), append(want, *text)
				}
			}
			if len(lines) == 0 {
				continue
			}
			args := []string{"tokenize", "--model", tokenizerOf(t, path), "--decode", "--input", file(t, "in.jsonl", lines...)}
			if !special {
				args = append(args, "--no-special")
			}
			for i, got := range decodeLines[decoding](t, must(t, args...).out) {
				if got.Text != want[i] {
					t.Errorf("%s %s: %q, want %q", filepath.Base(path), lines[i], got.Text, want[i])
				}
			}
		}
	}
}

func TestTokenizeTextGivesIDsAndPieces(t *testing.T) {
	m := stories(t)
	got := decode[encoding](t, must(t, "tokenize", "--model", m, "--text", "Once upon a time", "--json").out)
	if want := []int32{1, 403, 407, 261, 378}; !slices.Equal(got.IDs, want) {
		t.Errorf("ids %v, want %v", got.IDs, want)
	}
	if got.Pieces[0] != "<s>" || got.Pieces[1] != "▁Once" {
		t.Errorf("pieces %q", got.Pieces)
	}
	if got := must(t, "tokenize", "--model", m, "--text", "", "--no-special").out; got != `{"ids":[],"pieces":[]}`+"\n" {
		t.Errorf("nothing: %q", got)
	}
}

func TestSpecialTokensAreAddedSpelledOrNeither(t *testing.T) {
	for _, c := range []struct {
		flag string
		want []int32
	}{{"", []int32{1, 1, 261}}, {"--only-spelled", []int32{1, 261}}, {"--no-special", nil}, {"--plain", nil}} {
		args := []string{"tokenize", "--model", stories(t), "--text", "<s>a"}
		if c.flag != "" {
			args = append(args, c.flag)
		}
		got := decode[encoding](t, must(t, args...).out)
		if c.want != nil && !slices.Equal(got.IDs, c.want) || c.want == nil && slices.Contains(got.IDs, 1) {
			t.Errorf("%s: %v, want %v", c.flag, got.IDs, c.want)
		}
	}
}

func TestTokenizeReadsStandardInput(t *testing.T) {
	o := meftIn(`{"text":"a"}`+"\n", quiet(), "tokenize", "--model", stories(t), "--input", "-", "--no-special")
	if o.code != 0 || o.out != `{"ids":[261],"pieces":["▁a"]}`+"\n" {
		t.Errorf("%+v", o)
	}
	o = meftIn("{\"text\":\"a\"}\n{\"text\":", quiet(), "tokenize", "--model", stories(t), "--input", "-")
	if o.code != 1 || !strings.Contains(o.err, "standard input:2") || strings.Count(o.out, "\n") != 1 {
		t.Errorf("%+v", o)
	}
}

func TestBrokenLinesNameFileAndLine(t *testing.T) {
	m := stories(t)
	for _, c := range []struct {
		args  []string
		line  string
		words []string
	}{
		{[]string{"tokenize"}, `{"text": 3}`, []string{`"text"`, "wanted a string"}},
		{[]string{"tokenize"}, `{"txet": "a"}`, []string{`unknown key "txet"`, `did you mean "text"`}},
		{[]string{"tokenize"}, `{}`, []string{`"text" is missing`}},
		{[]string{"tokenize"}, `{"text": "a"`, nil},
		{[]string{"tokenize", "--decode"}, `{"ids": "1"}`, []string{"list of token ids"}},
		{[]string{"tokenize", "--decode"}, `{"ids": [512]}`, []string{"id 512", "512 tokens"}},
		{[]string{"tokenize", "--decode"}, `{"ids": [-1]}`, []string{"id -1"}},
		{[]string{"tokenize", "--decode"}, `{"text": "a"}`, []string{`unknown key "text"`}},
		{[]string{"score"}, `{"text": "a b", "prompt": "c"}`, []string{"wanted either"}},
		{[]string{"score"}, `{"prompt": "c"}`, []string{"wanted either"}},
		{[]string{"score"}, `{"text": ""}`, []string{"no token is left"}},
		{[]string{"score"}, `{"prompt": "a", "completion": ""}`, []string{"completion is empty"}},
		{[]string{"score"}, fmt.Sprintf(`{"text": %q}`, strings.Repeat("word ", 600)), []string{"512", "max_position_embeddings"}},
		{[]string{"generate", "--json"}, `{"prompt": null}`, []string{`"prompt" is missing`}},
		{[]string{"generate", "--json"}, `{"prompts": "a"}`, []string{`did you mean "prompt"`}},
		{[]string{"generate", "--json"}, fmt.Sprintf(`{"prompt": %q}`, strings.Repeat("word ", 600)), []string{"512", "--max-new-tokens"}},
	} {
		key, good := "text", "a b"
		flag := "--input"
		if c.args[0] == "generate" {
			key, flag = "prompt", "--prompts-file"
		}
		first := fmt.Sprintf(`{%q: %q}`, key, good)
		if slices.Contains(c.args, "--decode") {
			first = `{"ids": [1]}`
		}
		path := file(t, "in.jsonl", first, "", c.line, first)
		o := invoke(append(c.args, "--model", m, flag, path)...)
		if o.code != 1 || !strings.Contains(o.err, path+":3") {
			t.Errorf("%v %s: exit code %d, message %q", c.args, c.line, o.code, o.err)
		}
		for _, w := range c.words {
			if !strings.Contains(o.err, w) {
				t.Errorf("%v %s: the message lacks %q: %s", c.args, c.line, w, o.err)
			}
		}
		wantLines := 0
		if c.args[0] == "tokenize" {
			wantLines = 1 // streams; the others read everything first
		}
		if n := strings.Count(o.out, "\n"); n != wantLines {
			t.Errorf("%v %s: %d lines written, want %d", c.args, c.line, n, wantLines)
		}
	}
}

func TestTokenizeRefusesContradictions(t *testing.T) {
	refused(t, 2, []string{"one of --text and --input"}, "tokenize", "--model", "m")
	refused(t, 2, []string{"one of --text and --input"}, "tokenize", "--model", "m", "--text", "a", "--input", "b")
	refused(t, 2, []string{"--decode takes ids"}, "tokenize", "--model", "m", "--text", "a", "--decode")
	refused(t, 2, []string{"--only-spelled"}, "tokenize", "--model", "m", "--input", "a", "--decode", "--only-spelled")
	refused(t, 2, []string{"--only-spelled"}, "tokenize", "--model", "m", "--text", "a", "--no-special", "--only-spelled")
	refused(t, 2, []string{"nothing but JSON"}, "tokenize", "--model", "m", "--text", "a", "--json=false")
	refused(t, 1, []string{"no-such-folder"}, "tokenize", "--model", "no-such-folder", "--text", "a")
}

func TestOutputIsNotEscapedForHTML(t *testing.T) {
	o := must(t, "tokenize", "--model", stories(t), "--text", "<&>")
	if !strings.Contains(o.out, `"<s>"`) || !json.Valid([]byte(o.out)) {
		t.Errorf("%s", o.out)
	}
}
