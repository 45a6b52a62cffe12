package safetensors

import "fmt"

// ReadF32 converts a tensor to float32. It has to be F64, F32, F16 or BF16 and
// to hold exactly len(dst) values. F64 is rounded to nearest even and becomes
// Inf beyond the range of float32; the others are exact. NaN and Inf are passed
// on: see CheckFinite.
func (s *Set) ReadF32(dst []float32, name string) error {
	e, err := s.lookup(name)
	if err != nil {
		return err
	}
	if err := e.wantFloats(len(dst)); err != nil {
		return err
	}
	e.pieces(func(src []byte, from, to int) { e.widen(dst[from:to], src) })
	return nil
}

// ReadF32At is ReadF32 for len(dst) values of the tensor from the given one on.
// It gives the pages back that these values fill, so that a tensor read by parts
// is not resident afterwards.
func (s *Set) ReadF32At(dst []float32, name string, first int) error {
	e, err := s.lookup(name)
	if err != nil {
		return err
	}
	if err := e.wantFloats(e.Len()); err != nil {
		return err
	}
	last := first + len(dst)
	if first < 0 || last > e.Len() {
		return fmt.Errorf("%s: tensor %q has %d values, wanted [%d, %d)", e.File, clip(e.Name), e.Len(), first, last)
	}
	size := e.DType.Size()
	e.widen(dst, e.bytes()[first*size:last*size])
	if e.file.mapped {
		start := int(e.file.header.Start + e.start)
		releasePages(e.file.data, start+first*size, start+last*size)
	}
	return nil
}

// widen converts the bytes of len(dst) values to float32.
func (e entry) widen(dst []float32, src []byte) {
	switch e.DType {
	case "F64":
		widenF64(dst, src)
	case "F32":
		copy(view(dst), src)
	case "F16":
		widenF16(dst, src)
	case "BF16":
		widenBF16(dst, src)
	}
}

// pieceValues is how many values are converted before their pages are given
// back, so that reading a large tensor does not hold it twice.
const pieceValues = 1 << 20

// pieces hands out the tensor's bytes with the values they are, in order. A
// tensor of several pieces is not resident afterwards.
func (e entry) pieces(do func(src []byte, from, to int)) {
	src, size, n := e.bytes(), e.DType.Size(), e.Len()
	for from := 0; from < n; from += pieceValues {
		to := min(from+pieceValues, n)
		do(src[from*size:to*size], from, to)
		if e.file.mapped && n > pieceValues {
			start := int(e.file.header.Start + e.start)
			releasePages(e.file.data, start+from*size, start+to*size)
		}
	}
}

// ReadBF16 converts a tensor to bfloat16. It has to be F64, F32, F16 or BF16
// and to hold exactly len(dst) values. BF16 is copied, the others are rounded
// once, to nearest even; NaN stays NaN.
func (s *Set) ReadBF16(dst []uint16, name string) error {
	e, err := s.lookup(name)
	if err != nil {
		return err
	}
	if err := e.wantFloats(len(dst)); err != nil {
		return err
	}
	e.pieces(func(src []byte, from, to int) {
		part := dst[from:to]
		switch e.DType {
		case "F64":
			narrowF64(part, src)
		case "F32":
			narrowF32(part, src)
		case "F16":
			narrowF16(part, src)
		case "BF16":
			copy(view(part), src)
		}
	})
	return nil
}

// wantFloats reports a tensor that is not n floating point values.
func (e entry) wantFloats(n int) error {
	switch e.DType {
	case "F64", "F32", "F16", "BF16":
	default:
		return fmt.Errorf("%s: tensor %q is %s, wanted F64, F32, F16 or BF16", e.File, clip(e.Name), e.DType)
	}
	if e.Len() != n {
		return fmt.Errorf("%s: tensor %q is %s %v, %d values, wanted %d", e.File, clip(e.Name), e.DType, e.Shape, e.Len(), n)
	}
	return nil
}
