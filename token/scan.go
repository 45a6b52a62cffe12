package token

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// scanner returns the end of the match that begins at i; i < len(s).
//
// The scanners are the split patterns of known models written out by hand. Each
// matches somewhere in any text, at every place where the last match ended.
type scanner func(s string, i int) int

const (
	// patternLlama3 is also tiktoken's cl100k with plain quantifiers.
	patternLlama3 = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternQwen2  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternTekken = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternGPT2   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
)

// scannerFor returns the scanner of a pattern, nil for one it does not know.
func scannerFor(pattern string) scanner {
	switch pattern {
	case patternLlama3:
		return func(s string, i int) int { return scanWords(s, i, 3) }
	case patternQwen2:
		return func(s string, i int) int { return scanWords(s, i, 1) }
	case patternTekken:
		return scanTekken
	case patternGPT2:
		return scanGPT2
	}
	return nil
}

// Classes of runes that the patterns tell apart.
const (
	letter  = 1 << iota // \p{L}
	number              // \p{N}
	space               // \s
	newline             // \r \n
	upper               // \p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}
	lower               // \p{Ll}\p{Lm}\p{Lo}\p{M}
)

var asciiClass = asciiClasses()

func asciiClasses() (t [utf8.RuneSelf]uint8) {
	for r := range t {
		t[r] = classOf(rune(r))
	}
	return t
}

func classOf(r rune) uint8 {
	switch {
	case unicode.Is(unicode.Ll, r):
		return letter | lower
	case unicode.In(r, unicode.Lm, unicode.Lo):
		return letter | upper | lower
	case unicode.IsLetter(r):
		return letter | upper
	case unicode.Is(unicode.N, r):
		return number
	case r == '\r' || r == '\n':
		return space | newline
	case unicode.IsSpace(r):
		return space
	case unicode.Is(unicode.M, r):
		return upper | lower
	}
	return 0
}

// class returns the classes and the length of the rune at i, 0, 0 at the end.
func class(s string, i int) (uint8, int) {
	if i >= len(s) {
		return 0, 0
	}
	if s[i] < utf8.RuneSelf {
		return asciiClass[s[i]], 1
	}
	r, n := utf8.DecodeRuneInString(s[i:])
	return classOf(r), n
}

// run returns the end of the run of runes in any class of mask from i on.
func run(s string, i int, mask uint8) int {
	for i < len(s) {
		c, n := class(s, i)
		if c&mask == 0 {
			break
		}
		i += n
	}
	return i
}

// other returns the end of [^\s\p{L}\p{N}]* from i on.
func other(s string, i int) int {
	for i < len(s) {
		c, n := class(s, i)
		if c&(letter|number|space) != 0 {
			break
		}
		i += n
	}
	return i
}

// contraction returns the end of (?i:'s|'t|'re|'ve|'m|'ll|'d) at i, 0 for none.
func contraction(s string, i int) int {
	if s[i] != '\'' {
		return 0
	}
	if strings.HasPrefix(s[i+1:], "ſ") { // U+017F folds to s
		return i + 1 + len("ſ")
	}
	low := func(k int) byte {
		if k < len(s) && s[k] < utf8.RuneSelf {
			return s[k] | 0x20
		}
		return 0
	}
	return shortForm(low(i+1), low(i+2), i)
}

// shortForm returns the end of a contraction at i whose letters are a and b.
func shortForm(a, b byte, i int) int {
	switch {
	case a == 's' || a == 't' || a == 'm' || a == 'd':
		return i + 2
	case (a == 'r' || a == 'v') && b == 'e', a == 'l' && b == 'l':
		return i + 3
	}
	return 0
}

// blanks matches \s*[\r\n]+|\s+(?!\S)|\s+, without the first part if lines is
// not set: all white space up to the last line end; else all but the last rune
// when text follows; else all of it.
func blanks(s string, i int, lines bool) int {
	end := run(s, i, space)
	lastLine, lastRune := -1, i
	for k := i; k < end; {
		c, n := class(s, k)
		if c&newline != 0 {
			lastLine = k + n
		}
		lastRune = k
		k += n
	}
	switch {
	case lines && lastLine >= 0:
		return lastLine
	case end == len(s) || lastRune == i:
		return end
	}
	return lastRune
}

// symbolsOrBlanks matches the end of the Llama 3 family's patterns:
// ` ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`; with slash, [\r\n/]*.
func symbolsOrBlanks(s string, i int, slash bool) int {
	from := i
	if s[i] == ' ' {
		from++
	}
	end := other(s, from)
	if end == from {
		return blanks(s, i, true)
	}
	for end < len(s) && (s[end] == '\r' || s[end] == '\n' || slash && s[end] == '/') {
		end++
	}
	return end
}

// scanWords is patternLlama3 and patternQwen2, which differ in the number of
// digits that stay together.
func scanWords(s string, i, digits int) int {
	if end := contraction(s, i); end > 0 {
		return end
	}
	c, n := class(s, i)
	if c&letter != 0 {
		return run(s, i, letter)
	}
	if c&(number|newline) == 0 {
		if after, _ := class(s, i+n); after&letter != 0 {
			return run(s, i+n, letter)
		}
	}
	if c&number != 0 {
		end := i + n
		for range digits - 1 {
			if c, n = class(s, end); c&number == 0 {
				break
			}
			end += n
		}
		return end
	}
	return symbolsOrBlanks(s, i, false)
}

// scanGPT2 is patternGPT2.
func scanGPT2(s string, i int) int {
	if s[i] == '\'' {
		var a, b byte
		if i+1 < len(s) {
			a = s[i+1]
		}
		if i+2 < len(s) {
			b = s[i+2]
		}
		if end := shortForm(a, b, i); end > 0 {
			return end
		}
	}
	from := i
	if s[i] == ' ' {
		from++
	}
	switch c, _ := class(s, from); {
	case c&letter != 0:
		return run(s, from, letter)
	case c&number != 0:
		return run(s, from, number)
	}
	if end := other(s, from); end > from {
		return end
	}
	return blanks(s, i, false)
}

// scanTekken is patternTekken (Mistral Nemo).
func scanTekken(s string, i int) int {
	c, n := class(s, i)
	starts := []int{i + n, i} // with and without the one rune before the word
	if c&(letter|number|newline) != 0 {
		starts = starts[1:]
	}
	for _, st := range starts { // upper* lower+
		end := run(s, st, upper)
		if e := run(s, end, lower); e > end {
			return e
		}
		for p := end; p > st; { // upper* gives back up to a rune that is lower too
			_, m := utf8.DecodeLastRuneInString(s[:p])
			if c, _ := class(s, p-m); c&lower != 0 {
				return p
			}
			p -= m
		}
	}
	for _, st := range starts { // upper+ lower*
		if end := run(s, st, upper); end > st {
			return run(s, end, lower)
		}
	}
	if c&number != 0 {
		return i + n
	}
	return symbolsOrBlanks(s, i, true)
}
