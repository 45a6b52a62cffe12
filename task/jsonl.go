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
)

// lines gives the lines of a text, of any length up to maxRow.
type lines struct {
	r   *bufio.Reader
	n   int // number of the line that next returned, from 1
	buf []byte
}

// next returns the next line without its end (LF or CRLF), io.EOF after the
// last. The bytes are good until the next call.
func (l *lines) next() ([]byte, error) {
	l.buf = l.buf[:0]
	for {
		part, err := l.r.ReadSlice('\n')
		l.buf = append(l.buf, part...)
		if err == bufio.ErrBufferFull {
			if len(l.buf) > maxRow {
				l.n++
				return nil, fmt.Errorf("line is longer than %d MiB", maxRow>>20)
			}
			continue
		}
		if err != nil && err != io.EOF {
			l.n++
			return nil, err
		}
		if err == io.EOF && len(l.buf) == 0 {
			return nil, io.EOF
		}
		l.n++
		return bytes.TrimSuffix(bytes.TrimSuffix(l.buf, []byte("\n")), []byte("\r")), nil
	}
}

// readLines reads one JSON object a line; blank lines are skipped.
func readLines(r *bufio.Reader, path string, yield func(Row, error) bool) {
	l := lines{r: r}
	for number := 0; ; {
		line, err := l.next()
		if err == io.EOF {
			return
		}
		if err != nil {
			yield(Row{File: path, Line: l.n}, fmt.Errorf("%s:%d: %w", path, l.n, err))
			return
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		number++
		row := Row{File: path, Number: number, Line: l.n}
		row.values, err = object(line)
		if err != nil {
			err = at(path, l.n, 1, line, err)
			if errors.Is(err, errShort) {
				err = fmt.Errorf("%w; a row must be on one line (a document over several lines wants the extension .json)", err)
			}
		}
		row.Names = slices.Sorted(maps.Keys(row.values))
		if !yield(row, err) {
			return
		}
	}
}

// readText makes a row with the one column text of every line that is not blank.
func readText(r *bufio.Reader, path string, yield func(Row, error) bool) {
	l := lines{r: r}
	for number := 0; ; {
		line, err := l.next()
		if err == io.EOF {
			return
		}
		if err == nil {
			err = badUTF8(line)
		}
		if err != nil {
			yield(Row{File: path, Line: l.n}, at(path, l.n, 1, line, err))
			return
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		number++
		row := Row{File: path, Number: number, Line: l.n, Names: []string{"text"}}
		row.values = map[string]json.RawMessage{"text": quote(string(line))}
		if !yield(row, nil) {
			return
		}
	}
}

// errShort marks a JSON value that ends too early.
var errShort = errors.New("the row ends inside a JSON value")

// object decodes b as a JSON object, one level deep. Errors in the JSON are
// positions in b.
func object(b []byte) (map[string]json.RawMessage, error) {
	if err := badUTF8(b); err != nil {
		return nil, err
	}
	var m map[string]json.RawMessage
	err := json.Unmarshal(b, &m)
	var syntax *json.SyntaxError
	var typed *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax) && int(syntax.Offset) >= len(b) && syntax.Error() == "unexpected end of JSON input":
		return nil, &position{len(b), errShort}
	case errors.As(err, &syntax):
		return nil, &position{int(syntax.Offset), fmt.Errorf("broken JSON: %w", syntax)}
	case errors.As(err, &typed) || err == nil && m == nil:
		return nil, fmt.Errorf("the row is %s, wanted an object", kind(b))
	case err != nil:
		return nil, err
	}
	return m, nil
}

// at puts path, line and column before err. b is the row, which begins at the
// given line and column; a position in err counts from there.
func at(path string, line, col int, b []byte, err error) error {
	var p *position
	if !errors.As(err, &p) {
		return fmt.Errorf("%s:%d: %w", path, line, err)
	}
	before := b[:min(p.col-1, len(b))]
	if n := bytes.Count(before, []byte("\n")); n > 0 {
		line += n
		col = len(before) - bytes.LastIndexByte(before, '\n')
	} else {
		col += len(before)
	}
	return fmt.Errorf("%s:%d:%d: %w", path, line, col, p.err)
}

// quote returns s, which is valid UTF-8, as a JSON string.
func quote(s string) json.RawMessage {
	b, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("quote: %v", err)) // strings always marshal
	}
	return b
}
