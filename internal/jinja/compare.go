package jinja

import (
	"cmp"
	"math/big"
	"sort"
	"strings"
)

// equal is Python's ==.
func (in *interp) equal(a, b Value) bool { return in.equalAt(a, b, 0) }

func (in *interp) equalAt(a, b Value, depth int) bool {
	if depth > maxDataDepth {
		fail("maximum recursion depth exceeded in comparison")
	}
	in.step(1)
	if o, ok := numberOrder(a, b); ok {
		return o == 0
	}
	switch x := a.(type) {
	case *List:
		y, ok := b.(*List)
		return ok && in.equalItems(x.items, y.items, depth)
	case *tuple:
		y, ok := b.(*tuple)
		return ok && in.equalItems(x.items, y.items, depth)
	case *Dict:
		y, ok := b.(*Dict)
		return ok && in.equalDicts(x, y, depth)
	case *undefined:
		_, ok := b.(*undefined)
		return ok
	case *rangeValue:
		y, ok := b.(*rangeValue)
		return ok && in.equalItems(in.iterate(x), in.iterate(y), depth)
	case string, markup:
		s, _ := text(a)
		t, ok := text(b)
		if len(s) == len(t) {
			in.scan(len(s))
		}
		return ok && s == t
	}
	switch b.(type) {
	case string, markup:
		return false
	}
	return a == b // None, and identity of objects
}

func (in *interp) equalItems(a, b []Value, depth int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !in.equalAt(a[i], b[i], depth+1) {
			return false
		}
	}
	return true
}

func (in *interp) equalDicts(a, b *Dict, depth int) bool {
	if a.Len() != b.Len() {
		return false
	}
	for _, e := range a.entries {
		h, _ := hashKey(in, e.key)
		v, ok := b.lookup(h)
		if !ok || !in.equalAt(e.value, v, depth+1) {
			return false
		}
	}
	return true
}

// Orders of two values, with what < of floats needs for NaN.
const unordered = 2

// numberOrder returns the order of two numbers: -1, 0, 1 or unordered.
func numberOrder(a, b Value) (int, bool) {
	if x, y, ok := floats(a, b); ok {
		switch {
		case x < y:
			return -1, true
		case x > y:
			return 1, true
		case x == y:
			return 0, true
		}
		return unordered, true
	}
	if !isInt(a) || !isInt(b) {
		return 0, false
	}
	_, bigA := a.(*big.Int)
	_, bigB := b.(*big.Int)
	if bigA || bigB {
		return toBig(a).Cmp(toBig(b)), true
	}
	x, _ := asInt(a)
	y, _ := asInt(b)
	switch {
	case x < y:
		return -1, true
	case x > y:
		return 1, true
	}
	return 0, true
}

// order compares for the operator op, which the error names.
func (in *interp) order(op string, a, b Value) int {
	return in.orderAt(op, a, b, 0)
}

func (in *interp) orderAt(op string, a, b Value, depth int) int {
	for _, v := range []Value{a, b} {
		if u, ok := v.(*undefined); ok {
			fail("%s", u.message)
		}
	}
	if depth > maxDataDepth {
		fail("maximum recursion depth exceeded in comparison")
	}
	in.step(1)
	if o, ok := numberOrder(a, b); ok {
		return o
	}
	if s, ok := text(a); ok {
		if t, ok := text(b); ok {
			in.scan(min(len(s), len(t)))
			return strings.Compare(s, t) // the order of UTF-8 is that of code points
		}
	}
	switch x := a.(type) {
	case *List:
		if y, ok := b.(*List); ok {
			return in.orderItems(op, x.items, y.items, depth)
		}
	case *tuple:
		if y, ok := b.(*tuple); ok {
			return in.orderItems(op, x.items, y.items, depth)
		}
	}
	fail("'%s' not supported between instances of '%s' and '%s'", op, typeName(a), typeName(b))
	return 0
}

func (in *interp) orderItems(op string, a, b []Value, depth int) int {
	for i := range min(len(a), len(b)) {
		if !in.equalAt(a[i], b[i], depth+1) {
			return in.orderAt(op, a[i], b[i], depth+1)
		}
	}
	return cmp.Compare(len(a), len(b))
}

// contains is "item in box".
func (in *interp) contains(box, item Value) bool {
	switch x := box.(type) {
	case *Dict:
		_, ok := x.lookup(mustHash(in, item))
		return ok
	case string, markup:
		s, _ := text(box)
		sub, ok := text(item)
		if !ok {
			fail("'in <string>' requires string as left operand, not %s", typeName(item))
		}
		in.scan(len(s))
		return strings.Contains(s, sub)
	case *undefined:
		return false
	case *List, *tuple, *view, *rangeValue, *generator:
		for _, v := range in.iterate(x) {
			if in.equal(v, item) {
				return true
			}
		}
		return false
	}
	fail("argument of type '%s' is not iterable", typeName(box))
	return false
}

// sortedOrder returns the positions of the keys in rising order, equal keys in
// the order they have (also when reversed, as Python does).
func (in *interp) sortedOrder(keys []Value, reverse bool) []int {
	in.items(len(keys))
	at := make([]int, len(keys))
	for i := range at {
		at[i] = i
	}
	sort.SliceStable(at, func(i, j int) bool {
		if reverse {
			i, j = j, i
		}
		return in.order("<", keys[at[i]], keys[at[j]]) < 0
	})
	return at
}

// slice is owner[lo:hi:step].
func (in *interp) slice(owner Value, s sliceKey) Value {
	n := 0
	switch x := owner.(type) {
	case *List:
		n = len(x.items)
	case *tuple:
		n = len(x.items)
	case string, markup:
		n = in.length(owner)
	case *rangeValue:
		n = int(x.n)
	default:
		fail("'%s' object cannot be sliced", typeName(owner))
	}
	lo, step, count, ok := s.resolve(n)
	if !ok {
		fail("slice indices must be integers or None")
	}
	pick := func(items []Value) []Value {
		in.items(count)
		out := make([]Value, count)
		for i := range out {
			out[i] = items[lo+i*step]
		}
		return out
	}
	switch x := owner.(type) {
	case *List:
		return &List{pick(x.items)}
	case *tuple:
		return &tuple{items: pick(x.items)}
	case *rangeValue:
		from := x.start + int64(lo)*x.step
		by := x.step * int64(step)
		return &rangeValue{from, from + int64(count)*by, by, int64(count)}
	}
	str, _ := text(owner)
	in.alloc(len(str))
	if step == 1 {
		from := byteOffset(str, lo, n)
		to := from + byteOffset(str[from:], count, n-lo)
		return sameText(owner, str[from:to])
	}
	var b strings.Builder
	for _, c := range pick(in.iterate(str)) {
		b.WriteString(c.(string))
	}
	return sameText(owner, b.String())
}

// resolve returns the first index, the step and the number of items that the
// slice takes of n items, by the rules of Python's slice.indices.
func (s sliceKey) resolve(n int) (lo, step, count int, ok bool) {
	step = 1
	if s.step != nil {
		v, isInt := asInt(s.step)
		if !isInt {
			return 0, 0, 0, false
		}
		if v == 0 {
			fail("slice step cannot be zero")
		}
		step = int(max(min(v, int64(n)+1), -int64(n)-1))
	}
	bound := func(v Value, absent int) (int, bool) {
		if v == nil {
			return absent, true
		}
		i, isInt := asInt(v)
		if !isInt {
			return 0, false
		}
		if i < 0 {
			i += int64(n)
		}
		least, most := 0, n
		if step < 0 {
			least, most = -1, n-1
		}
		return int(max(min(i, int64(most)), int64(least))), true
	}
	first, last := 0, n
	if step < 0 {
		first, last = n-1, -1
	}
	lo, okLo := bound(s.lo, first)
	hi, okHi := bound(s.hi, last)
	if step > 0 && hi > lo {
		count = (hi - lo + step - 1) / step
	}
	if step < 0 && hi < lo {
		count = (lo - hi - step - 1) / -step
	}
	return lo, step, count, okLo && okHi
}
