package jinja

import (
	"strings"
)

// testFunc is a test: v is name(a).
type testFunc func(in *interp, v Value, a *args) bool

// testNamed returns a test, nil if there is none.
func testNamed(name string) testFunc {
	if f := typeTestNamed(name); f != nil {
		return f
	}
	op := map[string]string{
		"==": "==", "eq": "==", "equalto": "==", "!=": "!=", "ne": "!=",
		">": ">", "gt": ">", "greaterthan": ">", ">=": ">=", "ge": ">=",
		"<": "<", "lt": "<", "lessthan": "<", "<=": "<=", "le": "<=", "in": "in",
	}[name]
	if op != "" {
		return func(in *interp, v Value, a *args) bool {
			return in.compare(op, v, a.bind(name, 1, "other")[0])
		}
	}
	switch name {
	case "odd", "even":
		return func(in *interp, v Value, a *args) bool {
			return in.equal(in.arith("%", v, int64(2)), int64(1)) == (name == "odd")
		}
	case "divisibleby":
		return func(in *interp, v Value, a *args) bool {
			return in.equal(in.arith("%", v, a.bind(name, 1, "num")[0]), int64(0))
		}
	case "lower":
		return func(in *interp, v Value, a *args) bool {
			s := in.str(v)
			return hasCase(s) && strings.ToLower(s) == s
		}
	case "upper":
		return func(in *interp, v Value, a *args) bool {
			s := in.str(v)
			return hasCase(s) && upper(s) == s
		}
	case "sameas":
		return func(in *interp, v Value, a *args) bool { return same(v, a.bind(name, 1, "other")[0]) }
	case "filter":
		return func(in *interp, v Value, a *args) bool { return filterNamed(in.textArg(v, name, "")) != nil }
	case "test":
		return func(in *interp, v Value, a *args) bool { return testNamed(in.textArg(v, name, "")) != nil }
	}
	return nil
}

// same is Python's "is", with strs and numbers by value and type.
func same(a, b Value) bool {
	if typeName(a) != typeName(b) {
		return false
	}
	if s, ok := text(a); ok {
		t, _ := text(b)
		return s == t
	}
	if _, ok := a.(sliceKey); ok {
		return false
	}
	return a == b
}

// typeTestNamed returns a test of the kind of a value, nil if there is none.
func typeTestNamed(name string) testFunc {
	is := typeTest(name)
	if is == nil {
		return nil
	}
	return func(in *interp, v Value, a *args) bool {
		a.bind(name, 0)
		return is(v)
	}
}

func typeTest(name string) func(v Value) bool {
	isType := func(names ...string) func(Value) bool {
		return func(v Value) bool {
			for _, n := range names {
				if typeName(v) == n {
					return true
				}
			}
			return false
		}
	}
	switch name {
	case "defined":
		return func(v Value) bool { return !isUndefined(v) }
	case "undefined":
		return isUndefined
	case "none":
		return func(v Value) bool { return v == nil }
	case "boolean":
		return isType("bool")
	case "true":
		return func(v Value) bool { return v == true }
	case "false":
		return func(v Value) bool { return v == false }
	case "integer":
		return isType("int")
	case "float":
		return isType("float")
	case "number":
		return isType("int", "float", "bool")
	case "string":
		return isType("str", "Markup")
	case "mapping":
		return isType("dict")
	case "sequence":
		return isType("str", "Markup", "list", "tuple", "dict", "range", "Undefined")
	case "iterable":
		return isType("str", "Markup", "list", "tuple", "dict", "range", "Undefined", "generator",
			"dict_keys", "dict_values", "dict_items", "LoopContext")
	case "callable":
		return isType("function", "Macro", "LoopContext", "Joiner", "Undefined")
	case "escaped":
		return isType("Markup")
	}
	return nil
}
