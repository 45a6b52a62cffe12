package train

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"meft/param"
	"meft/safetensors"
	"meft/tensor"
)

// WriteBlobs writes arrays to a safetensors file, whole or not at all: see
// safetensors.Write. Tables are written from their own memory, piece by piece
// where that has another form, and device tensors read one at a time, so that a
// checkpoint takes the host memory of the largest device tensor.
func WriteBlobs(path string, blobs []param.Blob, metadata map[string]string) error {
	tensors := make([]safetensors.Tensor, len(blobs))
	for i, b := range blobs {
		t := safetensors.Tensor{Name: b.Name, DType: fileType(b.DType), Shape: b.Dims, Data: b.View()}
		switch {
		case t.Data != nil:
		case b.OfTable():
			t.Part = b.Part
		default:
			t.Fill = b.Read
		}
		tensors[i] = t
	}
	return safetensors.Write(path, tensors, metadata)
}

// fileType is how a safetensors file names a type.
func fileType(t tensor.DType) safetensors.DType {
	return map[tensor.DType]safetensors.DType{tensor.F32: "F32", tensor.BF16: "BF16", tensor.I32: "I32", tensor.U8: "U8"}[t]
}

// ReadBlobs sets arrays from a safetensors file. The file holds exactly these
// arrays, where F32 is wanted in any floating point type; every missing, surplus
// and misshapen one is named in one error, and then nothing is set.
func ReadBlobs(path string, blobs []param.Blob) (err error) {
	s, err := safetensors.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := CheckBlobs(path, s, blobs); err != nil {
		return err
	}
	for _, b := range blobs {
		data, err := blobBytes(s, b)
		if err == nil {
			err = b.Write(data)
		}
		if err != nil {
			return fmt.Errorf("%s: tensor %q: %w", path, b.Name, err)
		}
		s.Release(b.Name)
	}
	return nil
}

// CheckBlobs reports how the tensors of a file, which is open as s, differ from
// what ReadBlobs wants for these arrays, all in one error.
func CheckBlobs(path string, s *safetensors.Set, blobs []param.Blob) error {
	if problems := unlike(s, blobs); problems != nil {
		return fmt.Errorf("%s: %s", path, strings.Join(problems, "\n  "))
	}
	return nil
}

// readable reports whether values of a file's type can be had as another.
func readable(from safetensors.DType, to tensor.DType) bool {
	return from == fileType(to) || to == tensor.F32 && slices.Contains([]safetensors.DType{"F16", "BF16", "F64"}, from)
}

// blobBytes are an array's values in its own type.
func blobBytes(s *safetensors.Set, b param.Blob) ([]byte, error) {
	if info, _ := s.Info(b.Name); info.DType == fileType(b.DType) {
		return s.Bytes(b.Name)
	}
	values := make([]float32, b.Bytes()/4)
	return tensor.Bytes(values), s.ReadF32(values, b.Name)
}

// unlike lists how the tensors of a file differ from blobs in name, type and
// shape.
func unlike(s *safetensors.Set, blobs []param.Blob) (problems []string) {
	want := map[string]bool{}
	for _, b := range blobs {
		want[b.Name] = true
		info, ok := s.Info(b.Name)
		switch {
		case !ok:
			problems = append(problems, fmt.Sprintf("tensor %q is missing, wanted %s %v", b.Name, fileType(b.DType), b.Dims))
		case !readable(info.DType, b.DType) || !slices.Equal(info.Shape, b.Dims):
			problems = append(problems, fmt.Sprintf("tensor %q is %s %v, wanted %s %v", b.Name, info.DType, info.Shape, fileType(b.DType), b.Dims))
		}
	}
	for _, name := range s.Names() {
		if !want[name] {
			problems = append(problems, fmt.Sprintf("tensor %q is not wanted", name))
		}
	}
	return problems
}
