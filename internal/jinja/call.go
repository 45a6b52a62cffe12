package jinja

// args are the evaluated arguments of a call.
type args struct {
	pos   []Value
	named []namedArg
}

type namedArg struct {
	name  string
	value Value
}

// absent marks an argument that was not given.
type absentArg struct{}

var absent = absentArg{}

func (in *interp) arguments(c callArgs) *args {
	a := &args{}
	for _, x := range c.pos {
		a.pos = append(a.pos, in.eval(x))
	}
	for i, x := range c.named {
		a.add(c.names[i], in.eval(x))
	}
	if c.star != nil {
		more := in.iterate(in.eval(c.star))
		in.items(len(more))
		a.pos = append(a.pos, more...)
	}
	if c.dstars != nil {
		d, ok := in.eval(c.dstars).(*Dict)
		if !ok {
			fail("argument after ** must be a mapping")
		}
		for _, e := range d.entries {
			k, ok := text(e.key)
			if !ok {
				fail("keywords must be strings")
			}
			a.add(k, e.value)
		}
	}
	return a
}

func (a *args) add(name string, v Value) {
	for _, n := range a.named {
		if n.name == name {
			fail("got multiple values for keyword argument '%s'", name)
		}
	}
	a.named = append(a.named, namedArg{name, v})
}

// bind sorts the arguments by the names of the parameters, of which the first
// required ones must be given; absent stands for the others not given.
func (a *args) bind(fn string, required int, params ...string) []Value {
	out := make([]Value, len(params))
	for i := range out {
		out[i] = absent
	}
	if len(a.pos) > len(params) {
		fail("%s() takes at most %d arguments, got %d", fn, len(params), len(a.pos))
	}
	copy(out, a.pos)
next:
	for _, n := range a.named {
		for i, p := range params {
			if p == n.name {
				if out[i] != absent {
					fail("%s() got multiple values for argument '%s'", fn, p)
				}
				out[i] = n.value
				continue next
			}
		}
		fail("%s() got an unexpected keyword argument '%s'", fn, n.name)
	}
	for i := range required {
		if out[i] == absent {
			fail("%s() missing 1 required argument: '%s'", fn, params[i])
		}
	}
	return out
}

func (c *call) eval(in *interp) Value {
	fn := in.eval(c.fn)
	a := in.arguments(c.args)
	in.line = c.line
	return in.call(fn, a)
}

// call calls a value.
func (in *interp) call(fn Value, a *args) Value {
	switch f := fn.(type) {
	case *function:
		return f.call(in, a)
	case *macro:
		return f.call(in, a)
	case *loop:
		return f.recurse(in, a)
	case *joiner:
		return f.call()
	case *undefined:
		fail("%s", f.message)
	}
	fail("'%s' object is not callable", typeName(fn))
	return nil
}

// macro is a defined macro with the scope it was defined in.
type macro struct {
	*signature
	closure *scope
}

// call runs the macro and returns what it prints.
func (m *macro) call(in *interp, a *args) Value {
	line, saved := in.line, in.scope
	in.scope = &scope{parent: m.closure}
	m.bind(in, a)
	in.enter()
	s := in.capture(func() { in.execAll(m.body) })
	in.depth--
	in.line, in.scope = line, saved
	return s
}

// bind sets the parameters in the current scope, as Macro.__call__ of
// jinja2/runtime.py does. Defaults may use the parameters before them.
func (m *macro) bind(in *interp, a *args) {
	taken := min(len(a.pos), len(m.params))
	left := append([]namedArg{}, a.named...)
	take := func(name string) (Value, bool) {
		for i, n := range left {
			if n.name == name {
				left = append(left[:i], left[i+1:]...)
				return n.value, true
			}
		}
		return nil, false
	}
	callerIsParam := false
	for i, name := range m.params {
		callerIsParam = callerIsParam || name == "caller"
		if i < taken {
			in.scope.set(name, a.pos[i])
		} else if v, ok := take(name); ok {
			in.scope.set(name, v)
		} else if d := i - (len(m.params) - len(m.defaults)); d >= 0 {
			in.scope.set(name, in.eval(m.defaults[d]))
		} else {
			in.scope.set(name, &undefined{"parameter " + reprString(name) + " was not provided"})
		}
	}
	if m.caller && !callerIsParam {
		v, ok := take("caller")
		if !ok {
			v = &undefined{"No caller defined"}
		}
		in.scope.set("caller", v)
	}
	if m.kwargs {
		d := &Dict{}
		for _, n := range left {
			d.Set(n.name, n.value)
		}
		in.scope.set("kwargs", d)
	} else if len(left) > 0 {
		fail("macro %s takes no keyword argument %s", reprString(m.name), reprString(left[0].name))
	}
	if m.varargs {
		in.scope.set("varargs", &tuple{items: a.pos[taken:]})
	} else if len(a.pos) > len(m.params) {
		fail("macro %s takes not more than %d argument(s)", reprString(m.name), len(m.params))
	}
}
