package jinja

import (
	"math"
	"net/url"
	"strings"
	"unicode"
)

// filterFunc is a filter: v | name(a).
type filterFunc func(in *interp, v Value, a *args) Value

// filterNamed returns a filter, nil if there is none. A switch, not a map: the
// filters map and select look filters up themselves.
func filterNamed(name string) filterFunc {
	if f := listFilterNamed(name); f != nil {
		return f
	}
	switch name {
	case "tojson":
		return filterToJSON
	case "trim":
		return func(in *interp, v Value, a *args) Value {
			s := in.str(v)
			return sameText(v, in.strip(s, a.bind("trim", 0, "chars")[0], true, true))
		}
	case "upper", "lower", "capitalize", "title":
		return func(in *interp, v Value, a *args) Value {
			a.bind(name, 0)
			s := in.str(v)
			in.alloc(len(s))
			return sameText(v, changeCase(name, s))
		}
	case "string":
		return func(in *interp, v Value, a *args) Value { return sameText(v, in.str(v)) }
	case "safe":
		return func(in *interp, v Value, a *args) Value { return markup(in.str(v)) }
	case "escape", "e":
		return func(in *interp, v Value, a *args) Value {
			if m, ok := v.(markup); ok {
				return m
			}
			return in.escape(v)
		}
	case "forceescape":
		return func(in *interp, v Value, a *args) Value { return in.escape(v) }
	case "replace":
		return filterReplace
	case "indent":
		return filterIndent
	case "center":
		return func(in *interp, v Value, a *args) Value {
			width := a.bind("center", 0, "width")[0]
			if width == absent {
				width = int64(80)
			}
			return sameText(v, in.pad("center", in.str(v), &args{pos: []Value{width}}).(string))
		}
	case "truncate":
		return filterTruncate
	case "wordcount":
		return func(in *interp, v Value, a *args) Value {
			return int64(len(strings.FieldsFunc(in.str(v), func(r rune) bool { return !isNameRune(r) })))
		}
	case "format":
		return filterFormat
	case "urlencode":
		return filterURLEncode
	case "default", "d":
		return filterDefault
	case "int":
		return filterInt
	case "float":
		return filterFloat
	case "abs":
		return filterAbs
	case "round":
		return filterRound
	case "attr":
		return func(in *interp, v Value, a *args) Value {
			name := in.textArg(a.bind("attr", 1, "name")[0], "attr", "")
			if w, ok := in.attribute(v, name); ok {
				return w
			}
			return missing(v, name)
		}
	}
	return nil
}

func (in *interp) escape(v Value) Value {
	s := in.str(v)
	in.alloc(6 * len(s))
	return markup(escapeHTML(s))
}

func changeCase(name, s string) string {
	switch name {
	case "upper":
		return upper(s)
	case "lower":
		return strings.ToLower(s)
	case "capitalize":
		return capitalize(s)
	}
	// The filter title, unlike str.title, takes words to begin only after
	// white space and -({[<.
	begin := true
	return strings.Map(func(r rune) rune {
		was := begin
		begin = isSpace(r) || strings.ContainsRune("-({[<", r)
		if was {
			return unicode.ToUpper(r)
		}
		return unicode.ToLower(r)
	}, s)
}

// filterToJSON is the tojson of transformers, not that of Jinja2, which
// escapes for HTML.
func filterToJSON(in *interp, v Value, a *args) Value {
	p := a.bind("tojson", 0, "ensure_ascii", "indent", "separators", "sort_keys")
	s := jsonStyle{item: ", ", key: ": ", ascii: boolArg(p[0]), sorted: boolArg(p[3])}
	if indent := orNone(p[1]); indent != nil {
		s.lines, s.item = true, ","
		if t, ok := text(indent); ok {
			s.indent = t
		} else {
			s.indent = in.spaces(boundedWidth(intArg(indent, "tojson", 0)), " ")
		}
	}
	if sep := orNone(p[2]); sep != nil {
		pair := in.iterate(sep)
		if len(pair) != 2 {
			fail("tojson: separators must be a pair")
		}
		s.item, s.key = in.textArg(pair[0], "tojson", ""), in.textArg(pair[1], "tojson", "")
	}
	var b strings.Builder
	in.toJSON(&b, v, &s, 0)
	return b.String()
}

func filterReplace(in *interp, v Value, a *args) Value {
	p := a.bind("replace", 2, "old", "new", "count")
	return in.replace(in.str(v), in.str(p[0]), in.str(p[1]), intArg(orAbsent(p[2]), "replace", -1))
}

// orAbsent takes None for an argument that was not given.
func orAbsent(v Value) Value {
	if v == nil {
		return absent
	}
	return v
}

func filterIndent(in *interp, v Value, a *args) Value {
	p := a.bind("indent", 0, "width", "first", "blank")
	pad, ok := text(p[0])
	if !ok {
		pad = in.spaces(boundedWidth(intArg(p[0], "indent", 4)), " ")
	}
	s := in.textArg(v, "indent", "")
	lines := splitLines(s+"\n", false)
	in.items(len(lines))
	in.alloc(len(s) + len(lines)*len(pad))
	for i, line := range lines {
		if i > 0 && (line != "" || boolArg(p[2])) || i == 0 && boolArg(p[1]) {
			lines[i] = pad + line
		}
	}
	return sameText(v, strings.Join(lines, "\n"))
}

func filterTruncate(in *interp, v Value, a *args) Value {
	p := a.bind("truncate", 0, "length", "killwords", "end", "leeway")
	s := in.str(v)
	length := intArg(p[0], "truncate", 255)
	end := in.textArg(p[2], "truncate", "...")
	leeway := intArg(orAbsent(p[3]), "truncate", 5)
	n, nEnd := in.length(s), in.length(end)
	if length < nEnd || leeway < 0 {
		fail("truncate: expected length >= %d and leeway >= 0, got %d and %d", nEnd, length, leeway)
	}
	if n <= length+leeway {
		return s
	}
	s = s[:byteOffset(s, length-nEnd, n)]
	if i := strings.LastIndexByte(s, ' '); i >= 0 && !boolArg(p[1]) {
		s = s[:i]
	}
	return s + end
}

func filterFormat(in *interp, v Value, a *args) Value {
	if len(a.pos) > 0 && len(a.named) > 0 {
		fail("can't handle positional and keyword arguments at the same time")
	}
	if len(a.named) == 0 {
		return in.percent(in.str(v), &tuple{items: a.pos}, false)
	}
	d := &Dict{}
	for _, n := range a.named {
		d.Set(n.name, n.value)
	}
	return in.percent(in.str(v), d, false)
}

func filterURLEncode(in *interp, v Value, a *args) Value {
	quote := func(v Value, query bool) string {
		s := in.str(v)
		in.alloc(3 * len(s))
		s = strings.ReplaceAll(url.QueryEscape(s), "%7E", "~")
		if !query {
			s = strings.ReplaceAll(strings.ReplaceAll(s, "+", "%20"), "%2F", "/")
		}
		return s
	}
	items := []Value(nil)
	switch x := v.(type) {
	case *Dict:
		items = in.viewItems(&view{"items", x})
	case *List:
		items = x.items
	case *tuple:
		items = x.items
	default:
		return quote(v, false)
	}
	parts := make([]string, len(items))
	for i, item := range items {
		pair := in.iterate(item)
		if len(pair) != 2 {
			fail("urlencode wants pairs")
		}
		parts[i] = quote(pair[0], true) + "=" + quote(pair[1], true)
	}
	return in.joinText(parts, "&")
}

func filterDefault(in *interp, v Value, a *args) Value {
	p := a.bind("default", 0, "default_value", "boolean")
	_, isUndefined := v.(*undefined)
	if !isUndefined && !(boolArg(p[1]) && !truthy(v)) {
		return v
	}
	if p[0] == absent {
		return ""
	}
	return p[0]
}

func filterAbs(in *interp, v Value, a *args) Value {
	if f, ok := v.(float64); ok {
		return math.Abs(f)
	}
	if u, ok := v.(*undefined); ok {
		fail("%s", u.message)
	}
	if !isInt(v) {
		fail("bad operand type for abs(): '%s'", typeName(v))
	}
	if toBig(v).Sign() < 0 {
		return intArith("-", int64(0), v)
	}
	return intArith("+", int64(0), v)
}

func filterRound(in *interp, v Value, a *args) Value {
	p := a.bind("round", 0, "precision", "method")
	prec := intArg(p[0], "round", 0)
	method := in.textArg(p[1], "round", "common")
	if u, ok := v.(*undefined); ok {
		fail("%s", u.message)
	}
	if isInt(v) && method == "common" && prec >= 0 {
		return intArith("+", int64(0), v)
	}
	x, ok := toFloat(v)
	if !ok {
		fail("type %s doesn't define __round__ method", typeName(v))
	}
	scale := math.Pow(10, float64(prec))
	switch method {
	case "ceil":
		return math.Ceil(x*scale) / scale
	case "floor":
		return math.Floor(x*scale) / scale
	case "common":
	default:
		fail("method must be common, ceil or floor")
	}
	if prec < 0 {
		r := math.RoundToEven(x*scale) / scale
		if isInt(v) {
			return truncated(r)
		}
		return r
	}
	// The decimal expansion, not x·10ⁿ, decides as in Python: 2.675 is below
	// the middle.
	r, _ := number(formatFloat(x, spec{verb: 'f', prec: min(prec, 400)}) + "e0")
	return r
}
