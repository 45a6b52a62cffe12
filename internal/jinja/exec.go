package jinja

func (s *output) exec(in *interp) flow {
	if s.x == nil {
		in.write(s.data)
	} else {
		in.write(in.str(in.eval(s.x)))
	}
	return flowNext
}

func (s *ifStmt) exec(in *interp) flow {
	for i, t := range s.tests {
		if truthy(in.eval(t)) {
			return in.execAll(s.bodies[i])
		}
	}
	return in.execAll(s.none)
}

func (s *setStmt) exec(in *interp) flow {
	in.assign(s.to, in.eval(s.x))
	return flowNext
}

func (s *setBlock) exec(in *interp) flow {
	v := in.captureBody(s.body, s.filter)
	in.assign(s.to, v)
	return flowNext
}

// captureBody runs a body in a scope of its own and returns its text, sent
// through the chain of filters if there is one.
func (in *interp) captureBody(body []stmt, chain expr) Value {
	s := in.capture(func() {
		in.within(in.scope, func() { in.execAll(body) })
	})
	if chain == nil {
		return s
	}
	return in.applyChain(chain, s)
}

// applyChain evaluates filters whose innermost has the text s as its value.
func (in *interp) applyChain(x expr, s string) Value {
	in.enter()
	f := x.(*filter)
	var v Value = s
	if f.x != nil {
		v = in.applyChain(f.x, s)
	}
	v = f.apply(in, v)
	in.depth--
	return v
}

func (s *filterStmt) exec(in *interp) flow {
	in.write(in.str(in.captureBody(s.body, s.filter)))
	return flowNext
}

func (s *scopeStmt) exec(in *interp) flow {
	// transformers renders the body as the caller of a call block, so it is a
	// scope and its text arrives as one piece; the text is the same.
	in.within(in.scope, func() { in.execAll(s.body) })
	return flowNext
}

func (s *withStmt) exec(in *interp) flow {
	values := make([]Value, len(s.x))
	for i, x := range s.x {
		values[i] = in.eval(x)
	}
	f := flowNext
	in.within(in.scope, func() {
		for i, t := range s.to {
			in.assign(t, values[i])
		}
		f = in.execAll(s.body)
	})
	return f
}

func (s *loopControl) exec(*interp) flow { return s.flow }

func (s *macroStmt) exec(in *interp) flow {
	in.scope.set(s.name, &macro{s.signature, in.scope})
	return flowNext
}

func (s *callStmt) exec(in *interp) flow {
	fn := in.eval(s.call.fn)
	a := in.arguments(s.call.args)
	a.named = append(a.named, namedArg{"caller", &macro{s.caller, in.scope}})
	in.write(in.str(in.call(fn, a)))
	return flowNext
}

// loop is the variable "loop" of a running for.
type loop struct {
	stmt    *forStmt
	outer   *scope // of the for statement, for recursive calls
	items   []Value
	index   int // from 0
	depth   int // from 0, of recursive loops
	changed []Value
}

func (s *forStmt) exec(in *interp) flow {
	s.run(in, in.eval(s.iter), 0)
	return flowNext
}

func (s *forStmt) run(in *interp, over Value, depth int) {
	items := in.iterate(over)
	if s.only != nil {
		items = s.selected(in, items)
	}
	l := &loop{stmt: s, outer: in.scope, items: items, depth: depth}
	for i, item := range items {
		in.step(1)
		l.index = i
		f := flowNext
		in.within(l.outer, func() {
			in.scope.set("loop", l)
			in.assign(s.to, item)
			f = in.execAll(s.body)
		})
		if f == flowBreak {
			break
		}
	}
	if len(items) == 0 {
		in.within(in.scope, func() { in.execAll(s.none) })
	}
}

// selected returns the items for which the loop's own condition holds.
func (s *forStmt) selected(in *interp, items []Value) []Value {
	in.items(len(items))
	out := make([]Value, 0, len(items))
	for _, item := range items {
		in.within(in.scope, func() {
			in.assign(s.to, item)
			if truthy(in.eval(s.only)) {
				out = append(out, item)
			}
		})
	}
	return out
}

// attr returns an attribute of the loop variable.
func (l *loop) attr(name string) (Value, bool) {
	n := len(l.items)
	switch name {
	case "index":
		return int64(l.index + 1), true
	case "index0":
		return int64(l.index), true
	case "revindex":
		return int64(n - l.index), true
	case "revindex0":
		return int64(n - l.index - 1), true
	case "first":
		return l.index == 0, true
	case "last":
		return l.index == n-1, true
	case "length":
		return int64(n), true
	case "depth":
		return int64(l.depth + 1), true
	case "depth0":
		return int64(l.depth), true
	case "previtem":
		if l.index == 0 {
			return &undefined{"there is no previous item"}, true
		}
		return l.items[l.index-1], true
	case "nextitem":
		if l.index == n-1 {
			return &undefined{"there is no next item"}, true
		}
		return l.items[l.index+1], true
	case "cycle":
		return &function{"cycle", func(in *interp, a *args) Value {
			if len(a.pos) == 0 {
				fail("no items for cycling given")
			}
			return a.pos[l.index%len(a.pos)]
		}}, true
	case "changed":
		return &function{"changed", func(in *interp, a *args) Value {
			same := l.changed != nil && in.equal(&tuple{items: l.changed}, &tuple{items: a.pos})
			l.changed = append([]Value{}, a.pos...)
			return !same
		}}, true
	}
	return nil, false
}

// recurse is a call of the loop variable in a recursive loop.
func (l *loop) recurse(in *interp, a *args) Value {
	if !l.stmt.recursive {
		fail("the loop must have the 'recursive' marker to be called recursively")
	}
	over := a.bind("loop", 1, "iterable")[0]
	saved := in.scope
	in.scope = l.outer
	s := in.capture(func() { l.stmt.run(in, over, l.depth+1) })
	in.scope = saved
	return s
}
