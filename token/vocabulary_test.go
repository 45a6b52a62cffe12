package token

import (
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// greedyByScore is SentencePiece's way to encode: of all neighbours that make a
// piece those of the highest score are joined, the leftmost of equal ones.
func greedyByScore(v *Vocabulary, text string) []int32 {
	ids := map[string]int32{}
	for id, p := range v.Pieces {
		if v.Kinds[id] == Normal {
			ids[p] = int32(id)
		}
	}
	var parts []string
	for _, r := range blank + strings.ReplaceAll(text, " ", blank) {
		parts = append(parts, string(r))
	}
	for {
		best := -1
		for i := 0; i+1 < len(parts); i++ {
			id, ok := ids[parts[i]+parts[i+1]]
			if ok && (best < 0 || v.Scores[id] > v.Scores[ids[parts[best]+parts[best+1]]]) {
				best = i
			}
		}
		if best < 0 {
			break
		}
		parts[best] += parts[best+1]
		parts = append(parts[:best+1], parts[best+2:]...)
	}
	var out []int32
	for _, p := range parts {
		out = append(out, ids[p])
	}
	return out
}

// fileOf loads a file of the shared tokenizers.
func fileOf(t *testing.T, name string) *Tokenizer {
	t.Helper()
	dir, file := filepath.Split(name)
	tok, err := Load(filepath.Join(sharedDir(t, filepath.Clean(dir)), file))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// odd is a byte-level tokenizer.json with more components.
func odd(components string) fstest.MapFS {
	return fstest.MapFS{fileJSON: {Data: []byte(`{"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}, ` + components + `}`)}}
}

const plainText = "Once upon a time there was a strange little automobile that nobody wanted to understand, although everybody had heard of its extraordinary behaviour."

// Scores of the model file, and those made of the merges of tokenizer.json, give
// the ids that the tokenizer gives.
func TestScoresGiveTheTokenizersIds(t *testing.T) {
	for _, name := range []string{"llama2/tokenizer.json", "llama2/tokenizer.model", "mistral-v1/tokenizer.json", "mistral-v1/tokenizer.model", "mistral-v3/tokenizer.model"} {
		tok := fileOf(t, name)
		v, err := tok.Vocabulary()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if v.ByteLevel || !v.Prefix || !v.AddBOS || v.Unknown != 0 || v.Kinds[0] != Unknown || v.Kinds[1] != Control || len(v.Pieces) != tok.Size() {
			t.Errorf("%s: laid open as byte level %v, blank before %v, BOS %v, unknown %d %v", name, v.ByteLevel, v.Prefix, v.AddBOS, v.Unknown, v.Kinds[:3])
		}
		if id, ok := tok.ID("<0x0A>"); !ok || v.Kinds[id] != Byte {
			t.Errorf("%s: <0x0A> is %v", name, v.Kinds[id])
		}
		got, want := greedyByScore(v, plainText), tok.Encode(plainText, false)
		if len(got) != len(want) {
			t.Errorf("%s: %v by scores, wanted %v", name, got, want)
			continue
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%s: id %d is %d by scores, wanted %d", name, i, got[i], want[i])
				break
			}
		}
	}
}

func TestByteLevelVocabulariesAreNamedByTheirCut(t *testing.T) {
	for name, want := range map[string]Cut{"llama3/tokenizer.json": CutLlama3, "llama3/tokenizer.model": CutLlama3, "qwen2/tokenizer.json": CutQwen2, "qwen2/vocab.json": CutQwen2} {
		tok := fileOf(t, name)
		v, err := tok.Vocabulary()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if v.Cut != want || !v.ByteLevel || len(v.Merges) < 100000 || v.Scores != nil || v.Unknown != -1 {
			t.Errorf("%s: cut %q, byte level %v, %d merges", name, v.Cut, v.ByteLevel, len(v.Merges))
		}
		if first := v.Merges[0]; first[0]+first[1] != "ĠĠ" && first[0]+first[1] != "in" {
			t.Errorf("%s: the first merge is %q", name, first)
		}
	}
	tok, err := Parse("odd", odd(`"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "a|b"}, "behavior": "Isolated"}, {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tok.Vocabulary(); err == nil || !strings.Contains(err.Error(), "a|b") {
		t.Errorf("a pattern without a name: %v", err)
	}
	tok, err = Parse("odd", odd(`"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false}, "normalizer": {"type": "Lowercase"}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tok.Vocabulary(); err == nil || !strings.Contains(err.Error(), "Lowercase") {
		t.Errorf("a normalizer without a form: %v", err)
	}
}
