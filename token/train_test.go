package token

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// storyTexts are deterministic English-like lines of words from a small list.
func storyTexts(n int) []string {
	words := strings.Fields("the cat sat on a mat and then the dog ran to the garden where 12 birds sang; it's late, don't stay! Ünï naïve 北京 东京 2024")
	rng := rand.New(rand.NewPCG(1, 2))
	texts := make([]string, n)
	for i := range texts {
		var line []string
		for range 3 + rng.IntN(12) {
			line = append(line, words[rng.IntN(len(words))])
		}
		texts[i] = strings.Join(line, " ")
	}
	return texts
}

func trained(t testing.TB, size int, special ...string) *Trained {
	t.Helper()
	tr, err := Train(slices.Values(storyTexts(300)), size, special)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestTrainedFileLoadsBack(t *testing.T) {
	dir := t.TempDir()
	tr := trained(t, 400, "<s>", "</s>", "<pad>")
	if err := tr.WriteJSON(filepath.Join(dir, fileJSON)); err != nil {
		t.Fatal(err)
	}
	fromFile, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	direct, err := tr.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	for name, tok := range map[string]*Tokenizer{"file": fromFile, "memory": direct} {
		if got := []int32{tok.BOS(), tok.EOS(), tok.PAD()}; !slices.Equal(got, []int32{0, 1, 2}) {
			t.Errorf("%s: BOS, EOS, PAD are %v", name, got)
		}
		if !tok.AddsBOS() || tok.Size() != tr.Size() {
			t.Errorf("%s: AddsBOS %t, size %d, want true and %d", name, tok.AddsBOS(), tok.Size(), tr.Size())
		}
		for _, s := range append(storyTexts(50), "", "  unseen\n\nWörds 🙂 . ! ") {
			ids := tok.Encode(s, true)
			if ids[0] != 0 || tok.Decode(ids, true) != s {
				t.Errorf("%s: %q encodes to %v, which decodes to %q", name, s, ids, tok.Decode(ids, true))
			}
		}
	}
	if fromFile.Hash() != direct.Hash() {
		t.Error("the file and the tokenizer in memory have different hashes")
	}
	left, _ := os.ReadDir(dir)
	if len(left) != 2 {
		t.Errorf("files in the directory: %v, want two", left)
	}
}

func TestTrainingDoesNotDependOnOrder(t *testing.T) {
	texts := storyTexts(200)
	first, err := Train(slices.Values(texts), 420, []string{"<|endoftext|>"})
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(texts)
	second, err := Train(slices.Values(texts), 420, []string{"<|endoftext|>"})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(first.pieces, second.pieces) || !slices.Equal(first.rules, second.rules) {
		t.Error("reversed texts give another vocabulary")
	}
	if first.Size() < 300 {
		t.Errorf("only %d pieces were learned", first.Size())
	}
}

// The rules must be those of the plain algorithm, which counts all pairs anew
// before each merge.
func TestTrainingMatchesPlainAlgorithm(t *testing.T) {
	texts := append(storyTexts(40), "aaaaaaa aaaa aaa ababab abab aab aab")
	tr, err := Train(slices.Values(texts), 330, nil)
	if err != nil {
		t.Fatal(err)
	}
	var words [][]int32
	var times []int
	for w, n := range countWords(slices.Values(texts), nil) {
		ids := []int32{}
		for i := range len(w) {
			ids = append(ids, int32(w[i]))
		}
		words, times = append(words, ids), append(times, n)
	}
	for step, rule := range tr.rules {
		counts := map[[2]int32]int{}
		for k, ids := range words {
			for i := 1; i < len(ids); i++ {
				counts[[2]int32{ids[i-1], ids[i]}] += times[k]
			}
		}
		best, most := [2]int32{}, 0
		for p, n := range counts {
			if n > most || n == most && slices.Compare(p[:], best[:]) < 0 {
				best, most = p, n
			}
		}
		if best != rule {
			t.Fatalf("rule %d is %v, seen %d times; want %v, seen %d times", step, rule, counts[rule], best, most)
		}
		id := int32(slices.Index(tr.pieces, tr.pieces[rule[0]]+tr.pieces[rule[1]]))
		for k, ids := range words {
			var out []int32
			for i := 0; i < len(ids); i++ {
				if i+1 < len(ids) && ids[i] == rule[0] && ids[i+1] == rule[1] {
					out = append(out, id)
					i++
					continue
				}
				out = append(out, ids[i])
			}
			words[k] = out
		}
	}
}

func TestTrainerNeverLearnsSpecialTokens(t *testing.T) {
	text := strings.Repeat("one<|x|>two <|x|> ", 50)
	tr, err := Train(slices.Values([]string{text, "<|x" + "|>"}), 300, []string{"<|x|>", "on"})
	if err != nil {
		t.Fatal(err)
	}
	for id, p := range tr.pieces[2:] {
		if p == "<|x|>" || p == "on" || strings.Contains(p, "|") && p != "|" {
			t.Errorf("piece %d is %q", id+2, p)
		}
	}
}

func TestTrainNamesWhatIsWrong(t *testing.T) {
	for want, train := range map[string]func() error{
		"size is 257": func() error { _, err := Train(slices.Values([]string{"a"}), 257, []string{"<s>", "</s>"}); return err },
		`"<s>"`:       func() error { _, err := Train(slices.Values([]string{"a"}), 300, []string{"<s>", "<s>"}); return err },
		`""`:          func() error { _, err := Train(slices.Values([]string{"a"}), 300, []string{""}); return err },
		"nowhere":     func() error { return trained(t, 260).WriteJSON(filepath.Join(t.TempDir(), "nowhere", fileJSON)) },
	} {
		if err := train(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %s", err, want)
		}
	}
}

func TestRolesOfSpecialTokens(t *testing.T) {
	for _, c := range []struct {
		special []string
		want    string
		adds    bool
	}{
		{nil, "-1 -1 -1", false},
		{[]string{"<|endoftext|>"}, "0 0 -1", false},
		{[]string{"<pad>", "<s>", "</s>"}, "1 2 0", true},
		{[]string{"<A>", "<B>", "<C>"}, "0 1 -1", true},
		{[]string{"<|user|>", "<|im_end|>"}, "1 1 -1", false},
	} {
		tok, err := trained(t, 300, c.special...).Tokenizer()
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprint(tok.BOS(), tok.EOS(), tok.PAD())
		if got != c.want || tok.AddsBOS() != c.adds {
			t.Errorf("%q: BOS, EOS, PAD are %s, adds BOS %t; want %s, %t", c.special, got, tok.AddsBOS(), c.want, c.adds)
		}
	}
}
