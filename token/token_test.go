package token

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
)

// parseFiles makes a tokenizer of files given as name, content, name, content.
func parseFiles(files ...string) (*Tokenizer, error) {
	m := fstest.MapFS{}
	for i := 0; i < len(files); i += 2 {
		m[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	return Parse("dir", m)
}

func mustParse(t testing.TB, files ...string) *Tokenizer {
	t.Helper()
	tok, err := parseFiles(files...)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// charJSON is a tokenizer whose pieces are single characters, with the given
// added tokens and other members of tokenizer.json.
func charJSON(added string, members ...string) string {
	var vocab []string
	for i, c := range "abcdefghijklmnopqrstuvwxyz ▁<>/|_.!?'" {
		vocab = append(vocab, fmt.Sprintf("%q:%d", string(c), i))
	}
	members = append(members, fmt.Sprintf(`"added_tokens":[%s]`, added))
	return fmt.Sprintf(`{%s,"decoder":{"type":"Fuse"},"model":{"type":"BPE","vocab":{%s},"merges":[]}}`,
		strings.Join(members, ","), strings.Join(vocab, ","))
}

func pieces(tok *Tokenizer, ids []int32) string {
	var out []string
	for _, id := range ids {
		out = append(out, tok.Piece(id))
	}
	return strings.Join(out, ",")
}

func TestAddedTokensAreSplitOff(t *testing.T) {
	const prepend = `"normalizer":{"type":"Prepend","prepend":"_"}`
	for _, c := range []struct{ added, member, text, want, plain string }{
		{`{"id":50,"content":"<s>","special":true}`, `"x":0`, "a<s>b", "a,<s>,b", "a,<,s,>,b"},
		{`{"id":50,"content":"<s>"}`, `"x":0`, "a<s>b", "a,<s>,b", "a,<s>,b"},
		{`{"id":50,"content":"ab"},{"id":51,"content":"abc"}`, `"x":0`, "abcabd", "abc,ab,d", "abc,ab,d"}, // the longest
		{`{"id":50,"content":"ab","lstrip":true}`, `"x":0`, "c  ab d", "c,ab, ,d", "c,ab, ,d"},
		{`{"id":50,"content":"ab","rstrip":true}`, `"x":0`, "c ab  d", "c, ,ab,d", "c, ,ab,d"},
		{`{"id":50,"content":"ab","single_word":true}`, `"x":0`, "abc ab!ab_", "a,b,c, ,ab,!,a,b,_", "a,b,c, ,ab,!,a,b,_"},
		{`{"id":50,"content":"AB","normalized":true}`, `"normalizer":{"type":"Lowercase"}`, "xAb", "x,AB", "x,AB"},
		{`{"id":50,"content":"AB"}`, `"normalizer":{"type":"Lowercase"}`, "abAB", "a,b,AB", "a,b,AB"},
		{`{"id":50,"content":"<s>"}`, prepend, "a<s>b<s>", "_,a,<s>,_,b,<s>", "_,a,<s>,_,b,<s>"},
	} {
		tok := mustParse(t, fileJSON, charJSON(c.added, c.member))
		if got := pieces(tok, tok.Encode(c.text, true)); got != c.want {
			t.Errorf("%s: %q gives %s, want %s", c.added, c.text, got, c.want)
		}
		if got := pieces(tok, tok.EncodePlain(c.text)); got != c.plain {
			t.Errorf("%s: plain %q gives %s, want %s", c.added, c.text, got, c.plain)
		}
	}
}

func TestIDsOutsideTheVocabularyDecodeToNothing(t *testing.T) {
	tok := mustParse(t, fileJSON, charJSON(`{"id":60,"content":"<s>","special":true}`))
	a, _ := tok.ID("a")
	got := tok.Decode([]int32{-1, a, 45, math.MaxInt32, 60, math.MinInt32, 61}, false)
	if got != "a<s>" || tok.Piece(45) != "" || tok.Piece(-1) != "" || tok.IsSpecial(math.MaxInt32) || !tok.IsSpecial(60) {
		t.Errorf("decoded %q", got)
	}
	if tok.Size() != 61 {
		t.Errorf("size is %d, want 61", tok.Size())
	}
}

func TestBrokenUTF8DecodesToReplacements(t *testing.T) {
	for in, want := range map[string]string{
		"a\xff\xfeb":           "a\uFFFD\uFFFDb",
		"\xe2\x82":             "\uFFFD", // one maximal subpart
		"\xe2\x82a":            "\uFFFDa",
		"\xf0\x9f\x98":         "\uFFFD",
		"\xf0\x80\x80":         "\uFFFD\uFFFD\uFFFD", // overlong: no subpart
		"\xed\xa0\x80":         "\uFFFD\uFFFD\uFFFD", // surrogate
		"\xe2\x82\xac\xe2":     "€\uFFFD",
		"\xf4\x8f\xbf\xf4\x8f": "\uFFFD\uFFFD",
	} {
		if got := lossy([]byte(in)); got != want {
			t.Errorf("lossy(%q) = %q, want %q", in, got, want)
		}
		if strings.ToValidUTF8(in, "") == in {
			t.Errorf("%q is valid", in)
		}
	}
	got := decodeByteFallback([]string{"a", "<0xE2>", "<0x82>", "<0xAC>", "<0xE2>", "b", "<0x41>", "<0xZZ>"})
	if want := "a|\uFFFD\uFFFD\uFFFD\uFFFD|b|A|<0xZZ>"; strings.Join(got, "|") != want {
		t.Errorf("byte pieces decode to %q, want %q", got, want)
	}
}

func TestEqualScoresMergeLeftmostFirst(t *testing.T) {
	tok := mustParse(t, fileModel, string(spFile(spPieces, protoVarint(43, -1), nil)))
	for text, want := range map[string]string{
		"aaaaaa": "▁a,aa,aaa",
		"baaaaa": "▁,b,aa,aaa",
		"aab":    "▁a,ab",
		"a[U]a ": "▁a,[U],a,▁",
		"<s>ab":  "<s>,▁a,b",
		"ç":      "▁,<unk>",
		"ççbç":   "▁,<unk>,b,<unk>", // a run is one unknown
		"":       "",
		" ":      "▁,▁",
		"▁ab":    "▁,▁a,b",
	} {
		if got := pieces(tok, tok.Encode(text, false)); got != want {
			t.Errorf("%q gives %s, want %s", text, got, want)
		}
	}
	if got := pieces(tok, tok.EncodePlain("<s>[U]")); got != "▁,<unk>,[U]" {
		t.Errorf("plain text gives %s", got)
	}
}

// A copy of the tokenizer in another file form is the same tokenizer.
func TestHashIsTheSameForAllForms(t *testing.T) {
	hashes := map[string]string{}
	for _, name := range vectorNames {
		seen := ""
		t.Run(name, func(t *testing.T) {
			eachForm(t, name, func(t *testing.T, tok *Tokenizer) {
				if strings.Contains(t.Name(), fileVocab) {
					return // without its configuration it lacks the added tokens
				}
				if len(tok.Hash()) != 64 {
					t.Errorf("hash is %q", tok.Hash())
				}
				if seen == "" {
					seen = tok.Hash()
				}
				if tok.Hash() != seen {
					t.Errorf("hash differs between file forms")
				}
			})
		})
		if other, ok := hashes[seen]; ok && seen != "" {
			t.Errorf("%s and %s have one hash", name, other)
		}
		hashes[seen] = name
	}
}

// Where "aa" + "a" and "a" + "aa" make one piece, rules in a list (tokenizer.json)
// and scores (tokenizer.model) could take different ones. They must not.
func TestFormsAgreeOnRepetitions(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for _, name := range []string{"llama2", "llama3", "mistral-v1"} {
		var toks []*Tokenizer
		eachForm(t, name, func(_ *testing.T, tok *Tokenizer) { toks = append(toks, tok) })
		for range 2000 {
			s := ""
			for range 1 + rng.IntN(4) {
				unit := []string{" ", "a", "ab", "=", "-", "\n", "\t", "ha", "0", ".", "aba", "#", "…", "ー"}[rng.IntN(14)]
				s += strings.Repeat(unit, 1+rng.IntN(40))
			}
			for _, tok := range toks[1:] {
				if a, b := toks[0].Encode(s, false), tok.Encode(s, false); !slices.Equal(a, b) {
					t.Fatalf("%s: %q gives %v and %v", name, s, a, b)
				}
			}
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	tok, err := trained(t, 400, "<s>").Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	texts := storyTexts(100)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for _, s := range texts {
				if got := tok.Decode(tok.Encode(s, false), true); got != s {
					t.Errorf("got %q, want %q", got, s)
				}
			}
			tok.Hash()
		})
	}
	wg.Wait()
}

func TestLoadTakesOneFile(t *testing.T) {
	dir := sharedDir(t, "llama2")
	tok := load(t, filepath.Join(dir, fileModel))
	if got := tok.Encode("Hello", true); !slices.Equal(got, []int32{1, 15043}) {
		t.Errorf("got %v", got)
	}
}

func TestVocabAndMergesTakeTheFamilysSplit(t *testing.T) {
	const vocab = `{"1":0,"2":1,"12":2,"a":3,"Ġ":4,"Ġa":5,"<e>":6}`
	const merges = "#version: 0.2\n1 2\r\nĠ a\n"
	for _, c := range []struct{ config, want string }{
		{`{}`, "a,12,<e>,Ġa"},
		{`{"tokenizer_class":"Qwen2Tokenizer"}`, "a,1,2,<e>,Ġa"},
		{`{"add_prefix_space":true}`, "Ġa,12,<e>,Ġa"},
	} {
		tok := mustParse(t, fileVocab, vocab, fileMerges, merges, configFile, c.config,
			"special_tokens_map.json", `{"eos_token":"<e>"}`, "added_tokens.json", `{"<n>":9}`)
		if got := pieces(tok, tok.Encode("a12<e> a", true)); got != c.want {
			t.Errorf("%s: got %s, want %s", c.config, got, c.want)
		}
		if id, ok := tok.ID("<n>"); id != 9 || !ok || tok.IsSpecial(9) || tok.EOS() != 6 || !tok.IsSpecial(6) {
			t.Errorf("%s: <n> is %d, EOS %d", c.config, id, tok.EOS())
		}
	}
}

// A pattern without a hand-written scanner goes to a regular expression engine,
// which counts in runes.
func TestUnknownPatternsSplit(t *testing.T) {
	tok := mustParse(t, fileJSON, charJSON("", `"pre_tokenizer":{"type":"Split","pattern":{"Regex":"é+(?!b)|[a-c]+"},"behavior":"Removed"}`))
	for text, want := range map[string]string{
		"xéay":            "x|y",
		"\xffééb日x\xffaz": "\xff|é|日x\xff|z", // the look-ahead gives one é back
		"":                "",
	} {
		var parts []string
		tok.split(0, text, true, func(p string, _ bool) { parts = append(parts, p) })
		if got := strings.Join(parts, "|"); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestRolesMakeListedTokensSpecial(t *testing.T) {
	tok := mustParse(t, fileJSON, charJSON(`{"id":50,"content":"<s>"},{"id":51,"content":"<x>"}`),
		configFile, `{"eos_token":"<s>","additional_special_tokens":["<x>"]}`)
	if !tok.IsSpecial(50) || !tok.IsSpecial(51) || tok.IsSpecial(0) {
		t.Error("tokens with a role are not special")
	}
}
