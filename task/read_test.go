package task

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
)

// put writes a file into a fresh folder and returns its path.
func put(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// shared returns the path of study material, which lies beside the project.
func shared(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join("..", "..", "shared", "data", filepath.FromSlash(name))
	if _, err := os.Stat(path); err != nil {
		t.Skip("shared test material not found")
	}
	return path
}

// load is Load where an error fails the test.
func load(t testing.TB, path string, o ReadOptions) []Example {
	t.Helper()
	all, err := Load(path, o, 0)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// pairs shows prompt, completion and document of every example.
func pairs(all []Example) []string {
	var out []string
	for _, e := range all {
		out = append(out, e.Prompt+"|"+e.Completion+"|"+e.Text)
	}
	return out
}

func TestFormatsGiveTheSameRows(t *testing.T) {
	want := []string{"a\nb|c \"q\", x|", "é|ü|", "p|q|"}
	jsonl := "{\"prompt\":\"a\\nb\",\"completion\":\"c \\\"q\\\", x\"}\r\n\n{\"prompt\":\"é\",\"completion\":\"\\u00fc\",\"n\":null}\n  {\"completion\":\"q\",\"prompt\":\"p\"}"
	array := "[" + strings.ReplaceAll(strings.ReplaceAll(jsonl, "\r\n\n", ",\n"), "\n  ", "\n,  ") + "\n]\n"
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write([]byte(jsonl))
	z.Close()
	cases := map[string]string{
		"x.jsonl":           jsonl,
		"bom.jsonl":         "\ufeff" + jsonl,
		"x.jsonl.gz":        zipped.String(),
		"x.ndjson":          jsonl,
		"lines.json":        jsonl,
		"x.json":            array,
		"wrapped.json":      `{"version": "1.1", "data": ` + array + `, "more": {"a": [1, "]"]}}`,
		"x.csv":             "prompt,completion\n\"a\nb\",\"c \"\"q\"\", x\"\né,ü\np,q\n",
		"bom.csv":           "\ufeffcompletion,,prompt\n\"c \"\"q\"\", x\",0,\"a\nb\"\nü,1,é\nq,2,p",
		"x.tsv":             "prompt\tcompletion\n\"a\nb\"\t\"c \"\"q\"\", x\"\né\tü\np\tq\n",
		"concatenated.JSON": strings.ReplaceAll(strings.ReplaceAll(jsonl, "\r\n\n", " "), "\n", " "),
	}
	for name, text := range cases {
		t.Run(name, func(t *testing.T) {
			if got := pairs(load(t, put(t, name, text), ReadOptions{})); !reflect.DeepEqual(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	t.Run("parquet", func(t *testing.T) {
		type row struct {
			Prompt     string  `parquet:"prompt,dict,zstd"`
			Completion *string `parquet:"completion,optional,snappy"`
			N          int32   `parquet:"n"`
		}
		path := filepath.Join(t.TempDir(), "x.parquet")
		c := []string{"c \"q\", x", "ü", "q"}
		if err := parquet.WriteFile(path, []row{{"a\nb", &c[0], 1}, {"é", &c[1], 2}, {"p", &c[2], 3}}); err != nil {
			t.Fatal(err)
		}
		if got := pairs(load(t, path, ReadOptions{})); !reflect.DeepEqual(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestTextFileIsOneDocumentALine(t *testing.T) {
	got := pairs(load(t, put(t, "a.txt", "one\n\n two \r\n\t\nthree"), ReadOptions{}))
	if want := []string{"||one", "|| two ", "||three"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestErrorsNamePlaceAndCause gives for every broken file the words that its
// message must hold.
func TestErrorsNamePlaceAndCause(t *testing.T) {
	ok := `{"prompt":"a","completion":"b"}` + "\n"
	cases := []struct {
		name, text string
		words      []string
	}{
		{"a.jsonl", ok + `{"prompt":"a","completion":oops}`, []string{"a.jsonl:2:28: broken JSON", "'o'"}},
		{"a.jsonl", ok + ok + `{"prompt":"a",`, []string{"a.jsonl:3:14:", "ends inside", "one line"}},
		{"a.jsonl", ok + `["x"]`, []string{"a.jsonl:2: the row is a list ([\"x\"]), wanted an object"}},
		{"a.jsonl", ok + "null", []string{"a.jsonl:2: the row is null"}},
		{"a.jsonl", "", []string{"a.jsonl: no rows"}},
		{"a.jsonl", " \n\n", []string{"a.jsonl: no rows"}},
		{"a.jsonl", ok + "{\"prompt\":\"\xff\"}", []string{"a.jsonl:2:12:", "0xff is not UTF-8"}},
		{"a.jsonl", "\xff\xfe{\x00", []string{"UTF-16", "UTF-8"}},
		{"a.jsonl", ok + `{"prompt":"a","completion":42}`, []string{`a.jsonl:2: field "completion" is a number (42), wanted a string`}},
		{"a.jsonl", `{"prompt":["a"],"completion":42}`, []string{`a.jsonl:1: field "prompt" is a list (["a"])`, `field "completion" is a number`}},
		{"a.jsonl", ok + `{"prompt":"a"}`, []string{`a.jsonl:2: no field completion`, "form prompt", "has prompt"}},
		{"a.jsonl", `{"q":"a","r":null}`, []string{"a.jsonl:1: no known form", "q, r (null)", "alpaca (instruction, output)", "field=column"}},
		{"a.jsonl", `{"prompt":"a","chosen":"b","rejected":"c"}`, []string{"completion=chosen"}},
		{"a.jsonl", `{"prompt":"a","completion":"b","messages":[]}`, []string{"several forms: messages (messages); prompt (prompt, completion)"}},
		{"a.json", "[" + ok + ",\n {\"prompt\": \"x\" \"y\"}]", []string{"a.json:3:17: broken JSON"}},
		{"a.json", "[\n" + ok + "," + ok, []string{"a.json:4:1: the file ends inside"}},
		{"a.json", "[1]", []string{"a.json:1: the row is a number (1), wanted an object"}},
		{"a.json", "[]", []string{"a.json: no rows"}},
		{"a.json", "[" + ok + "] x", []string{"a.json:2:3: found 'x', wanted the end"}},
		{"a.json", `{"a": {"b": [1, 2}}`, []string{"a.json:1:18: broken JSON"}},
		{"a.csv", "prompt,completion\na,b\nc,d,e\n", []string{"a.csv:3", "fields", "2 of the header"}},
		{"a.csv", "prompt,completion\na,\"b\nc,d\n", []string{"a.csv:", "line 2", "\""}},
		{"a.csv", "prompt,prompt\na,b\n", []string{"columns 1 and 2", `"prompt"`}},
		{"a.csv", "prompt,completion\n", []string{"a.csv: no rows"}},
		{"a.csv", "prompt;completion\na;b\n", []string{"separator"}},
		{"a.parquet", "PAR1 this is none PAR1", []string{"a.parquet: not a readable parquet file"}},
		{"a.parquet", "", []string{"a.parquet: not a readable parquet file"}},
		{"a.docx", "x", []string{"a.docx: the name does not say the format", ".jsonl"}},
		{"a.jsonl.gz", "\x1f\x8bxx", []string{"a.jsonl.gz: gzip:"}},
	}
	for _, c := range cases {
		_, err := Load(put(t, c.name, c.text), ReadOptions{}, 0)
		if err == nil {
			t.Errorf("%s with %q: no error", c.name, c.text)
			continue
		}
		for _, w := range c.words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s with %q: error %q lacks %q", c.name, c.text, err, w)
			}
		}
	}
}

func TestAllBrokenRowsAreReported(t *testing.T) {
	path := put(t, "a.jsonl", strings.Repeat(`{"text":"x"}`+"\n"+`{"text":7}`+"\n"+"{\n", 9))
	_, err := Load(path, ReadOptions{}, 0)
	if err == nil {
		t.Fatal("no error")
	}
	for _, w := range []string{":2:", ":3:1", ":5:", "and 8 more"} {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error lacks %q:\n%v", w, err)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	path := put(t, "a.jsonl", `{"text":"x"}`)
	_, err := Load(path, ReadOptions{Form: "alpacca", Format: "xls", Columns: map[string]string{"inputs": "x"}, Template: "alpacca"}, 0)
	if err == nil {
		t.Fatal("no error")
	}
	for _, w := range []string{"alpacca", "xls", `"inputs"`, "placeholder"} {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error lacks %q: %v", w, err)
		}
	}
}

func TestColumnsRename(t *testing.T) {
	path := put(t, "a.jsonl", `{"question":"q","answer":"a","prompt":"no"}`)
	all := load(t, path, ReadOptions{Columns: map[string]string{"prompt": "question", "completion": "answer"}})
	if got := pairs(all)[0]; got != "q|a|" {
		t.Errorf("got %q", got)
	}
	_, err := Load(path, ReadOptions{Columns: map[string]string{"completion": "anwser"}}, 0)
	if err == nil {
		t.Error("a mapped column that is not there is no error")
	}
}

func TestFolderGivesItsSplits(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("README.md", "x")
	write("data/train-00001-of-00002.jsonl", `{"text":"b"}`)
	write("data/train-00000-of-00002.jsonl", `{"text":"a"}`)
	write("valid.csv", "text\nv\n")
	if got := pairs(load(t, dir, ReadOptions{})); !reflect.DeepEqual(got, []string{"||a", "||b"}) {
		t.Errorf("train: %q", got)
	}
	if got := pairs(load(t, dir, ReadOptions{Split: "validation"})); !reflect.DeepEqual(got, []string{"||v"}) {
		t.Errorf("validation: %q", got)
	}
	if _, err := Load(dir, ReadOptions{Split: "test"}, 0); err == nil || !strings.Contains(err.Error(), "valid.csv") {
		t.Errorf("test: %v", err)
	}
	write("train.csv", "text\nx\n")
	if _, err := Load(dir, ReadOptions{}, 0); err == nil || !strings.Contains(err.Error(), "two formats") {
		t.Errorf("two formats: %v", err)
	}
}

func TestParquetReadsNestedMessages(t *testing.T) {
	type msg struct {
		Role    string  `parquet:"role"`
		Content *string `parquet:"content,optional"`
	}
	type lists struct {
		Messages []msg `parquet:"messages,list"`
	}
	type repeated struct {
		Messages []msg `parquet:"messages"`
	}
	type turns struct {
		From  []string `parquet:"from,list"`
		Value []string `parquet:"value,list"`
	}
	type columns struct {
		Conversations turns `parquet:"conversations"`
	}
	u, a := "hi", "ho"
	ms := []msg{{"user", &u}, {"assistant", &a}}
	dir := t.TempDir()
	for name, err := range map[string]error{
		"list":     parquet.WriteFile(filepath.Join(dir, "list.parquet"), []lists{{ms}, {ms}}),
		"repeated": parquet.WriteFile(filepath.Join(dir, "repeated.parquet"), []repeated{{ms}, {ms}}),
		"columns": parquet.WriteFile(filepath.Join(dir, "columns.parquet"),
			[]columns{{turns{[]string{"human", "gpt"}, []string{"hi", "ho"}}}, {turns{[]string{"human", "gpt"}, []string{"hi", "ho"}}}}),
	} {
		if err != nil {
			t.Fatal(err)
		}
		all := load(t, filepath.Join(dir, name+".parquet"), ReadOptions{})
		if len(all) != 2 {
			t.Fatalf("%s: %d rows", name, len(all))
		}
		m := all[1].Messages
		if len(m) != 2 || m[0].Role != "user" || m[0].Content != "hi" || m[1].Role != "assistant" || m[1].Content != "ho" {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

func TestParquetDamageIsAnError(t *testing.T) {
	type row struct {
		Text string `parquet:"text"`
	}
	path := filepath.Join(t.TempDir(), "x.parquet")
	rows := make([]row, 400)
	for i := range rows {
		rows[i].Text = fmt.Sprint("row ", i)
	}
	if err := parquet.WriteFile(path, rows); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Load(put(t, "cut.parquet", string(whole[:len(whole)/2])), ReadOptions{}, 0); err == nil {
		t.Error("half a file is no error")
	}
	// Any byte may be wrong: rows or an error, but no panic and no endless loop.
	for i := 0; i < len(whole); i += 37 {
		b := bytes.Clone(whole)
		b[i] ^= 0xff
		Load(put(t, "x.parquet", string(b)), ReadOptions{}, 0)
	}
}

// TestStreamingKeepsMemoryBounded reads files of 12 MB and looks at what stays
// allocated: a reader that collects rows would hold all of it.
func TestStreamingKeepsMemoryBounded(t *testing.T) {
	line := `{"text":"` + strings.Repeat("x", 1000) + `"}` + "\n"
	const n = 12000
	for name, text := range map[string]string{
		"a.jsonl": strings.Repeat(line, n),
		"a.json":  "[" + strings.Repeat(line+",", n-1) + line + "]",
		"a.csv":   "text\n" + strings.Repeat(strings.Repeat("x", 1000)+"\n", n),
	} {
		path := put(t, name, text)
		text = ""
		var before, during runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		rows := 0
		for _, err := range Read(path, ReadOptions{}) {
			if err != nil {
				t.Fatal(err)
			}
			if rows++; rows == n-1 {
				runtime.GC()
				runtime.ReadMemStats(&during)
			}
		}
		if rows != n {
			t.Errorf("%s: %d rows, want %d", name, rows, n)
		}
		if grown := int64(during.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 {
			t.Errorf("%s: %d bytes are held while reading", name, grown)
		}
	}
}

func TestLongLinesAreRead(t *testing.T) {
	if testing.Short() {
		t.Skip("64 MB line")
	}
	long := strings.Repeat("y", 64<<20)
	all := load(t, put(t, "a.jsonl", `{"text":"`+long+`"}`+"\n"+`{"text":"z"}`), ReadOptions{})
	if len(all) != 2 || all[0].Text != long || all[1].Text != "z" {
		t.Error("the long line came back changed")
	}
}

// stream reads a text that is in no file.
func stream(text, format string) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		readStream(strings.NewReader(text), "x."+format, format, yield)
	}
}

func FuzzJSONL(f *testing.F) {
	for _, s := range []string{`{"text":"a"}`, "[{}]", "[{\"a\":[]},\n{\"b\":\"]\"}]", `{"data":[{"text":"x"}]}`, "{\"messages\":[{\"role\":\"user\",\"content\":null}]}", `{"a":"\`, `{"conversations":{"from":["gpt"],"value":["x"]}}`, "\xef\xbb\xbf{}", `{"id":1e400,"question":"","answers":{"text":[]}}`, `{"prompt":[{}],"completion":"a"}`, `{"messages":[{"role":"assistant","function_call":{"name":"f"}}]}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, format := range []string{"jsonl", "json"} {
			for e, err := range (ReadOptions{}).examples(stream(s, format)) {
				if err != nil && !strings.Contains(err.Error(), "x."+format) {
					t.Errorf("error does not name the file: %v", err)
				}
				if err == nil && (e.ID == "" && e.Form() != "squad" && !strings.Contains(s, `""`) || e.Learn != nil && len(e.Learn) != len(e.Messages)) {
					t.Errorf("an example without id or with %d flags for %d messages", len(e.Learn), len(e.Messages))
				}
			}
		}
		// A list of objects must give exactly what encoding/json reads.
		if !strings.HasPrefix(s, "[") || !utf8.ValidString(s) {
			return
		}
		var want []map[string]json.RawMessage
		bad := json.Unmarshal([]byte(s), &want)
		var got []map[string]json.RawMessage
		var failed error
		for r, err := range stream(s, "json") {
			if err != nil {
				failed = err
				continue
			}
			got = append(got, r.values)
		}
		if bad == nil && slices.ContainsFunc(want, func(m map[string]json.RawMessage) bool { return m == nil }) {
			bad = errors.New("null")
		}
		if (bad == nil) != (failed == nil) {
			t.Fatalf("encoding/json says %v, the reader %v", bad, failed)
		}
		if bad == nil && len(want) > 0 && !reflect.DeepEqual(got, want) {
			t.Errorf("rows %q, want %q", got, want)
		}
	})
}

func FuzzCSV(f *testing.F) {
	f.Add("text\na\n", false)
	f.Add("question,answers\n\"a\nb\",\"[1,\"\"x\"\"]\"\n", false)
	f.Add("a\tb\n1\t", true)
	f.Fuzz(func(t *testing.T, s string, tabs bool) {
		format := map[bool]string{false: "csv", true: "tsv"}[tabs]
		for r, err := range stream(s, format) {
			if err != nil {
				if !strings.Contains(err.Error(), "x."+format) {
					t.Errorf("error does not name the file: %v", err)
				}
				continue
			}
			if len(r.Names) != len(r.values) {
				t.Errorf("%d names, %d values", len(r.Names), len(r.values))
			}
			for _, n := range r.Names {
				if _, err := r.Text(n); err != nil {
					t.Errorf("a field of a table is no string: %v", err)
				}
			}
		}
	})
}
