package jinja

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokEOF tokenKind = iota
	tokData
	tokVarBegin
	tokVarEnd
	tokBlockBegin
	tokBlockEnd
	tokName
	tokString
	tokInteger
	tokFloat
	tokOp
)

// token is one unit of the source. text is the data, name, operator or number
// as written; for strings it is the value with escapes resolved.
type token struct {
	kind tokenKind
	text string
	line int
}

// describe names the token in a syntax error.
func (t token) describe() string {
	switch t.kind {
	case tokEOF:
		return "end of template"
	case tokData:
		return "template text"
	case tokVarBegin:
		return "'{{'"
	case tokVarEnd:
		return "'}}'"
	case tokBlockBegin:
		return "'{%'"
	case tokBlockEnd:
		return "'%}'"
	}
	return "'" + t.text + "'"
}

// lexer cuts the source into tokens. The whitespace rules are those of
// jinja2/lexer.py with trim_blocks and lstrip_blocks set.
type lexer struct {
	src          string
	pos          int
	line         int
	lineStarting bool // the last tag ended with the newline that it swallowed
	tokens       []token
}

func lex(src string) []token {
	src = strings.ReplaceAll(src, "\r\n", "\n")
	src = strings.ReplaceAll(src, "\r", "\n")
	src = strings.TrimSuffix(src, "\n") // keep_trailing_newline is off
	l := &lexer{src: src, line: 1, lineStarting: true}
	for l.pos < len(l.src) {
		l.lexRoot()
	}
	l.emit(tokEOF, "")
	return l.tokens
}

func (l *lexer) emit(kind tokenKind, text string) {
	l.tokens = append(l.tokens, token{kind, text, l.line})
}

// advance moves to position end and counts the lines passed.
func (l *lexer) advance(end int) {
	l.line += strings.Count(l.src[l.pos:end], "\n")
	l.pos = end
}

// advanceTag is advance for the end of a match after which lstrip_blocks asks
// whether a line begins.
func (l *lexer) advanceTag(end int) {
	l.lineStarting = end > 0 && l.src[end-1] == '\n'
	l.advance(end)
}

// emitText emits the data before a tag at position end, stripped as its sign
// asks: '-' strips all space before it, '+' none, and without a sign a block
// or comment loses the blanks between the line's start and itself.
func (l *lexer) emitText(end int, sign byte, lstrip bool) {
	text := l.src[l.pos:end]
	switch {
	case sign == '-':
		text = strings.TrimRightFunc(text, isSpace)
	case sign != '+' && lstrip:
		from := strings.LastIndexByte(text, '\n') + 1
		if (from > 0 || l.lineStarting) && strings.TrimLeftFunc(text[from:], isSpace) == "" {
			text = text[:from]
		}
	}
	if text != "" {
		l.emit(tokData, text)
	}
	l.advance(end)
}

// signAt returns the '-' or '+' at position i and its width.
func (l *lexer) signAt(i int) (byte, int) {
	if i < len(l.src) && (l.src[i] == '-' || l.src[i] == '+') {
		return l.src[i], 1
	}
	return 0, 0
}

// lexRoot reads the text up to the next tag and that tag.
func (l *lexer) lexRoot() {
	start := l.pos
	for {
		i := strings.IndexByte(l.src[start:], '{')
		if i < 0 || start+i+1 >= len(l.src) {
			l.emit(tokData, l.src[l.pos:])
			l.advance(len(l.src))
			return
		}
		start += i
		if c := l.src[start+1]; c == '%' || c == '#' || c == '{' {
			break
		}
		start++
	}
	sign, w := l.signAt(start + 2)
	kind := l.src[start+1]
	l.emitText(start, sign, kind != '{')
	switch {
	case kind == '#':
		l.advance(start + 2 + w)
		l.lexComment()
	case kind == '{':
		l.emit(tokVarBegin, "")
		l.advance(start + 2 + w)
		l.lexTag(tokVarEnd)
	default:
		if end, ok := l.rawBegin(start + 2 + w); ok {
			l.advanceTag(end)
			l.lexRaw()
			return
		}
		l.emit(tokBlockBegin, "")
		l.advance(start + 2 + w)
		l.lexTag(tokBlockEnd)
	}
}

func (l *lexer) skipSpace(i int) int {
	return len(l.src) - len(strings.TrimLeftFunc(l.src[i:], isSpace))
}

// word returns the position after word, if it stands at i after optional space.
func (l *lexer) word(i int, word string) (int, bool) {
	i = l.skipSpace(i)
	return i + len(word), strings.HasPrefix(l.src[i:], word)
}

// rawBegin returns the end of a {% raw %} tag whose inside starts at i. As in
// Jinja2 the newline after it stays.
func (l *lexer) rawBegin(i int) (int, bool) {
	i, ok := l.word(i, "raw")
	if !ok {
		return 0, false
	}
	i = l.skipSpace(i)
	if strings.HasPrefix(l.src[i:], "-%}") {
		return l.skipSpace(i + 3), true
	}
	return i + 2, strings.HasPrefix(l.src[i:], "%}")
}

// lexRaw reads up to and with {% endraw %}.
func (l *lexer) lexRaw() {
	for at := l.pos; ; at += 2 {
		i := strings.Index(l.src[at:], "{%")
		if i < 0 {
			failSyntax(l.line, "missing end of raw directive")
		}
		at += i
		sign, w := l.signAt(at + 2)
		end, ok := l.word(at+2+w, "endraw")
		if !ok {
			continue
		}
		if end, ok = l.closing(l.skipSpace(end), "%}"); ok {
			l.emitText(at, sign, true)
			l.advanceTag(end)
			return
		}
	}
}

// lexComment skips to the end of a comment.
func (l *lexer) lexComment() {
	i := strings.Index(l.src[l.pos:], "#}")
	if i < 0 {
		failSyntax(l.line, "missing end of comment tag")
	}
	i += l.pos
	if i > l.pos && (l.src[i-1] == '-' || l.src[i-1] == '+') {
		i--
	}
	end, _ := l.closing(i, "#}")
	l.advanceTag(end)
}

// closing returns the position after the end mark at i, with the whitespace
// control that belongs to it: "-" takes all following space, "+" nothing and no
// sign one newline (trim_blocks), except after "}}".
func (l *lexer) closing(i int, mark string) (int, bool) {
	rest := l.src[i:]
	switch {
	case strings.HasPrefix(rest, "-"+mark):
		return l.skipSpace(i + 1 + len(mark)), true
	case strings.HasPrefix(rest, "+"+mark) && mark != "}}":
		return i + 1 + len(mark), true
	case !strings.HasPrefix(rest, mark):
		return 0, false
	}
	i += len(mark)
	if mark != "}}" && i < len(l.src) && l.src[i] == '\n' {
		i++
	}
	return i, true
}

// operators, longest first where one begins another.
var operators = []string{
	"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")",
	"{", "}", ">", "<", "=", ".", ":", "|", ",", ";",
}

// lexTag reads the inside of a {{ }} or {% %} tag and its end. The end mark
// counts only outside of brackets, so that {{ {'a': {}} }} works.
func (l *lexer) lexTag(end tokenKind) {
	mark := "%}"
	if end == tokVarEnd {
		mark = "}}"
	}
	var open []byte
	for l.pos < len(l.src) {
		if len(open) == 0 {
			if to, ok := l.closing(l.pos, mark); ok {
				l.emit(end, mark)
				l.advanceTag(to)
				return
			}
		}
		if to := l.skipSpace(l.pos); to > l.pos {
			l.advance(to)
			continue
		}
		if l.lexNumber() || l.lexName() || l.lexString() {
			continue
		}
		op := ""
		for _, o := range operators {
			if strings.HasPrefix(l.src[l.pos:], o) {
				op = o
				break
			}
		}
		switch op {
		case "":
			r, _ := utf8.DecodeRuneInString(l.src[l.pos:])
			failSyntax(l.line, "unexpected char %q", r)
		case "{", "(", "[":
			open = append(open, map[string]byte{"{": '}', "(": ')', "[": ']'}[op])
		case "}", ")", "]":
			if len(open) == 0 {
				failSyntax(l.line, "unexpected '%s'", op)
			}
			if want := open[len(open)-1]; want != op[0] {
				failSyntax(l.line, "unexpected '%s', expected '%c'", op, want)
			}
			open = open[:len(open)-1]
		}
		l.emit(tokOp, op)
		l.advance(l.pos + len(op))
	}
}

func isNameRune(r rune) bool {
	return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.Is(unicode.Mn, r)
}

func (l *lexer) lexName() bool {
	rest := l.src[l.pos:]
	n := strings.IndexFunc(rest, func(r rune) bool { return !isNameRune(r) })
	if n < 0 {
		n = len(rest)
	}
	if n == 0 {
		return false
	}
	l.emit(tokName, rest[:n])
	l.advance(l.pos + n)
	return true
}

// digits returns the end of a run of base's digits at i, where single
// underscores may stand between digits.
func (l *lexer) digits(i int, set string) int {
	end := i
	for j := i; j < len(l.src); j++ {
		if strings.IndexByte(set, l.src[j]) >= 0 {
			end = j + 1
		} else if l.src[j] != '_' || j == i || l.src[j-1] == '_' {
			break
		}
	}
	return end
}

func (l *lexer) lexNumber() bool {
	const dec = "0123456789"
	end := l.digits(l.pos, dec)
	if end == l.pos {
		return false
	}
	if l.src[l.pos] == '0' && l.pos+2 < len(l.src) {
		set := map[byte]string{'x': dec + "abcdefABCDEF", 'o': "01234567", 'b': "01"}[l.src[l.pos+1]|0x20]
		if set != "" {
			from := l.pos + 2
			if l.src[from] == '_' {
				from++
			}
			if to := l.digits(from, set); to > from {
				l.emit(tokInteger, strings.ReplaceAll(l.src[l.pos:to], "_", ""))
				l.advance(to)
				return true
			}
		}
	}
	kind := tokInteger
	// "a.0.1" is two subscripts, not the float 0.1.
	if l.pos == 0 || l.src[l.pos-1] != '.' {
		if to := l.fraction(end); to > end {
			kind, end = tokFloat, to
		}
	}
	text := l.src[l.pos:end]
	if kind == tokInteger && text[0] == '0' && strings.Trim(text, "0_") != "" {
		failSyntax(l.line, "integer %s has a leading zero", text)
	}
	l.emit(kind, strings.ReplaceAll(text, "_", ""))
	l.advance(end)
	return true
}

// fraction returns the end of the fraction and exponent at i, or i.
func (l *lexer) fraction(i int) int {
	const dec = "0123456789"
	if i < len(l.src) && l.src[i] == '.' {
		if to := l.digits(i+1, dec); to > i+1 {
			i = to
		}
	}
	if i < len(l.src) && l.src[i]|0x20 == 'e' {
		from := i + 1
		if from < len(l.src) && (l.src[from] == '+' || l.src[from] == '-') {
			from++
		}
		if to := l.digits(from, dec); to > from {
			i = to
		}
	}
	return i
}

func (l *lexer) lexString() bool {
	quote := l.src[l.pos]
	if quote != '\'' && quote != '"' {
		return false
	}
	for i := l.pos + 1; i < len(l.src); i++ {
		switch l.src[i] {
		case '\\':
			i++
		case quote:
			text, err := unescape(l.src[l.pos+1 : i])
			if err != nil {
				failSyntax(l.line, "%v", err)
			}
			l.emit(tokString, text)
			l.advance(i + 1)
			return true
		}
	}
	failSyntax(l.line, "string is not closed")
	return false
}
