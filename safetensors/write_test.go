package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// parsed writes tensors and reads them back from memory.
func parsed(t testing.TB, tensors ...Tensor) *Set {
	t.Helper()
	path := filepath.Join(t.TempDir(), "t.safetensors")
	if err := Write(path, tensors, nil); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Parse("t.safetensors", data)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEveryDTypeSurvivesARoundTrip(t *testing.T) {
	var tensors []Tensor
	for i, d := range dtypes {
		data := make([]byte, 6*d.size)
		for j := range data {
			data[j] = byte(31*i + j)
		}
		tensors = append(tensors, Tensor{Name: "t." + string(d.name), DType: d.name, Shape: []int{2, 3}, Data: data},
			Tensor{Name: "scalar." + string(d.name), DType: d.name, Data: data[:d.size]},
			Tensor{Name: "empty." + string(d.name), DType: d.name, Shape: []int{3, 0}})
	}
	path := filepath.Join(t.TempDir(), "all.safetensors")
	meta := map[string]string{"format": "pt", "odd": "<&>\u2028\"\n é"}
	if err := Write(path, tensors, meta); err != nil {
		t.Fatal(err)
	}
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if len(s.Names()) != len(tensors) || !slices.IsSorted(s.Names()) {
		t.Errorf("names are %v", s.Names())
	}
	for _, want := range tensors {
		info, ok := s.Info(want.Name)
		got, err := s.Bytes(want.Name)
		if !ok || err != nil || info.Name != want.Name || info.DType != want.DType || info.File != path ||
			!slices.Equal(info.Shape, want.Shape) || !bytes.Equal(got, want.Data) {
			t.Errorf("%s: read %+v, %x, %v", want.Name, info, got, err)
		}
		if off := s.tensors[want.Name].file.header.Start + info.start; off%int64(info.DType.Size()) != 0 {
			t.Errorf("%s: data at byte %d is not aligned", want.Name, off)
		}
	}
	if got := s.Metadata(); got["odd"] != meta["odd"] || got["format"] != "pt" || len(got) != 2 {
		t.Errorf("metadata is %q", got)
	}
}

func TestTypedTensorsReadBackAsValues(t *testing.T) {
	f32 := []float32{0, -1.5, 3e38, 1 + 0x1p-20}
	i64 := []int64{-1, math.MaxInt64}
	s := parsed(t, F32("f", f32, 2, 2), BF16("b", []uint16{0x3f80, 0xc000}, 2),
		I32("i", []int32{-2, 7}, 2), I64("l", i64, 2), F32("s", []float32{4}),
		Tensor{Name: "h", DType: "F16", Shape: []int{3}, Data: []byte{0x00, 0x3c, 0x01, 0x00, 0x00, 0xfc}},
		Tensor{Name: "d", DType: "F64", Shape: []int{2}, Data: view([]float64{0.1, 1 + 0x1p-8 + 0x1p-40})})
	want := map[string][]float32{"f": f32, "b": {1, -2}, "s": {4},
		"h": {1, 0x1p-24, float32(math.Inf(-1))}, "d": {0.1, 1 + 0x1p-8}}
	for name, w := range want {
		got := make([]float32, len(w))
		if err := s.ReadF32(got, name); err != nil || !slices.Equal(got, w) {
			t.Errorf("%s: read %v, %v, wanted %v", name, got, err, w)
		}
	}
	wantBF := map[string][]uint16{"f": {0, 0xbfc0, 0x7f62, 0x3f80}, "b": {0x3f80, 0xc000},
		"h": {0x3f80, 0x3380, 0xff80}, "d": {0x3dcd, 0x3f81}}
	for name, w := range wantBF {
		got := make([]uint16, len(w))
		if err := s.ReadBF16(got, name); err != nil || !slices.Equal(got, w) {
			t.Errorf("%s: read %#04x, %v, wanted %#04x", name, got, err, w)
		}
	}
	if b, _ := s.Bytes("l"); int64(binary.LittleEndian.Uint64(b[8:])) != math.MaxInt64 {
		t.Errorf("int64 bytes are %x", b)
	}
	if b, _ := s.Bytes("i"); int32(binary.LittleEndian.Uint32(b)) != -2 {
		t.Errorf("int32 bytes are %x", b)
	}
	wantMessage(t, s.ReadF32(make([]float32, 2), "i"), `t.safetensors: tensor "i" is I32, wanted F64, F32, F16 or BF16`)
	wantMessage(t, s.ReadF32(make([]float32, 5), "f"), `tensor "f" is F32 [2 2], 4 values, wanted 5`)
	wantMessage(t, s.ReadBF16(make([]uint16, 1), "b"), `tensor "b" is BF16 [2], 2 values, wanted 1`)
	wantMessage(t, s.ReadBF16(nil, "nope"), `has no tensor "nope"`)
}

// Data after a header of odd length is not aligned to its elements.
func TestUnalignedDataIsRead(t *testing.T) {
	for pad := range 4 {
		head := oneF32 + strings.Repeat(" ", pad)
		b := append(blob(head, 0), view([]float32{1.25, -3})...)
		s, err := Parse("x", b)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]float32, 2)
		if err := s.ReadF32(got, "a"); err != nil || got[0] != 1.25 || got[1] != -3 {
			t.Errorf("padding %d: read %v, %v", pad, got, err)
		}
	}
}

func TestSameTensorsGiveTheSameBytes(t *testing.T) {
	a, b, c := F32("b", []float32{1, 2}, 2), F32("a", []float32{3}, 1), BF16("0", []uint16{4}, 1)
	meta := map[string]string{"z": "1", "a": "2", "m": "3"}
	const want = `{"__metadata__":{"a":"2","m":"3","z":"1"},` +
		`"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},` +
		`"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]},` +
		`"0":{"dtype":"BF16","shape":[1],"data_offsets":[12,14]}}`
	path := filepath.Join(t.TempDir(), "x")
	for _, order := range [][]Tensor{{a, b, c}, {c, b, a}, {b, c, a}} {
		given := slices.Clone(order)
		if err := Write(path, order, meta); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		n := binary.LittleEndian.Uint64(got)
		if n%8 != 0 || strings.TrimRight(string(got[8:8+n]), " ") != want {
			t.Errorf("header of %d bytes is\n%q\nwanted\n%q", n, got[8:8+n], want)
		}
		data := append(append(view([]float32{3}), view([]float32{1, 2})...), 4, 0)
		if !bytes.Equal(got[8+n:], data) {
			t.Errorf("data is %x, wanted %x", got[8+n:], data)
		}
		if order[0].Name != given[0].Name {
			t.Error("the caller's list was reordered")
		}
	}
}

// Where the data comes from is not seen in the file, and tensors are asked for
// theirs one after the other, in the order of the file.
func TestFilledTensorsAreWrittenAsGivenOnes(t *testing.T) {
	given := []Tensor{I64("l", []int64{-1, 5}, 2), F32("b", []float32{1, 2, 3}, 3), F32("a", []float32{4}, 1),
		F32("none", nil, 0), BF16("0", []uint16{9}, 1)}
	var asked []string
	var mixed []Tensor
	for i, g := range given {
		if i != 2 { // one of them stays in memory
			data := g.Data
			g.Data, g.Fill = nil, func(dst []byte) error {
				if len(dst) != len(data) {
					t.Errorf("%s: %d bytes wanted, has %d", g.Name, len(dst), len(data))
				}
				asked = append(asked, g.Name)
				copy(dst, data)
				return nil
			}
		}
		mixed = append(mixed, g)
	}
	dir := t.TempDir()
	var files [2][]byte
	for i, list := range [][]Tensor{given, mixed} {
		path := filepath.Join(dir, "x")
		if err := Write(path, list, map[string]string{"k": "v"}); err != nil {
			t.Fatal(err)
		}
		var err error
		if files[i], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Errorf("files differ:\n%q\n%q", files[0], files[1])
	}
	if want := []string{"l", "b", "none", "0"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %q, wanted %q", asked, want)
	}
}

func TestFailedFillLeavesTheOldFileAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "w.safetensors")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	lost := errors.New("device lost")
	err := Write(path, []Tensor{
		F32("a", make([]float32, 50000), 50000),
		{Name: "b", DType: "F32", Shape: []int{2}, Fill: func([]byte) error { return lost }},
		{Name: "c", DType: "F32", Shape: []int{2}, Fill: func([]byte) error { t.Error("called after a failure"); return nil }},
	}, nil)
	if !errors.Is(err, lost) {
		t.Errorf("error is %v", err)
	}
	wantMessage(t, err, path, `tensor "b": device lost`)
	wantFiles(t, dir, "w.safetensors")
	if got, err := os.ReadFile(path); string(got) != "old" {
		t.Errorf("old file holds %q, %v", got, err)
	}
}

func TestInvalidTensorsAreAllNamedAndNothingIsWritten(t *testing.T) {
	dir := t.TempDir()
	err := Write(filepath.Join(dir, "x.st"), []Tensor{
		F32("short", []float32{1, 2}, 3), F32("neg", nil, -1, -1), F32("twice", nil, 0), F32("twice", nil, 0),
		{Name: "kind", DType: "F33"}, F32("__metadata__", nil, 0), F32("\xff", nil, 0), F32("big", nil, 1<<30, 1<<30, 1<<30),
		F32("deep", []float32{1}, slices.Repeat([]int{1}, 65)...),
		{Name: "both", DType: "U8", Shape: []int{1}, Data: []byte{1}, Fill: func([]byte) error { panic("called") }},
	}, map[string]string{"k": "\xfe"})
	wantMessage(t, err, "x.st: ", `"short" is F32 [3] and needs 12 bytes, its data has 8`, `"neg": shape [-1 -1] has a negative`,
		`"twice" is given twice`, `"kind" has dtype "F33"`, `called "__metadata__"`, `"\xff" is not UTF-8`,
		`"big": shape`, `"deep" has 65 dimensions`, `metadata "k" is not UTF-8`, `"both" has more than one of Data, Fill and Part`)
	wantFiles(t, dir)
}

// wantFiles requires that a folder holds just these files.
func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range list {
		got = append(got, e.Name())
	}
	if !slices.Equal(got, want) {
		t.Errorf("folder holds %q, wanted %q", got, want)
	}
}

// brokenDisk is a real file that fails in one place, as a full or dying disk
// makes it.
type brokenDisk struct {
	*os.File
	room              int // bytes that still fit
	syncErr, closeErr error
}

func (d *brokenDisk) Write(b []byte) (int, error) {
	if len(b) <= d.room {
		d.room -= len(b)
		return d.File.Write(b)
	}
	n, _ := d.File.Write(b[:d.room])
	d.room = 0
	return n, syscall.ENOSPC
}

func (d *brokenDisk) Sync() error  { return d.syncErr }
func (d *brokenDisk) Close() error { return errors.Join(d.File.Close(), d.closeErr) }

func TestFailedWritesLeaveTheOldFileAndNothingElse(t *testing.T) {
	tensors := []Tensor{F32("a", make([]float32, 50000), 50000)}
	header, err := encodeHeader(tensors, nil)
	if err != nil {
		t.Fatal(err)
	}
	const ample = 1 << 20
	for name, disk := range map[string]brokenDisk{
		"no room at all":       {room: 0},
		"full in the header":   {room: 20},
		"full in the data":     {room: 100000},
		"full at the very end": {room: 8 + len(header) + 200000 - 1},
		"sync fails":           {room: ample, syncErr: syscall.EIO},
		"close fails":          {room: ample, closeErr: syscall.ENOSPC}, // NFS reports a full disk here
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "w.safetensors")
			if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
				t.Fatal(err)
			}
			create := func(tmp string) (sink, error) {
				f, err := os.Create(tmp)
				disk.File = f
				return &disk, err
			}
			err := replaceFile(path, create, func(w io.Writer) error { return writeAll(w, header, tensors) })
			if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EIO) {
				t.Errorf("error is %v", err)
			}
			wantMessage(t, err, path)
			wantFiles(t, dir, "w.safetensors")
			if got, err := os.ReadFile(path); string(got) != "old" {
				t.Errorf("old file holds %q, %v", got, err)
			}
		})
	}
}

func TestUnwritableTargetsAreRefused(t *testing.T) {
	dir := t.TempDir()
	wantMessage(t, Write(dir, nil, nil), "is a folder")
	err := Write(filepath.Join(dir, "none", "x.st"), nil, nil)
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing folder: %v", err)
	}
	wantFiles(t, dir)
}

// A checkpoint can be rewritten from its own mapping: the old data stays
// readable under the open Set until it is closed.
func TestFileCanBeReplacedWhileOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w.safetensors")
	if err := Write(path, []Tensor{F32("a", []float32{1, 2}, 2)}, nil); err != nil {
		t.Fatal(err)
	}
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b, err := s.Bytes("a")
	if err != nil {
		t.Fatal(err)
	}
	if err := Write(path, []Tensor{{Name: "renamed", DType: "F32", Shape: []int{2}, Data: b}}, nil); err != nil {
		t.Fatal(err)
	}
	got := make([]float32, 2)
	if err := s.ReadF32(got, "a"); err != nil || got[1] != 2 {
		t.Errorf("old Set reads %v, %v", got, err)
	}
	again, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := again.ReadF32(got, "renamed"); err != nil || got[0] != 1 || got[1] != 2 {
		t.Errorf("rewritten file reads %v, %v", got, err)
	}
}
