package task

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxRow is the most bytes one row may have. It bounds memory when a file has
// no line ends or a quote is never closed.
const maxRow = 256 << 20

// ReadOptions say how a data file is read. The zero value goes by the file's
// name and first row.
type ReadOptions struct {
	// Format is "jsonl", "json", "csv", "tsv", "txt" or "parquet"; "" goes by
	// the file name.
	Format string
	// Split is the part of a folder that is read: "train", "validation" or
	// "test"; "" is train.
	Split string
	// Columns maps a field name of the forms below to the name of the file's
	// column that holds it, for example "completion" to "response".
	Columns map[string]string
	// Form is one of Forms; "" goes by the columns of the file's first row.
	Form string
	// Template is how a prompt is made of the fields: see Templates.
	Template string
	// Task is one of Names, whose forms the rows are then read in, and Variant one
	// of its variants; "" for rows of any kind.
	Task, Variant string
	// Unasked is told of rows that ask nothing of the task, such as questions of
	// SQuAD v2 that only the passage shows to have no answer; nil makes each an
	// error.
	Unasked func(e Example)
}

// A Row is one row of a data file, before it is given a meaning.
type Row struct {
	File   string   // the file's path
	Number int      // from 1 in its file
	Line   int      // the line it begins on, from 1; 0 where a format has no lines
	Names  []string // its columns: the file's order for tables, sorted for JSON

	values map[string]json.RawMessage
}

// Where names the row for messages: "file:line", or "file: row n" where the
// format has no lines.
func (r Row) Where() string {
	if r.Line > 0 {
		return fmt.Sprintf("%s:%d", r.File, r.Line)
	}
	return fmt.Sprintf("%s: row %d", r.File, r.Number)
}

// Has tells whether the row has the column with a value other than null.
func (r Row) Has(name string) bool { return r.Raw(name) != nil }

// Raw returns the JSON of a column, nil when the row lacks it or it is null.
// Columns of tables are JSON too: a CSV field is always a string.
func (r Row) Raw(name string) json.RawMessage {
	v := r.values[name]
	if len(v) == 0 || string(v) == "null" {
		return nil
	}
	return v
}

// Text returns the string in a column, "" when the row lacks it or it is null.
// Any other type is an error that names row and column.
func (r Row) Text(name string) (string, error) {
	raw := r.Raw(name)
	if raw == nil {
		return "", nil
	}
	s, err := text(raw)
	if err != nil {
		return "", fmt.Errorf("%s: field %q is %w", r.Where(), name, err)
	}
	return s, nil
}

// text returns the string that raw holds. The error reads on from "field x is".
func text(raw json.RawMessage) (string, error) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", fmt.Errorf("%s, wanted a string", kind(raw))
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", fmt.Errorf("not a JSON string: %w", err)
	}
	return s, nil
}

// kind says in words what a JSON value is, with the value when it is short.
func kind(raw json.RawMessage) string {
	raw = bytes.TrimSpace(raw)
	short := ""
	if len(raw) <= 40 {
		short = " (" + string(raw) + ")"
	}
	switch {
	case len(raw) == 0:
		return "nothing"
	case raw[0] == '{':
		return "an object" + short
	case raw[0] == '[':
		return "a list" + short
	case raw[0] == '"':
		return "a string" + short
	case string(raw) == "true" || string(raw) == "false":
		return "a boolean" + short
	case string(raw) == "null":
		return "null"
	case raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9':
		return "a number" + short
	}
	return "no JSON" + short
}

// rename gives the row's columns the names that Columns says. A renamed column
// loses its old name, so that it is not taken for another field too.
func (r *Row) rename(columns map[string]string) {
	if len(columns) == 0 {
		return
	}
	values, taken := maps.Clone(r.values), map[string]bool{}
	for field, column := range columns {
		if v, ok := r.values[column]; ok {
			values[field] = v
			taken[column] = true
		} else {
			delete(values, field)
		}
	}
	for column := range taken {
		if _, field := columns[column]; !field {
			delete(values, column)
		}
	}
	r.values = values
	r.Names = slices.Sorted(maps.Keys(values))
}

// Read streams the rows of a file, or of a folder's files (see Files). Formats:
//
//   - jsonl, ndjson: one JSON object a line
//   - json: a list of objects, an object with a list "data", or as jsonl
//   - csv, tsv: a header row, then rows; quoting as in RFC 4180
//   - txt: every line that is not blank is a row with the one column text
//   - parquet: by the file's own schema, nested lists too
//
// All but parquet may be gzipped (.gz). Text must be UTF-8; a byte order mark is
// skipped. Memory is bounded by the longest row. Errors name file, line and
// position. After a broken line of JSONL the next line is read if the consumer
// goes on; every other error ends its file. A file without rows is an error.
func Read(path string, o ReadOptions) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		if err := o.check(); err != nil {
			yield(Row{}, err)
			return
		}
		files, err := Files(path, o.Split)
		if err != nil {
			yield(Row{}, err)
			return
		}
		for _, file := range files {
			seen := false
			for row, err := range readFile(file, o.Format) {
				seen = true
				if err == nil {
					row.rename(o.Columns)
				}
				if !yield(row, err) {
					return
				}
			}
			if !seen && !yield(Row{File: file}, fmt.Errorf("%s: no rows", file)) {
				return
			}
		}
	}
}

// readFile streams the rows of one file.
func readFile(path, format string) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		fail := func(err error) { yield(Row{File: path}, err) }
		if format == "" {
			if format = formatOf(path); format == "" {
				fail(fmt.Errorf("%s: the name does not say the format; known: .%s, text formats also with .gz", path, strings.Join(extensions(), " .")))
				return
			}
		}
		f, err := os.Open(path)
		if err != nil {
			fail(err)
			return
		}
		defer f.Close()
		if format == "parquet" {
			readParquet(f, path, yield)
			return
		}
		readStream(f, path, format, yield)
	}
}

// readStream hands out the rows of a text.
func readStream(r io.Reader, path, format string, yield func(Row, error) bool) {
	b, err := decompress(r)
	if err != nil {
		yield(Row{File: path}, fmt.Errorf("%s: %w", path, err))
		return
	}
	switch format {
	case "jsonl", "ndjson":
		readLines(b, path, yield)
	case "json":
		readJSON(b, path, yield)
	case "csv":
		readCSV(b, path, ',', yield)
	case "tsv":
		readCSV(b, path, '\t', yield)
	case "txt":
		readText(b, path, yield)
	default:
		panic(fmt.Sprintf("readStream: format %q was not checked", format))
	}
}

// extensions are the formats that a file name can say.
func extensions() []string {
	return []string{"jsonl", "ndjson", "json", "csv", "tsv", "txt", "parquet"}
}

// formatOf returns the format that a file name says, "" for none.
func formatOf(path string) string {
	name := strings.TrimSuffix(strings.ToLower(filepath.Base(path)), ".gz")
	ext := strings.TrimPrefix(filepath.Ext(name), ".")
	if slices.Contains(extensions(), ext) {
		return ext
	}
	return ""
}

// decompress returns a reader of the text in r, which may be gzipped, without
// its byte order mark. UTF-16 is an error.
func decompress(r io.Reader) (*bufio.Reader, error) {
	b := bufio.NewReaderSize(r, 1<<16)
	if head, _ := b.Peek(2); string(head) == "\x1f\x8b" {
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, fmt.Errorf("gzip: %w", err)
		}
		b = bufio.NewReaderSize(z, 1<<16)
	}
	head, _ := b.Peek(3)
	switch {
	case string(head) == "\xef\xbb\xbf":
		b.Discard(3)
	case len(head) >= 2 && (string(head[:2]) == "\xff\xfe" || string(head[:2]) == "\xfe\xff"):
		return nil, errors.New("the text is UTF-16; save it as UTF-8")
	}
	return b, nil
}

// badUTF8 returns an error with the place of the first byte of b that is not
// UTF-8, nil when there is none. Decoding would replace such bytes unseen.
func badUTF8(b []byte) error {
	if utf8.Valid(b) {
		return nil
	}
	i := 0
	for i < len(b) {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			break
		}
		i += n
	}
	return &position{i + 1, fmt.Errorf("byte 0x%02x is not UTF-8; convert the file to UTF-8", b[i])}
}

// A position is an error at byte col, from 1, of a row.
type position struct {
	col int
	err error
}

func (p *position) Error() string { return fmt.Sprintf("byte %d: %v", p.col, p.err) }
func (p *position) Unwrap() error { return p.err }
