package meft

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// layers lists every package from the bottom up. A package may import only
// packages on lines above its own. Moving one is a design change: argue for it
// in the commit message, do not edit this to fix a build.
var layers = []string{
	"internal/jinja task/world",
	"tensor internal/simd safetensors token",
	"quant",
	"ref cpu param model prune gguf",
	"tensor/devicetest method task",
	"method/methodtest train",
	".",
	"demo compare",
	"cmd/meft",
}

// outside are the packages of others that ours may import. Whatever is missing
// here has not been argued for.
var outside = map[string][]string{
	".":             {"go.yaml.in/yaml/v3", "golang.org/x/sys"},
	"internal/simd": {"golang.org/x/sys"},
	"cpu":           {"golang.org/x/sys"},
	"param":         {"golang.org/x/sys"},
	"safetensors":   {"golang.org/x/sys"},
	"token":         {"golang.org/x/text", "github.com/dlclark/regexp2/v2"},
	"task":          {"github.com/parquet-go/parquet-go"},
	"train":         {"golang.org/x/sys"},
	"cmd/meft":      {"github.com/spf13/cobra", "github.com/spf13/pflag", "github.com/vbauerster/mpb/v8", "golang.org/x/term"},
}

func TestPackagesImportOnlyLowerOnes(t *testing.T) {
	level := map[string]int{}
	for i, line := range layers {
		for _, p := range strings.Fields(line) {
			level[p] = i
		}
	}
	files := token.NewFileSet()
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && file != "." && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		pkg := path.Dir(filepath.ToSlash(file))
		own, known := level[pkg]
		if !known {
			t.Errorf("%s: package %s is on no line of layers", file, pkg)
			return nil
		}
		f, err := parser.ParseFile(files, file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			checkImport(t, level, file, pkg, own, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkImport(t *testing.T, level map[string]int, file, pkg string, own int, name string) {
	t.Helper()
	if name == "meft" || strings.HasPrefix(name, "meft/") {
		target := strings.TrimPrefix(strings.TrimPrefix(name, "meft"), "/")
		if target == "" {
			target = "."
		}
		if l, known := level[target]; !known || l >= own {
			t.Errorf("%s: %s imports %s, which is not below it", file, pkg, target)
		}
		return
	}
	if first, _, _ := strings.Cut(name, "/"); !strings.Contains(first, ".") {
		return // standard library
	}
	for _, allowed := range outside[pkg] {
		if name == allowed || strings.HasPrefix(name, allowed+"/") {
			return
		}
	}
	t.Errorf("%s: %s imports %s, which outside does not allow it", file, pkg, name)
}
