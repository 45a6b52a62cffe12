package token

import (
	"encoding/json"
	"fmt"
	"strings"
)

// node is one component of tokenizer.json: a normalizer, pre-tokenizer,
// post-processor or decoder. Each kind uses a few of the fields.
type node struct {
	Type string `json:"type"`

	Normalizers   []*node `json:"normalizers"`
	PreTokenizers []*node `json:"pretokenizers"`
	Processors    []*node `json:"processors"`
	Decoders      []*node `json:"decoders"`

	Pattern        pattern `json:"pattern"`
	Content        string  `json:"content"`
	Prepend        string  `json:"prepend"`
	Behavior       string  `json:"behavior"`
	Invert         bool    `json:"invert"`
	Replacement    string  `json:"replacement"`
	PrependScheme  string  `json:"prepend_scheme"`
	AddPrefixSpace *bool   `json:"add_prefix_space"`
	Split          *bool   `json:"split"`
	UseRegex       *bool   `json:"use_regex"`
	Individual     bool    `json:"individual_digits"`
	StripLeft      *bool   `json:"strip_left"`
	StripRight     *bool   `json:"strip_right"`
	Start          int     `json:"start"`
	Stop           int     `json:"stop"`

	Single  []map[string]struct{ ID string } `json:"single"`
	Special map[string]struct {
		IDs []int32 `json:"ids"`
	} `json:"special_tokens"`
	Sep json.RawMessage `json:"sep"` // ["</s>", 2]
	Cls json.RawMessage `json:"cls"`

	squeeze bool // normalizer of SentencePiece's remove_extra_whitespaces
}

// pattern is {"String": s} or {"Regex": r}.
type pattern struct {
	String *string
	Regex  *string
}

// orTrue is the value of an optional field that defaults to true.
func orTrue(b *bool) bool { return b == nil || *b }

// unsupported gathers what a file asks for and this package cannot do, so that
// one error names all of it.
type unsupported []string

func (u *unsupported) add(format string, args ...any) {
	*u = append(*u, fmt.Sprintf(format, args...))
}

// err is nil when everything was understood.
func (u unsupported) err(file string) error {
	if len(u) == 0 {
		return nil
	}
	return fmt.Errorf("%s: not supported: %s", file, strings.Join(u, "; "))
}

const maxDepth = 32 // of nested Sequence nodes; published files have 2

// flatten returns n with Sequence nodes replaced by their parts.
func flatten(n *node, parts func(*node) []*node, depth int, bad *unsupported) []*node {
	switch {
	case n == nil:
		return nil
	case depth > maxDepth:
		bad.add("Sequence nested deeper than %d", maxDepth)
		return nil
	case n.Type != "Sequence":
		return []*node{n}
	}
	var out []*node
	for _, c := range parts(n) {
		out = append(out, flatten(c, parts, depth+1, bad)...)
	}
	return out
}
