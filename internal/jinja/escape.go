package jinja

import (
	"errors"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// isSpace reports what Python's str.isspace does; Go's IsSpace lacks the four
// ASCII separators.
func isSpace(r rune) bool {
	return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f
}

// unescape resolves the escapes of a Python string literal.
func unescape(s string) (string, error) {
	if strings.IndexByte(s, '\\') < 0 {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			i++
			continue
		}
		c := s[i+1]
		i += 2
		if k := strings.IndexByte("\\'\"abfnrtv\n", c); k >= 0 {
			if c != '\n' { // backslash newline joins lines
				b.WriteByte("\\'\"\a\b\f\n\r\t\v"[k])
			}
			continue
		}
		width, base := 0, 16
		switch c {
		case 'x':
			width = 2
		case 'u':
			width = 4
		case 'U':
			width = 8
		case 'N':
			return "", errors.New(`\N{...} escapes are not supported, write \uXXXX`)
		case '0', '1', '2', '3', '4', '5', '6', '7':
			i--
			for width, base = 1, 8; width < 3 && i+width < len(s) && s[i+width] >= '0' && s[i+width] <= '7'; {
				width++
			}
		default: // unknown escapes keep their backslash
			b.WriteByte('\\')
			b.WriteByte(c)
			continue
		}
		if i+width > len(s) {
			return "", errors.New("string has a truncated \\" + string(c) + " escape")
		}
		n, err := strconv.ParseUint(s[i:i+width], base, 32)
		if err != nil || n > unicode.MaxRune {
			return "", errors.New("string has a wrong \\" + string(c) + " escape")
		}
		b.WriteRune(rune(n))
		i += width
	}
	return b.String(), nil
}

// reprString is Python's repr of a str: single quotes unless that needs
// escapes and double quotes do not.
func reprString(s string) string {
	var b strings.Builder
	quote := byte('\'')
	if strings.IndexByte(s, '\'') >= 0 && strings.IndexByte(s, '"') < 0 {
		quote = '"'
	}
	b.WriteByte(quote)
	for _, r := range s {
		switch {
		case r == rune(quote) || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r < 0x100:
			writeHex(&b, `\x`, r, 2)
		case r < 0x10000:
			writeHex(&b, `\u`, r, 4)
		default:
			writeHex(&b, `\U`, r, 8)
		}
	}
	b.WriteByte(quote)
	return b.String()
}

func writeHex(b *strings.Builder, prefix string, r rune, width int) {
	h := strconv.FormatInt(int64(r), 16)
	b.WriteString(prefix)
	b.WriteString(strings.Repeat("0", width-len(h)))
	b.WriteString(h)
}

// quoteJSON is json.dumps of a str, with ensure_ascii as given.
func quoteJSON(b *strings.Builder, s string, ascii bool) {
	b.WriteByte('"')
	for i := 0; i < len(s); {
		r, w := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteByte(s[i])
		case r < 0x20:
			if k := strings.IndexRune("\b\f\n\r\t", r); k >= 0 {
				b.WriteByte('\\')
				b.WriteByte("bfnrt"[k])
			} else {
				writeHex(b, `\u`, r, 4)
			}
		case ascii && r >= 0x10000:
			r -= 0x10000
			writeHex(b, `\u`, 0xd800+r>>10, 4)
			writeHex(b, `\u`, 0xdc00+r&0x3ff, 4)
		case ascii && r >= 0x7f+1:
			writeHex(b, `\u`, r, 4)
		default:
			b.WriteString(s[i : i+w])
		}
		i += w
	}
	b.WriteByte('"')
}

// escapeHTML is markupsafe.escape.
func escapeHTML(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;").Replace(s)
}

// floatRepr is Python's repr of a float: the shortest digits that read back,
// with an exponent below 1e-4 and from 1e16.
func floatRepr(f float64) string {
	s := strconv.FormatFloat(f, 'e', -1, 64)
	i := strings.IndexByte(s, 'e')
	if i < 0 { // inf, nan
		return strings.ToLower(strings.TrimPrefix(s, "+"))
	}
	exp, _ := strconv.Atoi(s[i+1:])
	if exp < -4 || exp >= 16 {
		return s // Go pads the exponent to two digits as C does
	}
	s = strconv.FormatFloat(f, 'f', -1, 64)
	if strings.IndexByte(s, '.') < 0 {
		s += ".0"
	}
	return s
}
