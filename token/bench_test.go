package token

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// benchText is about 1 MB of code with English comments, and little else: the
// HTTP package of the Go distribution.
func benchText(b *testing.B) string {
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		b.Skip("no Go distribution to take text from")
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(goroot)), "src/net/http/*.go"))
	if err != nil || len(files) == 0 {
		b.Skip("no source of net/http in the Go distribution")
	}
	var text strings.Builder
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			b.Fatal(err)
		}
		text.Write(data)
	}
	return text.String()[:min(text.Len(), 1_000_000)]
}

func BenchmarkEncode(b *testing.B) {
	for _, name := range []string{"llama2", "llama3", "qwen2"} {
		b.Run(name, func(b *testing.B) {
			text, tok := benchText(b), load(b, sharedDir(b, name))
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				tok.Encode(text, false)
			}
		})
		b.Run(name+"/uncached", func(b *testing.B) {
			text, tok := benchText(b), load(b, sharedDir(b, name))
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				tok.bpe.cache = newWordCache()
				tok.Encode(text, false)
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, name := range []string{"llama2", "llama3"} {
		b.Run(name, func(b *testing.B) {
			text, tok := benchText(b), load(b, sharedDir(b, name))
			ids := tok.Encode(text, false)
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				tok.Decode(ids, true)
			}
		})
	}
}

// BenchmarkOneLongWord has no place to split at: time per byte must not grow
// with the length.
func BenchmarkOneLongWord(b *testing.B) {
	tok := load(b, sharedDir(b, "llama3"))
	for _, n := range []int{1 << 12, 1 << 16, 1 << 20} {
		b.Run(byteSize(n), func(b *testing.B) {
			text := strings.Repeat("abcdefgh", n/8)
			b.SetBytes(int64(n))
			for b.Loop() {
				tok.Encode(text, false)
			}
		})
	}
}

func byteSize(n int) string {
	if n >= 1<<20 {
		return "1M"
	}
	return map[int]string{1 << 12: "4K", 1 << 16: "64K"}[n]
}

func BenchmarkLoad(b *testing.B) {
	for _, name := range []string{"llama2", "llama3"} {
		dir := sharedDir(b, name)
		for _, file := range []string{fileJSON, fileModel} {
			b.Run(name+"/"+file, func(b *testing.B) {
				for b.Loop() {
					load(b, dir+"/"+file)
				}
			})
		}
	}
}
