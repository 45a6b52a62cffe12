package token

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// decoder rewrites the pieces of a text on their way to one string. It may
// change its argument.
type decoder func([]string) []string

// decoders builds the decoder chain of tokenizer.json.
func decoders(root *node, bad *unsupported) []decoder {
	var fs []decoder
	for _, n := range flatten(root, func(n *node) []*node { return n.Decoders }, 0, bad) {
		if f := newDecoder(n, bad); f != nil {
			fs = append(fs, f)
		}
	}
	return fs
}

func newDecoder(n *node, bad *unsupported) decoder {
	switch n.Type {
	case "ByteLevel":
		return decodeByteLevel
	case "ByteFallback":
		return decodeByteFallback
	case "Fuse":
		return func(x []string) []string { return []string{strings.Join(x, "")} }
	case "Replace":
		f := replacer(n, bad)
		if f == nil {
			return nil
		}
		return func(x []string) []string {
			for i := range x {
				x[i] = f(x[i])
			}
			return x
		}
	case "Strip":
		if utf8.RuneCountInString(n.Content) != 1 {
			bad.add("Strip decoder of %q, one character is known", n.Content)
			return nil
		}
		return func(x []string) []string {
			for i := range x {
				x[i] = stripEnds(x[i], n.Content, n.Start, n.Stop)
			}
			return x
		}
	case "Metaspace":
		return decodeMetaspace(n)
	}
	bad.add("decoder %q", n.Type)
	return nil
}

// stripEnds takes up to start leading and stop trailing copies of c off s.
func stripEnds(s, c string, start, stop int) string {
	for ; start > 0 && strings.HasPrefix(s, c); start-- {
		s = s[len(c):]
	}
	for ; stop > 0 && strings.HasSuffix(s, c); stop-- {
		s = s[:len(s)-len(c)]
	}
	return s
}

func decodeByteLevel(x []string) []string {
	n := 0
	for _, p := range x {
		n += len(p)
	}
	b := make([]byte, 0, n)
	for _, p := range x {
		b = appendBytes(b, p)
	}
	return []string{lossy(b)}
}

// decodeByteFallback joins runs of byte pieces ("<0xE2>"). A run that is not
// UTF-8 as a whole becomes one U+FFFD a byte, as in the reference.
func decodeByteFallback(x []string) []string {
	out := make([]string, 0, len(x))
	var bytes []byte
	flush := func() {
		switch {
		case len(bytes) == 0:
		case utf8.Valid(bytes):
			out = append(out, string(bytes))
		default:
			out = append(out, strings.Repeat("\uFFFD", len(bytes)))
		}
		bytes = bytes[:0]
	}
	for _, p := range x {
		if b, ok := bytePiece(p); ok {
			bytes = append(bytes, b)
			continue
		}
		flush()
		out = append(out, p)
	}
	flush()
	return out
}

// bytePiece returns the byte that a piece like "<0x0A>" stands for.
func bytePiece(p string) (byte, bool) {
	if len(p) != 6 || p[:3] != "<0x" || p[5] != '>' {
		return 0, false
	}
	v, err := strconv.ParseUint(p[3:5], 16, 8)
	return byte(v), err == nil
}

// decodeMetaspace writes "▁" as a space and drops the one that encoding put in
// front of the first piece.
func decodeMetaspace(n *node) decoder {
	sign := n.Replacement
	if sign == "" {
		sign = blank
	}
	drop := strings.ToLower(n.PrependScheme) != "never" && orTrue(n.AddPrefixSpace)
	return func(x []string) []string {
		for i, p := range x {
			if i == 0 && drop {
				p = strings.TrimPrefix(p, sign)
			}
			x[i] = strings.ReplaceAll(p, sign, " ")
		}
		return x
	}
}

// cleanUp removes blanks before punctuation and English short forms: the
// clean_up_tokenization_spaces of the reference, in its order.
func cleanUp(s string) string {
	if !strings.Contains(s, " ") {
		return s
	}
	for _, r := range [...][2]string{
		{" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","}, {" ' ", "'"},
		{" n't", "n't"}, {" 'm", "'m"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
	} {
		s = strings.ReplaceAll(s, r[0], r[1])
	}
	return s
}
