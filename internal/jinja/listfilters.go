package jinja

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// listFilterNamed returns a filter of sequences, nil if there is none.
func listFilterNamed(name string) filterFunc {
	switch name {
	case "length", "count":
		return func(in *interp, v Value, a *args) Value { return int64(in.length(v)) }
	case "first", "last":
		return func(in *interp, v Value, a *args) Value { return in.end(name, v) }
	case "join":
		return filterJoin
	case "list":
		return func(in *interp, v Value, a *args) Value { return &List{in.iterate(v)} }
	case "items":
		return filterItems
	case "reverse":
		return filterReverse
	case "sort":
		return filterSort
	case "dictsort":
		return filterDictSort
	case "unique":
		return filterUnique
	case "min", "max":
		return func(in *interp, v Value, a *args) Value { return in.extreme(name, v, a) }
	case "sum":
		return filterSum
	case "map":
		return filterMap
	case "select", "reject", "selectattr", "rejectattr":
		return func(in *interp, v Value, a *args) Value { return in.pick(name, v, a) }
	case "groupby":
		return filterGroupBy
	case "batch":
		return filterBatch
	case "slice":
		return filterSlice
	}
	return nil
}

func (in *interp) end(name string, v Value) Value {
	switch v.(type) {
	case *undefined:
	case *generator:
		if name == "last" {
			fail("'generator' object is not reversible")
		}
		g := v.(*generator)
		if len(g.items) > 0 {
			first := g.items[0]
			g.items = g.items[1:]
			return first
		}
	default:
		if s, ok := text(v); ok && s != "" { // no need to cut all of it
			if name == "last" {
				_, w := utf8.DecodeLastRuneInString(s)
				return s[len(s)-w:]
			}
			_, w := utf8.DecodeRuneInString(s)
			return s[:w]
		}
		if items := in.iterate(v); len(items) > 0 {
			if name == "last" {
				return items[len(items)-1]
			}
			return items[0]
		}
	}
	return &undefined{"No " + name + " item, sequence was empty."}
}

// getter returns the function that takes a (dotted) attribute of an item; an
// absent or None attribute is the item itself.
func (in *interp) getter(attribute Value) func(Value) Value {
	var parts []Value
	switch x := orNone(attribute).(type) {
	case nil:
	case int64:
		parts = []Value{x}
	default:
		for _, p := range strings.Split(in.textArg(x, "attribute", ""), ".") {
			if i, err := strconv.ParseInt(p, 10, 64); err == nil && i >= 0 && p[0] != '+' {
				parts = append(parts, i)
			} else {
				parts = append(parts, p)
			}
		}
	}
	return func(v Value) Value {
		for _, p := range parts {
			v = in.item(v, p)
		}
		return v
	}
}

// folded lowers strs, for comparisons that ignore case.
func (in *interp) folded(v Value) Value {
	if s, ok := text(v); ok {
		in.alloc(len(s))
		return strings.ToLower(s)
	}
	return v
}

// keys returns what the items are compared by.
func (in *interp) keys(items []Value, attribute, caseSensitive Value) []Value {
	get := in.getter(attribute)
	in.items(len(items))
	out := make([]Value, len(items))
	for i, item := range items {
		out[i] = get(item)
		if !boolArg(caseSensitive) {
			out[i] = in.folded(out[i])
		}
	}
	return out
}

func filterJoin(in *interp, v Value, a *args) Value {
	p := a.bind("join", 0, "d", "attribute")
	get := in.getter(p[1])
	items := in.iterate(v)
	in.items(len(items))
	parts := make([]string, len(items))
	for i, item := range items {
		parts[i] = in.str(get(item))
	}
	sep := ""
	if p[0] != absent {
		sep = in.str(p[0])
	}
	return in.joinText(parts, sep)
}

func filterItems(in *interp, v Value, a *args) Value {
	switch x := v.(type) {
	case *undefined:
		return &generator{name: "do_items"}
	case *Dict:
		return &generator{in.viewItems(&view{"items", x}), "do_items"}
	}
	fail("Can only get item pairs from a mapping.")
	return nil
}

func filterReverse(in *interp, v Value, a *args) Value {
	items := in.iterate(v)
	in.items(len(items))
	out := make([]Value, len(items))
	for i, item := range items {
		out[len(items)-1-i] = item
	}
	if _, ok := text(v); ok {
		return in.joinMethod("", &args{pos: []Value{&List{out}}})
	}
	return &generator{out, "reversed"}
}

func filterSort(in *interp, v Value, a *args) Value {
	p := a.bind("sort", 0, "reverse", "case_sensitive", "attribute")
	items := in.iterate(v)
	keys := items
	attrs := []Value{orNone(p[2])}
	if s, ok := text(attrs[0]); ok && strings.Contains(s, ",") {
		attrs = nil
		for _, part := range strings.Split(s, ",") {
			attrs = append(attrs, part)
		}
	}
	// The key is a list, one item an attribute, as in make_multi_attrgetter.
	rows := make([]Value, len(items))
	for i := range rows {
		rows[i] = &List{}
	}
	for _, attr := range attrs {
		keys = in.keys(items, attr, p[1])
		for i, row := range rows {
			row.(*List).items = append(row.(*List).items, keys[i])
		}
	}
	return &List{in.permuted(items, in.sortedOrder(rows, boolArg(p[0])))}
}

func (in *interp) permuted(items []Value, order []int) []Value {
	in.items(len(items))
	out := make([]Value, len(items))
	for i, j := range order {
		out[i] = items[j]
	}
	return out
}

func filterDictSort(in *interp, v Value, a *args) Value {
	p := a.bind("dictsort", 0, "case_sensitive", "by", "reverse")
	by := in.textArg(p[1], "dictsort", "key")
	if by != "key" && by != "value" {
		fail(`You can only sort by either "key" or "value"`)
	}
	d, ok := v.(*Dict)
	if !ok {
		fail("dictsort wants a mapping, got %s", typeName(v))
	}
	pairs := in.viewItems(&view{"items", d})
	column := int64(0)
	if by == "value" {
		column = 1
	}
	return &List{in.permuted(pairs, in.sortedOrder(in.keys(pairs, column, p[0]), boolArg(p[2])))}
}
