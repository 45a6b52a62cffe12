package jinja

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// format is str.format.
func (in *interp) format(s string, a *args) Value {
	auto := 0
	return in.formatFields(s, a, &auto, 0)
}

func (in *interp) formatFields(s string, a *args, auto *int, depth int) string {
	if depth > 2 {
		fail("max string recursion exceeded")
	}
	var b strings.Builder
	for {
		i := strings.IndexAny(s, "{}")
		if i < 0 {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:i])
		c := s[i]
		s = s[i+1:]
		if strings.HasPrefix(s, string(c)) { // {{ or }}
			b.WriteByte(c)
			s = s[1:]
			continue
		}
		if c == '}' {
			fail("single '}' encountered in format string")
		}
		end, open := -1, 1
		for j := 0; j < len(s) && end < 0; j++ {
			switch s[j] {
			case '{':
				open++
			case '}':
				if open--; open == 0 {
					end = j
				}
			}
		}
		if end < 0 {
			fail("single '{' encountered in format string")
		}
		piece := in.formatField(s[:end], a, auto, depth)
		in.alloc(len(piece))
		b.WriteString(piece)
		s = s[end+1:]
	}
}

// formatField formats "name.attr[key]!r:spec".
func (in *interp) formatField(field string, a *args, auto *int, depth int) string {
	field, how, _ := strings.Cut(field, ":")
	field, conversion, _ := strings.Cut(field, "!")
	v := in.formatValue(field, a, auto)
	switch conversion {
	case "":
	case "s":
		v = in.str(v)
	case "r":
		v = in.repr(v)
	default:
		fail("unknown conversion specifier %s", reprString(conversion))
	}
	if strings.IndexByte(how, '{') >= 0 {
		how = in.formatFields(how, a, auto, depth+1)
	}
	if how == "" {
		return in.str(v)
	}
	return in.formatSpec(how, v)
}

func (in *interp) formatValue(field string, a *args, auto *int) Value {
	first, rest := field, ""
	if i := strings.IndexAny(field, ".["); i >= 0 {
		first, rest = field[:i], field[i:]
	}
	if first == "" {
		first = strconv.Itoa(*auto)
		*auto++
	}
	var v Value = absent
	if i, err := strconv.Atoi(first); err == nil {
		if i < 0 || i >= len(a.pos) {
			fail("replacement index %s out of range for positional args tuple", first)
		}
		v = a.pos[i]
	} else {
		for _, n := range a.named {
			if n.name == first {
				v = n.value
			}
		}
	}
	if v == absent {
		fail("KeyError: %s", reprString(first))
	}
	for rest != "" {
		key := ""
		if rest[0] == '.' {
			key, rest = rest[1:], ""
			if i := strings.IndexAny(key, ".["); i >= 0 {
				key, rest = key[:i], key[i:]
			}
			v = in.attr(v, key)
			continue
		}
		end := strings.IndexByte(rest, ']')
		if end < 0 {
			fail("missing ']' in format string")
		}
		key, rest = rest[1:end], rest[end+1:]
		if i, err := strconv.Atoi(key); err == nil {
			v = in.item(v, int64(i))
		} else {
			v = in.item(v, key)
		}
	}
	return v
}

// formatSpec applies "[[fill]align][sign][#][0][width][,][.prec][verb]".
func (in *interp) formatSpec(s string, v Value) string {
	f := spec{prec: -1, fill: " "}
	whole := s
	_, w := utf8.DecodeRuneInString(s)
	isAlign := func(i int) bool { return i < len(s) && strings.IndexByte("<>^=", s[i]) >= 0 }
	if isAlign(w) {
		f.fill, f.align, s = s[:w], s[w], s[w+1:]
	} else if isAlign(0) {
		f.align, s = s[0], s[1:]
	}
	take := func(set string) byte {
		if s != "" && strings.IndexByte(set, s[0]) >= 0 {
			c := s[0]
			s = s[1:]
			return c
		}
		return 0
	}
	if c := take("+- "); c != '-' {
		f.sign = c
	}
	f.alt = take("#") != 0
	if take("0") != 0 && f.align == 0 {
		f.align, f.fill = '=', "0"
	}
	number := func() (n int) {
		for s != "" && s[0] >= '0' && s[0] <= '9' {
			n = boundedWidth(n*10 + int(take("0123456789")-'0'))
		}
		return n
	}
	f.width = number()
	if c := take(",_"); c != 0 {
		f.comma = string(c)
	}
	if take(".") != 0 {
		f.prec = number()
	}
	f.verb = take("sdoxXbeEfFgG%n")
	if s != "" {
		fail("invalid format specifier %s", reprString(whole))
	}
	return in.applySpec(f, v)
}

func (in *interp) applySpec(f spec, v Value) string {
	_, isFloat := v.(float64)
	if !isFloat && !isInt(v) {
		if _, ok := text(v); !ok {
			fail("unsupported format string passed to %s.__format__", typeName(v))
		}
		if f.verb != 0 && f.verb != 's' {
			fail("unknown format code '%c' for object of type 'str'", f.verb)
		}
		if f.align == 0 || f.align == '=' {
			f.align = '<'
		}
		return in.fit(f, cut(in.str(v), f.prec))
	}
	if f.align == 0 {
		f.align = '>'
	}
	switch {
	case f.verb == 's' || isFloat && strings.IndexByte("doxXb", f.verb) >= 0 && f.verb != 0:
		fail("unknown format code '%c' for object of type '%s'", f.verb, typeName(v))
	case f.verb == 0 && isFloat && f.prec < 0:
		digits := floatRepr(v.(float64))
		if f.comma != "" {
			digits = grouped(digits, f.comma)
		}
		if f.sign != 0 && digits[0] != '-' {
			digits = string(f.sign) + digits
		}
		return in.fit(f, digits)
	case f.verb == 0 && isFloat:
		f.verb = 'g'
	case f.verb == 0 || f.verb == 'n':
		f.verb = 'd'
	}
	if !isFloat && f.verb == 'd' && f.prec >= 0 {
		fail("precision not allowed in integer format specifier")
	}
	return in.number(f, v)
}
