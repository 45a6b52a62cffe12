package train

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"meft/param"
	"meft/safetensors"
	"meft/tensor"
)

// WriteBlobs writes arrays to a safetensors file and syncs it, one array at a
// time: package safetensors wants all of them in memory at once, which for the
// moments of a host table is as much memory again as the table. A file at path
// is overwritten; write to a temporary folder and rename that.
func WriteBlobs(path string, blobs []param.Blob, metadata map[string]string) error {
	blobs = slices.Clone(blobs)
	slices.SortFunc(blobs, func(a, b param.Blob) int { return strings.Compare(a.Name, b.Name) })
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<16)
	header := blobHeader(blobs, metadata)
	var size [8]byte
	binary.LittleEndian.PutUint64(size[:], uint64(len(header)))
	w.Write(size[:]) // an error of a bufio.Writer stays and comes back below
	w.Write(header)
	var buf []byte
	for _, b := range blobs {
		buf = slices.Grow(buf[:0], int(b.Bytes()))[:b.Bytes()]
		b.Read(buf)
		if _, err = w.Write(buf); err != nil {
			break
		}
	}
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// blobHeader is the JSON header of a safetensors file, padded to 8 bytes.
func blobHeader(blobs []param.Blob, metadata map[string]string) []byte {
	type entry struct {
		DType   string   `json:"dtype"`
		Shape   []int    `json:"shape"`
		Offsets [2]int64 `json:"data_offsets"`
	}
	header := map[string]any{}
	if len(metadata) > 0 {
		header["__metadata__"] = metadata
	}
	at := int64(0)
	for _, b := range blobs {
		header[b.Name] = entry{fileType(b.DType), b.Dims, [2]int64{at, at + b.Bytes()}}
		at += b.Bytes()
	}
	text, err := json.Marshal(header)
	if err != nil {
		panic(fmt.Sprintf("train: header: %v", err)) // strings and integers encode
	}
	for len(text)%8 != 0 {
		text = append(text, ' ')
	}
	return text
}

// fileType is how a safetensors file names a type.
func fileType(t tensor.DType) string {
	return map[tensor.DType]string{tensor.F32: "F32", tensor.BF16: "BF16", tensor.I32: "I32"}[t]
}

// ReadBlobs sets arrays from a safetensors file. The file holds exactly these
// arrays; every missing, surplus and misshapen one is named in one error, and
// then nothing is set.
func ReadBlobs(path string, blobs []param.Blob) (err error) {
	s, err := safetensors.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	var problems []string
	want := map[string]bool{}
	for _, b := range blobs {
		want[b.Name] = true
		info, ok := s.Info(b.Name)
		switch {
		case !ok:
			problems = append(problems, fmt.Sprintf("tensor %q is missing, wanted %s %v", b.Name, fileType(b.DType), b.Dims))
		case string(info.DType) != fileType(b.DType) || !slices.Equal(info.Shape, b.Dims):
			problems = append(problems, fmt.Sprintf("tensor %q is %s %v, wanted %s %v", b.Name, info.DType, info.Shape, fileType(b.DType), b.Dims))
		}
	}
	for _, name := range s.Names() {
		if !want[name] {
			problems = append(problems, fmt.Sprintf("tensor %q is not wanted", name))
		}
	}
	if problems != nil {
		return fmt.Errorf("%s: %s", path, strings.Join(problems, "\n  "))
	}
	for _, b := range blobs {
		data, err := s.Bytes(b.Name)
		if err != nil {
			return err
		}
		b.Write(data)
		s.Release(b.Name)
	}
	return nil
}
