package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// table is rows of cells, written with aligned columns.
type table struct {
	head  []string
	right []bool // columns set flush right: numbers
	rows  [][]string
}

// newTable makes a table. A heading that begins with > is of a column of
// numbers.
func newTable(head ...string) *table {
	t := &table{}
	for _, h := range head {
		name, number := strings.CutPrefix(h, ">")
		t.head, t.right = append(t.head, name), append(t.right, number)
	}
	return t
}

// add appends a row.
func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// write writes the table, each line after an indent.
func (t *table) write(w io.Writer, indent string) error {
	width := make([]int, len(t.head))
	all := append([][]string{t.head}, t.rows...)
	for _, row := range all {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range all {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if i > 0 {
				line.WriteString("  ")
			}
			if t.right[i] {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
		}
		b.WriteString(indent + strings.TrimRight(line.String(), " ") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// document writes a value as indented JSON to standard output.
func (a *app) document(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// jsonLine writes a value as one line of JSON, in one piece, so that a reader
// at the other end of a pipe never sees half of it for long.
func jsonLine(w io.Writer, v any) error {
	enc := json.NewEncoder(w) // Encode writes once
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// alwaysJSON takes --json where there is nothing else to print, for scripts that
// give it to every command.
func alwaysJSON(cmd *cobra.Command) {
	f := cmd.Flags().VarPF(onlyTrue{}, "json", "", "the output is JSON in any case")
	f.NoOptDefVal = "true"
}

// onlyTrue is a flag that cannot be turned off.
type onlyTrue struct{}

func (onlyTrue) String() string { return "true" }
func (onlyTrue) Type() string   { return "bool" }
func (onlyTrue) Set(s string) error {
	if s != "true" {
		return errors.New("this command prints nothing but JSON")
	}
	return nil
}

// count writes a number with groups of thousands, as in 1,234,567.
func count(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
