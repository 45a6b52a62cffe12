package safetensors

import (
	"path/filepath"
	"slices"
	"testing"
)

// seeds are valid and damaged files from which the fuzzer starts.
func seeds() [][]byte {
	return [][]byte{
		blob(oneF32, 8), blob("{}", 0), blob(oneF32, 7), length(1<<60, "{}"),
		blob(`{"__metadata__":{"k":"v"},"b":{"dtype":"BF16","shape":[1,2],"data_offsets":[4,8]},"a":{"dtype":"I32","shape":[],"data_offsets":[0,4]}}`, 8),
		blob(`{"h":{"dtype":"F16","shape":[1],"data_offsets":[8,10]},"d":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}`, 10),
		blob(`{"a":{"dtype":"U8","shape":[9223372036854775807],"data_offsets":[0,9223372036854775807]}}`, 0),
	}
}

// FuzzParse: no bytes make the parser panic or take much more memory than they
// are long, and what it accepts can be read in full.
func FuzzParse(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var s *Set
		var err error
		// A header costs its tokens (up to 48 bytes for 2 of text), its tensors
		// and up to 20 messages; the rest is the fuzzer's own.
		bound := uint64(1<<20 + 200*len(data))
		if n := allocated(func() { s, err = Parse("f", data) }); n > bound {
			t.Fatalf("%d bytes of input took %d of memory", len(data), n)
		}
		if err != nil {
			return
		}
		total := 0
		for _, name := range s.Names() {
			b, err := s.Bytes(name)
			if err != nil {
				t.Fatal(err)
			}
			info, _ := s.Info(name)
			if len(b) != info.Len()*info.DType.Size() {
				t.Fatalf("%q: %v %v has %d bytes", name, info.DType, info.Shape, len(b))
			}
			total += len(b)
			wide, narrow := make([]float32, info.Len()), make([]uint16, info.Len())
			isFloat := slices.Contains([]DType{"F64", "F32", "F16", "BF16"}, info.DType)
			if err := s.ReadF32(wide, name); (err == nil) != isFloat {
				t.Fatalf("%q of %s: %v", name, info.DType, err)
			}
			if err := s.ReadBF16(narrow, name); (err == nil) != isFloat {
				t.Fatalf("%q of %s: %v", name, info.DType, err)
			}
			if finite := CheckFinite(name, wide); finite == nil {
				for i, v := range wide {
					if v-v != 0 {
						t.Fatalf("%v at %d was called finite", v, i)
					}
				}
			}
		}
		if start := int(s.files[0].header.Start); start+total != len(data) {
			t.Fatalf("header of %d and tensors of %d bytes are not the file's %d", start, total, len(data))
		}
	})
}

// FuzzParseHeader: a file size that does not go with the bytes is no danger.
func FuzzParseHeader(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s, int64(len(s)))
		f.Add(s, int64(1<<62))
	}
	f.Add([]byte("{}"), int64(-1))
	f.Fuzz(func(t *testing.T, data []byte, size int64) {
		h, err := ParseHeader(data, size)
		if err != nil {
			return
		}
		at := h.Start
		for _, info := range h.Tensors {
			if h.Start+info.start != at || info.end < info.start {
				t.Fatalf("%+v does not begin at %d", info, at)
			}
			at = h.Start + info.end
		}
		if at != size {
			t.Fatalf("tensors end at %d, file at %d", at, size)
		}
	})
}

// FuzzIndex: no index makes the parser panic or leave its folder.
func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"metadata":{"total_size":1},"weight_map":{"a":"m-1.safetensors"}}`))
	f.Add([]byte(`{"weight_map":{"a":"../x","a":"y"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		idx, err := parseIndex("dir/i.json", data)
		if err == nil && len(idx.shard) == 0 {
			t.Fatal("an index without tensors was accepted")
		}
		if err == nil {
			for name, path := range idx.shard {
				if rel, err := filepath.Rel("dir", path); err != nil || !filepath.IsLocal(rel) {
					t.Fatalf("tensor %q is taken from %q", name, path)
				}
			}
		}
	})
}
