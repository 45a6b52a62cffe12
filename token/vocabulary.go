package token

import (
	"fmt"
	"slices"
	"strings"
)

// Kind is what a piece is, numbered as SentencePiece numbers it.
type Kind int32

// The kinds.
const (
	Normal Kind = 1 + iota
	Unknown
	Control     // a special token, which no text spells
	UserDefined // an added token that text may spell
	Unused      // an id without a piece
	Byte        // <0x0A>, one byte
)

// Cut is the way a byte-level vocabulary cuts text into words, by the name of a
// model that does it so.
type Cut string

// The cuts.
const (
	CutLlama3 Cut = "llama3" // with whole words before merges; CutCL100K without
	CutCL100K Cut = "cl100k"
	CutQwen2  Cut = "qwen2"
	CutTekken Cut = "tekken" // whole words before merges
	CutGPT2   Cut = "gpt2"
	CutSmolLM Cut = "smollm" // single digits, then as GPT-2
)

// Vocabulary is a tokenizer laid open, for writing it in another program's form.
type Vocabulary struct {
	Pieces []string // by id; "" for Unused
	Kinds  []Kind   // by id

	// ByteLevel: the symbols are bytes, spelt as GPT-2 spells them, text is cut by
	// Cut, and Merges are applied first to last. Otherwise pieces are characters,
	// blanks are "▁", and of two neighbours that make a piece those of the highest
	// score do so first, as in SentencePiece.
	ByteLevel bool
	Cut       Cut
	Merges    [][2]string
	Scores    []float32
	Prefix    bool // a blank goes before the text

	Unknown        int32 // -1 for none
	AddBOS, AddEOS bool  // Encode with special adds them
}

// layout is what Vocabulary needs of a document's components.
type layout struct {
	normal []string // types of the normalizers
	split  []string // of the pre-tokenizers; those with a pattern as that
	prefix bool     // a blank goes before the text
	whole  bool     // words that are pieces are not merged
}

func (d *document) layout() layout {
	var none unsupported // building has reported them
	l := layout{whole: d.Model.IgnoreMerges}
	for _, n := range flatten(d.Normalizer, func(n *node) []*node { return n.Normalizers }, 0, &none) {
		switch {
		case n.Type == "Prepend" && n.Prepend == blank:
			l.prefix = true
		case n.squeeze, n.Type == "Replace" && n.Pattern.String != nil && *n.Pattern.String == " " && n.Content == blank:
		default:
			l.normal = append(l.normal, n.Type)
		}
	}
	for _, n := range flatten(d.PreTokenizer, func(n *node) []*node { return n.PreTokenizers }, 0, &none) {
		switch {
		case n.Type == "Metaspace":
			scheme := strings.ToLower(n.PrependScheme)
			l.prefix = scheme == "always" || scheme == "first" || scheme == "" && orTrue(n.AddPrefixSpace)
		case n.Type == "Split" && n.Pattern.Regex != nil:
			l.split = append(l.split, *n.Pattern.Regex)
		case n.Type == "ByteLevel":
			l.prefix = orTrue(n.AddPrefixSpace)
			if orTrue(n.UseRegex) {
				l.split = append(l.split, patternGPT2)
			}
		case n.Type == "Digits" && n.Individual:
			l.split = append(l.split, "digits")
		default:
			l.split = append(l.split, n.Type)
		}
	}
	return l
}

// cut is the way a byte-level vocabulary cuts text. The error quotes one that has
// no name.
func (l layout) cut() (Cut, error) {
	switch strings.Join(l.split, "\n") {
	case patternLlama3:
		if l.whole {
			return CutLlama3, nil
		}
		return CutCL100K, nil
	case patternQwen2:
		return CutQwen2, nil
	case patternTekken:
		return CutTekken, nil
	case patternGPT2:
		return CutGPT2, nil
	case "digits\n" + patternGPT2:
		return CutSmolLM, nil
	}
	return "", fmt.Errorf("text is cut by %q, which has no name in other programs; known are those of Llama 3, Qwen2, Tekken, GPT-2 and SmolLM", l.split)
}

// Vocabulary lays the tokenizer open. The error says what other programs have no
// form for.
func (t *Tokenizer) Vocabulary() (*Vocabulary, error) {
	v := &Vocabulary{Pieces: slices.Clone(t.pieces), Kinds: make([]Kind, len(t.pieces)), ByteLevel: t.bpe.byteLevel, Prefix: t.layout.prefix,
		Unknown: t.bpe.unk, AddBOS: slices.Contains(t.prefix, t.bos), AddEOS: t.eos >= 0 && slices.Contains(t.suffix, t.eos)}
	for id, piece := range t.pieces {
		v.Kinds[id] = t.kind(int32(id), piece)
	}
	if !v.ByteLevel {
		if len(t.layout.normal) > 0 || len(t.layout.split) > 0 {
			return nil, fmt.Errorf("the tokenizer changes text by %q, which SentencePiece vocabularies have no form for", slices.Concat(t.layout.normal, t.layout.split))
		}
		return v, v.setScores(t)
	}
	if n := slices.DeleteFunc(slices.Clone(t.layout.normal), func(s string) bool { return s == "NFC" }); len(n) > 0 || v.Prefix {
		return nil, fmt.Errorf("the tokenizer changes text by %q, a blank before it: %v; byte-level vocabularies have no form for that but for NFC", n, v.Prefix)
	}
	for _, m := range t.bpe.pairs.list() {
		v.Merges = append(v.Merges, [2]string{t.pieces[m.left], t.pieces[m.right]})
	}
	var err error
	v.Cut, err = t.layout.cut()
	return v, err
}

func (t *Tokenizer) kind(id int32, piece string) Kind {
	_, added := t.added[piece]
	var b byte
	switch {
	case piece == "":
		return Unused
	case id == t.bpe.unk:
		return Unknown
	case t.special[id]:
		return Control
	case added:
		return UserDefined
	case t.bpe.byteFallback && len(piece) == len("<0x00>"):
		if _, err := fmt.Sscanf(piece, "<0x%02X>", &b); err == nil {
			return Byte
		}
	}
	return Normal
}

// setScores gives pieces the scores of the SentencePiece model, or scores that
// make the same merges come first: the rank of the first rule that makes a piece,
// negated. Pieces that no rule makes come last.
func (v *Vocabulary) setScores(t *Tokenizer) error {
	v.Scores = make([]float32, len(v.Pieces))
	if t.scores != nil {
		copy(v.Scores, t.scores)
		return nil
	}
	rules := t.bpe.pairs.list()
	made := make([]bool, len(v.Pieces))
	last := int32(-1)
	for _, m := range rules {
		if made[m.id] && m.id != last && v.Scores[m.id] != v.Scores[last] {
			return fmt.Errorf("the merges of piece %q do not follow one another, so that no score of it says when they come; wanted the tokenizer.model", v.Pieces[m.id])
		}
		if !made[m.id] {
			made[m.id], v.Scores[m.id] = true, -float32(m.rank)
		}
		last = m.id
	}
	for id, kind := range v.Kinds {
		if !made[id] && kind == Normal {
			v.Scores[id] = -float32(len(rules))
		}
	}
	return nil
}
