package jinja

// globalNamed returns a function that every template has, nil if there is
// none of the name.
func globalNamed(name string) Value {
	var f func(in *interp, a *args) Value
	switch name {
	case "range":
		f = makeRange
	case "dict":
		f = makeDict
	case "namespace":
		f = func(in *interp, a *args) Value {
			ns := &namespace{}
			for _, e := range makeDict(in, a).(*Dict).entries {
				ns.attrs.put(mustHash(in, e.key), e.key, e.value)
			}
			return ns
		}
	case "cycler":
		f = func(in *interp, a *args) Value {
			if len(a.pos) == 0 {
				fail("at least one item has to be provided")
			}
			return &cycler{items: a.pos}
		}
	case "joiner":
		f = func(in *interp, a *args) Value {
			return &joiner{sep: in.textArg(a.bind(name, 0, "sep")[0], name, ", ")}
		}
	case "raise_exception":
		f = func(in *interp, a *args) Value {
			panic(runFault{&RaisedError{Message: in.str(a.bind(name, 1, "message")[0])}})
		}
	case "strftime_now":
		f = func(in *interp, a *args) Value {
			s := strftime(in.env.Now(), in.textArg(a.bind(name, 1, "format")[0], name, ""))
			in.alloc(len(s))
			return s
		}
	default:
		return nil
	}
	return &function{name, f}
}

func makeRange(in *interp, a *args) Value {
	r := &rangeValue{step: 1}
	number := func(i int) int64 { return int64(intArg(a.pos[i], "range", 0)) }
	if len(a.named) > 0 {
		fail("range() takes no keyword arguments")
	}
	switch len(a.pos) {
	case 1:
		r.stop = number(0)
	case 2:
		r.start, r.stop = number(0), number(1)
	case 3:
		r.start, r.stop, r.step = number(0), number(1), number(2)
	default:
		fail("range expected 1 to 3 arguments, got %d", len(a.pos))
	}
	// Bounds far beyond maxRange would overflow below and serve nobody.
	const far = 1 << 60
	if max(r.start, r.stop, r.step) > far || min(r.start, r.stop, r.step) < -far {
		limitFault("range bounds are over 2**60")
	}
	switch {
	case r.step == 0:
		fail("range() arg 3 must not be zero")
	case r.step > 0 && r.stop > r.start:
		r.n = (r.stop - r.start + r.step - 1) / r.step
	case r.step < 0 && r.stop < r.start:
		r.n = (r.start - r.stop - r.step - 1) / -r.step
	}
	if r.n > maxRange {
		limitFault("range too big, the sandbox blocks ranges larger than %d", maxRange)
	}
	return r
}

// makeDict is dict(mapping or pairs, **named).
func makeDict(in *interp, a *args) Value {
	d := &Dict{}
	if len(a.pos) > 1 {
		fail("dict expected at most 1 argument, got %d", len(a.pos))
	}
	for _, from := range a.pos {
		if m, ok := from.(*Dict); ok {
			in.items(2 * m.Len())
			for _, e := range m.entries {
				d.put(mustHash(in, e.key), e.key, e.value)
			}
			continue
		}
		for _, item := range in.iterate(from) {
			in.items(2)
			pair := in.iterate(item)
			if len(pair) != 2 {
				fail("dictionary update sequence element has length %d; 2 is required", len(pair))
			}
			d.put(mustHash(in, pair[0]), pair[0], pair[1])
		}
	}
	for _, n := range a.named {
		d.Set(n.name, n.value)
	}
	return d
}

// cycler is the object of cycler().
type cycler struct {
	items []Value
	pos   int
}

func (c *cycler) attr(name string) (Value, bool) {
	switch name {
	case "current":
		return c.items[c.pos], true
	case "next":
		return &function{name, func(in *interp, a *args) Value {
			v := c.items[c.pos]
			c.pos = (c.pos + 1) % len(c.items)
			return v
		}}, true
	case "reset":
		return &function{name, func(in *interp, a *args) Value {
			c.pos = 0
			return nil
		}}, true
	}
	return nil, false
}

// joiner is the object of joiner(): empty at the first call, then sep.
type joiner struct {
	sep  string
	used bool
}

func (j *joiner) call() Value {
	if !j.used {
		j.used = true
		return ""
	}
	return j.sep
}
