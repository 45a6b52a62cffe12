package jinja

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

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
