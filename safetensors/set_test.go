package safetensors

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// shared returns a folder of the shared test material.
func shared(t testing.TB, name string) string {
	t.Helper()
	dir := filepath.Join("..", "..", "shared", "models", name)
	if _, err := os.Stat(dir); err != nil {
		t.Skip("shared test material not found: ", dir)
	}
	return dir
}

func mustOpen(t testing.TB, path string) *Set {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestShardedModelIsTheRoundedSingleFile(t *testing.T) {
	one := mustOpen(t, shared(t, "stories260K"))
	two := mustOpen(t, shared(t, "stories260K-bf16-sharded"))
	if !slices.Equal(one.Names(), two.Names()) || len(one.Names()) == 0 {
		t.Fatalf("names differ: %q and %q", one.Names(), two.Names())
	}
	if len(two.files) != 2 || two.Metadata()["format"] != "pt" {
		t.Errorf("%d files, metadata %v", len(two.files), two.Metadata())
	}
	for _, name := range one.Names() {
		a, _ := one.Info(name)
		b, _ := two.Info(name)
		if a.DType != "F32" || b.DType != "BF16" || !slices.Equal(a.Shape, b.Shape) {
			t.Fatalf("%s: %+v and %+v", name, a, b)
		}
		fromF32, fromBF16 := make([]uint16, a.Len()), make([]uint16, a.Len())
		wide, widened := make([]float32, a.Len()), make([]float32, a.Len())
		if err := errors.Join(one.ReadBF16(fromF32, name), two.ReadBF16(fromBF16, name),
			two.ReadF32(wide, name), CheckFinite(name, wide), CheckFiniteBF16(name, fromBF16)); err != nil {
			t.Fatal(err)
		}
		F32FromBF16(widened, fromBF16)
		// The shards were made by rounding to nearest even, by another program.
		if !slices.Equal(fromF32, fromBF16) || !slices.Equal(wide, widened) {
			t.Errorf("%s: values differ", name)
		}
	}
}

// The files come from other writers of the format; equal bytes mean that order,
// spelling and padding of the header are as they are expected elsewhere.
func TestRewritingAFileGivesItsBytes(t *testing.T) {
	for _, name := range []string{"stories260K/model.safetensors", "stories260K-lora-qv-r4/adapter_model.safetensors",
		"stories260K-bf16-sharded/model-00002-of-00002.safetensors"} {
		dir := shared(t, filepath.Dir(name))
		path := filepath.Join(dir, filepath.Base(name))
		s := mustOpen(t, path)
		var tensors []Tensor
		for _, n := range s.Names() {
			info, _ := s.Info(n)
			b, err := s.Bytes(n)
			if err != nil {
				t.Fatal(err)
			}
			tensors = append(tensors, Tensor{Name: n, DType: info.DType, Shape: info.Shape, Data: b})
		}
		out := filepath.Join(t.TempDir(), "copy")
		if err := Write(out, tensors, s.Metadata()); err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %d bytes written, original has %d, or they differ", name, len(got), len(want))
		}
	}
}

func TestFolderWithOnlyAnAdapterIsOpened(t *testing.T) {
	s := mustOpen(t, shared(t, "stories260K-lora-qv-r4"))
	if info, ok := s.Info(s.Names()[0]); !ok || filepath.Base(info.File) != "adapter_model.safetensors" {
		t.Errorf("%+v, %v", info, ok)
	}
}

// shards writes the files of a folder: tensors of one byte by file name, and an
// index when weightMap is not nil.
func shards(t *testing.T, files map[string][]string, weightMap map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for file, names := range files {
		var tensors []Tensor
		for _, n := range names {
			tensors = append(tensors, Tensor{Name: n, DType: "U8", Shape: []int{1}, Data: []byte(n[:1])})
		}
		if err := Write(filepath.Join(dir, file), tensors, map[string]string{"file": file}); err != nil {
			t.Fatal(err)
		}
	}
	if weightMap != nil {
		b, err := json.Marshal(map[string]any{"metadata": map[string]any{"total_size": 3}, "weight_map": weightMap})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, indexName), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestIndexAndShardsHaveToAgree(t *testing.T) {
	const one, two, three = "m-1.safetensors", "m-2.safetensors", "m-3.safetensors"
	files := map[string][]string{one: {"a", "b"}, two: {"c"}}
	tests := []struct {
		name  string
		files map[string][]string
		index map[string]string
		want  []string // none: opens
	}{
		{"agree", files, map[string]string{"a": one, "b": one, "c": two}, nil},
		{"shards missing", files, map[string]string{"a": one, "b": one, "c": two, "d": three, "e": "m-4.safetensors"}, []string{three, "m-4.safetensors", "is missing"}},
		{"tensor missing", files, map[string]string{"a": one, "b": one, "c": two, "d": two}, []string{`tensor "d" is missing from ` + two}},
		{"tensor elsewhere", files, map[string]string{"a": one, "b": two, "c": two}, []string{`tensor "b" is said to be in ` + two + ", it is in " + one}},
		{"tensor not listed", files, map[string]string{"a": one, "c": two}, []string{`tensor "b" of ` + one + " is not listed"}},
		{"tensor in two shards", map[string][]string{one: {"a", "b"}, two: {"b"}}, map[string]string{"a": one, "b": two}, []string{`tensor "b" is also in`}},
		{"several at once", files, map[string]string{"a": two, "d": one, "x": three}, []string{
			three, `tensor "a" is said to be in ` + two, `tensor "d" is missing from ` + one, `tensor "b" of ` + one, `tensor "c" of ` + two}},
		{"way out", files, map[string]string{"a": "../" + one, "b": "/" + one}, []string{`tensor "a" is said to be in "../`, `tensor "b" is said to be in "/m`, "beside the index"}},
		{"empty", files, map[string]string{}, []string{"names no tensors"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := shards(t, test.files, test.index)
			for _, path := range []string{dir, filepath.Join(dir, indexName)} {
				s, err := Open(path)
				if test.want != nil {
					wantMessage(t, err, test.want...)
					if test.name == "shards missing" && !errors.Is(err, fs.ErrNotExist) {
						t.Errorf("error is not %v", fs.ErrNotExist)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				if b, err := s.Bytes("c"); err != nil || string(b) != "c" {
					t.Errorf("tensor c is %q, %v", b, err)
				}
				if got := s.Metadata()["file"]; got != one {
					t.Errorf("metadata is from %s, wanted the first shard", got)
				}
			}
		})
	}
}

func TestProblemsOfAllShardsAreReportedTogether(t *testing.T) {
	dir := shards(t, map[string][]string{"1": {"a"}, "2": {"b"}, "3": {"c"}}, map[string]string{"a": "1", "b": "2", "c": "3", "d": "3"})
	for _, name := range []string{"1", "2"} {
		path := filepath.Join(dir, name)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data[:len(data)-1], 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_, err := Open(dir)
	wantMessage(t, err, filepath.Join(dir, "1")+": is ", filepath.Join(dir, "2")+": is ", "truncated download? (1 bytes are missing)", `tensor "d" is missing from 3`)
}

func TestDamagedIndexesAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                                       "JSON ends early",
		"[]":                                     "wanted an object",
		"{}":                                     "no weight_map",
		`{"weight_map":{"a":1}}`:                 `weight_map "a" is the number 1`,
		`{"weight_map":{"a":"x","a":"x"}}`:       `tensor "a" is listed twice`,
		`{"weight_map":{},"weight_map":{}}`:      "listed twice",
		`{"weight_map":{"a":"x"}} x`:             "text after the JSON object",
		`{"metadata":{,},"weight_map":{}}`:       `"metadata"`,
		"{\"weight_map\":{\"\xff\":\"x\"}}":      "not UTF-8",
		`{"weight_map":{"a":"x"},"metadata":{}`:  "JSON ends early",
		`{"weight_map":{"a":""}}`:                "beside the index",
		`{"weight_map":{"a":"x"},"weight_map":3`: "wanted an object",
	} {
		_, err := parseIndex("i.json", []byte(text))
		wantMessage(t, err, "i.json: ", want)
	}
}

func TestWhatAFolderIsOpenedAs(t *testing.T) {
	both := shards(t, map[string][]string{singleName: {"x"}, "s.safetensors": {"y"}}, map[string]string{"y": "s.safetensors"})
	if got := mustOpen(t, both).Names(); !slices.Equal(got, []string{"x"}) {
		t.Errorf("folder with a single file and an index gives %q, wanted the single file", got)
	}
	only := shards(t, map[string][]string{"adapter.safetensors": {"x"}, ".adapter.safetensors": {"y"}}, nil)
	if got := mustOpen(t, only).Names(); !slices.Equal(got, []string{"x"}) {
		t.Errorf("folder with one file gives %q", got)
	}
	_, err := Open(shards(t, map[string][]string{"p.safetensors": {"x"}, "q.safetensors": {"y"}}, nil))
	wantMessage(t, err, "has 2 .safetensors files (p.safetensors, q.safetensors)", "name one of them")
	_, err = Open(shards(t, map[string][]string{"pytorch_model.bin": nil}, nil))
	wantMessage(t, err, "no .safetensors file", "pytorch_model.bin", "convert")
	for _, path := range []string{t.TempDir(), filepath.Join(t.TempDir(), "none")} {
		if _, err := Open(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", path, err)
		}
	}
	empty := filepath.Join(t.TempDir(), "e.safetensors")
	if err := os.WriteFile(empty, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = Open(empty)
	wantMessage(t, err, empty, "is 0 bytes")
}

func TestClosedSetAnswersWithErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if err := Write(path, []Tensor{F32("a", []float32{1}, 1)}, nil); err != nil {
		t.Fatal(err)
	}
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Bytes("a"); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Bytes after Close: %v", err)
	}
	if err := s.ReadF32(make([]float32, 1), "a"); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("ReadF32 after Close: %v", err)
	}
	if _, ok := s.Info("a"); ok || len(s.Names()) != 0 {
		t.Error("a closed Set still has tensors")
	}
	s.Release("a")
}

func TestReturnedListsAreCopies(t *testing.T) {
	s := parsed(t, F32("a", []float32{1}, 1))
	s.Names()[0] = "changed"
	s.Metadata()["k"] = "v"
	if s.Names()[0] != "a" || len(s.Metadata()) != 0 {
		t.Error("a caller can change a Set")
	}
	b, err := s.Bytes("a")
	if err != nil || cap(b) != len(b) {
		t.Errorf("view has room for %d of %d bytes, %v", cap(b), len(b), err)
	}
}

// A tensor of several pieces, of a length no piece divides, comes back whole.
func TestLargeTensorsAreReadInPieces(t *testing.T) {
	want := make([]float32, 2*pieceValues+12345)
	for i := range want {
		want[i] = float32(i%4099) - 7
	}
	path := filepath.Join(t.TempDir(), "large.safetensors")
	if err := Write(path, []Tensor{F32("x", want, len(want))}, nil); err != nil {
		t.Fatal(err)
	}
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got, low := make([]float32, len(want)), make([]uint16, len(want))
	if err := s.ReadF32(got, "x"); err != nil {
		t.Fatal(err)
	}
	if err := s.ReadBF16(low, "x"); err != nil {
		t.Fatal(err)
	}
	rounded := make([]uint16, len(want))
	BF16FromF32(rounded, want)
	for i := range want {
		if got[i] != want[i] || low[i] != rounded[i] {
			t.Fatalf("value %d is %v and %x, wanted %v and %x", i, got[i], low[i], want[i], rounded[i])
		}
	}
}
