package gguf

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
)

// Info describes a tensor of a file.
type Info struct {
	Name  string
	Type  Type
	Shape []int // rows first, as in Tensor

	offset int64 // in the file
}

// Len is the number of values.
func (i Info) Len() int { return Tensor{Shape: i.Shape}.len() }

// File is an open file. Nothing of its data is read before it is asked for.
type File struct {
	Version uint32
	Keys    []KV
	Tensors []Info

	path string
	file *os.File
}

// Open reads the head of a file. Versions 2 and 3, little-endian, are known.
func Open(path string) (*File, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	f := &File{path: path, file: in}
	if err := f.readHead(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), in.Close())
	}
	return f, nil
}

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }

// Value is that of a key, nil if there is none.
func (f *File) Value(key string) any {
	for _, kv := range f.Keys {
		if kv.Key == key {
			return kv.Value
		}
	}
	return nil
}

// Info is the description of a tensor, false if there is none of this name.
func (f *File) Info(name string) (Info, bool) {
	i := slices.IndexFunc(f.Tensors, func(t Info) bool { return t.Name == name })
	if i < 0 {
		return Info{}, false
	}
	return f.Tensors[i], true
}

// Bytes are a tensor's data as they are stored.
func (f *File) Bytes(name string) ([]byte, error) {
	t, ok := f.Info(name)
	if !ok {
		return nil, fmt.Errorf("%s: has no tensor %q", f.path, name)
	}
	b := make([]byte, t.Type.Bytes(t.Len()))
	if _, err := f.file.ReadAt(b, t.offset); err != nil {
		return nil, fmt.Errorf("%s: tensor %q: %w", f.path, name, err)
	}
	return b, nil
}

// ReadF32 are a tensor's values. It has to be F32, F16, BF16 or Q8_0.
func (f *File) ReadF32(name string) ([]float32, error) {
	b, err := f.Bytes(name)
	if err != nil {
		return nil, err
	}
	t, _ := f.Info(name)
	values := make([]float32, t.Len())
	if !t.Type.decode(values, b) {
		return nil, fmt.Errorf("%s: tensor %q is %v, wanted F32, F16, BF16 or Q8_0", f.path, name, t.Type)
	}
	return values, nil
}

// head reads a file's head. Its sticky error is that of the first thing that
// could not be read; lengths are believed only as far as the file goes.
type head struct {
	in   *bufio.Reader
	size int64 // of the file
	at   int64 // bytes read
	err  error
}

func (h *head) fail(format string, args ...any) {
	if h.err == nil {
		h.err = fmt.Errorf("byte %d: %s", h.at, fmt.Sprintf(format, args...))
	}
}

// bytes reads n bytes, none if something is wrong.
func (h *head) bytes(n uint64) []byte {
	if h.err == nil && n > uint64(h.size-h.at) {
		h.fail("%d bytes are wanted, the file ends after %d", n, h.size-h.at)
	}
	if h.err != nil {
		return nil
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(h.in, b); err != nil {
		h.fail("%v", err)
		return nil
	}
	h.at += int64(n)
	return b
}

// number reads an unsigned number of n bytes.
func (h *head) number(n uint64) uint64 {
	var b [8]byte
	copy(b[:], h.bytes(n))
	return binary.LittleEndian.Uint64(b[:])
}

func (h *head) text() string { return string(h.bytes(h.number(8))) }

// count reads how many things follow, of at least so many bytes each.
func (h *head) count(what string, least int64) int {
	n := h.number(8)
	if h.err == nil && n > uint64((h.size-h.at)/least) {
		h.fail("%d %s, which the file of %d bytes has no room for", n, what, h.size)
		return 0
	}
	return int(n)
}

func (f *File) readHead() error {
	stat, err := f.file.Stat()
	if err != nil {
		return err
	}
	h := &head{in: bufio.NewReader(f.file), size: stat.Size()}
	if m := h.bytes(4); h.err != nil || string(m) != magic {
		return fmt.Errorf("begins with %q, not %q: no GGUF file", m, magic)
	}
	f.Version = uint32(h.number(4))
	if f.Version != 2 && f.Version != 3 {
		return fmt.Errorf("GGUF version %d, wanted 2 or 3 (little-endian)", f.Version)
	}
	tensors := h.count("tensors", 8+4+8+4+8)
	keys := h.count("keys", 8+4+1)
	align := uint64(alignment)
	for range keys {
		kv := KV{Key: h.text()}
		kv.Value = h.value(uint32(h.number(4)), 0)
		if h.err != nil {
			return fmt.Errorf("key %q: %w", kv.Key, h.err)
		}
		if n, ok := kv.Value.(uint32); ok && kv.Key == "general.alignment" {
			align = uint64(n)
		}
		f.Keys = append(f.Keys, kv)
	}
	if align == 0 || align > 1<<20 {
		return fmt.Errorf("general.alignment is %d", align)
	}
	for range tensors {
		f.Tensors = append(f.Tensors, h.tensor())
	}
	if h.err != nil {
		return h.err
	}
	start := (uint64(h.at) + align - 1) / align * align
	return f.place(int64(start), h.size)
}

// place moves the offsets of all tensors behind the head and checks that their
// data is there.
func (f *File) place(start, size int64) error {
	for i := range f.Tensors {
		t := &f.Tensors[i]
		if _, ok := forms()[t.Type]; !ok {
			continue // can be listed, not read
		}
		if t.Shape == nil || !t.Type.Fits(t.Shape[len(t.Shape)-1]) {
			return fmt.Errorf("tensor %q is %v %v: rows are not whole blocks", t.Name, t.Type, t.Shape)
		}
		n := t.Type.Bytes(t.Len())
		if t.offset > size || start+t.offset > size-n {
			return fmt.Errorf("tensor %q is said to be %d bytes at %d, the file has %d: was it cut off?", t.Name, n, start+t.offset, size)
		}
		t.offset += start
	}
	return nil
}

func (h *head) tensor() Info {
	t := Info{Name: h.text()}
	dims := h.number(4)
	if dims > 4 {
		h.fail("tensor %q has %d dimensions", t.Name, dims)
		return t
	}
	n := uint64(1)
	for range dims {
		d := h.number(8)
		if d > 1<<44/n {
			h.fail("tensor %q has a dimension of %d", t.Name, d)
			return t
		}
		n *= max(d, 1)
		t.Shape = append(t.Shape, int(d))
	}
	slices.Reverse(t.Shape)
	t.Type = Type(h.number(4))
	offset := h.number(8)
	if offset > math.MaxInt64/2 {
		h.fail("tensor %q is said to be at %d", t.Name, offset)
	}
	t.offset = int64(offset)
	return t
}

// maxNesting bounds lists of lists; nobody writes any.
const maxNesting = 3

// value reads a value of a type.
func (h *head) value(kind uint32, depth int) any {
	switch kind {
	case kindUint8:
		return uint8(h.number(1))
	case kindInt8:
		return int8(h.number(1))
	case kindUint16:
		return uint16(h.number(2))
	case kindInt16:
		return int16(h.number(2))
	case kindUint32:
		return uint32(h.number(4))
	case kindInt32:
		return int32(h.number(4))
	case kindFloat32:
		return math.Float32frombits(uint32(h.number(4)))
	case kindBool:
		return h.number(1) != 0
	case kindString:
		return h.text()
	case kindUint64:
		return h.number(8)
	case kindInt64:
		return int64(h.number(8))
	case kindFloat64:
		return math.Float64frombits(h.number(8))
	case kindArray:
		if depth == maxNesting {
			h.fail("lists in lists in lists")
			return nil
		}
		return h.list(depth)
	}
	h.fail("a value of unknown type %d", kind)
	return nil
}

func (h *head) list(depth int) any {
	kind := uint32(h.number(4))
	n := h.count("values of a list", 1)
	switch kind {
	case kindString:
		return items[string](h, kind, n, depth)
	case kindInt32:
		return items[int32](h, kind, n, depth)
	case kindUint32:
		return items[uint32](h, kind, n, depth)
	case kindFloat32:
		return items[float32](h, kind, n, depth)
	}
	return items[any](h, kind, n, depth)
}

// items reads the values of a list. It grows as they come, so that a false
// length costs no memory.
func items[T any](h *head, kind uint32, n, depth int) []T {
	var out []T
	for range n {
		v, _ := h.value(kind, depth+1).(T)
		if h.err != nil {
			return nil
		}
		out = append(out, v)
	}
	return out
}
