package task

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// ReadPredictions reads predicted answers by example id. A file is either
// SQuAD's form, one object {"id": "answer", ...}, or rows with the fields id and
// prediction (JSONL, JSON list, CSV, parquet; see Read). A repeated id, a field
// of another type or a missing one is an error with its place; all broken rows
// are reported, up to ten.
func ReadPredictions(path string) (map[string]string, error) {
	if whole, err := isOneObject(path); err != nil {
		return nil, err
	} else if whole {
		return readAnswerMap(path)
	}
	out, where := map[string]string{}, map[string]string{}
	var errs []error
	for row, err := range Read(path, ReadOptions{}) {
		if err == nil {
			err = addPrediction(row, out, where)
		}
		if err != nil {
			if errs = append(errs, err); len(errs) == 10 {
				break
			}
		}
	}
	if errs != nil {
		return nil, errors.Join(errs...)
	}
	return out, nil
}

func addPrediction(row Row, out, where map[string]string) error {
	if !row.Has("id") || !row.Has("prediction") {
		return fmt.Errorf("%s: the fields id and prediction are wanted; the row has %s", row.Where(), columnList(row))
	}
	id := row.id()
	if before, ok := where[id]; ok {
		return fmt.Errorf("%s: id %q was predicted before (%s)", row.Where(), id, before)
	}
	where[id] = row.Where()
	var err error
	out[id], err = row.Text("prediction")
	return err
}

// isOneObject tells whether a .json file is one object of answers and not rows.
func isOneObject(path string) (bool, error) {
	if formatOf(path) != "json" {
		return false, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	r, err := decompress(f)
	if err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	dec := json.NewDecoder(r)
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return false, nil // a list, or broken: the row reader says where
	}
	keys := map[string]bool{}
	for range 8 { // a row has its two fields near the front, an answer map has neither
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			break
		}
		keys[name] = true
		var skip json.RawMessage
		if dec.Decode(&skip) != nil {
			break
		}
	}
	return !keys["prediction"] && !keys["data"], nil
}

// readAnswerMap reads one object of id and answer, field by field: a plain
// decoder would take the last of two equal ids in silence.
func readAnswerMap(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := decompress(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	d := &document{r: r, path: path, line: 1, col: 1}
	out := map[string]string{}
	if err := d.skip('{'); err != nil {
		return nil, err
	}
	for first := true; ; first = false {
		c, err := d.need()
		if err != nil {
			return nil, err
		}
		if c == '}' {
			break
		}
		if !first {
			if err := d.skip(','); err != nil {
				return nil, err
			}
		}
		id, err := d.name()
		if err != nil {
			return nil, err
		}
		raw, err := d.field()
		if err != nil {
			return nil, err
		}
		answer, err := text(raw)
		if err != nil {
			return nil, d.fail(fmt.Errorf("the answer of id %q is %w", id, err))
		}
		if _, ok := out[id]; ok {
			return nil, d.fail(fmt.Errorf("id %q was predicted before", id))
		}
		out[id] = answer
	}
	if err := d.skip('}'); err != nil {
		return nil, err
	}
	if _, err := d.space(); err != io.EOF {
		return nil, d.fail(errors.New("more text behind the object of answers"))
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no rows", path)
	}
	return out, nil
}
