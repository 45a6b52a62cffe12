package jinja

import (
	"strings"
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
