package token

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// form is the kind of file a document came from.
type form int

const (
	formJSON form = iota
	formSentencePiece
	formTiktoken
	formVocabMerges
)

// document is a tokenizer as tokenizer.json describes it. The other file forms
// are turned into one, so that there is one way to build a Tokenizer.
type document struct {
	file string // for errors
	form form

	Added         []addedToken `json:"added_tokens"`
	Normalizer    *node        `json:"normalizer"`
	PreTokenizer  *node        `json:"pre_tokenizer"`
	PostProcessor *node        `json:"post_processor"`
	Decoder       *node        `json:"decoder"`
	Model         model        `json:"model"`

	vocab  map[string]int32
	merges []merge

	bos, eos, pad int32     // what the file itself says, -1 for nothing
	scores        []float32 // by id, of a SentencePiece model
}

type model struct {
	Type         string          `json:"type"`
	Dropout      *float64        `json:"dropout"`
	Unk          *string         `json:"unk_token"`
	Prefix       *string         `json:"continuing_subword_prefix"`
	Suffix       *string         `json:"end_of_word_suffix"`
	FuseUnk      bool            `json:"fuse_unk"`
	ByteFallback bool            `json:"byte_fallback"`
	IgnoreMerges bool            `json:"ignore_merges"`
	Vocab        json.RawMessage `json:"vocab"`
	Merges       json.RawMessage `json:"merges"`
}

// problems gathers faults of a file; its error names the first few and counts
// the rest.
type problems []string

func (p *problems) add(format string, args ...any) {
	*p = append(*p, fmt.Sprintf(format, args...))
}

func (p problems) err(file string) error {
	if len(p) == 0 {
		return nil
	}
	const shown = 12
	more := ""
	if len(p) > shown {
		more = fmt.Sprintf("; and %d more", len(p)-shown)
		p = p[:shown]
	}
	return fmt.Errorf("%s: %s%s", file, strings.Join(p, "; "), more)
}

// parseJSON reads tokenizer.json. file is its name in errors.
func parseJSON(file string, data []byte) (*document, error) {
	d := &document{file: file, form: formJSON, bos: -1, eos: -1, pad: -1}
	if err := json.Unmarshal(data, d); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var bad unsupported
	if m := &d.Model; m.Type != "BPE" && !(m.Type == "" && len(m.Merges) > 0) {
		bad.add("model type %q, want BPE", m.Type)
	} else {
		if m.Dropout != nil && *m.Dropout != 0 {
			bad.add("dropout %v", *m.Dropout)
		}
		if m.Prefix != nil && *m.Prefix != "" {
			bad.add("continuing_subword_prefix %q", *m.Prefix)
		}
		if m.Suffix != nil && *m.Suffix != "" {
			bad.add("end_of_word_suffix %q", *m.Suffix)
		}
	}
	if len(bad) > 0 {
		d.components(&Tokenizer{bpe: &bpe{}}, &bad) // name what else is unknown
		return nil, bad.err(file)
	}
	if err := json.Unmarshal(d.Model.Vocab, &d.vocab); err != nil {
		return nil, fmt.Errorf("%s: model.vocab: %w", file, err)
	}
	pairs, err := parseMerges(d.Model.Merges)
	if err != nil {
		return nil, fmt.Errorf("%s: model.merges: %w", file, err)
	}
	d.Model.Vocab, d.Model.Merges = nil, nil
	return d, d.setMerges(file, pairs)
}

// parseMerges reads rules written as "left right" or as ["left", "right"].
func parseMerges(raw json.RawMessage) ([][2]string, error) {
	if len(raw) == 0 {
		return nil, fmt.Errorf("missing")
	}
	inner := bytes.TrimLeft(bytes.TrimPrefix(bytes.TrimSpace(raw), []byte("[")), " \t\r\n")
	if !bytes.HasPrefix(inner, []byte("[")) {
		var lines []string
		if err := json.Unmarshal(raw, &lines); err != nil {
			return nil, err
		}
		return splitMerges(lines)
	}
	var lists [][]string
	if err := json.Unmarshal(raw, &lists); err != nil {
		return nil, err
	}
	pairs := make([][2]string, len(lists))
	for i, l := range lists {
		if len(l) != 2 {
			return nil, fmt.Errorf("rule %d is %q, want two pieces", i, l)
		}
		pairs[i] = [2]string{l[0], l[1]}
	}
	return pairs, nil
}

// splitMerges cuts "left right" lines.
func splitMerges(lines []string) ([][2]string, error) {
	pairs := make([][2]string, len(lines))
	for i, l := range lines {
		left, right, ok := strings.Cut(l, " ")
		if !ok || strings.Contains(right, " ") {
			return nil, fmt.Errorf("rule %d is %q, want two pieces and one space", i, l)
		}
		pairs[i] = [2]string{left, right}
	}
	return pairs, nil
}

// setMerges looks the pieces of the rules up; rank is the place in the list.
func (d *document) setMerges(file string, pairs [][2]string) error {
	var bad problems
	d.merges = make([]merge, len(pairs))
	for i, p := range pairs {
		left, ok1 := d.vocab[p[0]]
		right, ok2 := d.vocab[p[1]]
		id, ok3 := d.vocab[p[0]+p[1]]
		if !ok1 || !ok2 || !ok3 {
			bad.add("merge rule %d, %q and %q: a part or the result is not in the vocabulary", i, p[0], p[1])
		}
		d.merges[i] = merge{left, right, id, uint32(i)}
	}
	return bad.err(file)
}

// maxPiece is the length in bytes of the longest added token, and of the longest
// piece of a tokenizer.model, that is accepted. In Llama 2 and 3, Mistral and
// Qwen2 the longest is 256; the work of finding the ways to make a piece grows
// with the square of its length.
const maxPiece = 4096

type row struct {
	text string
	id   int32
}

// byID lists a vocabulary by id; pieces with one id, by spelling.
func byID(vocab map[string]int32) []row {
	rows := make([]row, 0, len(vocab))
	for text, id := range vocab {
		rows = append(rows, row{text, id})
	}
	slices.SortFunc(rows, func(a, b row) int {
		if a.id != b.id {
			return cmp.Compare(a.id, b.id)
		}
		return cmp.Compare(a.text, b.text)
	})
	return rows
}

// table lists the pieces by id, and which ids are special. It is the check that
// ids are sane: not negative, not used twice, not far apart.
func (d *document) table() (pieces []string, special []bool, err error) {
	var bad problems
	limit := int32(min(1<<16+16*(len(d.vocab)+len(d.Added)), 1<<24))
	size := int32(0)
	inRange := func(id int32, p string) bool {
		if id < 0 || id >= limit {
			bad.add("piece %q has id %d, want 0 to %d", p, id, limit-1)
			return false
		}
		size = max(size, id+1)
		return true
	}
	rows := byID(d.vocab)
	for _, r := range rows {
		inRange(r.id, r.text)
	}
	for _, a := range d.Added {
		inRange(a.ID, a.Content)
		if len(a.Content) > maxPiece {
			bad.add("added token %d has %d bytes, more than %d", a.ID, len(a.Content), maxPiece)
		}
	}
	if bad != nil {
		return nil, nil, bad.err(d.file)
	}
	pieces, special = make([]string, size), make([]bool, size)
	used := make([]bool, size)
	put := func(id int32, p string) {
		if used[id] && pieces[id] != p {
			bad.add("pieces %q and %q both have id %d", pieces[id], p, id)
		}
		used[id], pieces[id] = true, p
	}
	for _, r := range rows {
		put(r.id, r.text)
	}
	seen := map[string]int32{}
	for _, a := range d.Added {
		id, ok := d.vocab[a.Content]
		if !ok {
			id, ok = seen[a.Content]
		}
		if ok && id != a.ID {
			bad.add("added token %q has ids %d and %d", a.Content, a.ID, id)
			continue
		}
		seen[a.Content] = a.ID
		put(a.ID, a.Content)
		special[a.ID] = special[a.ID] || a.Special
	}
	return pieces, special, bad.err(d.file)
}
