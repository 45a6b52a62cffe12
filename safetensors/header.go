package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"unicode/utf8"
)

// maxHeader is the largest header in bytes, the bound of the reference
// implementation.
const maxHeader = 100_000_000

// metadataKey is the one header key that is not a tensor.
const metadataKey = "__metadata__"

// Header is the checked header of one file.
type Header struct {
	Tensors  []Info            // in the order of their data
	Metadata map[string]string // nil when the file has none
	Start    int64             // byte of the file at which the data begins
}

// ParseHeader reads and checks the header of a file of size bytes. r is the
// beginning of the file and has to reach to the end of the header. The error
// lists every problem found: a header too long or no JSON, repeated names,
// unknown dtypes, shapes that do not fit their bytes, holes, overlaps, and data
// missing from or left over at the end of the file. Memory used is bounded by a
// small multiple of the header's actual length.
func ParseHeader(r []byte, size int64) (Header, error) {
	return parseHeader("", r, size)
}

func parseHeader(where string, r []byte, size int64) (Header, error) {
	p := &problems{where: where}
	js, err := headerText(r, size)
	if err != nil {
		p.add(err)
		return Header{}, p.err()
	}
	h := Header{Start: 8 + int64(len(js))}
	complete, err := h.read(js, p)
	if err != nil {
		p.addf("header: %w", err)
	} else if complete {
		h.checkLayout(size, p)
	}
	if err := p.err(); err != nil {
		return Header{}, err
	}
	return h, nil
}

// headerText returns the JSON text of the header.
func headerText(r []byte, size int64) ([]byte, error) {
	if bytes.HasPrefix(r, []byte("version https://git-lfs")) {
		return nil, errors.New("is a Git LFS pointer, not the weights: run git lfs pull")
	}
	if size < 8 || len(r) < 8 {
		return nil, fmt.Errorf("is %d bytes, the length of the header alone takes 8: truncated download?", min(size, int64(len(r))))
	}
	n := binary.LittleEndian.Uint64(r)
	if n > maxHeader {
		return nil, fmt.Errorf("claims a header of %d bytes, at most %d are allowed: not a safetensors file?", n, maxHeader)
	}
	if n > uint64(size-8) {
		return nil, fmt.Errorf("is %d bytes, its header alone needs %d: truncated download?", size, 8+n)
	}
	if n > uint64(len(r)-8) {
		return nil, fmt.Errorf("header needs the first %d bytes, %d were given", 8+n, len(r))
	}
	js := r[8 : 8+n]
	if len(js) == 0 || js[0] != '{' {
		return nil, errors.New("header does not begin with '{': not a safetensors file?")
	}
	if !utf8.Valid(js) {
		return nil, errors.New("header is not UTF-8")
	}
	return js, nil
}

// read fills h from the JSON text js. Faulty tensors go to p; an error means that
// the text itself could not be read further. complete tells whether the offsets
// of all tensors are known.
func (h *Header) read(js []byte, p *problems) (complete bool, err error) {
	complete = true
	seen := map[string]bool{}
	dec := newDecoder(js)
	err = object(dec, "header", func(name string) error {
		if seen[name] {
			p.addf("tensor %q is listed twice", clip(name))
			complete = false
		}
		seen[name] = true
		if name == metadataKey {
			return h.readMetadata(dec, p)
		}
		t, err := readTensor(dec, name)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", clip(name), err)
		}
		info, placed := t.check(p)
		h.Tensors = append(h.Tensors, info)
		complete = complete && placed
		return nil
	})
	if err != nil {
		return false, err
	}
	return complete, atEnd(dec)
}

func (h *Header) readMetadata(dec *json.Decoder, p *problems) error {
	h.Metadata = map[string]string{}
	return object(dec, metadataKey, func(key string) error {
		v, err := text(dec, fmt.Sprintf("%s %q", metadataKey, clip(key)))
		if err != nil {
			return err
		}
		if _, ok := h.Metadata[key]; ok {
			p.addf("%s has %q twice", metadataKey, clip(key))
		}
		h.Metadata[key] = v
		return nil
	})
}

// rawTensor is a header entry as written, nothing checked.
type rawTensor struct {
	name           string
	dtype          string
	shape, offsets []int64
	has            map[string]bool
}

func readTensor(dec *json.Decoder, name string) (rawTensor, error) {
	t := rawTensor{name: name, has: make(map[string]bool, 3)}
	err := object(dec, "entry", func(key string) (err error) {
		if t.has[key] {
			return fmt.Errorf("has %q twice", key)
		}
		switch key {
		case "dtype":
			t.dtype, err = text(dec, key)
		case "shape":
			t.shape, err = integers(dec, key, maxDims)
		case "data_offsets":
			t.offsets, err = integers(dec, key, 2)
		default:
			err = fmt.Errorf("has the unknown key %q, wanted dtype, shape and data_offsets", clip(key))
		}
		t.has[key] = true
		return err
	})
	return t, err
}

// check turns a raw entry into an Info and reports what is wrong with it.
// placed is false when the offsets are no use.
func (t rawTensor) check(p *problems) (info Info, placed bool) {
	name := clip(t.name)
	info = Info{Name: t.name, DType: DType(t.dtype), Shape: make([]int, len(t.shape))}
	for _, key := range []string{"dtype", "shape", "data_offsets"} {
		if !t.has[key] {
			p.addf("tensor %q has no %s", name, key)
		}
	}
	size := info.DType.Size()
	if size == 0 && t.has["dtype"] {
		p.addf("tensor %q has dtype %q, known are %s", name, clip(t.dtype), knownDTypes())
	}
	if t.has["data_offsets"] {
		placed = len(t.offsets) == 2 && t.offsets[0] >= 0 && t.offsets[0] <= t.offsets[1]
		if !placed {
			p.addf("tensor %q has data_offsets %v, wanted a begin and an end not before it", name, t.offsets)
		} else {
			info.start, info.end = t.offsets[0], t.offsets[1]
		}
	}
	want, err := byteSize(t.shape, max(size, 1))
	if err != nil {
		p.addf("tensor %q: %w", name, err)
		return info, placed
	}
	for i, d := range t.shape {
		info.Shape[i] = int(d)
	}
	if got := info.end - info.start; placed && size > 0 && t.has["shape"] && got != want {
		p.addf("tensor %q is %s %v and needs %d bytes, its data_offsets hold %d", name, t.dtype, t.shape, want, got)
	}
	return info, placed
}

// byteSize returns the bytes of a tensor. A zero dimension counts as one in the
// overflow check, so that no product of some of the dimensions overflows later.
func byteSize(shape []int64, size int) (int64, error) {
	n, empty := uint64(size), false
	for _, d := range shape {
		if d < 0 {
			return 0, fmt.Errorf("shape %v has a negative dimension", shape)
		}
		empty = empty || d == 0
		hi, lo := bits.Mul64(n, uint64(max(d, 1)))
		if hi != 0 || lo > math.MaxInt {
			return 0, fmt.Errorf("shape %v with %d bytes an element is too large to count", shape, size)
		}
		n = lo
	}
	if empty {
		return 0, nil
	}
	return int64(n), nil
}

// checkLayout sorts the tensors by position and requires that they fill the
// file from the end of the header to its last byte, each byte once.
func (h *Header) checkLayout(size int64, p *problems) {
	slices.SortFunc(h.Tensors, func(a, b Info) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end), cmp.Compare(a.Name, b.Name))
	})
	var end int64
	var last string // the tensor that reaches to end
	for _, t := range h.Tensors {
		switch {
		case t.start > end:
			p.addf("data bytes %d to %d before tensor %q belong to no tensor", end, t.start, clip(t.Name))
		case t.start < end:
			p.addf("tensors %q and %q overlap at data bytes %d to %d", clip(last), clip(t.Name), t.start, min(end, t.end))
		}
		if t.end >= end {
			end, last = t.end, t.Name
		}
	}
	switch have := size - h.Start; {
	case end > have:
		p.addf("is %d bytes, its header describes %d: truncated download? (%d bytes are missing)",
			size, uint64(h.Start)+uint64(end), end-have)
	case end < have:
		p.addf("is %d bytes, its header describes %d: %d bytes after the last tensor belong to nothing",
			size, h.Start+end, have-end)
	}
}
