package jinja

import (
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// str is Python's str().
func (in *interp) str(v Value) string {
	switch x := v.(type) {
	case string:
		return x
	case markup:
		return string(x)
	case *undefined:
		return ""
	}
	return in.repr(v)
}

// repr is Python's repr().
func (in *interp) repr(v Value) string {
	var b strings.Builder
	in.writeRepr(&b, v, 0)
	return b.String()
}

func (in *interp) writeRepr(b *strings.Builder, v Value, depth int) {
	if depth > maxDataDepth {
		fail("maximum recursion depth exceeded while getting the repr of an object")
	}
	in.step(1)
	switch x := v.(type) {
	case *List:
		in.reprItems(b, "[", x.items, "]", depth)
	case *tuple:
		end := ")"
		if len(x.items) == 1 {
			end = ",)"
		}
		in.reprItems(b, "(", x.items, end, depth)
	case *Dict:
		in.reprDict(b, x, depth)
	case *namespace:
		b.WriteString("<Namespace ")
		in.reprDict(b, &x.attrs, depth)
		b.WriteString(">")
	case *view:
		b.WriteString("dict_" + x.kind + "(")
		in.reprItems(b, "[", in.viewItems(x), "]", depth)
		b.WriteString(")")
	default:
		s := reprScalar(v)
		in.alloc(len(s))
		b.WriteString(s)
	}
}

func reprScalar(v Value) string {
	switch x := v.(type) {
	case nil:
		return "None"
	case bool:
		if x {
			return "True"
		}
		return "False"
	case int64:
		return strconv.FormatInt(x, 10)
	case *big.Int:
		return bigText(x)
	case float64:
		return floatRepr(x)
	case string:
		return reprString(x)
	case markup:
		return "Markup(" + reprString(string(x)) + ")"
	case *undefined:
		return "Undefined"
	case *rangeValue:
		s := "range(" + strconv.FormatInt(x.start, 10) + ", " + strconv.FormatInt(x.stop, 10)
		if x.step != 1 {
			s += ", " + strconv.FormatInt(x.step, 10)
		}
		return s + ")"
	case *macro:
		return "<Macro " + reprString(x.name) + ">"
	case *loop:
		return "<LoopContext " + strconv.Itoa(x.index+1) + "/" + strconv.Itoa(len(x.items)) + ">"
	case *generator:
		return "<generator object " + x.name + ">"
	case *function:
		return "<function " + x.name + ">"
	}
	return "<" + typeName(v) + " object>"
}

// bigText prints an integer that Python would print.
func bigText(x *big.Int) string {
	if s := x.String(); len(s) <= maxDigits {
		return s
	}
	fail("exceeds the limit (%d digits) for integer string conversion", maxDigits)
	return ""
}

func (in *interp) reprItems(b *strings.Builder, open string, items []Value, end string, depth int) {
	b.WriteString(open)
	for i, item := range items {
		if i > 0 {
			b.WriteString(", ")
		}
		in.writeRepr(b, item, depth+1)
	}
	b.WriteString(end)
}

func (in *interp) reprDict(b *strings.Builder, d *Dict, depth int) {
	b.WriteByte('{')
	for i, e := range d.entries {
		if i > 0 {
			b.WriteString(", ")
		}
		in.writeRepr(b, e.key, depth+1)
		b.WriteString(": ")
		in.writeRepr(b, e.value, depth+1)
	}
	b.WriteByte('}')
}

// byteOffset returns the byte offset of character k of s, which has n. Text
// that is all ASCII needs no walk.
func byteOffset(s string, k, n int) int {
	if len(s) == n || k == 0 {
		return k
	}
	i := 0
	for ; k > 0 && i < len(s); k-- {
		_, w := utf8.DecodeRuneInString(s[i:])
		i += w
	}
	return i
}
