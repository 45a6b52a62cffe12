package jinja

import (
	"strings"
	"unicode/utf8"
)

func (in *interp) affix(name, s string, a *args) Value {
	p := a.bind(name, 1, "affix", "start", "end")
	s, _, _ = in.part(s, p[1], p[2])
	options := []Value{p[0]}
	if t, ok := p[0].(*tuple); ok {
		options = t.items
	}
	for _, o := range options {
		x := in.textArg(o, name, "")
		in.scan(len(x))
		if name == "startswith" && strings.HasPrefix(s, x) || name == "endswith" && strings.HasSuffix(s, x) {
			return true
		}
	}
	return false
}

// part returns s[start:end] in characters, the byte offset of its start and
// the character one.
func (in *interp) part(s string, start, end Value) (string, int, int) {
	if start == absent && end == absent {
		return s, 0, 0
	}
	n := in.length(s)
	lo, _, count, ok := sliceKey{lo: orNone(start), hi: orNone(end)}.resolve(n)
	if !ok {
		fail("slice indices must be integers or None")
	}
	from := byteOffset(s, lo, n)
	return s[from : from+byteOffset(s[from:], count, n-lo)], from, lo
}

func (in *interp) find(name, s string, a *args) Value {
	p := a.bind(name, 1, "sub", "start", "end")
	sub := in.textArg(p[0], name, "")
	s, _, lo := in.part(s, p[1], p[2])
	i := 0
	switch name {
	case "count":
		return int64(strings.Count(s, sub))
	case "find", "index":
		i = strings.Index(s, sub)
	default:
		i = strings.LastIndex(s, sub)
	}
	if i < 0 {
		if strings.HasSuffix(name, "index") {
			fail("substring not found")
		}
		return int64(-1)
	}
	return int64(lo + utf8.RuneCountInString(s[:i]))
}

func (in *interp) replace(s, old, with string, count int) string {
	n := strings.Count(s, old)
	if count >= 0 {
		n = min(n, count)
	}
	if grow := len(with) - len(old); grow > 0 && n > maxAlloc/grow {
		in.alloc(maxAlloc + 1)
	}
	in.alloc(len(s) + n*(len(with)-len(old)))
	return strings.Replace(s, old, with, n)
}

func (in *interp) joinMethod(sep string, a *args) Value {
	items := in.iterate(a.bind("join", 1, "iterable")[0])
	parts := make([]string, len(items))
	for i, item := range items {
		s, ok := text(item)
		if !ok {
			fail("sequence item %d: expected str instance, %s found", i, typeName(item))
		}
		parts[i] = s
	}
	return in.joinText(parts, sep)
}

func (in *interp) partition(name, s string, a *args) Value {
	sep := in.textArg(a.bind(name, 1, "sep")[0], name, "")
	if sep == "" {
		fail("empty separator")
	}
	i := strings.Index(s, sep)
	if name == "rpartition" {
		i = strings.LastIndex(s, sep)
	}
	switch {
	case i >= 0:
		return &tuple{items: []Value{s[:i], sep, s[i+len(sep):]}}
	case name == "rpartition":
		return &tuple{items: []Value{"", "", s}}
	}
	return &tuple{items: []Value{s, "", ""}}
}

// spaces returns n copies of fill, counted.
func (in *interp) spaces(n int, fill string) string {
	if n <= 0 {
		return ""
	}
	if n > maxAlloc/4 {
		in.alloc(maxAlloc + 1)
	}
	in.alloc(n * len(fill))
	return strings.Repeat(fill, n)
}

func (in *interp) pad(name, s string, a *args) Value {
	p := a.bind(name, 1, "width", "fillchar")
	fill := in.textArg(p[1], name, " ")
	if utf8.RuneCountInString(fill) != 1 {
		fail("the fill character must be exactly one character long")
	}
	width := intArg(p[0], name, 0)
	n := width - in.length(s)
	if n <= 0 {
		return s
	}
	switch name {
	case "ljust":
		return s + in.spaces(n, fill)
	case "rjust":
		return in.spaces(n, fill) + s
	case "zfill":
		if s != "" && (s[0] == '-' || s[0] == '+') {
			return s[:1] + in.spaces(n, "0") + s[1:]
		}
		return in.spaces(n, "0") + s
	}
	left := n/2 + n&width&1 // CPython's rounding of an odd margin
	return in.spaces(left, fill) + s + in.spaces(n-left, fill)
}

func (in *interp) expandTabs(s string, size int) string {
	var b strings.Builder
	column := 0
	for _, r := range s {
		switch {
		case r == '\t':
			if size > 0 {
				n := size - column%size
				b.WriteString(in.spaces(n, " "))
				column += n
			}
			continue
		case r == '\n' || r == '\r':
			column = -1
		}
		b.WriteRune(r)
		column++
	}
	return b.String()
}
