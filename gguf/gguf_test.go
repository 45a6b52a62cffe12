package gguf

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// matrix is a tensor over values.
func matrix(name string, t Type, values []float32, shape ...int) Tensor {
	return Tensor{Name: name, Type: t, Shape: shape, Rows: func(dst []float32, row int) error {
		copy(dst, values[row*shape[len(shape)-1]:])
		return nil
	}}
}

func noise(n int) []float32 {
	r := rand.New(rand.NewPCG(1, 5))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

func write(t *testing.T, keys []KV, tensors ...Tensor) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.gguf")
	if err := Write(path, keys, tensors); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// The bytes of a file, put together by hand from the specification.
func TestFileIsLaidOutAsSpecified(t *testing.T) {
	path := write(t, []KV{{"a.b", uint32(7)}, {"s", "hi"}, {"l", []int32{-1, 2}}, {"t", true}, {"f", float32(0.5)}},
		matrix("one", F32, []float32{1, 2, 3}, 1, 3), matrix("two", F16, []float32{1, -2}, 2, 1))
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := "47475546" + "03000000" + "0200000000000000" + "0500000000000000" +
		"0300000000000000" + "612e62" + "04000000" + "07000000" +
		"0100000000000000" + "73" + "08000000" + "0200000000000000" + "6869" +
		"0100000000000000" + "6c" + "09000000" + "05000000" + "0200000000000000" + "ffffffff" + "02000000" +
		"0100000000000000" + "74" + "07000000" + "01" +
		"0100000000000000" + "66" + "06000000" + "0000003f" +
		"0300000000000000" + "6f6e65" + "02000000" + "0300000000000000" + "0100000000000000" + "00000000" + "0000000000000000" +
		"0300000000000000" + "74776f" + "02000000" + "0100000000000000" + "0200000000000000" + "01000000" + "2000000000000000"
	head, err := hex.DecodeString(want)
	if err != nil {
		t.Fatal(err)
	}
	head = append(head, make([]byte, padding(int64(len(head))))...)
	data := binary.LittleEndian.AppendUint32(nil, math.Float32bits(1))
	data = binary.LittleEndian.AppendUint32(data, math.Float32bits(2))
	data = binary.LittleEndian.AppendUint32(data, math.Float32bits(3))
	data = append(data, make([]byte, 20)...)
	data = append(data, 0x00, 0x3c, 0x00, 0xc0)
	data = append(data, make([]byte, 28)...)
	if !bytes.Equal(got, append(head, data...)) {
		t.Errorf("the file is\n%x\nwants\n%x", got, append(head, data...))
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	keys := []KV{{"u", uint32(1 << 31)}, {"i", int32(-5)}, {"w", uint64(1 << 40)}, {"f", float32(1.5)}, {"yes", true}, {"no", false}, {"text", "größe"},
		{"names", []string{"", "a", "bc"}}, {"ids", []int32{3, -4}}, {"counts", []uint32{9}}, {"scores", []float32{0.25, -1}}}
	values := noise(5 * 64)
	var tensors []Tensor
	for _, typ := range []Type{F32, F16, BF16, Q8_0} {
		tensors = append(tensors, matrix(typ.String(), typ, values, 5, 64))
	}
	tensors = append(tensors, matrix("vector", F32, values[:7], 7), matrix("large", Q8_0, noise(3*pieceValues), 3, pieceValues))
	f := open(t, write(t, keys, tensors...))
	if f.Version != 3 || !reflect.DeepEqual(f.Keys, keys) {
		t.Errorf("keys are %v, wanted %v", f.Keys, keys)
	}
	// Bits of the fraction that a type keeps; a step of Q8_0 is 1/127 of the
	// largest of 32 values, which is below 4 here.
	for typ, bound := range map[Type]float64{F32: 0, F16: 0x1p-11, BF16: 0x1p-8, Q8_0: 4. / 127 / 2 * 1.01} {
		got, err := f.ReadF32(typ.String())
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range got {
			limit := bound * math.Abs(float64(values[i]))
			if typ == Q8_0 {
				limit = bound
			}
			if math.Abs(float64(v-values[i])) > limit {
				t.Errorf("%v: value %d is %v, was %v", typ, i, v, values[i])
			}
		}
	}
	if v, err := f.ReadF32("vector"); err != nil || !slices.Equal(v, values[:7]) {
		t.Errorf("vector is %v, %v", v, err)
	}
	if info, ok := f.Info("large"); !ok || !slices.Equal(info.Shape, []int{3, pieceValues}) {
		t.Errorf("large is %+v", info)
	}
}

// The block was quantised by ggml's quantize_row_q8_0_ref: the scale is that of
// 127 steps, halves go away from zero.
func TestQ8BlocksAreThoseOfGGML(t *testing.T) {
	src := make([]float32, 64)
	for i := range 32 {
		src[i] = float32(i-12) / 2 // -6 ... 9.5: a scale of 9.5/127
	}
	src[0] = -127 * 0.03125 // exact halves of the scale follow, below
	copy(src[32:], []float32{127, 0.5, 1.5, -0.5, -1.5, 2.5, -126.5})
	dst := make([]byte, 68)
	if at := Q8_0.encode(dst, src); at >= 0 {
		t.Fatal(at)
	}
	if want := []byte{0x00, 0x3c, 127, 1, 2, 0xff, 0xfe, 3, 0x81}; !bytes.Equal(dst[34:43], want) {
		t.Errorf("the second block is %v, wanted %v", dst[34:43], want)
	}
	d := float32(9.5) / 127
	if scale := half(dst); math.Abs(float64(scale-d)) > float64(d)/2048 {
		t.Errorf("the first scale is %v, wanted %v", scale, d)
	}
	for i, v := range src[:32] {
		if want := int8(math.Round(float64(v * (1 / d)))); int8(dst[2+i]) != want {
			t.Errorf("value %d is %d, wanted %d", i, int8(dst[2+i]), want)
		}
	}
	zero := make([]byte, 34)
	Q8_0.encode(zero, make([]float32, 32))
	if !bytes.Equal(zero, make([]byte, 34)) {
		t.Errorf("zeros are %v", zero)
	}
}

func TestWhatCannotBeWrittenLeavesNoFile(t *testing.T) {
	good := matrix("x", F32, noise(64), 2, 32)
	with := func(change func(*Tensor)) Tensor {
		x := good
		change(&x)
		return x
	}
	broken := errors.New("broken source")
	for _, c := range []struct {
		keys    []KV
		tensors []Tensor
		word    string
	}{
		{[]KV{{"k", 7}}, nil, "int"},
		{[]KV{{"k", true}, {"k", true}}, nil, "twice"},
		{nil, []Tensor{good, good}, "twice"},
		{nil, []Tensor{with(func(x *Tensor) { x.Name = strings.Repeat("n", 64) })}, "63"},
		{nil, []Tensor{with(func(x *Tensor) { x.Type, x.Shape = Q8_0, []int{2, 33} })}, "blocks of 32"},
		{nil, []Tensor{with(func(x *Tensor) { x.Type = 12 })}, "Q4_K"},
		{nil, []Tensor{with(func(x *Tensor) { x.Shape = nil })}, "dimensions"},
		{nil, []Tensor{matrix("big", F16, []float32{1, 70000}, 1, 2)}, "70000 at index 1"},
		{nil, []Tensor{matrix("big", BF16, []float32{math.MaxFloat32, 1}, 2, 1)}, "index 0"},
		{nil, []Tensor{with(func(x *Tensor) { x.Rows = func([]float32, int) error { return broken } })}, "broken source"},
	} {
		dir := t.TempDir()
		err := Write(filepath.Join(dir, "x.gguf"), c.keys, c.tensors)
		if err == nil || !strings.Contains(err.Error(), c.word) {
			t.Errorf("the error is %v, wanted one with %q", err, c.word)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%s: %v is left", c.word, left)
		}
	}
}

// No file makes the reader panic or take memory that the file does not have.
func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	path := filepath.Join(dir, "seed.gguf")
	if err := Write(path, []KV{{"a", "b"}, {"n", []string{"x", "y"}}, {"f", []float32{1}}}, []Tensor{matrix("x", Q8_0, noise(64), 2, 32)}); err != nil {
		f.Fatal(err)
	}
	seed, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	for _, cut := range []int{3, 20, 60, len(seed) - 1} {
		f.Add(seed[:cut])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "x.gguf")
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		g, err := Open(path)
		if err != nil {
			return
		}
		defer g.Close()
		for _, info := range g.Tensors {
			_, _ = g.ReadF32(info.Name)
		}
	})
}

func TestDamagedFilesAreRefused(t *testing.T) {
	good, err := os.ReadFile(write(t, []KV{{"name", "value"}}, matrix("x", F32, noise(64), 2, 32)))
	if err != nil {
		t.Fatal(err)
	}
	change := func(at int, b ...byte) []byte {
		c := slices.Clone(good)
		copy(c[at:], b)
		return c
	}
	for _, c := range []struct {
		data []byte
		word string
	}{
		{[]byte("GGML"), "GGUF"}, {nil, "GGUF"},
		{change(4, 9), "version 9"},
		{change(8, 0xff, 0xff, 0xff, 0xff), "tensors"},
		{change(16, 0xff, 0xff, 0xff, 0xff), "keys"},
		{change(24, 0xff, 0xff), "ends"},
		{change(36, 99), "unknown type 99"},
		{good[:len(good)-1], "cut off"},
		{good[:50], "byte"},
	} {
		path := filepath.Join(t.TempDir(), "x.gguf")
		if err := os.WriteFile(path, c.data, 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path)
		if err == nil {
			f.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.word) || !strings.Contains(err.Error(), path) {
			t.Errorf("the error is %v, wanted one with %q", err, c.word)
		}
	}
}
