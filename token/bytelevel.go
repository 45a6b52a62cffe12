package token

import (
	"strings"
	"unicode/utf8"
)

// Byte-level vocabularies write every byte as one printable rune: printable
// Latin-1 bytes as themselves, the other 68 as U+0100 and up (GPT-2).
var (
	byteRune = byteAlphabet()
	runeByte = byteInverse() // rune → byte, -1 for runes outside the alphabet
)

func byteAlphabet() (a [256]rune) {
	next := rune(256)
	for b := range a {
		if b >= 33 && b <= 126 || b >= 161 && b <= 172 || b >= 174 {
			a[b] = rune(b)
			continue
		}
		a[b] = next
		next++
	}
	return a
}

func byteInverse() (inv [256 + 68]int16) {
	for i := range inv {
		inv[i] = -1
	}
	for b, r := range byteAlphabet() {
		inv[r] = int16(b)
	}
	return inv
}

// spellBytes writes raw bytes in the byte-level alphabet.
func spellBytes(raw string) string {
	var sb strings.Builder
	for i := range len(raw) {
		sb.WriteRune(byteRune[raw[i]])
	}
	return sb.String()
}

// appendBytes appends the bytes that a byte-level piece spells. A piece with a
// rune outside the alphabet (an added token) stands for its own UTF-8 bytes.
func appendBytes(dst []byte, piece string) []byte {
	n := len(dst)
	for _, r := range piece {
		if int(r) >= len(runeByte) || runeByte[r] < 0 {
			return append(dst[:n], piece...)
		}
		dst = append(dst, byte(runeByte[r]))
	}
	return dst
}

// lossy returns b as UTF-8 with one U+FFFD for each maximal subpart of an
// ill-formed sequence (Unicode standard, section 3.9, U+FFFD substitution).
func lossy(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var out strings.Builder
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r != utf8.RuneError || n > 1 {
			out.Write(b[:n])
			b = b[n:]
			continue
		}
		out.WriteString("\uFFFD")
		n = 1
		for n < 3 && n < len(b) && !utf8.FullRune(b[:n+1]) {
			n++
		}
		b = b[n:]
	}
	return out.String()
}
