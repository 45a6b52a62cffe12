package jinja

import (
	"strings"
)

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
