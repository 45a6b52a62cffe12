package token

import (
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"
)

// randomText is made of runes that the split patterns and normal forms treat
// differently.
func randomText(rng *rand.Rand, n int) string {
	alphabet := []rune("  \t\n\r\u00a0\u2003abzABZ'sStTrReEvVmMlLdDſ019²Ⅷ٣.,!?/_-<|>$€北京éÉßǅʰªאا\u0301\u0323\u0327\u0345ิ한글ᄒ\u1161\u11ab🙂👍🏽\u200d\ufe0f\ufffd\x00")
	var b strings.Builder
	for range n {
		r := alphabet[rng.IntN(len(alphabet))]
		for range 1 + rng.IntN(3)*rng.IntN(2) {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// The hand-written scanners must cut as a regular expression engine does.
func TestScannersMatchTheirPatterns(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for name, pattern := range map[string]string{
		"llama3": patternLlama3, "qwen2": patternQwen2, "tekken": patternTekken, "gpt2": patternGPT2,
	} {
		t.Run(name, func(t *testing.T) {
			scan := scannerFor(pattern)
			re, err := newRegex(pattern)
			if err != nil {
				t.Fatal(err)
			}
			for range 1000 {
				s := randomText(rng, 1+rng.IntN(12))
				var want, got []string
				re(s, func(p string, match bool) {
					if !match {
						t.Fatalf("%q: the pattern leaves %q out", s, p)
					}
					want = append(want, p)
				})
				isolated(scan)(s, true, func(p string, _ bool) { got = append(got, p) })
				if strings.Join(got, "\x1f") != strings.Join(want, "\x1f") {
					t.Fatalf("%q:\n got %q\nwant %q", s, got, want)
				}
			}
		})
	}
}

// Composing rune by rune must give what package norm gives where its limit on
// runs of marks does not come in.
func TestFormByRuneMatchesNorm(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, f := range []norm.Form{norm.NFC, norm.NFD, norm.NFKC, norm.NFKD} {
		for range 1000 {
			s := randomText(rng, 1+rng.IntN(10))
			if got, want := formByRune(f, s), f.String(s); got != want {
				t.Fatalf("form %d of %+q: got %+q, want %+q", f, s, got, want)
			}
		}
	}
}

func TestLongRunsOfMarksStayUnbroken(t *testing.T) {
	s := "e" + strings.Repeat("\u0323\u0301", 40) + "x"
	want := "ẹ" + strings.Repeat("\u0323", 39) + strings.Repeat("\u0301", 40) + "x"
	if got := exactForm(norm.NFC, s); got != want {
		t.Errorf("NFC of 80 marks is %+q", got)
	}
	if got := exactForm(norm.NFC, want); got != want {
		t.Errorf("NFC changes its own result to %+q", got)
	}
}

func TestSplitBehaviors(t *testing.T) {
	for _, c := range []struct {
		behavior string
		invert   bool
		want     string
	}{
		// The reference's documentation gives these for "-" in this text.
		{"Removed", false, "the|final|countdown"},
		{"Isolated", false, "the|-|final|-|-|countdown"},
		{"MergedWithPrevious", false, "the-|final-|-|countdown"},
		{"MergedWithNext", false, "the|-final|-|-countdown"},
		{"Contiguous", false, "the|-|final|--|countdown"},
		{"Removed", true, "-|-|-"},
	} {
		var bad unsupported
		sign := "-"
		f := patternSplit(&node{Pattern: pattern{String: &sign}, Behavior: c.behavior, Invert: c.invert}, &bad)
		if bad != nil {
			t.Fatal(bad)
		}
		var parts []string
		f("the-final--countdown", true, func(p string, start bool) {
			if start != strings.HasPrefix(p, "the") {
				t.Errorf("%s: start is %t for %q", c.behavior, start, p)
			}
			parts = append(parts, p)
		})
		if got := strings.Join(parts, "|"); got != c.want {
			t.Errorf("%s, invert %t: got %s, want %s", c.behavior, c.invert, got, c.want)
		}
	}
}

func TestPreTokenizerKinds(t *testing.T) {
	yes, no := true, false
	for _, c := range []struct {
		n          node
		text, want string
	}{
		{node{Type: "Digits", Individual: true}, "a12b", "a|1|2|b"},
		{node{Type: "Digits"}, "a12b", "a|12|b"},
		{node{Type: "Punctuation"}, "a!?b", "a|!|?|b"},
		{node{Type: "Punctuation", Behavior: "Contiguous"}, "a!?b$", "a|!?|b|$"},
		{node{Type: "WhitespaceSplit"}, " a\tb  c ", "a|b|c"},
		{node{Type: "Whitespace"}, "Hey, you_2! ", "Hey|,|you_2|!"},
		{node{Type: "Metaspace"}, "Hey my  friend", "▁Hey|▁my|▁|▁friend"},
		{node{Type: "Metaspace", AddPrefixSpace: &no}, "Hey my", "Hey|▁my"},
		{node{Type: "Metaspace", PrependScheme: "first", Split: &no}, "Hey my", "▁Hey▁my"},
		{node{Type: "Metaspace", PrependScheme: "always"}, " Hey", "▁Hey"},
		{node{Type: "ByteLevel", AddPrefixSpace: &yes}, "Hey you've", " Hey| you|'ve"},
		{node{Type: "ByteLevel", AddPrefixSpace: &no, UseRegex: &no}, "Hey you", "Hey you"},
		{node{Type: "Sequence", PreTokenizers: []*node{{Type: "WhitespaceSplit"}, {Type: "Digits"}}}, "a1 b", "a|1|b"},
	} {
		var bad unsupported
		tok := &Tokenizer{}
		tok.pre, _ = splitters(&c.n, &bad)
		if bad != nil {
			t.Fatal(bad)
		}
		var parts []string
		tok.split(0, c.text, true, func(p string, _ bool) { parts = append(parts, p) })
		if got := strings.Join(parts, "|"); got != c.want {
			t.Errorf("%s of %q: got %s, want %s", c.n.Type, c.text, got, c.want)
		}
	}
}
