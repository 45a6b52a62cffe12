package jinja

import (
	"strings"
	"unicode/utf8"
)

func (x *constant) eval(*interp) Value { return x.value }

func (x *nameRef) eval(in *interp) Value { return in.lookup(x.name) }

func (in *interp) evalAll(xs []expr) []Value {
	in.items(len(xs))
	out := make([]Value, len(xs))
	for i, x := range xs {
		out[i] = in.eval(x)
	}
	return out
}

func (x *tupleLit) eval(in *interp) Value { return &tuple{items: in.evalAll(x.items)} }

func (x *listLit) eval(in *interp) Value { return &List{in.evalAll(x.items)} }

func (x *dictLit) eval(in *interp) Value {
	in.items(2 * len(x.keys))
	d := &Dict{}
	for i := range x.keys {
		k := in.eval(x.keys[i])
		v := in.eval(x.values[i])
		d.put(mustHash(in, k), k, v)
	}
	return d
}

func (x *attrRef) eval(in *interp) Value { return in.attr(in.eval(x.owner), x.name) }

func (x *itemRef) eval(in *interp) Value {
	owner := in.eval(x.owner)
	return in.item(owner, in.eval(x.key))
}

func (x *sliceLit) eval(in *interp) Value {
	part := func(e expr) Value {
		if e == nil {
			return nil
		}
		return in.eval(e)
	}
	return sliceKey{part(x.lo), part(x.hi), part(x.step)}
}

func (x *unary) eval(in *interp) Value {
	v := in.eval(x.x)
	if x.op == "not" {
		return !truthy(v)
	}
	return in.signed(x.op, v)
}

func (x *binary) eval(in *interp) Value {
	left := in.eval(x.x)
	switch x.op {
	case "and":
		if !truthy(left) {
			return left
		}
		return in.eval(x.y)
	case "or":
		if truthy(left) {
			return left
		}
		return in.eval(x.y)
	}
	return in.arith(x.op, left, in.eval(x.y))
}

func (x *concat) eval(in *interp) Value {
	parts := make([]string, len(x.parts))
	for i, p := range x.parts {
		parts[i] = in.str(in.eval(p))
	}
	return in.joinText(parts, "")
}

// joinText is strings.Join with the result counted.
func (in *interp) joinText(parts []string, sep string) string {
	n := len(sep) * max(0, len(parts)-1)
	for _, p := range parts {
		n += len(p)
	}
	in.alloc(n)
	return strings.Join(parts, sep)
}

func (x *compare) eval(in *interp) Value {
	left := in.eval(x.first)
	for i, op := range x.ops {
		right := in.eval(x.rest[i])
		if !in.compare(op, left, right) {
			return false
		}
		left = right
	}
	return true
}

func (in *interp) compare(op string, a, b Value) bool {
	switch op {
	case "==":
		return in.equal(a, b)
	case "!=":
		return !in.equal(a, b)
	case "in":
		return in.contains(b, a)
	case "not in":
		return !in.contains(b, a)
	case "<":
		return in.order(op, a, b) < 0
	case ">":
		return in.order(op, a, b) == 1
	case "<=":
		return in.order(op, a, b) <= 0
	}
	o := in.order(op, a, b)
	return o == 0 || o == 1
}

func (x *cond) eval(in *interp) Value {
	if truthy(in.eval(x.test)) {
		return in.eval(x.yes)
	}
	if x.no == nil {
		return &undefined{"the inline if-expression evaluated to false and no else section was defined"}
	}
	return in.eval(x.no)
}

func (x *filter) eval(in *interp) Value { return x.apply(in, in.eval(x.x)) }

func (x *filter) apply(in *interp, v Value) Value {
	a := in.arguments(x.args)
	in.line = x.line
	if x.fn == nil {
		fail("no filter named %s", reprString(x.name))
	}
	return x.fn(in, v, a)
}

func (x *test) eval(in *interp) Value {
	v := in.eval(x.x)
	a := in.arguments(x.args)
	in.line = x.line
	if x.fn == nil {
		fail("no test named %s", reprString(x.name))
	}
	return x.fn(in, v, a)
}

// attr is x.name: a Python attribute first, then an item.
func (in *interp) attr(owner Value, name string) Value {
	if u, ok := owner.(*undefined); ok {
		fail("%s", u.message)
	}
	if v, ok := in.attribute(owner, name); ok {
		return v
	}
	if d, ok := owner.(*Dict); ok {
		if v, ok := d.lookup(name); ok {
			return v
		}
	}
	return missing(owner, name)
}

// item is x[key]: an item first, then, for a str, a Python attribute.
func (in *interp) item(owner, key Value) Value {
	switch x := owner.(type) {
	case *undefined:
		fail("%s", x.message)
	case *Dict:
		if s, ok := key.(sliceKey); ok {
			return in.slice(owner, s)
		}
		if h, ok := hashKey(in, key); ok {
			if v, ok := x.lookup(h); ok {
				return v
			}
		}
	default:
		if v, ok := in.element(owner, key); ok {
			return v
		}
	}
	name, ok := text(key)
	if !ok {
		return &undefined{ownerName(owner) + " has no element " + in.repr(key)}
	}
	if v, ok := in.attribute(owner, name); ok {
		return v
	}
	return missing(owner, name)
}

func missing(owner Value, name string) Value {
	return &undefined{reprString(ownerName(owner)) + " has no attribute " + reprString(name)}
}

// attribute returns a Python attribute of a value.
func (in *interp) attribute(owner Value, name string) (Value, bool) {
	switch x := owner.(type) {
	case *Dict:
		return dictAttr(x, name)
	case *List:
		return sequenceAttr(owner, x.items, name)
	case *tuple:
		for i, n := range x.names {
			if n == name {
				return x.items[i], true
			}
		}
		return sequenceAttr(owner, x.items, name)
	case *namespace:
		return x.attrs.lookup(name)
	case *loop:
		return x.attr(name)
	case *cycler:
		return x.attr(name)
	case *macro:
		return x.attr(name)
	}
	if _, ok := text(owner); ok {
		return stringAttr(owner, name)
	}
	return nil, false
}

// attr returns an attribute of a macro.
func (m *macro) attr(name string) (Value, bool) {
	switch name {
	case "name":
		return m.name, true
	case "arguments":
		t := &tuple{}
		for _, p := range m.params {
			t.items = append(t.items, p)
		}
		return t, true
	case "catch_kwargs":
		return m.kwargs, true
	case "catch_varargs":
		return m.varargs, true
	case "caller":
		return m.signature.caller, true
	}
	return nil, false
}

// element is the item of a sequence at an index or slice.
func (in *interp) element(owner, key Value) (Value, bool) {
	if s, ok := key.(sliceKey); ok {
		return in.slice(owner, s), true
	}
	i, ok := asInt(key)
	if !ok {
		return nil, false
	}
	at := func(n int) (int, bool) {
		if i < 0 {
			i += int64(n)
		}
		return int(i), i >= 0 && i < int64(n)
	}
	switch x := owner.(type) {
	case *List:
		if k, ok := at(len(x.items)); ok {
			return x.items[k], true
		}
	case *tuple:
		if k, ok := at(len(x.items)); ok {
			return x.items[k], true
		}
	case *rangeValue:
		if k, ok := at(int(x.n)); ok {
			return x.start + int64(k)*x.step, true
		}
	case string, markup:
		s, _ := text(owner)
		in.scan(len(s))
		n := in.length(owner)
		if k, ok := at(n); ok {
			from := byteOffset(s, k, n)
			_, w := utf8.DecodeRuneInString(s[from:])
			return sameText(owner, s[from:from+w]), true
		}
	}
	return nil, false
}
