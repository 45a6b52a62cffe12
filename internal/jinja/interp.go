package jinja

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// interp is the state of one rendering.
type interp struct {
	env     Env
	context *Dict // the caller's variables
	scope   *scope
	out     *strings.Builder // of the template or of the block being captured
	line    int              // of the running statement, for errors
	depth   int
	steps   int
	made    int // bytes of strings and lists made so far
}

// scope holds the names a body sets. Loops (per iteration), macros and some
// blocks have their own; if has not.
type scope struct {
	vars   map[string]Value
	parent *scope
}

func (s *scope) set(name string, v Value) {
	if s.vars == nil {
		s.vars = make(map[string]Value)
	}
	s.vars[name] = v
}

func (in *interp) lookup(name string) Value {
	for s := in.scope; s != nil; s = s.parent {
		if v, ok := s.vars[name]; ok {
			return v
		}
	}
	if v, ok := in.context.lookup(name); ok {
		return v
	}
	if f := globalNamed(name); f != nil {
		return f
	}
	return &undefined{reprString(name) + " is undefined"}
}

func limitFault(format string, args ...any) {
	panic(runFault{&LimitError{Message: fmt.Sprintf(format, args...)}})
}

// step counts n units of work.
func (in *interp) step(n int) {
	if in.steps += n; in.steps > in.env.MaxSteps {
		limitFault("the template needs more than %d steps", in.env.MaxSteps)
	}
}

// scan counts the reading of n bytes of a string.
func (in *interp) scan(n int) { in.step(n / 64) }

// alloc counts n bytes about to be made. Counting what is made, not what is
// alive, bounds both.
func (in *interp) alloc(n int) {
	if n < 0 || n > maxAlloc-in.made {
		limitFault("the template makes more than %d bytes of values", maxAlloc)
	}
	in.made += n
	in.scan(n)
}

// items counts a list of n items about to be made.
func (in *interp) items(n int) {
	in.alloc(16 * n)
	in.step(n)
}

// write prints to the current output.
func (in *interp) write(s string) {
	in.alloc(len(s))
	if in.out.Len()+len(s) > in.env.MaxOutput {
		limitFault("the template prints more than %d bytes", in.env.MaxOutput)
	}
	in.out.WriteString(s)
}

// capture runs f and returns what it prints.
func (in *interp) capture(f func()) string {
	saved := in.out
	in.out = new(strings.Builder)
	f()
	s := in.out.String()
	in.out = saved
	return s
}

// within runs f in a new scope below parent.
func (in *interp) within(parent *scope, f func()) {
	saved := in.scope
	in.scope = &scope{parent: parent}
	f()
	in.scope = saved
}

func (in *interp) enter() {
	in.step(1)
	if in.depth++; in.depth > maxEvalDepth {
		limitFault("maximum recursion depth exceeded")
	}
}

func (in *interp) eval(x expr) Value {
	in.enter()
	v := x.eval(in)
	in.depth--
	return v
}

func (in *interp) exec(s stmt) flow {
	in.enter()
	in.line = s.lineNo()
	f := s.exec(in)
	in.depth--
	return f
}

// execAll runs a body up to a break or continue.
func (in *interp) execAll(body []stmt) flow {
	for _, s := range body {
		if f := in.exec(s); f != flowNext {
			return f
		}
	}
	return flowNext
}

// iterate returns the items of a value as Python's iter would give them. The
// caller must not change them.
func (in *interp) iterate(v Value) []Value {
	switch x := v.(type) {
	case *List:
		return x.items
	case *tuple:
		return x.items
	case *undefined:
		return nil
	case *generator:
		items := x.items
		x.items = nil
		return items
	case *Dict:
		return in.viewItems(&view{"keys", x})
	case *view:
		return in.viewItems(x)
	case *rangeValue:
		in.items(int(x.n))
		out := make([]Value, x.n)
		for i := range out {
			out[i] = x.start + int64(i)*x.step
		}
		return out
	}
	s, ok := text(v)
	if !ok {
		fail("'%s' object is not iterable", typeName(v))
	}
	in.items(2 * len(s)) // the characters, too, are values of their own
	out := make([]Value, 0, len(s))
	for i := 0; i < len(s); {
		_, w := utf8.DecodeRuneInString(s[i:])
		out = append(out, s[i:i+w])
		i += w
	}
	return out
}

func (in *interp) viewItems(v *view) []Value {
	in.items(v.dict.Len())
	out := make([]Value, 0, v.dict.Len())
	for _, e := range v.dict.entries {
		switch v.kind {
		case "keys":
			out = append(out, e.key)
		case "values":
			out = append(out, e.value)
		default:
			in.items(2)
			out = append(out, &tuple{items: []Value{e.key, e.value}})
		}
	}
	return out
}

// length is Python's len.
func (in *interp) length(v Value) int {
	switch x := v.(type) {
	case *List:
		return len(x.items)
	case *tuple:
		return len(x.items)
	case *Dict:
		return x.Len()
	case *view:
		return x.dict.Len()
	case *rangeValue:
		return int(x.n)
	case *undefined:
		return 0
	case *loop:
		return len(x.items)
	}
	s, ok := text(v)
	if !ok {
		fail("object of type '%s' has no len()", typeName(v))
	}
	in.scan(len(s))
	return utf8.RuneCountInString(s)
}

// assign stores a value, unpacking it if the target is a tuple.
func (in *interp) assign(t target, v Value) {
	switch {
	case t.attr != "":
		ns, ok := in.lookup(t.name).(*namespace)
		if !ok {
			fail("cannot assign attribute on non-namespace object %s", reprString(t.name))
		}
		ns.attrs.Set(t.attr, v)
	case t.items != nil:
		items := in.iterate(v)
		if len(items) < len(t.items) {
			fail("not enough values to unpack (expected %d, got %d)", len(t.items), len(items))
		}
		if len(items) > len(t.items) {
			fail("too many values to unpack (expected %d)", len(t.items))
		}
		for i, item := range items {
			in.assign(t.items[i], item)
		}
	default:
		in.scope.set(t.name, v)
	}
}
