// Package safetensors reads and writes the safetensors weight format: one file
// or a sharded checkpoint, mapped read-only into memory, every header checked
// before a byte of data is trusted.
//
// A file is the length of the header (8 bytes, little-endian), the header (JSON,
// at most 100 MB), and the data of all tensors without gaps. The package
// converts between the floating point dtypes and finds NaN and Inf; it knows
// nothing of models, and never runs or fetches anything.
//
// Format: https://github.com/huggingface/safetensors#format
package safetensors

import (
	"fmt"
	"slices"
	"strings"
)

// DType is the element type of a tensor, spelt as in the file header.
type DType string

// dtypes lists the known element types with their size in bytes, in the order
// of the reference implementation. Write puts the last ones first, which keeps
// every tensor aligned to its element size. Types below one byte (F4, F6) are
// left out: their tensors have no whole-byte elements to hand out.
var dtypes = []struct {
	name DType
	size int
}{
	{"BOOL", 1}, {"U8", 1}, {"I8", 1}, {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"F8_E8M0", 1},
	{"F8_E4M3FNUZ", 1}, {"F8_E5M2FNUZ", 1}, {"I16", 2}, {"U16", 2}, {"F16", 2}, {"BF16", 2},
	{"I32", 4}, {"U32", 4}, {"F32", 4}, {"C64", 8}, {"F64", 8}, {"I64", 8}, {"U64", 8},
}

// Size returns the bytes of one element, or 0 for a type the package does not
// know.
func (d DType) Size() int {
	if i := d.rank(); i >= 0 {
		return dtypes[i].size
	}
	return 0
}

// rank returns the position of d in dtypes, or -1.
func (d DType) rank() int {
	for i := range dtypes {
		if dtypes[i].name == d {
			return i
		}
	}
	return -1
}

// knownDTypes returns the names for error messages.
func knownDTypes() string {
	names := make([]string, len(dtypes))
	for i, d := range dtypes {
		names[i] = string(d.name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// Info describes one tensor of a checkpoint.
type Info struct {
	Name  string
	DType DType
	Shape []int  // empty for a scalar; shared with the Set, not to be changed
	File  string // path of the file that holds the data, "" from ParseHeader

	start, end int64 // bytes within the data part of the file
}

// Len returns the number of elements, 1 for a scalar.
func (t Info) Len() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// maxProblems bounds an error message: a damaged header can have a million
// faulty tensors, and the first twenty tell the story.
const maxProblems = 20

// problems collects everything wrong with an input, so that a user mends it in
// one round. where is put before each problem, on every line of the message.
type problems struct {
	where string
	errs  []error
	more  int
}

func (p *problems) addf(format string, args ...any) {
	p.add(fmt.Errorf(format, args...))
}

func (p *problems) add(err error) {
	if len(p.errs) == maxProblems {
		p.more++
		return
	}
	if p.where != "" {
		err = fmt.Errorf("%s: %w", p.where, err)
	}
	p.errs = append(p.errs, err)
}

// err returns all problems as one error with one line each, or nil.
func (p *problems) err() error {
	if len(p.errs) == 0 {
		return nil
	}
	return &problemList{p.errs, p.more}
}

// problemList is a joined error which says how many problems it leaves out.
type problemList struct {
	errs []error
	more int
}

func (l *problemList) Error() string {
	var b strings.Builder
	for i, err := range l.errs {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(err.Error())
	}
	if l.more > 0 {
		fmt.Fprintf(&b, "\nand %d more problems", l.more)
	}
	return b.String()
}

func (l *problemList) Unwrap() []error { return l.errs }
