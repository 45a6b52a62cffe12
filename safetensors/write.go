package safetensors

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Tensor is one tensor to write. Its data is product of Shape times DType.Size
// bytes, little-endian, and comes from one of Data, which is written without a
// copy, Fill and Part.
type Tensor struct {
	Name  string
	DType DType
	Shape []int // empty for a scalar
	Data  []byte
	// Fill, with Data nil, puts the data into dst when the tensor's turn comes,
	// so that a file of tensors that are not in host memory takes the memory of
	// the largest of them only. It is called once, or not at all if something
	// fails before.
	Fill func(dst []byte) error
	// Part puts the bytes from at on into dst: for data that is made piece by
	// piece, one after another, of at most 1 MiB, a multiple of every element
	// size but for the last.
	Part func(dst []byte, at int64)
}

// partBytes is the size of the pieces of Part.
const partBytes = 1 << 20

// F32 returns a tensor over data, which is not copied. No shape means a scalar.
// Write reports a shape that does not fit.
func F32(name string, data []float32, shape ...int) Tensor {
	return Tensor{Name: name, DType: "F32", Shape: shape, Data: view(data)}
}

// BF16 returns a tensor over bfloat16 bits, which are not copied; see F32.
func BF16(name string, data []uint16, shape ...int) Tensor {
	return Tensor{Name: name, DType: "BF16", Shape: shape, Data: view(data)}
}

// I32 returns a tensor over data, which is not copied; see F32.
func I32(name string, data []int32, shape ...int) Tensor {
	return Tensor{Name: name, DType: "I32", Shape: shape, Data: view(data)}
}

// I64 returns a tensor over data, which is not copied; see F32.
func I64(name string, data []int64, shape ...int) Tensor {
	return Tensor{Name: name, DType: "I64", Shape: shape, Data: view(data)}
}

// Write writes a checkpoint file. The same tensors and metadata give the same
// bytes, whatever their order: larger element types come first, then names in
// order, as the reference implementation does it. The file appears under path
// complete and synced to disk or not at all: it is written under a temporary
// name in the same folder and renamed, and on any failure the temporary file is
// removed and an older file at path is as before. Only if the folder cannot be
// synced at the very end is the error about a file that is in place. Invalid
// tensors are all listed in one error, before anything is written; an error of
// a Fill is wrapped with the name of its tensor.
func Write(path string, tensors []Tensor, metadata map[string]string) error {
	tensors = slices.Clone(tensors)
	slices.SortStableFunc(tensors, func(a, b Tensor) int {
		return cmp.Or(cmp.Compare(b.DType.rank(), a.DType.rank()), cmp.Compare(a.Name, b.Name))
	})
	if err := checkTensors(path, tensors, metadata); err != nil {
		return err
	}
	header, err := encodeHeader(tensors, metadata)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return replaceFile(path, createFile, func(w io.Writer) error {
		return writeAll(w, header, tensors)
	})
}

// writeAll streams a file to w, one tensor at a time. Large tensors go past the
// buffer straight from their own memory.
func writeAll(w io.Writer, header []byte, tensors []Tensor) error {
	buf := bufio.NewWriterSize(w, 1<<16)
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], uint64(len(header)))
	buf.Write(n[:]) // an error of a bufio.Writer stays and comes back below
	buf.Write(header)
	var filled []byte // shared by the tensors with Fill or Part
	for _, t := range tensors {
		if t.Part != nil {
			for at := int64(0); at < t.bytes(); at += partBytes {
				n := int(min(partBytes, t.bytes()-at))
				filled = slices.Grow(filled[:0], n)[:n]
				t.Part(filled, at)
				if _, err := buf.Write(filled); err != nil {
					return err
				}
			}
			continue
		}
		data := t.Data
		if t.Fill != nil {
			n := int(t.bytes())
			filled = slices.Grow(filled[:0], n)[:n]
			if err := t.Fill(filled); err != nil {
				return fmt.Errorf("tensor %q: %w", clip(t.Name), err)
			}
			data = filled
		}
		if _, err := buf.Write(data); err != nil {
			return err
		}
	}
	return buf.Flush()
}

// checkTensors lists everything that would make a file no reader accepts.
func checkTensors(path string, tensors []Tensor, metadata map[string]string) error {
	p := &problems{where: path}
	seen := make(map[string]bool, len(tensors))
	for _, t := range tensors {
		switch {
		case t.Name == metadataKey:
			p.addf("no tensor can be called %q: the format keeps the name for its metadata", t.Name)
		case !utf8.ValidString(t.Name):
			p.addf("tensor name %q is not UTF-8", clip(t.Name))
		case seen[t.Name]:
			p.addf("tensor %q is given twice", clip(t.Name))
		}
		seen[t.Name] = true
		t.check(p)
	}
	for _, k := range slices.Sorted(maps.Keys(metadata)) {
		if !utf8.ValidString(k) || !utf8.ValidString(metadata[k]) {
			p.addf("metadata %q is not UTF-8", clip(k))
		}
	}
	return p.err()
}

func (t Tensor) check(p *problems) {
	size := t.DType.Size()
	if size == 0 {
		p.addf("tensor %q has dtype %q, known are %s", clip(t.Name), clip(string(t.DType)), knownDTypes())
		return
	}
	if len(t.Shape) > maxDims {
		p.addf("tensor %q has %d dimensions, at most %d are allowed", clip(t.Name), len(t.Shape), maxDims)
		return
	}
	shape := make([]int64, len(t.Shape))
	for i, d := range t.Shape {
		shape[i] = int64(d)
	}
	want, err := byteSize(shape, size)
	switch {
	case err != nil:
		p.addf("tensor %q: %w", clip(t.Name), err)
	case t.Fill != nil && t.Data != nil || t.Part != nil && (t.Data != nil || t.Fill != nil):
		p.addf("tensor %q has more than one of Data, Fill and Part, wanted one of them", clip(t.Name))
	case t.Fill == nil && t.Part == nil && int64(len(t.Data)) != want:
		p.addf("tensor %q is %s %v and needs %d bytes, its data has %d", clip(t.Name), t.DType, t.Shape, want, len(t.Data))
	}
}

// bytes is the size of the data of a tensor that check has passed.
func (t Tensor) bytes() int64 { return int64(Info{Shape: t.Shape}.Len()) * int64(t.DType.Size()) }

// encodeHeader returns the JSON header, padded with spaces to a multiple of 8
// so that the data begins aligned.
func encodeHeader(tensors []Tensor, metadata map[string]string) ([]byte, error) {
	b := []byte{'{'}
	if len(metadata) > 0 {
		b = append(appendString(b, metadataKey), ":{"...)
		for i, k := range slices.Sorted(maps.Keys(metadata)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, k), ':')
			b = appendString(b, metadata[k])
		}
		b = append(b, '}')
	}
	offset := int64(0)
	for _, t := range tensors {
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(appendString(b, t.Name), `:{"dtype":"`...)
		b = append(append(b, t.DType...), `","shape":`...)
		b = append(appendInts(b, t.Shape...), `,"data_offsets":`...)
		b = append(appendInts(b, offset, offset+t.bytes()), '}')
		offset += t.bytes()
	}
	b = append(b, '}')
	for len(b)%8 != 0 {
		b = append(b, ' ')
	}
	if len(b) > maxHeader {
		return nil, fmt.Errorf("names and metadata of %d tensors make a header of %d bytes, at most %d are allowed", len(tensors), len(b), maxHeader)
	}
	return b, nil
}

// appendString appends s as a JSON string. The encoder's default of writing <,
// > and & as escapes is for web pages and would differ from other writers.
func appendString(b []byte, s string) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic(fmt.Sprintf("safetensors: string %q: %v", s, err)) // no string fails to encode
	}
	return append(b, bytes.TrimSuffix(buf.Bytes(), []byte{'\n'})...)
}

func appendInts[I int | int64](b []byte, list ...I) []byte {
	b = append(b, '[')
	for i, v := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(v), 10)
	}
	return append(b, ']')
}

// createFile makes a file that must not exist. Permissions are left to the
// umask: a checkpoint is as readable as any other file of the user.
func createFile(path string) (sink, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
}
