package jinja

import (
	"math"
	"math/big"
	"strings"
)

// maxBits bounds integers, so that no power or product runs away.
const maxBits = 1 << 15

// arith is a binary operator of Python.
func (in *interp) arith(op string, a, b Value) Value {
	s, isText := text(a)
	for _, v := range []Value{a, b} {
		if u, ok := v.(*undefined); ok && !(isText && op == "%") {
			fail("%s", u.message)
		}
	}
	if x, y, ok := floats(a, b); ok {
		return floatArith(op, x, y)
	}
	if isInt(a) && isInt(b) {
		return intArith(op, a, b)
	}
	var v Value = absent
	switch op {
	case "+":
		v = in.add(a, b)
	case "*":
		v = in.repeat(a, b)
	case "%":
		if isText {
			_, safe := a.(markup)
			v = sameText(a, in.percent(s, b, safe))
		}
	}
	if v == absent {
		fail("unsupported operand type(s) for %s: '%s' and '%s'", op, typeName(a), typeName(b))
	}
	return v
}

func isInt(v Value) bool {
	switch v.(type) {
	case bool, int64, *big.Int:
		return true
	}
	return false
}

// toFloat is the value of a number as a float.
func toFloat(v Value) (float64, bool) {
	switch x := v.(type) {
	case float64:
		return x, true
	case *big.Int:
		f, _ := new(big.Float).SetInt(x).Float64()
		return f, true
	}
	i, ok := asInt(v)
	return float64(i), ok
}

// floats returns both numbers as floats if at least one is a float.
func floats(a, b Value) (x, y float64, ok bool) {
	_, fa := a.(float64)
	_, fb := b.(float64)
	if !fa && !fb {
		return 0, 0, false
	}
	x, okA := toFloat(a)
	y, okB := toFloat(b)
	return x, y, okA && okB
}

func floatArith(op string, x, y float64) Value {
	switch op {
	case "+":
		return x + y
	case "-":
		return x - y
	case "*":
		return x * y
	case "**":
		if x == 0 && y < 0 {
			fail("0.0 cannot be raised to a negative power")
		}
		return math.Pow(x, y)
	}
	if y == 0 {
		fail("float division by zero")
	}
	switch op {
	case "/":
		return x / y
	case "//":
		if q := math.Floor((x - floatMod(x, y)) / y); q != 0 {
			return q
		}
		return math.Copysign(0, x/y)
	}
	return floatMod(x, y)
}

// floatMod has the sign of y, as in Python.
func floatMod(x, y float64) float64 {
	m := math.Mod(x, y)
	if m == 0 {
		return math.Copysign(0, y)
	}
	if (m < 0) != (y < 0) {
		m += y
	}
	return m
}

func toBig(v Value) *big.Int {
	if b, ok := v.(*big.Int); ok {
		return b
	}
	i, _ := asInt(v)
	return big.NewInt(i)
}

// normal returns an int64 where the integer fits one.
func normal(b *big.Int) Value {
	if b.IsInt64() {
		return b.Int64()
	}
	if b.BitLen() > maxBits {
		limitFault("an integer has more than %d bits", maxBits)
	}
	return b
}

func intArith(op string, a, b Value) Value {
	x, okX := asInt(a)
	y, okY := asInt(b)
	if okX && okY && x>>31 == x>>63 && y>>31 == y>>63 { // no sum or product overflows
		switch op {
		case "+":
			return x + y
		case "-":
			return x - y
		case "*":
			return x * y
		}
	}
	p, q, r := toBig(a), toBig(b), new(big.Int)
	switch op {
	case "+":
		return normal(r.Add(p, q))
	case "-":
		return normal(r.Sub(p, q))
	case "*":
		return normal(r.Mul(p, q))
	case "**":
		return intPow(p, q)
	}
	if q.Sign() == 0 {
		fail("integer division or modulo by zero")
	}
	switch op {
	case "/":
		f, _ := new(big.Rat).SetFrac(p, q).Float64()
		if f == 0 && q.Sign() < 0 {
			f = math.Copysign(0, -1)
		}
		return f
	case "//":
		return normal(floorDiv(r, p, q))
	}
	floorDiv(r, p, q)
	return normal(r.Sub(p, r.Mul(r, q)))
}

// floorDiv sets r to p/q rounded down.
func floorDiv(r, p, q *big.Int) *big.Int {
	m := new(big.Int)
	r.QuoRem(p, q, m)
	if m.Sign() != 0 && m.Sign() != q.Sign() {
		r.Sub(r, big.NewInt(1))
	}
	return r
}

func intPow(p, q *big.Int) Value {
	if q.Sign() < 0 {
		x, _ := toFloat(p)
		y, _ := toFloat(q)
		return floatArith("**", x, y)
	}
	if p.BitLen() > 1 && (!q.IsInt64() || q.Int64() > int64(maxBits/(p.BitLen()-1))) {
		limitFault("an integer has more than %d bits", maxBits)
	}
	return normal(new(big.Int).Exp(p, q, nil))
}

// signed is the unary + or -.
func (in *interp) signed(op string, v Value) Value {
	if u, ok := v.(*undefined); ok {
		fail("%s", u.message)
	}
	if f, ok := v.(float64); ok {
		if op == "-" {
			return -f
		}
		return f
	}
	if !isInt(v) {
		fail("bad operand type for unary %s: '%s'", op, typeName(v))
	}
	if op == "-" {
		return intArith("-", int64(0), v)
	}
	return intArith("+", int64(0), v)
}

// add joins two strs, lists or tuples. A plain str that meets a safe one is
// escaped, as markupsafe does.
func (in *interp) add(a, b Value) Value {
	switch x := a.(type) {
	case *List:
		if y, ok := b.(*List); ok {
			return &List{in.joinItems(x.items, y.items)}
		}
		return absent
	case *tuple:
		if y, ok := b.(*tuple); ok {
			return &tuple{items: in.joinItems(x.items, y.items)}
		}
		return absent
	}
	x, okX := text(a)
	y, okY := text(b)
	if !okX || !okY {
		if okX {
			fail("can only concatenate str (not \"%s\") to str", typeName(b))
		}
		return absent
	}
	_, safeX := a.(markup)
	_, safeY := b.(markup)
	if safeX && !safeY {
		y = escapeHTML(y)
	}
	if safeY && !safeX {
		x = escapeHTML(x)
	}
	in.alloc(len(x) + len(y))
	if safeX || safeY {
		return markup(x + y)
	}
	return x + y
}

func (in *interp) joinItems(a, b []Value) []Value {
	in.items(len(a) + len(b))
	return append(append(make([]Value, 0, len(a)+len(b)), a...), b...)
}

// repeat is sequence * int in either order.
func (in *interp) repeat(a, b Value) Value {
	n, ok := asInt(b)
	if !ok {
		if n, ok = asInt(a); !ok {
			return absent
		}
		a = b
	}
	n = max(n, 0)
	fits := func(size int) {
		if size > 0 && n > maxAlloc/int64(size) {
			in.alloc(maxAlloc + 1)
		}
	}
	copies := func(items []Value) []Value {
		fits(16 * len(items))
		in.items(int(n) * len(items))
		out := make([]Value, 0, int(n)*len(items))
		for range n * int64(min(1, len(items))) {
			out = append(out, items...)
		}
		return out
	}
	switch x := a.(type) {
	case *List:
		return &List{copies(x.items)}
	case *tuple:
		return &tuple{items: copies(x.items)}
	}
	s, ok := text(a)
	if !ok {
		return absent
	}
	fits(len(s))
	if s == "" {
		return a
	}
	in.alloc(int(n) * len(s))
	return sameText(a, strings.Repeat(s, int(n)))
}

// sameText returns s as the kind of str that like is.
func sameText(like Value, s string) Value {
	if _, ok := like.(markup); ok {
		return markup(s)
	}
	return s
}
