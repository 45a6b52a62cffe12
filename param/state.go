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
	DType tensor.DType // F32, I32, or of a table's moments BF16 or U8
	Dims  []int

	tensor tensor.Tensor // on the device, or none
	turned bool          // Dims are those of its transpose
	dev    tensor.Device
	dense  *Dense // whose value tensor is, or nil
	table  *Table // nil for what belongs to a Dense
	host   []byte // the array as it lies; nil on the device and for a split master
	split  *cells
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

// View is the memory of an array that is on the host, little-endian, to be read
// until the next step. It is nil for a tensor on the device, for one that is
// transposed, and for values with SplitMaster, which are read with Read or Part.
// A table with Replay is flushed first, so that files never hold rows that lag
// behind.
func (b Blob) View() []byte {
	if b.table != nil {
		b.table.Flush()
	} else if b.turned {
		return nil
	}
	return b.host
}

// OfTable reports whether the array is a table's, so that Part can read it.
func (b Blob) OfTable() bool { return b.table != nil }

// Part copies the bytes from at on of an array of a table to dst, both whole
// numbers of elements. With Replay it does not flush, as View and Read do.
func (b Blob) Part(dst []byte, at int64) {
	if b.split == nil {
		copy(dst, b.host[at:])
		return
	}
	a, n := int(at/4), len(dst)/4
	// The bytes of a file have no alignment, so numbers go through room that has.
	var room [block]float32
	for i := 0; i < n; i += block {
		part := room[:min(block, n-i)]
		join(part, b.split.high[a+i:a+i+len(part)], b.split.low[a+i:a+i+len(part)])
		copy(dst[4*i:], tensor.Bytes(part))
	}
}

// Read copies the array to dst, little-endian, and waits for it. The error is a
// fault of the device, after which dst means nothing. See View about Replay.
func (b Blob) Read(dst []byte) error {
	b.check(dst)
	if b.table != nil {
		b.table.Flush()
		b.Part(dst, 0)
		return nil
	}
	to := dst
	if b.turned {
		to = make([]byte, len(dst))
	}
	if b.host != nil {
		copy(to, b.host)
	} else {
		b.dev.Await(b.dev.Download(to, b.tensor))
	}
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
		if b.host != nil {
			copy(b.host, src)
			return nil
		}
		b.dev.Await(b.dev.Upload(b.tensor, src))
		if b.dense != nil {
			b.dense.set()
		}
		return b.dev.Sync()
	}
	if b.split != nil {
		b.writeSplit(src)
	} else {
		copy(b.host, src)
	}
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

func (b Blob) writeSplit(src []byte) {
	var room [block]float32
	n := len(src) / 4
	for i := 0; i < n; i += block {
		part := room[:min(block, n-i)]
		copy(tensor.Bytes(part), src[4*i:])
		split(b.split.high[i:i+len(part)], b.split.low[i:i+len(part)], part)
	}
}

func (b Blob) check(x []byte) {
	if int64(len(x)) != b.Bytes() {
		panic(fmt.Sprintf("param: %s is %v%v, %d bytes given", b.Name, b.DType, b.Dims, len(x)))
	}
}

// Weights are all values of the set: each Dense under its own name, each table
// as name.key and name.value, and with gates name.gate, [rows, dim].
func (s *Set) Weights() []Blob {
	var out []Blob
	for _, d := range s.Dense {
		b := d.blob("", d.W)
		b.dense = d
		if d.Home != nil && d.Home.W.Buf != nil {
			b.host = tensor.Bytes(d.Home.W.Float32())
		}
		out = append(out, b)
	}
	for _, t := range s.Tables {
		for i := range t.parts {
			if t.parts[i].there {
				out = append(out, t.blobs(partNames[i], &t.parts[i].w)...)
			}
		}
	}
	return out
}

// Moments are the state of the optimizer, wherever it is: name.m and name.v of
// everything that has one, of tables with ByteMoments with name.m.scale and name.v.scale
// [rows, blocks], and name.steps [rows] of tables that count them by row.
func (s *Set) Moments() []Blob {
	var out []Blob
	for _, d := range s.Dense {
		switch {
		case d.away != nil:
			m, v := d.blob(".m", d.W), d.blob(".v", d.W)
			m.host, v.host = tensor.Bytes(d.away.m), tensor.Bytes(d.away.v)
			out = append(out, m, v)
		case !d.M.None():
			out = append(out, d.blob(".m", d.M), d.blob(".v", d.V))
		}
	}
	for _, t := range s.Tables {
		for i := range t.parts {
			if h := &t.parts[i]; h.trained {
				out = append(out, t.blobs(partNames[i]+".m", &h.m)...)
				out = append(out, t.blobs(partNames[i]+".v", &h.v)...)
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

// blobs are the arrays of cells. A split master is one array of F32, so that
// adapters do not tell how they were trained.
func (t *Table) blobs(part string, c *cells) []Blob {
	b := Blob{Name: t.Name + "." + part, Dims: []int{t.Rows, t.Dim}, table: t}
	switch {
	case c.low != nil:
		b.split = c
	case c.high != nil:
		b.DType, b.host = tensor.BF16, tensor.Bytes(c.high)
	case c.codes != nil:
		b.DType, b.host = tensor.U8, c.codes
		scales := b
		scales.Name += ".scale"
		scales.DType, scales.Dims, scales.host = tensor.F32, []int{t.Rows, blocks(t.Dim)}, tensor.Bytes(c.scales)
		return []Blob{b, scales}
	default:
		b.host = tensor.Bytes(c.f32)
	}
	return []Blob{b}
}
