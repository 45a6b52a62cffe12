package token

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// normalizer rewrites one segment of text.
type normalizer func(string) string

// normalizers builds the normalizer chain of tokenizer.json.
func normalizers(root *node, bad *unsupported) []normalizer {
	var fs []normalizer
	for _, n := range flatten(root, func(n *node) []*node { return n.Normalizers }, 0, bad) {
		if f := newNormalizer(n, bad); f != nil {
			fs = append(fs, f)
		}
	}
	return fs
}

func newNormalizer(n *node, bad *unsupported) normalizer {
	if n.squeeze {
		return squeeze
	}
	switch n.Type {
	case "NFC":
		return func(s string) string { return exactForm(norm.NFC, s) }
	case "NFD":
		return func(s string) string { return exactForm(norm.NFD, s) }
	case "NFKC":
		return func(s string) string { return exactForm(norm.NFKC, s) }
	case "NFKD":
		return func(s string) string { return exactForm(norm.NFKD, s) }
	case "Lowercase":
		return lowercase
	case "StripAccents":
		return func(s string) string {
			return strings.Map(func(r rune) rune {
				if unicode.Is(unicode.Mn, r) {
					return -1
				}
				return r
			}, s)
		}
	case "Strip":
		return func(s string) string {
			if orTrue(n.StripLeft) {
				s = strings.TrimLeftFunc(s, unicode.IsSpace)
			}
			if orTrue(n.StripRight) {
				s = strings.TrimRightFunc(s, unicode.IsSpace)
			}
			return s
		}
	case "Prepend":
		return func(s string) string {
			if s == "" {
				return s
			}
			return n.Prepend + s
		}
	case "Replace":
		return replacer(n, bad)
	}
	bad.add("normalizer %q", n.Type)
	return nil
}

// replacer is the Replace normalizer and decoder.
func replacer(n *node, bad *unsupported) func(string) string {
	switch {
	case n.Pattern.String != nil && *n.Pattern.String != "":
		old := *n.Pattern.String
		return func(s string) string { return strings.ReplaceAll(s, old, n.Content) }
	case n.Pattern.Regex != nil:
		m, err := newRegex(*n.Pattern.Regex)
		if err != nil {
			bad.add("Replace pattern: %v", err)
			return nil
		}
		return func(s string) string {
			var b strings.Builder
			m(s, func(part string, match bool) {
				if match {
					part = n.Content
				}
				b.WriteString(part)
			})
			return b.String()
		}
	}
	bad.add("Replace without a pattern")
	return nil
}

// lowercase maps each rune by itself except for U+0130, whose lower case is two
// runes; a final capital sigma is not treated specially, as in the reference.
func lowercase(s string) string {
	return strings.ReplaceAll(strings.ToLower(strings.ReplaceAll(s, "İ", "i\u0307")), "İ", "i\u0307")
}

// squeeze drops leading and trailing spaces and leaves one of every other run:
// SentencePiece's remove_extra_whitespaces.
func squeeze(s string) string {
	s = strings.Trim(s, " ")
	if !strings.Contains(s, "  ") {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if s[i] != ' ' || s[i-1] != ' ' {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}
