package token

import (
	"strings"
	"unicode/utf8"
)

// bpe is the byte-pair encoding of one word.
// Sennrich et al. 2016, https://arxiv.org/abs/1508.07909, section 3.2.
type bpe struct {
	vocab        map[string]int32 // model vocabulary, without added tokens
	whole        map[string]int32 // raw word → id, when whole words go before merges; else nil
	pairs        pairTable
	byteID       [256]int32 // id of each byte piece, -1 when absent
	asciiID      [128]int32 // id of each ASCII character, -1 when absent
	unk          int32      // -1 when unknown characters are dropped
	fuseUnk      bool       // a run of unknown characters is one unk
	byteLevel    bool       // symbols are bytes
	byteFallback bool       // unknown characters become byte pieces
	cutBlank     bool       // see cutsBeforeBlank
	cache        *wordCache
}

const blank = "▁" // U+2581, SentencePiece's spelling of a space

// append appends the ids of w, one word of the pre-tokenizer.
func (b *bpe) append(ids []int32, w string) []int32 {
	if !b.cutBlank {
		return b.word(ids, w)
	}
	for w != "" {
		n := blankRun(w, 0)
		if k := strings.Index(w[n:], blank); k >= 0 {
			n += k
		} else {
			n = len(w)
		}
		ids = b.word(ids, w[:n])
		w = w[n:]
	}
	return ids
}

// blankRun returns the end of the run of blanks that starts at i.
func blankRun(w string, i int) int {
	for strings.HasPrefix(w[i:], blank) {
		i += len(blank)
	}
	return i
}

// cutsBeforeBlank tells whether text may be cut before each "▁" that follows
// another character without changing the result. It may if no rule makes a
// piece with "▁" after another character: then no merge crosses the cut. This
// holds for SentencePiece models trained with split_by_whitespace.
func (b *bpe) cutsBeforeBlank(rules []merge, pieces []string) bool {
	if _, ok := b.vocab[blank]; !ok || b.byteLevel || b.whole != nil {
		return false
	}
	for _, m := range rules {
		p := pieces[m.left] + pieces[m.right]
		if strings.Contains(p[blankRun(p, 0):], blank) {
			return false
		}
	}
	return true
}

// word appends the ids of w, which no merge leaves.
func (b *bpe) word(ids []int32, w string) []int32 {
	if w == "" {
		return ids
	}
	if id, ok := b.whole[w]; ok {
		return append(ids, id)
	}
	if len(w) > cacheLongest {
		return b.merge(ids, w)
	}
	if known := b.cache.get(w); known != nil {
		return append(ids, known...)
	}
	n := len(ids)
	ids = b.merge(ids, w)
	b.cache.put(w, ids[n:])
	return ids
}

// symbol is a piece of the word under way, linked to its neighbours.
type symbol struct{ id, prev, next int32 }

const heapFrom = 24 // symbols; below, scanning for the best pair is faster than a heap

func (b *bpe) merge(ids []int32, w string) []int32 {
	var buf [64]symbol
	s := b.symbols(buf[:0], w)
	if len(s) == 0 {
		return ids
	}
	s[len(s)-1].next = -1
	if len(s) < heapFrom {
		b.mergeScan(s)
	} else {
		b.mergeHeap(s)
	}
	for i := int32(0); i >= 0; i = s[i].next {
		ids = append(ids, s[i].id)
	}
	return ids
}

// symbols appends the initial symbols of w: its bytes or its characters.
func (b *bpe) symbols(s []symbol, w string) []symbol {
	push := func(id int32) {
		n := int32(len(s))
		s = append(s, symbol{id, n - 1, n + 1})
	}
	if b.byteLevel {
		for i := range len(w) {
			if id := b.byteID[w[i]]; id >= 0 {
				push(id)
			} else if b.unk >= 0 {
				push(b.unk)
			}
		}
		return s
	}
	unk := false // the last symbol is an unk that the next may join
	for len(w) > 0 {
		n := 1
		id := int32(-1)
		if w[0] < utf8.RuneSelf {
			id = b.asciiID[w[0]]
		} else {
			_, n = utf8.DecodeRuneInString(w)
			if v, ok := b.vocab[w[:n]]; ok {
				id = v
			}
		}
		switch {
		case id >= 0:
			push(id)
			unk = false
		case b.hasBytes(w[:n]):
			for i := range n {
				push(b.byteID[w[i]])
			}
			unk = false
		case b.unk >= 0 && !(unk && b.fuseUnk):
			push(b.unk)
			unk = true
		}
		w = w[n:]
	}
	return s
}

// hasBytes tells whether every byte of c has a piece to fall back to.
func (b *bpe) hasBytes(c string) bool {
	for i := range len(c) {
		if !b.byteFallback || b.byteID[c[i]] < 0 {
			return false
		}
	}
	return true
}

// mergeScan merges by looking for the best pair again each time.
func (b *bpe) mergeScan(s []symbol) {
	for {
		best, at := noPair, int32(-1)
		for i := int32(0); s[i].next >= 0; i = s[i].next {
			// Only a lower rank wins: of equal ranks the leftmost stays.
			if v := b.pairs.get(s[i].id, s[s[i].next].id); v>>32 < best>>32 {
				best, at = v, i
			}
		}
		if at < 0 {
			return
		}
		s[at].id = int32(uint32(best))
		s[at].next = s[s[at].next].next
	}
}

// mergeHeap merges with a queue of candidate pairs: n·log n for n symbols.
func (b *bpe) mergeHeap(s []symbol) {
	const gone = -2 // id of a symbol that was merged into its left neighbour
	h := make(pairHeap, 0, len(s))
	add := func(i int32) {
		if i >= 0 && s[i].next >= 0 {
			if v := b.pairs.get(s[i].id, s[s[i].next].id); v != noPair {
				h.push(candidate{v, i})
			}
		}
	}
	for i := range s {
		add(int32(i))
	}
	for len(h) > 0 {
		c := h.pop()
		i := c.at
		if s[i].id == gone || s[i].next < 0 {
			continue
		}
		r := s[i].next
		if b.pairs.get(s[i].id, s[r].id) != c.val {
			continue // one side has changed since
		}
		s[i].id = int32(uint32(c.val))
		s[i].next = s[r].next
		if s[r].next >= 0 {
			s[s[r].next].prev = i
		}
		s[r].id = gone
		add(s[i].prev)
		add(i)
	}
}
