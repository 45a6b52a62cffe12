package token

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// addedToken is a token that is matched in the text as a whole, before the
// model sees it.
type addedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"` // only between characters that are no word characters
	Lstrip     bool   `json:"lstrip"`      // takes the white space on its left along
	Rstrip     bool   `json:"rstrip"`      // and on its right
	Normalized bool   `json:"normalized"`  // matched in normalised text
	Special    bool   `json:"special"`

	literal bool // content is spelled as in normalised text (SentencePiece)
}

// trie finds added tokens: at each place the longest. Nodes are added[...] of
// the token that ends there, -1 for none.
type trie struct {
	tokens []addedToken
	nodes  []trieNode
	first  [256]bool // bytes a token can start with
}

type trieNode struct {
	next map[byte]int32
	end  int32 // index in tokens, -1
}

// newTrie returns nil when there are no tokens; a nil trie splits nothing.
func newTrie(tokens []addedToken) *trie {
	t := &trie{nodes: []trieNode{{end: -1}}}
	for _, a := range tokens {
		if a.Content == "" {
			continue
		}
		t.first[a.Content[0]] = true
		at := int32(0)
		for i := range len(a.Content) {
			b := a.Content[i]
			n, ok := t.nodes[at].next[b]
			if !ok {
				n = int32(len(t.nodes))
				t.nodes = append(t.nodes, trieNode{end: -1})
				if t.nodes[at].next == nil {
					t.nodes[at].next = map[byte]int32{}
				}
				t.nodes[at].next[b] = n
			}
			at = n
		}
		if t.nodes[at].end < 0 {
			t.nodes[at].end = int32(len(t.tokens))
			t.tokens = append(t.tokens, a)
		}
	}
	if len(t.tokens) == 0 {
		return nil
	}
	return t
}

// longest returns the longest token that s starts with. plain leaves special
// tokens out.
func (t *trie) longest(s string, plain bool) *addedToken {
	var hit *addedToken
	at := int32(0)
	for i := range len(s) {
		n, ok := t.nodes[at].next[s[i]]
		if !ok {
			break
		}
		at = n
		if k := t.nodes[at].end; k >= 0 && !(plain && t.tokens[k].Special) {
			hit = &t.tokens[k]
		}
	}
	return hit
}

// split cuts s at added tokens and calls f for every part in order: id is the
// token's, or -1 for the text between; off is where the part begins in s.
func (t *trie) split(s string, plain bool, f func(part string, off int, id int32)) {
	from := 0
	for i := 0; t != nil && i < len(s); {
		if !t.first[s[i]] {
			i++
			continue
		}
		a := t.longest(s[i:], plain)
		if a == nil {
			i++
			continue
		}
		start, end := i, i+len(a.Content)
		i = end
		if a.SingleWord && (wordBefore(s[:start]) || wordAfter(s[end:])) {
			continue
		}
		if a.Lstrip {
			start = from + len(strings.TrimRightFunc(s[from:start], unicode.IsSpace))
		}
		if a.Rstrip {
			end = len(s) - len(strings.TrimLeftFunc(s[end:], unicode.IsSpace))
		}
		if from < start {
			f(s[from:start], from, -1)
		}
		f(s[start:end], start, a.ID)
		from, i = end, end
	}
	if from < len(s) {
		f(s[from:], from, -1)
	}
}

func wordBefore(s string) bool {
	r, n := utf8.DecodeLastRuneInString(s)
	return n > 0 && isWord(r)
}

func wordAfter(s string) bool {
	r, n := utf8.DecodeRuneInString(s)
	return n > 0 && isWord(r)
}

// isWord is \w of Unicode regular expressions (UTS 18, annex C): Alphabetic,
// marks, decimal digits, connectors and the two join controls.
func isWord(r rune) bool {
	return r == '\u200c' || r == '\u200d' || unicode.IsLetter(r) ||
		unicode.In(r, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic)
}
