package task

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// readCSV reads a table with a header row. Every row must have as many fields
// as the header. An unnamed column (as pandas writes its index) gets the name
// "column n".
func readCSV(r *bufio.Reader, path string, comma rune, yield func(Row, error) bool) {
	limit := &limited{r: r, left: maxRow}
	c := csv.NewReader(limit)
	c.Comma, c.ReuseRecord = comma, true
	header, err := c.Read()
	if err == io.EOF {
		return
	}
	if err != nil {
		yield(Row{File: path}, csvError(path, err, nil))
		return
	}
	names, err := columns(header)
	if err != nil {
		yield(Row{File: path}, fmt.Errorf("%s:1: %w", path, err))
		return
	}
	for number := 1; ; number++ {
		limit.left = maxRow
		record, err := c.Read()
		if err == io.EOF {
			return
		}
		if err != nil {
			yield(Row{File: path, Number: number}, csvError(path, err, names))
			return
		}
		line, _ := c.FieldPos(0)
		row := Row{File: path, Number: number, Line: line, Names: names, values: make(map[string]json.RawMessage, len(names))}
		for i, field := range record {
			if err := badUTF8([]byte(field)); err != nil {
				yield(row, fmt.Errorf("%s: column %q, %w", row.Where(), names[i], err))
				return
			}
			row.values[names[i]] = quote(field)
		}
		if !yield(row, nil) {
			return
		}
	}
}

// columns copies and checks the names in a header.
func columns(header []string) ([]string, error) {
	names := make([]string, len(header))
	place := map[string]int{}
	for i, h := range header {
		if err := badUTF8([]byte(h)); err != nil {
			return nil, fmt.Errorf("header, column %d: %w", i+1, err)
		}
		if h == "" {
			h = fmt.Sprintf("column %d", i+1)
		}
		if j, ok := place[h]; ok {
			return nil, fmt.Errorf("columns %d and %d of the header are both named %q", j+1, i+1, h)
		}
		names[i], place[h] = h, i
	}
	return names, nil
}

// csvError gives err the form file:line:column.
func csvError(path string, err error, names []string) error {
	var p *csv.ParseError
	if !errors.As(err, &p) {
		return fmt.Errorf("%s: %w", path, err)
	}
	where := fmt.Sprintf("%s:%d:%d", path, p.Line, p.Column)
	if errors.Is(err, csv.ErrFieldCount) {
		return fmt.Errorf("%s: the row that begins here has more or fewer fields than the %d of the header (is a field with a separator or line end not in quotes?)", fmt.Sprintf("%s:%d", path, p.StartLine), len(names))
	}
	if p.StartLine != p.Line {
		return fmt.Errorf("%s: %w (in the row that begins at line %d)", where, p.Err, p.StartLine)
	}
	return fmt.Errorf("%s: %w", where, p.Err)
}

// limited is a reader that fails once a row took more than its bytes, which a
// quote that is never closed would.
type limited struct {
	r    io.Reader
	left int
}

func (l *limited) Read(b []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("row is longer than %d MiB (is a quote not closed?)", maxRow>>20)
	}
	n, err := l.r.Read(b)
	l.left -= n
	return n, err
}
