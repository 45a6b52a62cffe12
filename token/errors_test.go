package token

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestErrorsNameEverythingWrong(t *testing.T) {
	bpeModel := func(vocab, merges string) string {
		return `{"model":{"type":"BPE","vocab":` + vocab + `,"merges":` + merges + `}}`
	}
	broken := func(edit func(p []spPiece) []spPiece, trainer, normalizer []byte) string {
		return string(spFile(edit(append([]spPiece(nil), spPieces...)), trainer, normalizer))
	}
	same := func(p []spPiece) []spPiece { return p }
	for _, c := range []struct {
		name  string
		files []string
		want  []string
	}{
		{"empty directory", nil, []string{"dir: no tokenizer.json", "merges.txt"}},
		{"tekken", []string{"tekken.json", "{}"}, []string{"tekken.json is not supported"}},
		{"garbage", []string{fileJSON, "{\"model\": tru"}, []string{"dir/tokenizer.json"}},
		{"not BPE, and more", []string{fileJSON, `{"normalizer":{"type":"Precompiled"},"pre_tokenizer":{"type":"UnicodeScripts"},
			"post_processor":{"type":"Odd"},"decoder":{"type":"CTC"},"model":{"type":"Unigram","vocab":[["a",0.5]]}}`},
			[]string{"Unigram", "Precompiled", "UnicodeScripts", "Odd", "CTC"}},
		{"options", []string{fileJSON, `{"model":{"type":"BPE","dropout":0.1,"end_of_word_suffix":"</w>","continuing_subword_prefix":"##","vocab":{"a":0},"merges":[]}}`},
			[]string{"dropout 0.1", "</w>", "##"}},
		{"pattern", []string{fileJSON, charJSON("", `"pre_tokenizer":{"type":"Split","pattern":{"Regex":"(["},"behavior":"Isolated"}`)}, []string{`"(["`}},
		{"behavior", []string{fileJSON, charJSON("", `"pre_tokenizer":{"type":"Split","pattern":{"String":"x"},"behavior":"Odd"}`)}, []string{`"Odd"`}},
		{"negative id", []string{fileJSON, bpeModel(`{"a":-1,"b":999999999}`, `[]`)}, []string{`"a" has id -1`, `"b" has id 999999999`}},
		{"id too large for the type", []string{fileJSON, bpeModel(`{"a":99999999999}`, `[]`)}, []string{"model.vocab", "99999999999"}},
		{"one id twice", []string{fileJSON, bpeModel(`{"a":0,"b":0,"c":1,"d":1}`, `[]`)}, []string{`"a" and "b" both have id 0`, `"c" and "d" both have id 1`}},
		{"added token on another's id", []string{fileJSON, charJSON(`{"id":0,"content":"<s>"}`)}, []string{`"a" and "<s>" both have id 0`}},
		{"added token with two ids", []string{fileJSON, charJSON(`{"id":9,"content":"a"}`)}, []string{`"a" has ids 9 and 0`}},
		{"no vocabulary", []string{fileJSON, bpeModel(`{}`, `[]`)}, []string{"empty"}},
		{"unknown merges", []string{fileJSON, bpeModel(`{"a":0}`, `["a b","a c"]`)}, []string{`rule 0, "a" and "b"`, "rule 1"}},
		{"merge of three", []string{fileJSON, bpeModel(`{"a":0}`, `["a b c"]`)}, []string{`rule 0 is "a b c"`}},
		{"merge list of three", []string{fileJSON, bpeModel(`{"a":0}`, `[["a","b","c"]]`)}, []string{"rule 0"}},
		{"unk", []string{fileJSON, `{"model":{"type":"BPE","unk_token":"u","vocab":{"a":0},"merges":[]}}`}, []string{`unk_token "u"`}},
		{"post-processor id", []string{fileJSON, charJSON("", addsBOS)}, []string{"id 50"}},
		{"roles", []string{fileJSON, charJSON(""), configFile, `{"bos_token":"<x>","eos_token":"<y>"}`}, []string{configFile, `"<x>"`, `"<y>"`}},
		{"config", []string{fileJSON, charJSON(""), configFile, `{`}, []string{"dir/" + configFile}},
		{"template", []string{fileJSON, charJSON(""), configFile, `{"chat_template":7}`}, []string{"chat_template"}},
		{"ids", []string{fileJSON, charJSON(""), generationFile, `{"eos_token_id":"x"}`}, []string{generationFile}},
		{"no merges.txt", []string{fileVocab, `{"a":0}`}, []string{"merges.txt"}},
		{"unigram", []string{fileModel, broken(same, protoVarint(3, 1), nil)}, []string{"unigram"}},
		{"normalizer", []string{fileModel, broken(same, protoVarint(24, 1), append(protoField(2, []byte("x")), protoVarint(5, 0)...))},
			[]string{"precompiled", "treat_whitespace_as_suffix", "escape_whitespaces"}},
		{"duplicate pieces", []string{fileModel, broken(func(p []spPiece) []spPiece { return append(p, p[5]) }, nil, nil)}, []string{`"a" has ids 5 and 11`}},
		{"unused", []string{fileModel, broken(func(p []spPiece) []spPiece { p[5].kind = spUnused; return p }, nil, nil)}, []string{"unused"}},
		{"piece", []string{fileModel, broken(func(p []spPiece) []spPiece { p[5].text = "\xff"; p[6].kind = 9; return p }, nil, nil)}, []string{"piece 5", "piece 6 has type 9"}},
		{"long piece", []string{fileModel, broken(func(p []spPiece) []spPiece { p[5].text = strings.Repeat("a", 5000); return p }, nil, nil)}, []string{"piece 5", "5000 bytes"}},
		{"long added token", []string{fileJSON, charJSON(`{"id":50,"content":"` + strings.Repeat("a", 5000) + `"}`)}, []string{"added token 50", "5000 bytes"}},
		{"bos", []string{fileModel, broken(same, protoVarint(41, 99), nil)}, []string{"bos_id is 99"}},
		{"no model", []string{fileModel, "hello"}, []string{"dir/tokenizer.model", "byte 2"}},
		{"empty model", []string{fileModel, ""}, []string{"no pieces"}},
		{"tiktoken", []string{fileModel, "YQ== 0\nYg== x\n?? 3\nYQ== 4\nYw== 999999999\n"}, []string{"line 2", "line 3", `"a" has ranks 0 and 4`, "line 5"}},
		{"tiktoken rank twice", []string{fileModel, "YQ== 0\nYg== 0\n"}, []string{"both have rank 0"}},
	} {
		_, err := parseFiles(c.files...)
		if err == nil {
			t.Errorf("%s: no error", c.name)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %q does not say %q", c.name, err, want)
			}
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "nothing")); err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("missing directory: error is %v", err)
	}
}

func TestManyFaultsAreCounted(t *testing.T) {
	rules := strings.TrimSuffix(strings.Repeat(`"x y",`, 100), ",")
	_, err := parseFiles(fileJSON, `{"model":{"type":"BPE","vocab":{"a":0},"merges":[`+rules+`]}}`)
	if err == nil || !strings.Contains(err.Error(), "and 88 more") || len(err.Error()) > 3000 {
		t.Errorf("error is %v", err)
	}
}
