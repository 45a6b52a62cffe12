package task

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// readJSON reads a .json file: a list of objects, an object whose "data" is a
// list of objects, or objects one after the other. Rows are cut out one at a
// time, so a long list costs no more memory than its longest row.
func readJSON(r *bufio.Reader, path string, yield func(Row, error) bool) {
	d := &document{r: bufio.NewReaderSize(r, 1<<20), path: path, line: 1, col: 1, yield: yield}
	if d.linewise() {
		readLines(d.r, path, yield)
		return
	}
	for !d.stopped {
		c, err := d.space()
		switch {
		case err == io.EOF:
			return
		case err == nil && c == '[' && d.rows == 0:
			err = d.list()
		case err == nil && c == '{' && !d.listed:
			err = d.top()
		case err == nil:
			err = d.fail(fmt.Errorf("found %q, wanted %s", c, d.wanted()))
		}
		if err != nil {
			if !d.stopped {
				yield(Row{File: path}, err)
			}
			return
		}
	}
}

// document walks a JSON text and hands out its rows.
type document struct {
	r         *bufio.Reader
	path      string
	line, col int // of the next byte, from 1
	rows      int
	listed    bool // rows came from a list: nothing may follow it
	stopped   bool // the consumer wants no more
	yield     func(Row, error) bool
	buf       []byte
}

// linewise tells whether the text is JSONL in spite of its name, as many
// exporters write it: the first line is an object and more follows.
func (d *document) linewise() bool {
	head, _ := d.r.Peek(d.r.Size())
	line, rest, found := bytes.Cut(bytes.TrimLeft(head, " \t\r\n"), []byte("\n"))
	return found && bytes.HasPrefix(line, []byte("{")) && len(bytes.TrimSpace(rest)) > 0 && json.Valid(line)
}

func (d *document) wanted() string {
	if d.rows > 0 || d.listed {
		return "the end of the file"
	}
	return "a list of objects or an object"
}

// fail puts the place of the next byte before err.
func (d *document) fail(err error) error {
	return fmt.Errorf("%s:%d:%d: %w", d.path, d.line, d.col, err)
}

// space skips white space and returns the byte after it, which stays unread.
func (d *document) space() (byte, error) {
	for {
		c, err := d.r.ReadByte()
		if err != nil {
			if err == io.EOF {
				return 0, err
			}
			return 0, d.fail(err)
		}
		switch c {
		case ' ', '\t', '\r', '\n':
			d.count(c)
		default:
			d.r.UnreadByte()
			return c, nil
		}
	}
}

func (d *document) count(c byte) {
	d.col++
	if c == '\n' {
		d.line++
		d.col = 1
	}
}

// skip reads the byte c, after white space.
func (d *document) skip(c byte) error {
	got, err := d.need()
	if err != nil {
		return err
	}
	if got != c {
		return d.fail(fmt.Errorf("broken JSON: found %q, wanted %q", got, c))
	}
	d.r.ReadByte()
	d.count(c)
	return nil
}

// need is space where the end of the file is an error.
func (d *document) need() (byte, error) {
	c, err := d.space()
	if err == io.EOF {
		return 0, d.fail(errors.New("the file ends inside a JSON value"))
	}
	return c, err
}

// list reads a list of rows.
func (d *document) list() error {
	d.listed = true
	if err := d.skip('['); err != nil {
		return err
	}
	for first := true; ; first = false {
		c, err := d.need()
		if err != nil {
			return err
		}
		if c == ']' {
			return d.skip(']')
		}
		if !first {
			if err := d.skip(','); err != nil {
				return err
			}
		}
		if err := d.row(); err != nil || d.stopped {
			return err
		}
	}
}

// row reads one row of a list.
func (d *document) row() error {
	if _, err := d.need(); err != nil {
		return err
	}
	line, col := d.line, d.col
	b, err := d.value()
	if err != nil {
		return err
	}
	values, err := object(b)
	if err != nil {
		return at(d.path, line, col, b, err)
	}
	return d.emit(line, values)
}

func (d *document) emit(line int, values map[string]json.RawMessage) error {
	d.rows++
	row := Row{File: d.path, Number: d.rows, Line: line, Names: slices.Sorted(maps.Keys(values)), values: values}
	d.stopped = !d.yield(row, nil)
	return nil
}

// top reads an object on the outermost level: a row, or the wrapper of a list
// of rows named data.
func (d *document) top() error {
	start, wrapper := d.line, false
	if err := d.skip('{'); err != nil {
		return err
	}
	values := map[string]json.RawMessage{}
	for first := true; ; first = false {
		c, err := d.need()
		if err != nil {
			return err
		}
		if c == '}' {
			break
		}
		if !first {
			if err := d.skip(','); err != nil {
				return err
			}
		}
		name, err := d.name()
		if err != nil {
			return err
		}
		c, err = d.need()
		if err != nil {
			return err
		}
		if name == "data" && c == '[' && d.rows == 0 {
			wrapper = true
			if err := d.list(); err != nil || d.stopped {
				return err
			}
			continue
		}
		if values[name], err = d.field(); err != nil {
			return err
		}
	}
	if err := d.skip('}'); err != nil || wrapper {
		return err
	}
	return d.emit(start, values)
}

// name reads a field's name and the colon after it.
func (d *document) name() (string, error) {
	raw, err := d.field()
	if err != nil {
		return "", err
	}
	s, err := text(raw)
	if err != nil {
		return "", d.fail(fmt.Errorf("broken JSON: a field name is %w", err))
	}
	return s, d.skip(':')
}

// field reads and checks one value and returns a copy of its bytes.
func (d *document) field() (json.RawMessage, error) {
	if _, err := d.need(); err != nil {
		return nil, err
	}
	line, col := d.line, d.col
	b, err := d.value()
	if err != nil {
		return nil, err
	}
	var raw json.RawMessage
	if err := badUTF8(b); err != nil {
		return nil, at(d.path, line, col, b, err)
	}
	var syntax *json.SyntaxError
	if err := json.Unmarshal(b, &raw); errors.As(err, &syntax) {
		return nil, at(d.path, line, col, b, &position{int(syntax.Offset), fmt.Errorf("broken JSON: %w", syntax)})
	} else if err != nil {
		return nil, d.fail(err)
	}
	return raw, nil
}

// value cuts one value out of the text by counting brackets outside strings.
// The bytes are unchecked and good until the next call.
func (d *document) value() ([]byte, error) {
	d.buf = d.buf[:0]
	line, col := d.line, d.col
	depth, quoted, escaped := 0, false, false
	for {
		c, err := d.r.ReadByte()
		if err == io.EOF && depth == 0 && !quoted && len(d.buf) > 0 {
			return d.buf, nil // a bare number or word at the end
		}
		if err == io.EOF {
			return nil, d.fail(fmt.Errorf("the file ends inside the value that begins at line %d, byte %d", line, col))
		}
		if err != nil {
			return nil, d.fail(err)
		}
		nested := depth > 0 || quoted
		if !nested && len(d.buf) > 0 && strings.IndexByte(",:]} \t\r\n", c) >= 0 {
			d.r.UnreadByte()
			return d.buf, nil
		}
		d.count(c)
		d.buf = append(d.buf, c)
		if len(d.buf) > maxRow {
			return nil, fmt.Errorf("%s:%d:%d: value is longer than %d MiB", d.path, line, col, maxRow>>20)
		}
		switch {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		}
		if nested && depth <= 0 && !quoted || !nested && len(d.buf) == 1 && strings.IndexByte(",:]}", c) >= 0 {
			return d.buf, nil
		}
	}
}
