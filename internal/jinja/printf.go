package jinja

import (
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// spec is a conversion of % formatting or of str.format.
type spec struct {
	fill   string
	align  byte // '<', '>', '^', '=' or 0
	sign   byte // '+', ' ' or 0
	alt    bool
	comma  string
	width  int
	prec   int // -1: none
	verb   byte
	escape bool // for HTML
}

// maxWidth bounds widths and precisions.
const maxWidth = 1 << 16

func boundedWidth(n int) int {
	if n > maxWidth {
		limitFault("a format width or precision is over %d", maxWidth)
	}
	return n
}

// percent is Python's s % v. Values that go into a safe str are escaped.
func (in *interp) percent(s string, v Value, safe bool) string {
	values := []Value{v}
	if t, ok := v.(*tuple); ok {
		values = t.items
	}
	var b strings.Builder
	used := 0
	byName := false
	next := func() Value {
		if used == len(values) {
			fail("not enough arguments for format string")
		}
		used++
		return values[used-1]
	}
	for s != "" {
		i := strings.IndexByte(s, '%')
		if i < 0 {
			break
		}
		b.WriteString(s[:i])
		s = s[i+1:]
		value := next
		if strings.HasPrefix(s, "(") {
			d, ok := v.(*Dict)
			end := strings.IndexByte(s, ')')
			if !ok || end < 0 {
				fail("format requires a mapping")
			}
			key := s[1:end]
			s, byName = s[end+1:], true
			value = func() Value {
				x, ok := d.lookup(key)
				if !ok {
					fail("KeyError: %s", reprString(key))
				}
				return x
			}
		}
		f, rest := percentSpec(s, next)
		f.escape, s = safe, rest
		if f.verb == '%' {
			b.WriteByte('%')
			continue
		}
		piece := in.convert(f, value())
		in.alloc(len(piece))
		b.WriteString(piece)
	}
	if used < len(values) && !byName && !isMapping(v) {
		fail("not all arguments converted during string formatting")
	}
	in.alloc(len(s))
	b.WriteString(s)
	return b.String()
}

// isMapping reports what C Python takes for a mapping on the right of %, whose
// items need not all be used.
func isMapping(v Value) bool {
	switch v.(type) {
	case *Dict, *List, *rangeValue, *undefined:
		return true
	}
	return false
}

// percentSpec reads "[flags][width][.prec]verb" and returns what follows.
func percentSpec(s string, next func() Value) (spec, string) {
	f := spec{prec: -1, fill: " ", align: '>'}
	zero := false
flags:
	for s != "" {
		switch s[0] {
		case '-':
			f.align = '<'
		case '+', ' ':
			if f.sign != '+' {
				f.sign = s[0]
			}
		case '#':
			f.alt = true
		case '0':
			zero = true
		default:
			break flags
		}
		s = s[1:]
	}
	number := func() int {
		if strings.HasPrefix(s, "*") {
			s = s[1:]
			return intArg(next(), "%", 0)
		}
		n := 0
		for s != "" && s[0] >= '0' && s[0] <= '9' {
			n = boundedWidth(n*10 + int(s[0]-'0'))
			s = s[1:]
		}
		return n
	}
	if f.width = boundedWidth(number()); f.width < 0 {
		f.align, f.width = '<', boundedWidth(-f.width)
	}
	if strings.HasPrefix(s, ".") {
		s = s[1:]
		f.prec = max(0, boundedWidth(number()))
	}
	s = strings.TrimLeft(s, "hlL")
	if s == "" {
		fail("incomplete format")
	}
	f.verb = s[0]
	if zero && f.align == '>' && strings.IndexByte("diuoxXeEfFgG", f.verb) >= 0 {
		f.align, f.fill = '=', "0"
	}
	return f, s[1:]
}

// convert formats one value of % formatting.
func (in *interp) convert(f spec, v Value) string {
	switch f.verb {
	case 's':
		s := cut(in.str(v), f.prec)
		if _, isSafe := v.(markup); f.escape && !isSafe {
			s = escapeHTML(s)
		}
		return in.fit(f, s)
	case 'r', 'a':
		return in.fit(f, cut(in.repr(v), f.prec))
	case 'c':
		if i, ok := asInt(v); ok && i >= 0 && i <= utf8.MaxRune {
			return in.fit(f, string(rune(i)))
		}
		return in.fit(f, in.textArg(v, "%c", ""))
	}
	if u, ok := v.(*undefined); ok {
		fail("%s", u.message)
	}
	if strings.IndexByte("diuoxXeEfFgG", f.verb) < 0 {
		fail("unsupported format character '%c'", f.verb)
	}
	if x, ok := v.(float64); ok && (f.verb == 'd' || f.verb == 'i' || f.verb == 'u') {
		v = truncated(x)
	}
	if f.verb == 'i' || f.verb == 'u' {
		f.verb = 'd'
	}
	return in.number(f, v)
}

// cut keeps the first n characters; n < 0 keeps all.
func cut(s string, n int) string {
	if n < 0 || n >= utf8.RuneCountInString(s) {
		return s
	}
	return s[:byteOffset(s, n, -1)]
}

// number formats an int or float.
func (in *interp) number(f spec, v Value) string {
	digits := ""
	if strings.IndexByte("doxXb", f.verb) >= 0 {
		if !isInt(v) {
			fail("%%%c format: a number is required, not %s", f.verb, typeName(v))
		}
		base := map[byte]int{'d': 10, 'o': 8, 'x': 16, 'X': 16, 'b': 2}[f.verb]
		digits = toBig(v).Text(base)
		if f.verb == 'X' {
			digits = strings.ToUpper(digits)
		}
		if prefix := "0" + string(f.verb); f.alt && base != 10 {
			digits = strings.Replace("+"+digits, "+-", "-", 1)
			digits = strings.TrimPrefix(digits[:1]+prefix+digits[1:], "+")
		}
		if minus := strings.HasPrefix(digits, "-"); f.prec >= 0 {
			digits = strings.TrimPrefix(digits, "-")
			digits = in.spaces(f.prec-len(digits), "0") + digits
			if minus {
				digits = "-" + digits
			}
		}
	} else {
		x, ok := toFloat(v)
		if !ok {
			fail("must be real number, not %s", typeName(v))
		}
		digits = formatFloat(x, f)
	}
	if f.comma != "" {
		digits = grouped(digits, f.comma)
	}
	if f.sign != 0 && digits[0] != '-' {
		digits = string(f.sign) + digits
	}
	return in.fit(f, digits)
}

func formatFloat(x float64, f spec) string {
	prec := f.prec
	if prec < 0 {
		prec = 6
	}
	switch f.verb {
	case 'g', 'G':
		prec = max(prec, 1)
		exp, _ := strconv.Atoi(exponent(strconv.FormatFloat(x, 'e', prec-1, 64)))
		s := ""
		if exp < -4 || exp >= prec {
			s = strconv.FormatFloat(x, 'e', prec-1, 64)
		} else {
			s = strconv.FormatFloat(x, 'f', prec-1-exp, 64)
		}
		if !f.alt {
			s = trimZeros(s)
		}
		return cased(s, f.verb == 'G')
	case '%':
		return strconv.FormatFloat(x*100, 'f', prec, 64) + "%"
	}
	return cased(strconv.FormatFloat(x, f.verb|0x20, prec, 64), f.verb < 'a')
}

func cased(s string, up bool) string {
	s = strings.TrimPrefix(s, "+")
	if up {
		return strings.ToUpper(s)
	}
	return strings.ToLower(s)
}

func exponent(s string) string {
	_, e, _ := strings.Cut(s, "e")
	return e
}

// trimZeros drops the zeros at the end of a fraction.
func trimZeros(s string) string {
	m, e, hasExp := strings.Cut(s, "e")
	if strings.IndexByte(m, '.') >= 0 {
		m = strings.TrimRight(strings.TrimRight(m, "0"), ".")
	}
	if hasExp {
		m += "e" + e
	}
	return m
}

// grouped puts sep between groups of three digits of the integer part.
func grouped(s, sep string) string {
	from := strings.IndexFunc(s, func(r rune) bool { return r >= '0' && r <= '9' })
	if from < 0 {
		return s
	}
	end := from
	for end < len(s) && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	var b strings.Builder
	b.WriteString(s[:from])
	for i := from; i < end; i++ {
		if i > from && (end-i)%3 == 0 {
			b.WriteString(sep)
		}
		b.WriteByte(s[i])
	}
	return b.String() + s[end:]
}

// fit pads s to the width.
func (in *interp) fit(f spec, s string) string {
	n := f.width - utf8.RuneCountInString(s)
	if n <= 0 {
		return s
	}
	switch f.align {
	case '<':
		return s + in.spaces(n, f.fill)
	case '^':
		return in.spaces(n/2, f.fill) + s + in.spaces(n-n/2, f.fill)
	case '=':
		i := 0
		if s != "" && strings.IndexByte("+- ", s[0]) >= 0 {
			i = 1
		}
		return s[:i] + in.spaces(n, f.fill) + s[i:]
	}
	return in.spaces(n, f.fill) + s
}

// truncated is Python's int of a float.
func truncated(x float64) Value {

	if x != x || x-x != 0 {
		fail("cannot convert float %s to integer", floatRepr(x))
	}
	i, _ := new(big.Float).SetFloat64(x).Int(nil)
	return normal(i)
}
