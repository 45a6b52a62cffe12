// Package token turns text into token ids and back, exactly as the tokenizers
// of Llama, Mistral and Qwen models do. It reads tokenizer.json (byte-pair
// encoding only), SentencePiece and tiktoken tokenizer.model files and
// vocab.json with merges.txt, and trains small byte-level vocabularies. It
// never downloads, and never guesses at a component it does not know: loading
// such a file is an error that names every unknown part.
package token

import "strings"

// Tokenizer maps text to ids and ids to text. It is immutable after Load and
// safe for concurrent use.
//
// Text is a sequence of bytes: byte-level vocabularies and vocabularies with
// byte fallback encode invalid UTF-8 byte by byte, others turn such a byte into
// the unknown token. Decode always returns valid UTF-8.
type Tokenizer struct {
	pieces  []string         // by id; "" where no piece has the id
	added   map[string]int32 // added tokens by content
	special []bool           // by id
	rows    []addedToken     // added tokens in id order, for Hash

	raw, normed *trie // added tokens matched before and after normalisation
	normal      []normalizer
	pre         []splitter
	bpe         *bpe
	prefix      []int32 // ids a post-processor puts before the text
	suffix      []int32 // and after it
	decoders    []decoder
	joinSpace   bool // no decoder: pieces are joined with blanks
	cleanUp     bool // clean_up_tokenization_spaces

	bos, eos, pad int32
	stops         []int32
	chat          string
	hash          func() string

	layout layout    // of the document it was built from
	scores []float32 // by id, of a SentencePiece model; else nil
}

// Encode returns the ids of text. Spellings of added tokens in the text become
// these tokens; if special is set, the ids that the post-processor (or
// add_bos_token and add_eos_token) asks for are put around the text.
func (t *Tokenizer) Encode(text string, special bool) []int32 {
	ids := make([]int32, 0, len(text)/4+len(t.prefix)+len(t.suffix)+4)
	if special {
		ids = append(ids, t.prefix...)
	}
	ids = t.encode(ids, text, false)
	if special {
		ids = append(ids, t.suffix...)
	}
	return ids
}

// EncodePlain returns the ids of text with nothing added and with spellings of
// special tokens treated as ordinary text: the encoding for text that must not
// be able to speak as the system. Added tokens that are not special (and
// user-defined SentencePiece pieces) are still matched whole.
func (t *Tokenizer) EncodePlain(text string) []int32 {
	return t.encode(make([]int32, 0, len(text)/4+4), text, true)
}

// encode appends the ids of text to ids; plain skips special added tokens.
func (t *Tokenizer) encode(ids []int32, text string, plain bool) []int32 {
	word := func(w string, _ bool) { ids = t.bpe.append(ids, w) }
	t.raw.split(text, plain, func(seg string, off int, id int32) {
		if id >= 0 {
			ids = append(ids, id)
			return
		}
		for _, f := range t.normal {
			seg = f(seg)
		}
		t.normed.split(seg, plain, func(part string, at int, id int32) {
			if id >= 0 {
				ids = append(ids, id)
				return
			}
			t.split(0, part, off+at == 0, word)
		})
	})
	return ids
}

// split runs pre-tokenizer k and those after it over s. start tells that s is
// the beginning of the text.
func (t *Tokenizer) split(k int, s string, start bool, emit emitter) {
	switch {
	case s == "":
	case k == len(t.pre):
		emit(s, start)
	case k == len(t.pre)-1:
		t.pre[k](s, start, emit)
	default:
		t.pre[k](s, start, func(p string, first bool) { t.split(k+1, p, first, emit) })
	}
}

// Decode returns the text of ids; skipSpecial leaves special tokens out. Ids
// that have no piece (negative, or beyond the vocabulary) contribute nothing.
// Bytes that do not form UTF-8 become U+FFFD, one for each maximal subpart in
// byte-level vocabularies and one for each byte of a run of byte pieces
// elsewhere. The leading blank that encoding adds is removed, and blanks before
// punctuation are removed if clean_up_tokenization_spaces says so (see Load).
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	parts := make([]string, 0, len(ids))
	for _, id := range ids {
		if id < 0 || int(id) >= len(t.pieces) || skipSpecial && t.special[id] {
			continue
		}
		if p := t.pieces[id]; p != "" {
			parts = append(parts, p)
		}
	}
	for _, f := range t.decoders {
		parts = f(parts)
	}
	sep := ""
	if t.joinSpace {
		sep = " "
	}
	s := strings.Join(parts, sep)
	if t.cleanUp {
		s = cleanUp(s)
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// Piece returns the spelling of id in the vocabulary, with its markers ("▁" or
// "Ġ" for a blank), and "" for an id that has none.
func (t *Tokenizer) Piece(id int32) string {
	if id < 0 || int(id) >= len(t.pieces) {
		return ""
	}
	return t.pieces[id]
}

// ID returns the id whose spelling, as Piece gives it, is piece.
func (t *Tokenizer) ID(piece string) (int32, bool) {
	if id, ok := t.added[piece]; ok {
		return id, true
	}
	id, ok := t.bpe.vocab[piece]
	return id, ok
}

// Size returns the largest id plus one. A model's embedding may have more rows.
func (t *Tokenizer) Size() int { return len(t.pieces) }

// BOS returns the id that begins a text, -1 when there is none.
func (t *Tokenizer) BOS() int32 { return t.bos }

// EOS returns the id that ends a text, -1 when there is none.
func (t *Tokenizer) EOS() int32 { return t.eos }

// PAD returns the id that fills unused places, -1 when there is none.
func (t *Tokenizer) PAD() int32 { return t.pad }

// Stops returns the ids that end generation: EOS first, then those that
// generation_config.json (or else config.json) names. The caller owns the slice.
func (t *Tokenizer) Stops() []int32 { return append([]int32(nil), t.stops...) }

// AddsBOS tells whether Encode with special puts BOS before the text.
func (t *Tokenizer) AddsBOS() bool {
	for _, id := range t.prefix {
		if id == t.bos {
			return true
		}
	}
	return false
}

// IsSpecial tells whether id is a special token: one that Decode can skip and
// EncodePlain never makes.
func (t *Tokenizer) IsSpecial(id int32) bool {
	return id >= 0 && int(id) < len(t.special) && t.special[id]
}

// ChatTemplate returns the Jinja source of the chat template, "" when there is
// none. chat_template.jinja goes before tokenizer_config.json; of a list of
// templates the one named default is taken.
func (t *Tokenizer) ChatTemplate() string { return t.chat }

// Hash returns the SHA-256, in hex, of vocabulary, added tokens and merges in
// order of use. It is the same for every file form of one tokenizer.
func (t *Tokenizer) Hash() string { return t.hash() }
