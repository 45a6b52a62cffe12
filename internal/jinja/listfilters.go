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

func filterUnique(in *interp, v Value, a *args) Value {
	p := a.bind("unique", 0, "case_sensitive", "attribute")
	items := in.iterate(v)
	seen := make(map[any]bool)
	out := make([]Value, 0)
	for i, k := range in.keys(items, p[1], p[0]) {
		if h := mustHash(in, k); !seen[h] {
			seen[h] = true
			out = append(out, items[i])
		}
	}
	return &generator{out, "do_unique"}
}

func (in *interp) extreme(name string, v Value, a *args) Value {
	p := a.bind(name, 0, "case_sensitive", "attribute")
	items := in.iterate(v)
	if len(items) == 0 {
		return &undefined{"No aggregated item, sequence was empty."}
	}
	keys := in.keys(items, p[1], p[0])
	best := 0
	for i := 1; i < len(items); i++ {
		if name == "min" && in.order("<", keys[i], keys[best]) < 0 || name == "max" && in.order(">", keys[i], keys[best]) == 1 {
			best = i
		}
	}
	return items[best]
}

func filterSum(in *interp, v Value, a *args) Value {
	p := a.bind("sum", 0, "attribute", "start")
	total := p[1]
	if total == absent {
		total = int64(0)
	}
	if _, ok := text(total); ok {
		fail("sum() can't sum strings [use ''.join(seq) instead]")
	}
	get := in.getter(p[0])
	for _, item := range in.iterate(v) {
		in.step(1)
		total = in.arith("+", total, get(item))
	}
	return total
}

func filterMap(in *interp, v Value, a *args) Value {
	if !truthy(v) { // None and 0 too are empty here
		return &generator{name: "sync_do_map"}
	}
	apply := in.mapper(a)
	items := in.iterate(v)
	in.items(len(items))
	out := make([]Value, len(items))
	for i, item := range items {
		out[i] = apply(item)
	}
	return &generator{out, "sync_do_map"}
}

// mapper reads the arguments of map: an attribute, or a filter with its own.
func (in *interp) mapper(a *args) func(Value) Value {
	if len(a.pos) == 0 {
		p := a.bind("map", 1, "attribute", "default")
		get := in.getter(p[0])
		if p[1] == absent || p[1] == nil {
			return get
		}
		return func(v Value) Value {
			if v = get(v); isUndefined(v) {
				return p[1]
			}
			return v
		}
	}
	name := in.textArg(a.pos[0], "map", "")
	f := filterNamed(name)
	if f == nil {
		fail("no filter named %s", reprString(name))
	}
	rest := &args{a.pos[1:], a.named}
	return func(v Value) Value { return f(in, v, rest) }
}

func isUndefined(v Value) bool {
	_, ok := v.(*undefined)
	return ok
}

// pick is select, reject, selectattr and rejectattr.
func (in *interp) pick(name string, v Value, a *args) Value {
	if !truthy(v) {
		return &generator{name: "select_or_reject"}
	}
	get := func(v Value) Value { return v }
	rest := &args{a.pos, a.named}
	if strings.HasSuffix(name, "attr") {
		if len(a.pos) == 0 {
			fail("missing parameter for attribute name")
		}
		get = in.getter(a.pos[0])
		rest.pos = a.pos[1:]
	}
	holds := func(_ *interp, v Value, _ *args) bool { return truthy(v) }
	if len(rest.pos) > 0 {
		testName := in.textArg(rest.pos[0], name, "")
		if holds = testNamed(testName); holds == nil {
			fail("no test named %s", reprString(testName))
		}
		rest.pos = rest.pos[1:]
	}
	want := strings.HasPrefix(name, "select")
	out := make([]Value, 0)
	for _, item := range in.iterate(v) {
		in.items(1)
		if holds(in, get(item), rest) == want {
			out = append(out, item)
		}
	}
	return &generator{out, "select_or_reject"}
}

func filterGroupBy(in *interp, v Value, a *args) Value {
	p := a.bind("groupby", 1, "attribute", "default", "case_sensitive")
	items := in.iterate(v)
	keys := in.keys(items, p[0], true)
	folded := make([]Value, len(keys))
	for i, k := range keys {
		if isUndefined(k) && orNone(p[1]) != nil {
			k = p[1]
			keys[i] = k
		}
		if folded[i] = k; !boolArg(p[2]) {
			folded[i] = in.folded(k)
		}
	}
	out := &List{}
	last := -1
	for _, i := range in.sortedOrder(folded, false) {
		if last < 0 || !in.equal(folded[i], folded[last]) {
			out.items = append(out.items, &tuple{[]Value{keys[i], &List{}}, []string{"grouper", "list"}})
		}
		group := out.items[len(out.items)-1].(*tuple).items[1].(*List)
		group.items = append(group.items, items[i])
		last = i
	}
	return out
}

func filterBatch(in *interp, v Value, a *args) Value {
	p := a.bind("batch", 1, "linecount", "fill_with")
	n := intArg(p[0], "batch", 0)
	if n < 1 {
		fail("batch: linecount must be at least 1, got %d", n)
	}
	items := in.iterate(v)
	in.items(len(items))
	var out []Value
	for len(items) > 0 {
		k := min(n, len(items))
		row := append([]Value{}, items[:k]...)
		items = items[k:]
		if fill := orNone(p[1]); fill != nil && k < n {
			in.items(n - k)
			for range n - k {
				row = append(row, fill)
			}
		}
		out = append(out, &List{row})
	}
	return &generator{out, "do_batch"}
}

func filterSlice(in *interp, v Value, a *args) Value {
	p := a.bind("slice", 1, "slices", "fill_with")
	n := intArg(p[0], "slice", 0)
	items := in.iterate(v)
	if n < 1 || n > maxRange {
		fail("slice: slices must be between 1 and %d, got %d", maxRange, n)
	}
	in.items(len(items) + n)
	each, more := len(items)/n, len(items)%n
	var out []Value
	for i := range n {
		k := each
		if i < more {
			k++
		}
		row := append([]Value{}, items[:k]...)
		items = items[k:]
		if fill := orNone(p[1]); fill != nil && i >= more {
			row = append(row, fill)
		}
		out = append(out, &List{row})
	}
	return &generator{out, "sync_do_slice"}
}
