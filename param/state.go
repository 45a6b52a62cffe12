package param

import (
	"fmt"
	"slices"

	"meft/tensor"
)

// Blob is one named array of a Set, wherever it lives, for writing to a file
// and reading back. Both directions keep every bit of F32 (package ref, which
// computes in float64, rounds).
type Blob struct {
	Name  string
	DType tensor.DType // F32 or I32
	Dims  []int

	tensor tensor.Tensor // on the device, or none
	turned bool          // Dims are those of its transpose
	dev    tensor.Device
	host   []byte
	table  *Table
	steps  bool // host is table.steps
}

// Bytes is the size of the array.
func (b Blob) Bytes() int64 {
	n := b.DType.Size()
	for _, d := range b.Dims {
		n *= int64(d)
	}
	return n
}

// View is the memory of an array of a table, little-endian, to be read until the
// table's next step, and nil for a tensor on the device. A table with Replay is
// flushed first, so that files never hold rows that lag behind.
func (b Blob) View() []byte {
	if b.table == nil {
		return nil
	}
	b.table.Flush()
	return b.host
}

// Read copies the array to dst, little-endian, and waits for it. The error is a
// fault of the device, after which dst means nothing. See View about Replay.
func (b Blob) Read(dst []byte) error {
	b.check(dst)
	if b.table != nil {
		copy(dst, b.View())
		return nil
	}
	to := dst
	if b.turned {
		to = make([]byte, len(dst))
	}
	b.dev.Await(b.dev.Download(to, b.tensor))
	if b.turned {
		transpose(dst, to, b.Dims[1], b.Dims[0])
	}
	return b.dev.Sync()
}

// Write sets the array from src, little-endian, and waits for it. The error is a
// fault of the device.
func (b Blob) Write(src []byte) error {
	b.check(src)
	if b.table == nil {
		if b.turned {
			src = transpose(make([]byte, len(src)), src, b.Dims[0], b.Dims[1])
		}
		b.dev.Await(b.dev.Upload(b.tensor, src))
		return b.dev.Sync()
	}
	copy(b.host, src)
	if b.steps {
		// The table has made as many steps as the row that made most; saved
		// Replay rows all have made the same number.
		b.table.made = int(slices.Max(b.table.steps))
	}
	return nil
}

// transpose writes the transpose of a matrix [rows, cols] of 4-byte numbers to
// dst and returns it.
func transpose(dst, src []byte, rows, cols int) []byte {
	for i := range rows {
		for j := range cols {
			copy(dst[4*(j*rows+i):][:4], src[4*(i*cols+j):])
		}
	}
	return dst
}

func (b Blob) check(x []byte) {
	if int64(len(x)) != b.Bytes() {
		panic(fmt.Sprintf("param: %s is %v%v, %d bytes given", b.Name, b.DType, b.Dims, len(x)))
	}
}

// Weights are all values of the set: each Dense under its own name, each table
// as name.key and name.value [rows, dim].
func (s *Set) Weights() []Blob {
	var out []Blob
	for _, d := range s.Dense {
		out = append(out, d.blob("", d.W))
	}
	for _, t := range s.Tables {
		out = append(out, t.blob("key", t.K), t.blob("value", t.V))
	}
	return out
}

// Moments are the state of the optimizer: name.m and name.v of everything that
// is trained, and name.steps [rows] of tables that count them by row.
func (s *Set) Moments() []Blob {
	var out []Blob
	for _, d := range s.Dense {
		if !d.Fixed() {
			out = append(out, d.blob(".m", d.M), d.blob(".v", d.V))
		}
	}
	for _, t := range s.Tables {
		for i, h := range [2]half{t.keys, t.values} {
			if h.m != nil {
				part := [2]string{"key", "value"}[i]
				out = append(out, t.blob(part+".m", h.m), t.blob(part+".v", h.v))
			}
		}
		if t.steps != nil {
			out = append(out, Blob{Name: t.Name + ".steps", DType: tensor.I32, Dims: []int{t.Rows},
				host: tensor.Bytes(t.steps), table: t, steps: true})
		}
	}
	return out
}

func (d *Dense) blob(suffix string, t tensor.Tensor) Blob {
	b := Blob{Name: d.Name + suffix, DType: t.DType, Dims: slices.Clone(t.Dims[:t.Rank]), tensor: t, turned: d.Turned, dev: d.dev}
	if b.turned {
		slices.Reverse(b.Dims)
	}
	return b
}

func (t *Table) blob(part string, x []float32) Blob {
	return Blob{Name: t.Name + "." + part, DType: tensor.F32, Dims: []int{t.Rows, t.Dim}, host: tensor.Bytes(x), table: t}
}
