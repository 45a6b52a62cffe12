package token

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"unicode/utf8"
)

// use runs every method of a tokenizer that loaded: whatever the file was, none
// may panic.
func use(t *testing.T, tok *Tokenizer) {
	t.Helper()
	for _, s := range []string{"", "a", " Hello, wörld 12345\n\n  北京 🙂 <s></s> \xff\xfe", strings.Repeat("ab ", 40)} {
		for _, ids := range [][]int32{tok.Encode(s, true), tok.EncodePlain(s)} {
			for _, id := range ids {
				if id < 0 || int(id) >= tok.Size() {
					t.Fatalf("%q encodes to %v, beyond size %d", s, ids, tok.Size())
				}
			}
			if out := tok.Decode(ids, false); !utf8.ValidString(out) {
				t.Fatalf("Decode(%v) is not UTF-8: %q", ids, out)
			}
		}
	}
	tok.Decode([]int32{-1, math.MinInt32, math.MaxInt32, int32(tok.Size()), 0}, true)
	_ = tok.Piece(-1) + tok.Piece(math.MaxInt32) + tok.Hash() + tok.ChatTemplate()
	tok.IsSpecial(-5)
	tok.Stops()
}

const smallJSON = `{"added_tokens":[{"id":6,"content":"<s>","special":true},{"id":7,"content":"<x>","normalized":true,"lstrip":true,"rstrip":true,"single_word":true}],
"normalizer":{"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]},
"pre_tokenizer":{"type":"Split","pattern":{"Regex":"a+"},"behavior":"MergedWithNext"},
"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}},{"Sequence":{"id":"A"}}],"special_tokens":{"<s>":{"ids":[6]}}},
"decoder":{"type":"Sequence","decoders":[{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1}]},
"model":{"type":"BPE","unk_token":"u","fuse_unk":true,"byte_fallback":true,"vocab":{"u":0,"a":1,"▁":2,"▁a":3,"b":4,"ab":5},"merges":["▁ a",["a","b"]]}}`

func FuzzParseJSON(f *testing.F) {
	small := strings.Replace(smallJSON, `["a","b"]`, `"a b"`, 1)
	f.Add([]byte(small), []byte(`{"bos_token":"<s>","added_tokens_decoder":{"9":{"content":"<y>"}},"chat_template":[{"name":"default","template":"x"}]}`))
	f.Add([]byte(small[:len(small)/2]), []byte(`null`))
	f.Add([]byte(`{"model":{"type":"BPE","vocab":{"a":4294967295},"merges":[]}}`), []byte(`[]`))
	f.Add([]byte(`{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"pre_tokenizer":{"type":"ByteLevel"},"decoder":{"type":"ByteLevel"}}`), []byte(`{"eos_token":{"content":"a"}}`))
	f.Fuzz(func(t *testing.T, file, config []byte) {
		tok, err := Parse("fuzz", fstest.MapFS{fileJSON: {Data: file}, "tokenizer_config.json": {Data: config}})
		if err == nil {
			use(t, tok)
		}
	})
}

// protoField writes one length-delimited field.
func protoField(tag int, data []byte) []byte {
	b := binary.AppendUvarint(nil, uint64(tag)<<3|wireBytes)
	return append(binary.AppendUvarint(b, uint64(len(data))), data...)
}

func protoVarint(tag int, v int64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(tag)<<3|wireVarint), uint64(v))
}

// spFile writes a SentencePiece BPE model with byte fallback.
func spFile(pieces []spPiece, trainer, normalizer []byte) []byte {
	var out []byte
	for _, p := range pieces {
		m := protoField(1, []byte(p.text))
		m = append(m, 2<<3|wire32)
		m = binary.LittleEndian.AppendUint32(m, math.Float32bits(p.score))
		m = append(m, protoVarint(3, int64(p.kind))...)
		out = append(out, protoField(1, m)...)
	}
	out = append(out, protoField(2, append(protoVarint(3, 2), trainer...))...)
	return append(out, protoField(3, append(protoVarint(4, 0), normalizer...))...)
}

var spPieces = []spPiece{
	{"<unk>", 0, spUnknown}, {"<s>", 0, spControl}, {"</s>", 0, spControl}, {"[U]", 0, spUserDefined},
	{"▁", -9, spNormal}, {"a", -8, spNormal}, {"b", -7, spNormal}, {"▁a", -1, spNormal}, {"ab", -2, spNormal}, {"aa", -3, spNormal}, {"aaa", -4, spNormal},
}

func FuzzParseModel(f *testing.F) {
	f.Add(spFile(spPieces, protoVarint(43, -1), nil))
	f.Add(spFile(spPieces, nil, nil)[:60])
	f.Add([]byte("YQ== 0\nYg== 1\nYWI= 2\n"))
	f.Add([]byte("YQ== 4294967295\n"))
	f.Add([]byte("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"))
	f.Fuzz(func(t *testing.T, file []byte) {
		if tok, err := Parse("fuzz", fstest.MapFS{fileModel: {Data: file}}); err == nil {
			use(t, tok)
		}
	})
}

func FuzzEncodeDecode(f *testing.F) {
	tok, err := trained(f, 500, "<s>", "</s>").Tokenizer()
	if err != nil {
		f.Fatal(err)
	}
	sp, err := Parse("sp", fstest.MapFS{fileModel: {Data: spFile(spPieces, nil, nil)}})
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range append(storyTexts(5), "", " ", "\r\n\t", "<s>a</s>", "é\u0301\u0323", "a\xffb", strings.Repeat("ab", 40)) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		use := [][]int32{tok.Encode(s, false), tok.EncodePlain(s)}
		for _, ids := range use {
			want := lossy([]byte(s))
			if got := tok.Decode(ids, false); got != want {
				t.Errorf("%q encodes to %v, which decodes to %q", s, ids, got)
			}
		}
		sp.Decode(sp.Encode(s, true), true)
		checkMergers(t, tok.bpe, s)
		checkMergers(t, sp.bpe, strings.ReplaceAll(s, " ", blank))
	})
}

// checkMergers compares the ways to encode one word: scanning, heap, and cut
// before blanks.
func checkMergers(t *testing.T, b *bpe, w string) {
	t.Helper()
	one, two := b.symbols(nil, w), b.symbols(nil, w)
	if len(one) == 0 {
		return
	}
	one[len(one)-1].next, two[len(two)-1].next = -1, -1
	b.mergeScan(one)
	b.mergeHeap(two)
	ids := func(s []symbol) (out []int32) {
		for i := int32(0); i >= 0; i = s[i].next {
			out = append(out, s[i].id)
		}
		return out
	}
	if !slices.Equal(ids(one), ids(two)) {
		t.Fatalf("%q: scan gives %v, heap gives %v", w, ids(one), ids(two))
	}
	if b.cutBlank && !slices.Equal(ids(one), b.append(nil, w)) {
		t.Fatalf("%q: whole it gives %v, cut before blanks %v", w, ids(one), b.append(nil, w))
	}
}

// Every prefix of a good file is an error or a smaller tokenizer.
func TestCutOffModelNeverPanics(t *testing.T) {
	whole := spFile(spPieces, protoVarint(43, -1), nil)
	for n := range whole {
		if tok, err := Parse("cut", fstest.MapFS{fileModel: {Data: bytes.Clone(whole[:n])}}); err == nil {
			use(t, tok)
		}
	}
}
