package meft

import (
	"errors"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// reread is c after a way through its own YAML.
func reread(t testing.TB, c Config) Config {
	t.Helper()
	out := Defaults()
	if err := out.setText("config.yaml", c.YAML()); err != nil {
		t.Fatalf("%v in\n%s", err, c.YAML())
	}
	return out
}

func same(a, b Config) bool {
	if len(a.Settings) == 0 && len(b.Settings) == 0 {
		a.Settings, b.Settings = nil, nil
	}
	return reflect.DeepEqual(a, b)
}

func TestEveryOptionHasOneNameAndAHelp(t *testing.T) {
	owner := map[string]string{}
	for _, o := range Options() {
		if o.Name != Canonical(o.Name) || o.Name == "" {
			t.Errorf("option %q is not in canonical form", o.Name)
		}
		if strings.TrimSpace(o.Help) == "" {
			t.Errorf("option %s has no help", o.Name)
		}
		for _, n := range append([]string{o.Name}, o.Aliases...) {
			if n != Canonical(n) {
				t.Errorf("%s: the alias %q is not in canonical form and never found", o.Name, n)
			}
			if first, taken := owner[n]; taken {
				t.Errorf("%q is a name of %s and of %s", n, first, o.Name)
			}
			owner[n] = o.Name
		}
		if len(o.Choices) > 0 && !contains(o.Choices, o.Default) {
			t.Errorf("%s: the default %q is none of the choices %q", o.Name, o.Default, o.Choices)
		}
	}
}

// Every option can be set under all its names, in every spelling, to its stated
// default, and that changes nothing.
func TestStatedDefaultsAreTheDefaults(t *testing.T) {
	for _, o := range Options() {
		for _, n := range append([]string{o.Name}, o.Aliases...) {
			for _, spelled := range []string{n, "--" + n, "--" + strings.ReplaceAll(n, "_", "-")} {
				c := Defaults()
				if err := c.Set(spelled, o.Default); err != nil {
					t.Errorf("%s: %v", spelled, err)
				}
				if o.Method != "" {
					if _, err := newMethod(o.Method, c.Settings); err != nil {
						t.Errorf("%s: %v", spelled, err)
					}
					c.Settings = nil
				}
				if !same(c, Defaults()) {
					t.Errorf("%s %s changes the configuration", spelled, o.Default)
				}
			}
		}
	}
}

// texts that mean something else in YAML if they are written as they are.
func trickyTexts() []string {
	return []string{"", " ", "null", "~", "NULL", "true", "no", "1e3", "0x10", "0o7", "2026-01-31", "-", "--", "---", "- x", "...", "..", ".",
		"../a b/c", "a: b", "a:b", "#x", "x #y", "a\nb", "a\n", "\n\na\n\n", "  a", "a  ", "\ttab", `"q"`, `'q'`, `a"b\c`, "{x}", "[1, 2]", "&a", "*a", "!tag",
		"|", ">", "%d", "@x", "`x`", "<<", "=", "a=b,c=d", "üñ→漢字🙂", "\u2028", "\ufeff", "\x00", "\x7f", "\u0085", "Q: {instruction}\nA: ", "C:\\data", "?", "? a"}
}

func TestYAMLBringsBackEveryValue(t *testing.T) {
	for _, text := range trickyTexts() {
		c := Defaults()
		c.Model, c.PromptTemplate, c.OutputDir, c.DataFormat = text, text, text, text
		c.Settings = map[string]string{"meft_layers": text, "parallel_layers": text, "lora_target": text}
		if back := reread(t, c); !same(c, back) {
			t.Errorf("%q: wrote\n%sread %+v", text, c.YAML(), back)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		c := random(r)
		if back := reread(t, c); !same(c, back) {
			t.Fatalf("wrote\n%sread %+v\nwanted %+v", c.YAML(), back, c)
		}
	}
}

// random is a configuration with a random value in every field.
func random(r *rand.Rand) Config {
	c := Defaults()
	v := reflect.ValueOf(&c).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.String:
			all := trickyTexts()
			f.SetString(all[r.IntN(len(all))])
			if o := v.Type().Field(i).Tag.Get("choices"); o != "" {
				f.SetString(list(o)[r.IntN(len(list(o)))])
			}
		case reflect.Bool:
			f.SetBool(r.IntN(2) == 1)
		case reflect.Int:
			f.SetInt(int64(r.Uint64()) >> r.IntN(64))
		case reflect.Int64: // Size
			f.SetInt(int64(r.Uint64() >> (1 + r.IntN(63))))
		case reflect.Uint64:
			f.SetUint(r.Uint64() >> r.IntN(64))
		case reflect.Float64:
			f.SetFloat((r.Float64() - 0.5) * []float64{1, 1e-300, 1e300}[r.IntN(3)])
		}
	}
	return c
}

func TestConfigurationFilesAreReadStrictly(t *testing.T) {
	for _, c := range []struct {
		name, text string
		words      []string // nil: accepted
	}{
		{"aliases and hyphens", "lr: 1e-4\nbatch-size: 4\n", nil},
		{"json", `{"learning_rate": 1e-4, "packing": true}`, nil},
		{"comments only", "# nothing\n", nil},
		{"empty", "", nil},
		{"a list", "meft_layers: [0, 1]\n", nil},
		{"a size", "device_memory: 8GB\n", nil},
		{"unknown key", "model: m\nlearning_rat: 1\n", []string{"c.yaml:2", "learning_rat", `did you mean "learning_rate"`}},
		{"key with the letters of none", "zzzzzzzzzzzzzzzzzzzzz: 1\n", []string{"c.yaml:1", "zzzzzzzzzzzzzzzzzzzzz"}},
		{"doubled key", "seed: 1\nmodel: m\nseed: 2\n", []string{"c.yaml:3", "seed", "line 1"}},
		{"doubled under another name", "learning_rate: 1\nlr: 2\n", []string{"c.yaml:2", "lr", "line 1", "learning_rate"}},
		{"wrong values, all of them", "seed: x\npacking: maybe\ndevice: tpu\nlearning_rate: fast\nmax_steps: 1.5\ndevice_memory: big\nval_size: .inf\n",
			[]string{"c.yaml:1", "c.yaml:2", "true or false", "c.yaml:3", "cpu", "c.yaml:4", "c.yaml:5", "whole number", "c.yaml:6", "8GB", "c.yaml:7"}},
		{"no value", "seed:\n", []string{"c.yaml:1", "seed", "no value"}},
		{"a table", "seed: {a: 1}\n", []string{"c.yaml:1", "seed", "table"}},
		{"an alias", "seed: &s 1\nmax_steps: *s\n", []string{"c.yaml:2", "max_steps", "alias"}},
		{"a list of options", "- seed\n", []string{"c.yaml:1"}},
		{"two documents", "seed: 1\n---\nseed: 2\n", []string{"c.yaml", "document"}},
		{"broken", "a: [1\n", []string{"c.yaml"}},
	} {
		conf := Defaults()
		path := filepath.Join(t.TempDir(), "c.yaml")
		put(t, path, c.text)
		err := conf.SetFile(path)
		if c.words == nil {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		t.Run(c.name, func(t *testing.T) { mustSay(t, err, c.words...) })
	}
}

func TestUnknownOptionNamesTheNearest(t *testing.T) {
	for name, want := range map[string]string{
		"--learning-rte": "learning_rate", "epoch": "epochs", "meft_topk": "meft_top_k", "Seed": "seed", "max-lenght": "max_length",
	} {
		var c Config
		err := c.Set(name, "1")
		var unknown *UnknownOption
		if !errors.As(err, &unknown) || unknown.Name != name || unknown.Nearest != want {
			t.Errorf("%s: got %v, wanted %q named", name, err, want)
		}
	}
}

// A value that is refused leaves the configuration as it was.
func TestRefusedValuesChangeNothing(t *testing.T) {
	for _, o := range Options() {
		if o.Method != "" {
			continue
		}
		c := random(rand.New(rand.NewPCG(5, 5)))
		before := c
		if err := c.Set(o.Name, "\xff"); err == nil {
			t.Errorf("%s accepts text that is not UTF-8", o.Name)
		}
		_ = c.Set(o.Name, "nan") // text options accept it
		if reflect.ValueOf(c).Field(o.field).Kind() != reflect.String && !same(c, before) {
			t.Errorf("%s: a refused value changed it", o.Name)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "8GB": 8e9, "8 gb": 8e9, "512MiB": 512 << 20, "1.5e9": 1.5e9, "1.5k": 1500, "2TiB": 2 << 40, "100 kB": 1e5, "9007199254740993": 9007199254740993, "7B": 7,
	} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%q is %d, %v; wanted %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "GB", "-1", "1QB", "1..2", "1e30", "NaN", "inf", "8 G B", "0x10"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("%q was read as %d", text, got)
		}
	}
	for size, want := range map[Size]string{0: "0 B", 999: "999 B", 1000: "1 kB", 1500000: "1.5 MB", 999600: "1 MB", 123456789: "123 MB", 8e9: "8 GB", 3e15: "3000 TB"} {
		if got := size.String(); got != want {
			t.Errorf("%d is %q, wanted %q", int64(size), got, want)
		}
	}
}

// FuzzSet gives options any name and value and reads any file: nothing panics,
// and what was accepted survives its own YAML.
func FuzzSet(f *testing.F) {
	for i, text := range trickyTexts() {
		all := Options()
		f.Add(all[i%len(all)].Name, text, "learning_rate: "+text+"\n")
	}
	f.Add("device_memory", "8GB", "seed: &s 1\nmax_steps: *s\n")
	f.Add("meft_layers", "0,1", "a: [[[[[1]]]]]\n---\n- b\n")
	f.Fuzz(func(t *testing.T, name, value, file string) {
		c := Defaults()
		if c.Set(name, value) == nil {
			if back := reread(t, c); !same(c, back) {
				t.Errorf("%q=%q: wrote\n%sread %+v", name, value, c.YAML(), back)
			}
		}
		// Part of a file is set when another part is refused; whatever it is, it
		// can be written.
		_ = c.setText("fuzz", []byte(file))
		if back := reread(t, c); !same(c, back) {
			t.Errorf("%q: wrote\n%sread %+v", file, c.YAML(), back)
		}
		_, _ = newMethod(c.Method, c.Settings)
		_ = checkConfig(c)
	})
}
