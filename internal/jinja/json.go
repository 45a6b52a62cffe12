package jinja

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"strconv"
	"strings"
)

// ParseJSON reads one JSON value. Objects become *Dict in the order of their
// keys, numbers without fraction and exponent ints, as Python's json does.
func ParseJSON(data []byte) (Value, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := decode(d, 0)
	if err != nil {
		return nil, fmt.Errorf("json: at byte %d: %w", d.InputOffset(), err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("json: at byte %d: text after the value", d.InputOffset())
	}
	return v, nil
}

func decode(d *json.Decoder, depth int) (Value, error) {
	t, err := d.Token()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	switch x := t.(type) {
	case json.Number:
		return number(x.String())
	case json.Delim:
		if depth >= maxDataDepth {
			return nil, fmt.Errorf("more than %d levels of nesting", maxDataDepth)
		}
		if x == '[' {
			return decodeList(d, depth+1)
		}
		return decodeDict(d, depth+1)
	}
	return t, nil // nil, bool, string
}

func decodeList(d *json.Decoder, depth int) (Value, error) {
	l := &List{}
	for d.More() {
		v, err := decode(d, depth)
		if err != nil {
			return nil, err
		}
		l.items = append(l.items, v)
	}
	_, err := d.Token()
	return l, err
}

func decodeDict(d *json.Decoder, depth int) (Value, error) {
	dict := &Dict{}
	for d.More() {
		k, err := d.Token()
		if err != nil {
			return nil, err
		}
		v, err := decode(d, depth)
		if err != nil {
			return nil, err
		}
		dict.Set(k.(string), v) // the decoder accepts no other keys
	}
	_, err := d.Token()
	return dict, err
}

// number reads a JSON number with the types of Python.
func number(s string) (Value, error) {
	if strings.ContainsAny(s, ".eE") {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil && f == 0 {
			return nil, err
		}
		return f, nil // out of range is an infinity, as in Python
	}
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return i, nil
	}
	if len(s) > maxDigits {
		return nil, fmt.Errorf("an integer of %d digits, at most %d are read", len(s), maxDigits)
	}
	b, ok := new(big.Int).SetString(s, 10)
	if !ok {
		return nil, fmt.Errorf("%q is not a number", s)
	}
	return b, nil
}

// maxDigits is the longest integer that is read or printed, Python's default
// (sys.set_int_max_str_digits).
const maxDigits = 4300

// jsonStyle is how tojson writes.
type jsonStyle struct {
	item, key string // separators
	indent    string // of one level
	lines     bool   // indent was given: one item a line
	ascii     bool
	sorted    bool
}

// toJSON is json.dumps.
func (in *interp) toJSON(b *strings.Builder, v Value, s *jsonStyle, depth int) {
	if depth > maxDataDepth {
		fail("tojson: more than %d levels of nesting", maxDataDepth)
	}
	in.step(1)
	from := b.Len()
	switch x := v.(type) {
	case *List:
		in.jsonItems(b, x.items, s, depth)
	case *tuple:
		in.jsonItems(b, x.items, s, depth)
	case *Dict:
		in.jsonDict(b, x, s, depth)
	default:
		jsonScalar(b, v, s.ascii)
		in.alloc(b.Len() - from)
	}
}

func jsonScalar(b *strings.Builder, v Value, ascii bool) {
	switch x := v.(type) {
	case nil:
		b.WriteString("null")
	case bool:
		b.WriteString(strconv.FormatBool(x))
	case int64:
		b.WriteString(strconv.FormatInt(x, 10))
	case *big.Int:
		b.WriteString(bigText(x))
	case float64:
		b.WriteString(jsonFloat(x))
	case string:
		quoteJSON(b, x, ascii)
	case markup:
		quoteJSON(b, string(x), ascii)
	default:
		fail("Object of type %s is not JSON serializable", typeName(v))
	}
}

func jsonFloat(f float64) string {
	switch s := floatRepr(f); s {
	case "inf":
		return "Infinity"
	case "-inf":
		return "-Infinity"
	case "nan":
		return "NaN"
	default:
		return s
	}
}

// newLine starts the line of an item, if items have lines.
func (in *interp) newLine(b *strings.Builder, s *jsonStyle, depth int) {
	if s.lines {
		in.alloc(1 + depth*len(s.indent))
		b.WriteByte('\n')
		b.WriteString(strings.Repeat(s.indent, depth))
	}
}

func (in *interp) jsonItems(b *strings.Builder, items []Value, s *jsonStyle, depth int) {
	if len(items) == 0 {
		b.WriteString("[]")
		return
	}
	b.WriteByte('[')
	for i, item := range items {
		if i > 0 {
			b.WriteString(s.item)
		}
		in.newLine(b, s, depth+1)
		in.toJSON(b, item, s, depth+1)
	}
	in.newLine(b, s, depth)
	b.WriteByte(']')
}

func (in *interp) jsonDict(b *strings.Builder, d *Dict, s *jsonStyle, depth int) {
	if d.Len() == 0 {
		b.WriteString("{}")
		return
	}
	entries := d.entries
	if s.sorted {
		entries = in.sortEntries(entries)
	}
	b.WriteByte('{')
	for i, e := range entries {
		if i > 0 {
			b.WriteString(s.item)
		}
		in.newLine(b, s, depth+1)
		quoteJSON(b, jsonKey(e.key), s.ascii)
		b.WriteString(s.key)
		in.toJSON(b, e.value, s, depth+1)
	}
	in.newLine(b, s, depth)
	b.WriteByte('}')
}

// jsonKey is the text json.dumps makes of a key.
func jsonKey(k Value) string {
	if s, ok := text(k); ok {
		return s
	}
	switch k.(type) {
	case nil, bool, int64, *big.Int, float64:
		var b strings.Builder
		jsonScalar(&b, k, false)
		return b.String()
	}
	fail("keys must be str, int, float, bool or None, not %s", typeName(k))
	return ""
}

func (in *interp) sortEntries(entries []entry) []entry {
	keys := make([]Value, len(entries))
	for i, e := range entries {
		keys[i] = e.key
	}
	out := make([]entry, len(entries))
	for i, j := range in.sortedOrder(keys, false) {
		out[i] = entries[j]
	}
	return out
}
