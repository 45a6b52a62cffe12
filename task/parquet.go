package task

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
)

// readParquet reads a table by its own schema: lists become JSON lists whatever
// their writer called the elements, groups and maps become objects.
func readParquet(f *os.File, path string, yield func(Row, error) bool) {
	p := parquetReader{path: path, yield: yield}
	if err := p.read(f); err != nil {
		yield(Row{File: path, Number: p.number}, fmt.Errorf("%s: %w", path, err))
	}
}

type parquetReader struct {
	path     string
	names    []string
	number   int  // of the last row
	yielding bool // the consumer runs: its panics are its own
	yield    func(Row, error) bool
}

// read hands out all rows of f. The decoder panics on some damaged files; the
// file is outside data, so that is an error here.
func (p *parquetReader) read(f *os.File) (err error) {
	defer func() {
		if p.yielding {
			return
		}
		if v := recover(); v != nil {
			err = fmt.Errorf("damaged parquet file, after row %d: %v", p.number, v)
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	file, err := parquet.OpenFile(f, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return fmt.Errorf("not a readable parquet file: %w", err)
	}
	for _, field := range file.Schema().Fields() {
		p.names = append(p.names, field.Name())
	}
	r := parquet.NewGenericReader[any](file)
	defer r.Close()
	batch := make([]any, 16)
	for {
		n, end := r.Read(batch)
		for _, v := range batch[:n] {
			if more, err := p.emit(v); err != nil || !more {
				return err
			}
		}
		switch {
		case end == io.EOF:
			return nil
		case end != nil:
			return fmt.Errorf("after row %d: %w", p.number, end)
		case n == 0:
			return io.ErrNoProgress
		}
	}
}

// emit hands out one decoded row and tells whether more are wanted.
func (p *parquetReader) emit(v any) (bool, error) {
	p.number++
	fields, ok := v.(map[string]any)
	if !ok {
		return false, fmt.Errorf("row %d: the decoder gave %T, wanted columns", p.number, v)
	}
	row := Row{File: p.path, Number: p.number, Names: p.names, values: make(map[string]json.RawMessage, len(fields))}
	for name, field := range fields {
		cell, err := json.Marshal(plain(field))
		if err != nil {
			return false, fmt.Errorf("row %d: column %q: %w", p.number, name, err)
		}
		row.values[name] = cell
	}
	p.yielding = true
	more := p.yield(row, nil)
	p.yielding = false
	return more, nil
}

// plain turns a decoded parquet value into one that encoding/json writes as
// people expect: bytes as text, numbers that JSON lacks as null.
func plain(v any) any {
	switch v := v.(type) {
	case []byte:
		return plain(string(v))
	case string:
		if !utf8.ValidString(v) {
			// Pictures and the like: not a string, so that a form that wants
			// text refuses the column.
			return map[string]int{"bytes": len(v)}
		}
	case float32:
		return plain(float64(v))
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil
		}
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
	}
	return v
}
