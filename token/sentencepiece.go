package token

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// Piece types of SentencePiece's sentencepiece_model.proto.
const (
	spNormal      = 1
	spUnknown     = 2
	spControl     = 3
	spUserDefined = 4
	spUnused      = 5
	spByte        = 6
)

type spPiece struct {
	text  string
	score float32
	kind  int32
}

// spModel is the part of ModelProto that matters for encoding.
type spModel struct {
	pieces        []spPiece
	modelType     int32 // 1 unigram, 2 BPE, 3 word, 4 char
	suffixBlank   bool  // treat_whitespace_as_suffix
	bos, eos, pad int32
	charsmap      bool // a precompiled normalizer
	dummyPrefix   bool
	squeeze       bool // remove_extra_whitespaces
	escape        bool // escape_whitespaces
}

// readSentencePiece reads a ModelProto. Values that are absent have the
// defaults of the proto file.
func readSentencePiece(data []byte) (*spModel, error) {
	m := &spModel{modelType: 1, bos: 1, eos: 2, pad: -1, dummyPrefix: true, squeeze: true, escape: true}
	err := eachField(data, 0, func(f field, at int) error {
		switch {
		case f.tag == 1 && f.wire == wireBytes:
			p := spPiece{kind: spNormal}
			err := eachField(f.bytes, at, func(g field, _ int) error {
				switch {
				case g.tag == 1 && g.wire == wireBytes:
					p.text = string(g.bytes)
				case g.tag == 2 && g.wire == wire32:
					p.score = g.float()
				case g.tag == 3 && g.wire == wireVarint:
					p.kind = g.int()
				}
				return nil
			})
			m.pieces = append(m.pieces, p)
			return err
		case f.tag == 2 && f.wire == wireBytes:
			return eachField(f.bytes, at, m.trainerSpec)
		case f.tag == 3 && f.wire == wireBytes:
			return eachField(f.bytes, at, m.normalizerSpec)
		}
		return nil
	})
	return m, err
}

func (m *spModel) trainerSpec(f field, _ int) error {
	if f.wire != wireVarint {
		return nil
	}
	switch f.tag {
	case 3:
		m.modelType = f.int()
	case 24:
		m.suffixBlank = f.num != 0
	case 41:
		m.bos = f.int()
	case 42:
		m.eos = f.int()
	case 43:
		m.pad = f.int()
	}
	return nil
}

func (m *spModel) normalizerSpec(f field, _ int) error {
	switch {
	case f.tag == 2 && f.wire == wireBytes:
		m.charsmap = len(f.bytes) > 0
	case f.wire != wireVarint:
	case f.tag == 3:
		m.dummyPrefix = f.num != 0
	case f.tag == 4:
		m.squeeze = f.num != 0
	case f.tag == 5:
		m.escape = f.num != 0
	}
	return nil
}

// check names what this package cannot do and what is wrong with the pieces.
func (m *spModel) check(file string) error {
	var bad unsupported
	if m.modelType != 2 {
		names := map[int32]string{1: "unigram", 3: "word", 4: "char"}
		bad.add("model type %d %s, want 2 (BPE)", m.modelType, names[m.modelType])
	}
	if m.charsmap {
		bad.add("a precompiled normalizer (only identity)")
	}
	if m.suffixBlank {
		bad.add("treat_whitespace_as_suffix")
	}
	if !m.escape {
		bad.add("escape_whitespaces off")
	}
	unused := 0
	var faults problems
	for i, p := range m.pieces {
		switch {
		case p.kind == spUnused:
			unused++
		case p.kind < spNormal || p.kind > spByte:
			faults.add("piece %d has type %d", i, p.kind)
		}
		if p.text == "" || len(p.text) > maxPiece || !utf8.ValidString(p.text) {
			faults.add("piece %d is %.60q of %d bytes, want text of at most %d", i, p.text, len(p.text), maxPiece)
		}
		if math.IsNaN(float64(p.score)) {
			faults.add("piece %d, %q, has no score", i, p.text)
		}
	}
	if unused > 0 {
		bad.add("%d pieces of type unused", unused)
	}
	if err := bad.err(file); err != nil {
		return err
	}
	return faults.err(file)
}

// parseSentencePiece reads a SentencePiece BPE model: pieces with scores, the
// highest score merged first, the leftmost of equal ones.
func parseSentencePiece(file string, data []byte, side *side) (*document, error) {
	m, err := readSentencePiece(data)
	if err != nil {
		return nil, fmt.Errorf("%s: neither JSON, tiktoken lines nor a SentencePiece model: %w", file, err)
	}
	if len(m.pieces) == 0 {
		return nil, fmt.Errorf("%s: no pieces: not a SentencePiece model", file)
	}
	if err := m.check(file); err != nil {
		return nil, err
	}
	d := &document{file: file, form: formSentencePiece, vocab: make(map[string]int32, len(m.pieces)), bos: m.bos, eos: m.eos, pad: m.pad}
	d.Model.FuseUnk = true
	if err := d.setPieces(m); err != nil {
		return nil, err
	}
	d.setMetaspace(m, side)
	return d, nil
}

// setPieces fills vocabulary, added tokens and merge rules.
func (d *document) setPieces(m *spModel) error {
	var faults problems
	texts := make([]string, len(m.pieces))
	var order []int32
	for i, p := range m.pieces {
		id := int32(i)
		d.scores = append(d.scores, p.score)
		if first, again := d.vocab[p.text]; again {
			faults.add("piece %q has ids %d and %d", p.text, first, id)
		}
		d.vocab[p.text], texts[i] = id, p.text
		switch p.kind {
		case spUnknown:
			d.Model.Unk = &m.pieces[i].text
			d.Added = append(d.Added, addedToken{ID: id, Content: p.text, Special: true})
		case spControl:
			d.Added = append(d.Added, addedToken{ID: id, Content: p.text, Special: true})
		case spUserDefined:
			d.Added = append(d.Added, addedToken{ID: id, Content: p.text, Normalized: true, literal: true})
		case spByte:
			d.Model.ByteFallback = true
		default:
			order = append(order, id)
		}
	}
	for i, id := range []*int32{&d.bos, &d.eos, &d.pad} {
		if int(*id) >= len(m.pieces) {
			faults.add("%s is %d, but there are %d pieces", [...]string{"bos_id", "eos_id", "pad_id"}[i], *id, len(m.pieces))
		}
		*id = max(*id, -1)
	}
	if err := faults.err(d.file); err != nil {
		return err
	}
	score := func(id int32) float32 { return m.pieces[id].score }
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(score(b), score(a)) })
	d.merges = allMerges(texts, d.vocab, order, func(a, b int32) bool { return score(a) == score(b) })
	return nil
}

// setMetaspace writes down how SentencePiece treats spaces. A space goes before
// each part of the text between special tokens, or, if tokenizer_config.json
// has "legacy": false, only before the first.
func (d *document) setMetaspace(m *spModel, side *side) {
	sign, spaceText := blank, " "
	var before []*node
	if m.squeeze {
		before = append(before, &node{squeeze: true})
	}
	dummy := m.dummyPrefix && orTrue(side.config.AddPrefixSpace)
	if orTrue(side.config.Legacy) {
		if dummy {
			before = append(before, &node{Type: "Prepend", Prepend: sign})
		}
		before = append(before, &node{Type: "Replace", Pattern: pattern{String: &spaceText}, Content: sign})
	} else {
		whole := false
		scheme := "never"
		if dummy {
			scheme = "first"
		}
		d.PreTokenizer = &node{Type: "Metaspace", Replacement: sign, PrependScheme: scheme, Split: &whole}
	}
	d.Normalizer = &node{Type: "Sequence", Normalizers: before}
	steps := []*node{
		{Type: "Replace", Pattern: pattern{String: &sign}, Content: " "},
		{Type: "ByteFallback"}, {Type: "Fuse"},
	}
	if dummy {
		steps = append(steps, &node{Type: "Strip", Content: " ", Start: 1})
	}
	d.Decoder = &node{Type: "Sequence", Decoders: steps}
}
