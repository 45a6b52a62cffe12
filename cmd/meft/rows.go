package main

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"meft"
	"meft/task"
)

// rows reads the JSON objects of a file, one a line; "-" is standard input.
// Keys that are not listed are errors. It ends with the first error, which
// names file and line.
func (a *app) rows(path string, keys ...string) iter.Seq2[task.Row, error] {
	return func(yield func(task.Row, error) bool) {
		clean := func(err error) error { return err }
		if path == "-" {
			dir, err := os.MkdirTemp("", "meft-")
			if err != nil {
				yield(task.Row{}, err)
				return
			}
			defer os.RemoveAll(dir)
			if path, err = a.spool(dir); err != nil {
				yield(task.Row{}, fmt.Errorf("standard input: %w", err))
				return
			}
			clean = func(err error) error {
				return errors.New(strings.ReplaceAll(err.Error(), path, "standard input"))
			}
		}
		for row, err := range task.Read(path, task.ReadOptions{Format: "jsonl"}) {
			if err == nil {
				err = onlyKeys(row, keys)
			}
			if err != nil {
				yield(row, clean(err))
				return
			}
			if !yield(row, nil) {
				return
			}
		}
	}
}

// spool copies standard input to a file: package task reads files only.
func (a *app) spool(dir string) (string, error) {
	f, err := os.Create(filepath.Join(dir, "stdin.jsonl"))
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, a.in)
	return f.Name(), errors.Join(err, f.Close())
}

// onlyKeys refuses a row with other keys.
func onlyKeys(row task.Row, keys []string) error {
	for _, name := range row.Names {
		if slices.Contains(keys, name) {
			continue
		}
		if near := meft.Nearest(name, keys); near != "" {
			return fmt.Errorf("%s: unknown key %q; did you mean %q?", row.Where(), name, near)
		}
		return fmt.Errorf("%s: unknown key %q; known: %s", row.Where(), name, strings.Join(keys, ", "))
	}
	return nil
}

// required is the string under a key that must be there.
func required(row task.Row, key string) (string, error) {
	if !row.Has(key) {
		return "", fmt.Errorf("%s: %q is missing", row.Where(), key)
	}
	return row.Text(key)
}

// mostProblems is how many lines of an input are listed in one error.
const mostProblems = 10

// problems collects what is wrong with the lines of an input.
type problems struct{ list []string }

func (p *problems) addf(format string, args ...any) {
	p.list = append(p.list, fmt.Sprintf(format, args...))
}

// err is everything in one error, nil if there is nothing.
func (p *problems) err() error {
	switch n := len(p.list); {
	case n == 0:
		return nil
	case n > mostProblems:
		return fmt.Errorf("%s\nand %d more like these", strings.Join(p.list[:mostProblems], "\n"), n-mostProblems)
	}
	return errors.New(strings.Join(p.list, "\n"))
}
