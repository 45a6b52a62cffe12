package safetensors

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// blob returns a file with the given header text and n data bytes.
func blob(header string, n int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, n)...)
}

// length returns a file that is nothing but a header length.
func length(n uint64, rest string) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, n), rest...)
}

// wantMessage requires an error with every part in it.
func wantMessage(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, wanted one with %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error is\n%v\nwanted %q in it", err, part)
		}
	}
}

const oneF32 = `{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`

// damagedFiles has one file for every way in which a file can be wrong.
var damagedFiles = []struct {
	name string
	data []byte
	want []string
}{
	{"empty file", nil, []string{"x.st: is 0 bytes", "truncated download?"}},
	{"seven bytes", make([]byte, 7), []string{"is 7 bytes", "truncated download?"}},
	{"header of 2^60 bytes", length(1<<60, "{}"), []string{"claims a header of 1152921504606846976 bytes", "at most 100000000"}},
	{"header of 2^64-1 bytes", length(1<<64-1, "{}"), []string{"claims a header of 18446744073709551615 bytes"}},
	{"header past the end", length(100, "{}"), []string{"is 10 bytes, its header alone needs 108: truncated download?"}},
	{"header of 0 bytes", length(0, "{}"), []string{"does not begin with '{'"}},
	{"leading blank", blob(" {}", 0), []string{"does not begin with '{'"}},
	{"LFS pointer", []byte("version https://git-lfs.github.com/spec/v1\noid"), []string{"Git LFS pointer", "git lfs pull"}},
	{"not UTF-8", blob("{\"\xff\":1}", 0), []string{"not UTF-8"}},
	{"JSON ends early", blob(`{"a":{"dtype":"F32"`, 0), []string{`tensor "a"`, "JSON ends early"}},
	{"JSON with a stray comma", blob(`{"a":1,}`, 0), []string{`tensor "a": entry is the number 1, wanted an object`}},
	{"comma before the brace", blob(strings.Replace(oneF32, "}}", "},}", 1), 8), []string{"not valid JSON near byte"}},
	{"text after the object", blob(oneF32+"{}", 8), []string{"text after the JSON object"}},
	{"NUL padding", blob(oneF32+"\x00", 8), []string{"text after the JSON object"}},
	{"tensor twice", blob(oneF32[:len(oneF32)-1]+","+oneF32[1:], 8), []string{`tensor "a" is listed twice`}},
	{"same name spelt two ways", blob(oneF32[:len(oneF32)-1]+","+strings.Replace(oneF32[1:], `"a"`, `"\u0061"`, 1), 8), []string{`tensor "a" is listed twice`}},
	{"key twice", blob(`{"a":{"dtype":"F32","dtype":"F32"}}`, 0), []string{`tensor "a": has "dtype" twice`}},
	{"unknown key", blob(`{"a":{"type":"F32"}}`, 0), []string{`unknown key "type"`, "data_offsets"}},
	{"keys missing", blob(`{"a":{}}`, 0), []string{`"a" has no dtype`, `"a" has no shape`, `"a" has no data_offsets`}},
	{"dtype no string", blob(`{"a":{"dtype":32}}`, 0), []string{"dtype is the number 32, wanted a string"}},
	{"unknown dtype", blob(strings.Replace(oneF32, "F32", "F31", 1), 8), []string{`tensor "a" has dtype "F31"`, "BF16"}},
	{"dtype of half bytes", blob(strings.Replace(oneF32, "F32", "F4", 1), 8), []string{`has dtype "F4"`}},
	{"shape null", blob(`{"a":{"shape":null}}`, 0), []string{"shape is null, wanted a list"}},
	{"shape of strings", blob(`{"a":{"shape":["2"]}}`, 0), []string{`shape holds the string "2"`}},
	{"shape nested", blob(`{"a":{"shape":[[2]]}}`, 0), []string{"shape holds a list"}},
	{"shape with a fraction", blob(`{"a":{"shape":[2.0]}}`, 0), []string{"shape holds 2.0, wanted whole numbers"}},
	{"shape of 2^63", blob(`{"a":{"shape":[9223372036854775808]}}`, 0), []string{"below 2^63"}},
	{"too many dimensions", blob(`{"a":{"shape":[`+strings.Repeat("1,", maxDims)+`1]}}`, 0), []string{"shape has more than 64 numbers"}},
	{"negative dimension", blob(strings.Replace(oneF32, "[2]", "[-2,-1]", 1), 8), []string{`tensor "a": shape [-2 -1] has a negative dimension`}},
	{"product overflows to the right size", blob(strings.Replace(oneF32, "[2]", "[4611686018427387906,1]", 1), 8), []string{"too large to count"}},
	{"overflow hidden by a zero", blob(`{"a":{"dtype":"U8","shape":[0,4294967296,4294967296],"data_offsets":[0,0]}}`, 0), []string{"too large to count"}},
	{"shape and bytes differ", blob(strings.Replace(oneF32, "[2]", "[3]", 1), 8), []string{`tensor "a" is F32 [3] and needs 12 bytes, its data_offsets hold 8`}},
	{"offsets reversed", blob(strings.Replace(oneF32, "[0,8]", "[8,0]", 1), 8), []string{"data_offsets [8 0], wanted"}},
	{"offsets negative", blob(strings.Replace(oneF32, "[0,8]", "[-8,0]", 1), 8), []string{"data_offsets [-8 0], wanted"}},
	{"one offset", blob(strings.Replace(oneF32, "[0,8]", "[8]", 1), 8), []string{"data_offsets [8], wanted"}},
	{"three offsets", blob(strings.Replace(oneF32, "[0,8]", "[0,8,8]", 1), 8), []string{"data_offsets has more than 2"}},
	{"hole at the start", blob(strings.Replace(oneF32, "[0,8]", "[4,12]", 1), 12), []string{`data bytes 0 to 4 before tensor "a" belong to no tensor`}},
	{"overlap", blob(`{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[8],"data_offsets":[4,12]}}`, 12), []string{`tensors "a" and "b" overlap at data bytes 4 to 8`}},
	{"one inside another", blob(`{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}}`, 8), []string{`tensors "a" and "b" overlap at data bytes 4 to 6`}},
	{"truncated data", blob(`{"a":{"dtype":"F32","shape":[1230],"data_offsets":[0,4920]}}            `, 920), []string{"is 1000 bytes, its header describes 5000: truncated download? (4000 bytes are missing)"}},
	{"end near 2^63", blob(`{"a":{"dtype":"U8","shape":[9223372036854775807],"data_offsets":[0,9223372036854775807]}}`, 0), []string{"truncated download?"}},
	{"trailing bytes", blob(oneF32, 9), []string{"1 bytes after the last tensor belong to nothing"}},
	{"metadata not text", blob(`{"__metadata__":{"step":1}}`, 0), []string{`__metadata__ "step" is the number 1, wanted a string`}},
	{"metadata a list", blob(`{"__metadata__":[]}`, 0), []string{"__metadata__ is a list, wanted an object"}},
	{"metadata twice", blob(`{"__metadata__":{},"__metadata__":{}}`, 0), []string{`"__metadata__" is listed twice`}},
	{"metadata key twice", blob(`{"__metadata__":{"k":"1","k":"2"}}`, 0), []string{`__metadata__ has "k" twice`}},
}

func TestDamagedFilesAreRefusedWithTheReason(t *testing.T) {
	for _, test := range damagedFiles {
		t.Run(test.name, func(t *testing.T) {
			s, err := Parse("x.st", test.data)
			if s != nil {
				t.Errorf("damaged file was opened with %v", s.Names())
			}
			wantMessage(t, err, append(test.want, "x.st: ")...)
		})
	}
}

func TestAllProblemsAreReportedTogether(t *testing.T) {
	_, err := Parse("x.st", blob(`{"a":{"dtype":"Q4","shape":[8],"data_offsets":[0,8]},`+
		`"b":{"dtype":"U8","shape":[7],"data_offsets":[8,16]},"c":{"dtype":"U8","shape":[1],"data_offsets":[20,21]}}`, 30))
	wantMessage(t, err, `x.st: tensor "a" has dtype "Q4"`, `x.st: tensor "b" is U8 [7]`,
		`x.st: data bytes 16 to 20`, "9 bytes after the last tensor")
	if n := strings.Count(err.Error(), "\n") + 1; n != 4 {
		t.Errorf("%d lines, wanted 4:\n%v", n, err)
	}
}

func TestLongListsOfProblemsAreCut(t *testing.T) {
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, `,"t%d":{"dtype":"Q4","shape":[0],"data_offsets":[0,0]}`, i)
	}
	_, err := Parse("x.st", blob("{"+b.String()[1:]+"}", 0))
	wantMessage(t, err, `"t0"`, `"t19"`, "and 980 more problems")
	if n := len(err.Error()); n > 10_000 {
		t.Errorf("message has %d bytes", n)
	}
}

func TestUnusualButValidFilesAreRead(t *testing.T) {
	tests := []struct {
		name, header string
		data, want   int // bytes, tensors
	}{
		{"no tensors", `{}`, 0, 0},
		{"only metadata", `{"__metadata__":{"format":"pt"}}`, 0, 0},
		{"scalar", `{"a":{"dtype":"F64","shape":[],"data_offsets":[0,8]}}`, 8, 1},
		{"empty tensors between others", `{"z":{"dtype":"U8","shape":[0,3],"data_offsets":[4,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},` +
			`"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},"y":{"dtype":"U8","shape":[0],"data_offsets":[8,8]}}`, 8, 4},
		{"header out of order", `{"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},"a":{"data_offsets":[0,4],"shape":[1],"dtype":"F32"}}`, 8, 2},
		{"odd header length, padding", `{ "a" : {"dtype":"F32","shape":[1],"data_offsets":[0,4]} }` + " \n ", 4, 1},
		{"escaped name", `{"\u00e9\n\"":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 4, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, err := Parse("x", blob(test.header, test.data))
			if err != nil {
				t.Fatal(err)
			}
			if n := len(s.Names()); n != test.want {
				t.Errorf("%d tensors, wanted %d", n, test.want)
			}
			for _, name := range s.Names() {
				info, _ := s.Info(name)
				b, err := s.Bytes(name)
				if err != nil || len(b) != info.Len()*info.DType.Size() {
					t.Errorf("%q: %d bytes, %v", name, len(b), err)
				}
			}
		})
	}
}

// allocated returns the bytes f takes from the heap, freed ones too.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestHugeClaimsTakeNoMemory(t *testing.T) {
	for name, data := range map[string][]byte{
		"header length": length(1<<60, "{}"),
		"most allowed":  length(maxHeader, "{}"),
		"shape":         blob(`{"a":{"dtype":"F64","shape":[1152921504606846975],"data_offsets":[0,9223372036854775800]}}`, 0),
	} {
		var err error
		// A refusal builds a decoder and a message; 64 KB is generous.
		if n := allocated(func() { _, err = Parse("x", data) }); n > 64<<10 {
			t.Errorf("%s: refused after allocating %d bytes", name, n)
		}
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestParseHeaderNeedsOnlyTheHeader(t *testing.T) {
	data := blob(oneF32, 8)
	h, err := ParseHeader(data[:8+len(oneF32)], int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if h.Start != int64(8+len(oneF32)) || len(h.Tensors) != 1 || h.Tensors[0].Name != "a" || h.Tensors[0].Shape[0] != 2 {
		t.Errorf("header is %+v", h)
	}
	_, err = ParseHeader(data[:20], int64(len(data)))
	wantMessage(t, err, fmt.Sprintf("header needs the first %d bytes, 20 were given", 8+len(oneF32)))
}
