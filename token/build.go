package token

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
)

// build makes the tokenizer that the document describes, without what only the
// configuration files know.
func (d *document) build() (*Tokenizer, error) {
	if len(d.vocab) == 0 {
		return nil, fmt.Errorf("%s: the vocabulary is empty", d.file)
	}
	pieces, special, err := d.table()
	if err != nil {
		return nil, err
	}
	t := &Tokenizer{pieces: pieces, special: special, added: map[string]int32{}, bos: d.bos, eos: d.eos, pad: d.pad}
	t.bpe = &bpe{
		vocab: d.vocab, pairs: newPairTable(d.merges), unk: -1, fuseUnk: d.Model.FuseUnk,
		byteFallback: d.Model.ByteFallback, cache: newWordCache(),
	}
	var bad unsupported
	d.components(t, &bad)
	if err := bad.err(d.file); err != nil {
		return nil, err
	}
	var faults problems
	for _, id := range slices.Concat(t.prefix, t.suffix) {
		if t.Piece(id) == "" {
			faults.add("post_processor adds id %d, which no piece has", id)
		}
	}
	if u := d.Model.Unk; u != nil {
		id, ok := d.vocab[*u]
		if !ok {
			faults.add("unk_token %q is not in the vocabulary", *u)
		}
		t.bpe.unk = id
	}
	if err := faults.err(d.file); err != nil {
		return nil, err
	}
	d.fillModel(t)
	d.fillAdded(t)
	t.layout, t.scores = d.layout(), d.scores
	return t, nil
}

// components builds the chains around the model.
func (d *document) components(t *Tokenizer, bad *unsupported) {
	t.normal = normalizers(d.Normalizer, bad)
	t.pre, t.bpe.byteLevel = splitters(d.PreTokenizer, bad)
	t.decoders = decoders(d.Decoder, bad)
	t.joinSpace = d.Decoder == nil
	for _, n := range flatten(d.PostProcessor, func(n *node) []*node { return n.Processors }, 0, bad) {
		t.postProcess(n, bad)
	}
}

// postProcess takes the ids that a post-processor puts around one text.
func (t *Tokenizer) postProcess(n *node, bad *unsupported) {
	switch n.Type {
	case "ByteLevel": // moves offsets only
	case "TemplateProcessing":
		var before, after []int32
		text := false
		for _, item := range n.Single {
			if _, ok := item["Sequence"]; ok {
				text = true
				continue
			}
			sp, ok := item["SpecialToken"]
			ids := n.Special[sp.ID].IDs
			switch {
			case !ok || len(ids) == 0:
				bad.add("TemplateProcessing item %v without ids", item)
			case text:
				after = append(after, ids...)
			default:
				before = append(before, ids...)
			}
		}
		t.prefix = slices.Concat(before, t.prefix)
		t.suffix = slices.Concat(t.suffix, after)
	case "BertProcessing", "RobertaProcessing":
		cls, err1 := namedID(n.Cls)
		sep, err2 := namedID(n.Sep)
		if err1 != nil || err2 != nil {
			bad.add("%s with cls %s and sep %s", n.Type, n.Cls, n.Sep)
			return
		}
		t.prefix = slices.Concat([]int32{cls}, t.prefix)
		t.suffix = append(t.suffix, sep)
	default:
		bad.add("post_processor %q", n.Type)
	}
}

// namedID reads the id of ["</s>", 2].
func namedID(raw json.RawMessage) (int32, error) {
	var pair []json.RawMessage
	if err := json.Unmarshal(raw, &pair); err != nil {
		return 0, err
	}
	if len(pair) != 2 {
		return 0, fmt.Errorf("want a name and an id")
	}
	var id int32
	err := json.Unmarshal(pair[1], &id)
	return id, err
}

// fillModel fills the tables of the model that follow from the vocabulary.
func (d *document) fillModel(t *Tokenizer) {
	b := t.bpe
	for i := range b.byteID {
		name := fmt.Sprintf("<0x%02X>", i)
		if b.byteLevel {
			name = string(byteRune[i])
		}
		b.byteID[i] = idOr(d.vocab, name, -1)
	}
	for i := range b.asciiID {
		b.asciiID[i] = idOr(d.vocab, string(rune(i)), -1)
	}
	if d.Model.IgnoreMerges {
		b.whole = d.vocab
		if b.byteLevel {
			b.whole = make(map[string]int32, len(d.vocab))
			for p, id := range d.vocab {
				if raw := appendBytes(nil, p); spellBytes(string(raw)) == p {
					b.whole[string(raw)] = id
				}
			}
		}
	}
	b.cutBlank = b.cutsBeforeBlank(d.merges, t.pieces)
}

// idOr returns the id of piece, or other when it has none.
func idOr(vocab map[string]int32, piece string, other int32) int32 {
	if id, ok := vocab[piece]; ok {
		return id
	}
	return other
}

// fillAdded sorts the added tokens into those matched before and those matched
// after normalisation. The spelling of the latter is normalised itself.
func (d *document) fillAdded(t *Tokenizer) {
	var raw, normed []addedToken
	for _, a := range d.Added {
		if _, again := t.added[a.Content]; again {
			continue
		}
		t.added[a.Content] = a.ID
		t.rows = append(t.rows, a)
		if !a.Normalized {
			raw = append(raw, a)
			continue
		}
		if !a.literal {
			for _, f := range t.normal {
				a.Content = f(a.Content)
			}
		}
		normed = append(normed, a)
	}
	slices.SortFunc(t.rows, func(a, b addedToken) int { return cmp.Compare(a.ID, b.ID) })
	t.raw, t.normed = newTrie(raw), newTrie(normed)
}
