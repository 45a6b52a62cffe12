package jinja

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// stringAttr returns a method of a str. Safe strs stay safe.
func stringAttr(owner Value, name string) (Value, bool) {
	s, _ := text(owner)
	method := func(call func(in *interp, a *args) Value) (Value, bool) {
		return &function{name, func(in *interp, a *args) Value {
			in.alloc(len(s))
			v := call(in, a)
			switch v := v.(type) {
			case string:
				return sameText(owner, v)
			case *List:
				for i, item := range v.items {
					v.items[i] = sameText(owner, item.(string))
				}
			}
			return v
		}}, true
	}
	if f := plainMethod(name); f != nil {
		return method(func(in *interp, a *args) Value {
			a.bind(name, 0)
			return f(s)
		})
	}
	if f := textMethod(name); f != nil {
		return method(func(in *interp, a *args) Value { return f(in, s, a) })
	}
	return nil, false
}

// plainMethod returns a method without arguments.
func plainMethod(name string) func(s string) Value {
	switch name {
	case "upper":
		return func(s string) Value { return upper(s) }
	case "lower":
		return func(s string) Value { return strings.ToLower(s) }
	case "casefold":
		return func(s string) Value { return strings.ReplaceAll(strings.ToLower(s), "ß", "ss") }
	case "capitalize":
		return func(s string) Value { return capitalize(s) }
	case "title":
		return func(s string) Value { return titleCase(s) }
	case "swapcase":
		return func(s string) Value { return swapCase(s) }
	case "isalpha":
		return isAll(unicode.IsLetter)
	case "isdigit", "isdecimal":
		return isAll(unicode.IsDigit)
	case "isnumeric":
		return isAll(unicode.IsNumber)
	case "isalnum":
		return isAll(func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) })
	case "isspace":
		return isAll(isSpace)
	case "isupper":
		return func(s string) Value { return hasCase(s) && upper(s) == s }
	case "islower":
		return func(s string) Value { return hasCase(s) && strings.ToLower(s) == s }
	case "istitle":
		return func(s string) Value { return hasCase(s) && titleCase(s) == s }
	case "isascii":
		return func(s string) Value {
			return strings.IndexFunc(s, func(r rune) bool { return r > unicode.MaxASCII }) < 0
		}
	case "isidentifier":
		return func(s string) Value {
			r, _ := utf8.DecodeRuneInString(s)
			return isAll(isNameRune)(s) == true && !unicode.IsDigit(r)
		}
	}
	return nil
}

func isAll(is func(rune) bool) func(string) Value {
	return func(s string) Value {
		return s != "" && strings.IndexFunc(s, func(r rune) bool { return !is(r) }) < 0
	}
}

func hasCase(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return unicode.IsUpper(r) || unicode.IsLower(r) }) >= 0
}

// upper is str.upper; Go maps runes one to one and keeps the sharp s.
func upper(s string) string {
	return strings.ReplaceAll(strings.ToUpper(s), "ß", "SS")
}

func capitalize(s string) string {
	r, w := utf8.DecodeRuneInString(s)
	if w == 0 {
		return ""
	}
	return string(unicode.ToTitle(r)) + strings.ToLower(s[w:])
}

// titleCase is str.title: a letter is a capital unless a letter precedes it.
func titleCase(s string) string {
	inWord := false
	return strings.Map(func(r rune) rune {
		was := inWord
		inWord = unicode.IsLetter(r)
		if was {
			return unicode.ToLower(r)
		}
		return unicode.ToTitle(r)
	}, s)
}

func swapCase(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsUpper(r) {
			return unicode.ToLower(r)
		}
		return unicode.ToUpper(r)
	}, s)
}

type textFunc func(in *interp, s string, a *args) Value

// textMethod returns a method with arguments.
func textMethod(name string) textFunc {
	switch name {
	case "strip", "lstrip", "rstrip":
		return func(in *interp, s string, a *args) Value {
			return in.strip(s, a.bind(name, 0, "chars")[0], name != "rstrip", name != "lstrip")
		}
	case "split", "rsplit":
		return func(in *interp, s string, a *args) Value { return in.split(s, a, name == "rsplit") }
	case "splitlines":
		return func(in *interp, s string, a *args) Value {
			return in.textList(splitLines(s, boolArg(a.bind(name, 0, "keepends")[0])))
		}
	case "startswith", "endswith":
		return func(in *interp, s string, a *args) Value { return in.affix(name, s, a) }
	case "removeprefix":
		return func(in *interp, s string, a *args) Value {
			return strings.TrimPrefix(s, in.textArg(a.bind(name, 1, "prefix")[0], name, ""))
		}
	case "removesuffix":
		return func(in *interp, s string, a *args) Value {
			return strings.TrimSuffix(s, in.textArg(a.bind(name, 1, "suffix")[0], name, ""))
		}
	case "replace":
		return func(in *interp, s string, a *args) Value {
			p := a.bind(name, 2, "old", "new", "count")
			return in.replace(s, in.textArg(p[0], name, ""), in.textArg(p[1], name, ""), intArg(p[2], name, -1))
		}
	case "join":
		return func(in *interp, s string, a *args) Value { return in.joinMethod(s, a) }
	case "find", "rfind", "index", "rindex", "count":
		return func(in *interp, s string, a *args) Value { return in.find(name, s, a) }
	case "partition", "rpartition":
		return func(in *interp, s string, a *args) Value { return in.partition(name, s, a) }
	case "center", "ljust", "rjust", "zfill":
		return func(in *interp, s string, a *args) Value { return in.pad(name, s, a) }
	case "expandtabs":
		return func(in *interp, s string, a *args) Value {
			return in.expandTabs(s, intArg(a.bind(name, 0, "tabsize")[0], name, 8))
		}
	case "format":
		return func(in *interp, s string, a *args) Value { return in.format(s, a) }
	}
	return nil
}

func (in *interp) textList(parts []string) *List {
	in.items(len(parts))
	l := &List{make([]Value, len(parts))}
	for i, p := range parts {
		l.items[i] = p
	}
	return l
}

// strip trims the characters (white space if none are given) from the ends.
func (in *interp) strip(s string, chars Value, left, right bool) string {
	is := isSpace
	if chars != absent && chars != nil {
		set := in.textArg(chars, "strip", "")
		in.step(len(set))
		is = func(r rune) bool { return strings.ContainsRune(set, r) }
	}
	if left {
		s = strings.TrimLeftFunc(s, is)
	}
	if right {
		s = strings.TrimRightFunc(s, is)
	}
	return s
}

func (in *interp) split(s string, a *args, fromRight bool) Value {
	p := a.bind("split", 0, "sep", "maxsplit")
	limit := intArg(p[1], "split", -1)
	if p[0] == absent || p[0] == nil {
		return in.textList(splitSpace(s, limit, fromRight))
	}
	sep := in.textArg(p[0], "split", "")
	if sep == "" {
		fail("empty separator")
	}
	n := strings.Count(s, sep)
	in.items(n)
	if limit < 0 || limit > n {
		limit = n
	}
	if !fromRight {
		return in.textList(strings.SplitN(s, sep, limit+1))
	}
	parts := make([]string, limit+1) // filled from its end
	at := limit
	for ; at > 0; at-- {
		k := strings.LastIndex(s, sep)
		if k < 0 { // separators that overlap can be fewer from this side
			break
		}
		parts[at], s = s[k+len(sep):], s[:k]
	}
	parts[at] = s
	return in.textList(parts[at:])
}

// splitSpace is split without a separator: at runs of white space, with none
// at the ends.
func splitSpace(s string, limit int, fromRight bool) []string {
	if limit < 0 {
		return strings.FieldsFunc(s, isSpace)
	}
	trim, space := strings.TrimLeftFunc, strings.IndexFunc
	if fromRight {
		trim, space = strings.TrimRightFunc, strings.LastIndexFunc
	}
	var parts []string
	for s = trim(s, isSpace); s != ""; s = trim(s, isSpace) {
		i := space(s, isSpace)
		if i < 0 || len(parts) == limit { // the rest keeps the space at its far end
			parts = append(parts, s)
			break
		}
		if fromRight {
			_, w := utf8.DecodeRuneInString(s[i:])
			parts, s = append(parts, s[i+w:]), s[:i]
		} else {
			parts, s = append(parts, s[:i]), s[i:]
		}
	}
	if fromRight {
		slices.Reverse(parts)
	}
	return parts
}

// splitLines is str.splitlines.
func splitLines(s string, keepEnds bool) []string {
	var lines []string
	from := 0
	for i := 0; i < len(s); {
		r, w := utf8.DecodeRuneInString(s[i:])
		end := i + w
		switch r {
		case '\r':
			if end < len(s) && s[end] == '\n' {
				end++
			}
		case '\n', '\v', '\f', 0x1c, 0x1d, 0x1e, 0x85, 0x2028, 0x2029:
		default:
			i = end
			continue
		}
		if keepEnds {
			i = end
		}
		lines = append(lines, s[from:i])
		i, from = end, end
	}
	if from < len(s) {
		lines = append(lines, s[from:])
	}
	return lines
}
