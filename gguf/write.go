package gguf

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"meft/safetensors"
)

const (
	magic     = "GGUF"
	version   = 3
	alignment = 32 // of tensor data; the format's default
)

func put16(b []byte, v uint16)  { binary.LittleEndian.PutUint16(b, v) }
func put32(b []byte, v uint32)  { binary.LittleEndian.PutUint32(b, v) }
func get16(b []byte) uint16     { return binary.LittleEndian.Uint16(b) }
func get32(b []byte) uint32     { return binary.LittleEndian.Uint32(b) }
func padding(n int64) (p int64) { return (alignment - n%alignment) % alignment }

// KV is a key with its value: uint8, int8, uint16, int16, uint32, int32, uint64,
// int64, float32, float64, bool, string, or a list of one of these, which as
// []any only comes from files with lists of lists.
type KV struct {
	Key   string
	Value any
}

// Tensor is a tensor to write.
type Tensor struct {
	Name  string
	Type  Type  // F32, F16, BF16 or Q8_0
	Shape []int // rows first, [out, in] of a matrix; the file has it the other way round
	// Rows puts the values of whole rows, from row on, into dst. It is called for
	// all rows in order, in pieces.
	Rows func(dst []float32, row int) error
}

// columns is the length of a row, and rows their number.
func (t Tensor) columns() int { return t.Shape[len(t.Shape)-1] }

func (t Tensor) len() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Write writes a file, one piece of a tensor at a time, in the order given. It
// appears under path complete and synced to disk or not at all. Errors name the
// tensor or key.
func Write(path string, keys []KV, tensors []Tensor) error {
	header, err := encodeHeader(keys, tensors)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return safetensors.Replace(path, func(w io.Writer) error {
		buf := bufio.NewWriterSize(w, 1<<16)
		buf.Write(header) // an error of a bufio.Writer stays and comes back below
		for _, t := range tensors {
			if err := t.write(buf); err != nil {
				return fmt.Errorf("tensor %q: %w", t.Name, err)
			}
		}
		return buf.Flush()
	})
}

// pieceValues bounds the values that are converted at once.
const pieceValues = 1 << 18

func (t Tensor) write(w io.Writer) error {
	columns := t.columns()
	rows := t.len() / columns
	each := max(1, pieceValues/columns)
	values := make([]float32, min(each, rows)*columns)
	data := make([]byte, t.Type.Bytes(len(values)))
	for row := 0; row < rows; row += each {
		part := values[:min(each, rows-row)*columns]
		if err := t.Rows(part, row); err != nil {
			return err
		}
		bytes := data[:t.Type.Bytes(len(part))]
		if i := t.Type.encode(bytes, part); i >= 0 {
			return fmt.Errorf("%v at index %d of %d is too large for %v", part[i], row*columns+i, t.len(), t.Type)
		}
		if _, err := w.Write(bytes); err != nil {
			return err
		}
	}
	var zeros [alignment]byte
	_, err := w.Write(zeros[:padding(t.Type.Bytes(t.len()))])
	return err
}

// encodeHeader is everything before the data, filled up to the alignment.
func encodeHeader(keys []KV, tensors []Tensor) ([]byte, error) {
	b := []byte(magic)
	b = le32(b, version)
	b = le64(b, uint64(len(tensors)))
	b = le64(b, uint64(len(keys)))
	seen := map[string]bool{}
	for _, kv := range keys {
		if kv.Key == "" || len(kv.Key) > 65535 || seen[kv.Key] {
			return nil, fmt.Errorf("key %q is given twice, is empty or is too long", kv.Key)
		}
		seen[kv.Key] = true
		b = appendString(b, kv.Key)
		var err error
		if b, err = appendValue(b, kv.Value); err != nil {
			return nil, fmt.Errorf("key %q: %w", kv.Key, err)
		}
	}
	seen = map[string]bool{}
	offset := int64(0)
	for _, t := range tensors {
		if err := t.check(seen); err != nil {
			return nil, err
		}
		b = appendString(b, t.Name)
		b = le32(b, uint32(len(t.Shape)))
		for _, d := range slices.Backward(t.Shape) {
			b = le64(b, uint64(d))
		}
		b = le32(b, uint32(t.Type))
		b = le64(b, uint64(offset))
		n := t.Type.Bytes(t.len())
		offset += n + padding(n)
	}
	return append(b, make([]byte, padding(int64(len(b))))...), nil
}

// check refuses what no reader would accept; 63 bytes is ggml's longest name.
func (t Tensor) check(seen map[string]bool) error {
	switch {
	case t.Name == "" || len(t.Name) > 63 || seen[t.Name]:
		return fmt.Errorf("tensor name %q is given twice, is empty or is longer than 63 bytes", t.Name)
	case len(t.Shape) < 1 || len(t.Shape) > 4 || slices.Min(t.Shape) < 1:
		return fmt.Errorf("tensor %q is %v, wanted one to four dimensions", t.Name, t.Shape)
	case !slices.Contains([]Type{F32, F16, BF16, Q8_0}, t.Type):
		return fmt.Errorf("tensor %q: %v is not written, wanted F32, F16, BF16 or Q8_0", t.Name, t.Type)
	case !t.Type.Fits(t.columns()):
		return fmt.Errorf("tensor %q is %v: rows of %v are whole blocks of %d values", t.Name, t.Shape, t.Type, forms()[t.Type].values)
	}
	seen[t.Name] = true
	return nil
}

func le32(b []byte, v uint32) []byte { return binary.LittleEndian.AppendUint32(b, v) }
func le64(b []byte, v uint64) []byte { return binary.LittleEndian.AppendUint64(b, v) }

func appendString(b []byte, s string) []byte { return append(le64(b, uint64(len(s))), s...) }

// Numbers of the types of values.
const (
	kindUint8 = iota
	kindInt8
	kindUint16
	kindInt16
	kindUint32
	kindInt32
	kindFloat32
	kindBool
	kindString
	kindArray
	kindUint64
	kindInt64
	kindFloat64
)

var errValue = errors.New("wanted a number, a bool, a string, or a list of uint32, int32, float32 or string")

// appendValue appends the number of the type, then the value.
func appendValue(b []byte, value any) ([]byte, error) {
	switch v := value.(type) {
	case uint32:
		return le32(le32(b, kindUint32), v), nil
	case int32:
		return le32(le32(b, kindInt32), uint32(v)), nil
	case uint64:
		return le64(le32(b, kindUint64), v), nil
	case float32:
		return le32(le32(b, kindFloat32), math.Float32bits(v)), nil
	case bool:
		if v {
			return append(le32(b, kindBool), 1), nil
		}
		return append(le32(b, kindBool), 0), nil
	case string:
		return appendString(le32(b, kindString), v), nil
	case []string:
		b = appendList(b, kindString, len(v))
		for _, s := range v {
			b = appendString(b, s)
		}
		return b, nil
	case []int32:
		b = appendList(b, kindInt32, len(v))
		for _, x := range v {
			b = le32(b, uint32(x))
		}
		return b, nil
	case []uint32:
		b = appendList(b, kindUint32, len(v))
		for _, x := range v {
			b = le32(b, x)
		}
		return b, nil
	case []float32:
		b = appendList(b, kindFloat32, len(v))
		for _, x := range v {
			b = le32(b, math.Float32bits(x))
		}
		return b, nil
	}
	return nil, fmt.Errorf("a value of type %T: %w", value, errValue)
}

func appendList(b []byte, kind uint32, n int) []byte {
	return le64(le32(le32(b, kindArray), kind), uint64(n))
}
