package jinja

// The attributes of dicts, lists and strs. Those that would change a value do
// not exist here: transformers renders in Jinja2's immutable sandbox, which
// makes them undefined and fails when they are called.

func forbidden(owner Value, name string) (Value, bool) {
	return &undefined{"access to attribute " + reprString(name) + " of " + reprString(typeName(owner)) + " object is unsafe"}, true
}

func dictAttr(d *Dict, name string) (Value, bool) {
	switch name {
	case "keys", "values", "items":
		return &function{name, func(in *interp, a *args) Value {
			a.bind(name, 0)
			return &view{name, d}
		}}, true
	case "get":
		return &function{name, func(in *interp, a *args) Value {
			p := a.bind(name, 1, "key", "default")
			if v, ok := d.lookup(mustHash(in, p[0])); ok {
				return v
			}
			if p[1] == absent {
				return nil
			}
			return p[1]
		}}, true
	case "copy":
		return &function{name, func(in *interp, a *args) Value {
			a.bind(name, 0)
			return d // no template can change it
		}}, true
	case "clear", "pop", "popitem", "setdefault", "update":
		return forbidden(d, name)
	}
	return nil, false
}

func sequenceAttr(owner Value, items []Value, name string) (Value, bool) {
	switch name {
	case "count":
		return &function{name, func(in *interp, a *args) Value {
			v := a.bind(name, 1, "value")[0]
			n := int64(0)
			for _, item := range items {
				if in.equal(item, v) {
					n++
				}
			}
			return n
		}}, true
	case "index":
		return &function{name, func(in *interp, a *args) Value {
			return sequenceIndex(in, items, a)
		}}, true
	}
	if _, ok := owner.(*List); !ok {
		return nil, false
	}
	switch name {
	case "copy":
		return &function{name, func(in *interp, a *args) Value {
			a.bind(name, 0)
			return owner
		}}, true
	case "append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort":
		return forbidden(owner, name)
	}
	return nil, false
}

func sequenceIndex(in *interp, items []Value, a *args) Value {
	p := a.bind("index", 1, "value", "start", "stop")
	lo, _, n, ok := sliceKey{lo: orNone(p[1]), hi: orNone(p[2])}.resolve(len(items))
	if !ok {
		fail("slice indices must be integers")
	}
	for i, item := range items[lo : lo+n] {
		if in.equal(item, p[0]) {
			return int64(lo + i)
		}
	}
	fail("%s is not in list", in.repr(p[0]))
	return nil
}

// orNone is the argument or None where there is none.
func orNone(v Value) Value {
	if v == absent {
		return nil
	}
	return v
}

// textArg, intArg and boolArg read an argument; a default stands for an absent
// one.
func (in *interp) textArg(v Value, fn, absentIs string) string {
	if v == absent {
		return absentIs
	}
	s, ok := text(v)
	if !ok {
		if u, ok := v.(*undefined); ok {
			fail("%s: %s", fn, u.message)
		}
		fail("%s() wants a str, got %s", fn, typeName(v))
	}
	return s
}

func intArg(v Value, fn string, absentIs int) int {
	if v == absent {
		return absentIs
	}
	i, ok := asInt(v)
	if !ok {
		if u, ok := v.(*undefined); ok {
			fail("%s: %s", fn, u.message)
		}
		fail("%s() wants an int, got %s", fn, typeName(v))
	}
	return int(i)
}

func boolArg(v Value) bool { return v != absent && truthy(v) }
