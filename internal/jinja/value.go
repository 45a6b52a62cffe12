package jinja

import (
	"iter"
	"math"
	"math/big"
)

// Value is a template value. Input data holds nil (None), bool, int64,
// *big.Int (only beyond int64), float64, string, *List and *Dict; the
// evaluator adds its own types.
type Value = any

// List is a Python list. No template can change one.
type List struct{ items []Value }

// NewList returns a list of the items, which it keeps.
func NewList(items ...Value) *List { return &List{items} }

// Dict is a Python dict: it keeps the order in which keys came, which tojson
// and loops show. The zero value is an empty one.
type Dict struct {
	index   map[any]int // by hashKey
	entries []entry
}

type entry struct{ key, value Value }

// Len returns the number of keys.
func (d *Dict) Len() int {
	if d == nil {
		return 0
	}
	return len(d.entries)
}

// Set stores the value under a key, which keeps its place if it was there.
func (d *Dict) Set(key string, v Value) { d.put(key, key, v) }

// Get returns the value of a key and whether there is one.
func (d *Dict) Get(key string) (Value, bool) { return d.lookup(key) }

// All iterates over the keys that are strs, in order.
func (d *Dict) All() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		for _, e := range d.entries {
			if k, ok := e.key.(string); ok && !yield(k, e.value) {
				return
			}
		}
	}
}

func (d *Dict) put(hash any, key, v Value) {
	if d.index == nil {
		d.index = make(map[any]int)
	}
	if i, ok := d.index[hash]; ok {
		d.entries[i].value = v
		return
	}
	d.index[hash] = len(d.entries)
	d.entries = append(d.entries, entry{key, v})
}

func (d *Dict) lookup(hash any) (Value, bool) {
	if d == nil {
		return nil, false
	}
	i, ok := d.index[hash]
	if !ok {
		return nil, false
	}
	return d.entries[i].value, true
}

// tuple is a Python tuple; names are the fields of a named one (groupby).
type tuple struct {
	items []Value
	names []string
}

// markup is a str marked safe by |safe or |escape. Autoescape is off, so it
// matters only where one meets a plain str: markupsafe escapes that one.
type markup string

// undefined is what a missing name or attribute gives. It prints nothing and
// is false; nearly everything else fails with its message.
type undefined struct{ message string }

// namespace is the one object whose attributes a template can set.
type namespace struct{ attrs Dict }

// generator is a Python iterator: it can be walked once and has no length.
type generator struct {
	items []Value // what is left
	name  string
}

// view is dict.keys(), dict.values() or dict.items().
type view struct {
	kind string // "keys", "values", "items"
	dict *Dict
}

// rangeValue is range(): start, start+step, ... n items.
type rangeValue struct{ start, stop, step, n int64 }

// function is something built in that can be called.
type function struct {
	name string
	call func(in *interp, a *args) Value
}

// sliceKey is the key of x[a:b:c]; absent parts are nil.
type sliceKey struct{ lo, hi, step Value }

type (
	nilHash   struct{}
	bigHash   string
	tupleHash string
)

// hashKey returns what identifies a dict key, equal for equal keys as in
// Python (1, 1.0 and True are one key), and whether v can be one.
func hashKey(in *interp, v Value) (any, bool) {
	switch x := v.(type) {
	case nil:
		return nilHash{}, true
	case bool:
		if x {
			return int64(1), true
		}
		return int64(0), true
	case int64:
		return x, true
	case float64:
		if x == math.Trunc(x) && math.Abs(x) < 1<<53 {
			return int64(x), true
		}
		return x, true
	case *big.Int:
		return bigHash(x.String()), true
	case string:
		in.scan(len(x))
		return x, true
	case markup:
		in.scan(len(x))
		return string(x), true
	case *tuple:
		for _, item := range x.items {
			if _, ok := hashKey(in, item); !ok {
				return nil, false
			}
		}
		return tupleHash(in.repr(x)), true
	case *List, *Dict, sliceKey:
		return nil, false
	case *undefined:
		return undefinedHash{}, true
	}
	return v, true // by identity: all other values are pointers
}

type undefinedHash struct{}

// mustHash is hashKey where a key that cannot be hashed is an error.
func mustHash(in *interp, v Value) any {
	h, ok := hashKey(in, v)
	if !ok {
		fail("unhashable type: '%s'", typeName(v))
	}
	return h
}

// typeName is Python's name of the value's type.
func typeName(v Value) string {
	switch x := v.(type) {
	case nil:
		return "NoneType"
	case bool:
		return "bool"
	case int64, *big.Int:
		return "int"
	case float64:
		return "float"
	case string:
		return "str"
	case markup:
		return "Markup"
	case *List:
		return "list"
	case *tuple:
		return "tuple"
	case *Dict:
		return "dict"
	case *undefined:
		return "Undefined"
	case *namespace:
		return "Namespace"
	case *generator:
		return "generator"
	case *view:
		return "dict_" + x.kind
	case *rangeValue:
		return "range"
	case *macro:
		return "Macro"
	case *loop:
		return "LoopContext"
	case *cycler:
		return "Cycler"
	case *joiner:
		return "Joiner"
	case sliceKey:
		return "slice"
	}
	return "function"
}

// ownerName is how Jinja2 names the owner of a missing attribute.
func ownerName(v Value) string {
	switch v.(type) {
	case nil:
		return "None"
	case *namespace, *macro, *loop:
		return "jinja2 " + typeName(v) + " object"
	}
	return typeName(v) + " object"
}

// truthy is Python's bool().
func truthy(v Value) bool {
	switch x := v.(type) {
	case nil, *undefined:
		return false
	case bool:
		return x
	case int64:
		return x != 0
	case *big.Int:
		return x.Sign() != 0
	case float64:
		return x != 0
	case string:
		return x != ""
	case markup:
		return x != ""
	case *List:
		return len(x.items) > 0
	case *tuple:
		return len(x.items) > 0
	case *Dict:
		return x.Len() > 0
	case *view:
		return x.dict.Len() > 0
	case *rangeValue:
		return x.n > 0
	}
	return true
}

// text returns the characters of a str, marked safe or not.
func text(v Value) (string, bool) {
	switch x := v.(type) {
	case string:
		return x, true
	case markup:
		return string(x), true
	}
	return "", false
}

// asInt returns the value of an int or bool that fits an int64.
func asInt(v Value) (int64, bool) {
	switch x := v.(type) {
	case bool:
		if x {
			return 1, true
		}
		return 0, true
	case int64:
		return x, true
	}
	return 0, false
}
