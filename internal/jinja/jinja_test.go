package jinja

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ownCase is a line of testdata/cases.jsonl: a template over testdata/data.json
// and what Jinja2 3.1.6 made of it in the setting of transformers, on
// 2025-07-10 12:00.
type ownCase struct {
	Template string
	Want     *string
	Raised   string // the text of raise_exception
	Fails    bool   // with any other error
}

func ownData(t testing.TB) *Dict {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "data.json"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := ParseJSON(b)
	if err != nil {
		t.Fatal(err)
	}
	return v.(*Dict)
}

func render(src string, data *Dict, env Env) (string, error) {
	tpl, err := Parse("test", src)
	if err != nil {
		return "", err
	}
	return tpl.Render(data, env)
}

func TestLanguageMatchesJinja2(t *testing.T) {
	data := ownData(t)
	n := 0
	eachLine(t, filepath.Join("testdata", "cases.jsonl"), func(c ownCase) {
		n++
		got, err := render(c.Template, data, Env{Now: fixedClock})
		var raised *RaisedError
		switch {
		case c.Want != nil:
			if err != nil || got != *c.Want {
				t.Errorf("%s\n got %q, %v\nwant %q", c.Template, got, err, *c.Want)
			}
		case c.Raised != "":
			if !errors.As(err, &raised) || raised.Message != c.Raised {
				t.Errorf("%s\n got %q, %v, want it to raise %q", c.Template, got, err, c.Raised)
			}
		case err == nil:
			t.Errorf("%s\n got %q, want an error", c.Template, got)
		}
	})
	if n < 200 {
		t.Errorf("only %d cases", n)
	}
}

func TestErrorsNameTemplateLineAndCause(t *testing.T) {
	cases := []struct{ src, want string }{
		{"a\n{{ x", "test:2: expected '}}', got end of template"},
		{"a\n\n{% if x %}\n", "test:3: {% if %} is not closed, expected {% elif %} or {% else %} or {% endif %}"},
		{"{% endif %}", "test:1: {% endif %} closes nothing"},
		{"{% include 'x' %}", "test:1: {% include %} is not supported"},
		{"\n{{ (1] }}", "test:2: unexpected ']', expected ')'"},
		{"{{ 'abc }}", "test:1: string is not closed"},
		{"{# abc", "test:1: missing end of comment tag"},
		{"{% raw %}abc", "test:1: missing end of raw directive"},
		{"{% break %}", "test:1: {% break %} outside of a loop"},
		{"a\nb\n{{ x.y.z }}", "test:3: 'int object' has no attribute 'y'"},
		{"{{ nope.x }}", "test:1: 'nope' is undefined"},
		{"{{ x|nope }}", "test:1: no filter named 'nope'"},
		{"{{ x is nope }}", "test:1: no test named 'nope'"},
		{"{{ 1 + 'a' }}", "test:1: unsupported operand type(s) for +: 'int' and 'str'"},
		{"{{ l.append(1) }}", "test:1: access to attribute 'append' of 'list' object is unsafe"},
	}
	for _, c := range cases {
		_, err := render(c.src, ownData(t), Env{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v does not say %q", c.src, err, c.want)
		}
	}
}

func TestRunawayTemplatesStopWithALimit(t *testing.T) {
	double := "{% set ns = namespace(a=%) %}" + strings.Repeat("{% set ns.a = ns.a + ns.a %}", 60)
	share := "{% set ns = namespace(a=[1]) %}" + strings.Repeat("{% set ns.a = [ns.a, ns.a] %}", 60)
	nested := "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}"
	cases := map[string]string{
		"nested loops":       nested,
		"doubled string":     strings.Replace(double, "%)", "'ab')", 1),
		"doubled list":       strings.Replace(double, "%)", "[1])", 1),
		"repeated string":    "{{ 'abc' * 1000000000000 }}",
		"repeated list":      "{{ [1] * 1000000000000 }}",
		"repr of shared":     share + "{{ ns.a }}",
		"json of shared":     share + "{{ ns.a|tojson }}",
		"equality of shared": share + "{{ ns.a == [[ns.a[0]], 1] or ns.a == [ns.a[1], ns.a[0]] }}",
		"recursive macro":    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
		"big range":          "{{ range(10000000000)|list }}",
		"big width":          "{{ '%1000000000d' % 1 }}",
		"big fill":           "{{ 'a'.ljust(10000000000) }}",
		"replace":            "{{ ('a' * 100000).replace('a', 'b' * 100000) }}",
		"join":               "{{ ('x' * 1000000).join('a' * 100000) }}",
		"big power":          "{{ 10 ** 10000000 }}",
		"output":             "{% for i in range(100000) %}{{ 'x' * 1000 }}{% endfor %}",
		"filters in a loop":  "{% set s = 'ab ' * 1000000 %}{% for i in range(100000) %}{% set q = s.split() %}{% endfor %}",
		"searches":           "{% set s = 'ab' * 10000000 %}{% for i in range(100000) %}{{ 'c' in s }}{{ s.find('c') }}{% endfor %}",
	}
	for name, src := range cases {
		start := time.Now()
		out, err := render(src, nil, Env{MaxSteps: 2_000_000, MaxOutput: 1 << 20})
		var limit *LimitError
		if !errors.As(err, &limit) {
			t.Errorf("%s: got %d bytes, %v, want a limit", name, len(out), err)
		}
		// Two million steps take well under a second; 20 leave room for a busy machine.
		if d := time.Since(start); d > 20*time.Second {
			t.Errorf("%s took %v", name, d)
		}
	}
}

func TestRepeatingNothingCostsNothing(t *testing.T) {
	got, err := render("{{ [] * 1000000000000 }}{{ '' * 1000000000000 }}{{ 1 ** 1000000000000 }}", nil, Env{MaxSteps: 1000})
	if err != nil || got != "[]1" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestDeepSourceAndDataAreRefused(t *testing.T) {
	const n = 100_000
	for name, src := range map[string]string{
		"parentheses": "{{ " + strings.Repeat("(", n) + "1" + strings.Repeat(")", n) + " }}",
		"lists":       "{{ " + strings.Repeat("[", n) + strings.Repeat("]", n) + " }}",
		"not":         "{{ " + strings.Repeat("not ", n) + "1 }}",
		"minus":       "{{ " + strings.Repeat("- ", n) + "1 }}",
		"blocks":      strings.Repeat("{% if 1 %}", n) + strings.Repeat("{% endif %}", n),
		"else":        "{{ " + strings.Repeat("1 if 0 else ", n) + "1 }}",
		"sum":         "{{ 1" + strings.Repeat(" + 1", n) + " }}",
		"attributes":  "{{ x" + strings.Repeat("[0]", n) + " }}",
		"tests":       "{{ " + strings.Repeat("1 is eq (", n) + "1" + strings.Repeat(")", n) + " }}",
		"filters":     "{% filter upper" + strings.Repeat("|upper", n) + " %}a{% endfilter %}",
		"for targets": "{% for " + strings.Repeat("(", n) + "a" + strings.Repeat(",)", n) + " in x %}{% endfor %}",
	} {
		if _, err := render(src, ownData(t), Env{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := ParseJSON([]byte(strings.Repeat("[", n) + strings.Repeat("]", n))); err == nil {
		t.Error("deep JSON: no error")
	}
	deep := "{% set ns = namespace(a=[]) %}{% for i in range(5000) %}{% set ns.a = [ns.a] %}{% endfor %}"
	for _, use := range []string{"{{ ns.a }}", "{{ ns.a|tojson }}", "{{ ns.a == [[ns.a[0][0]]] or ns.a < [ns.a] }}", "{% set ns.a = ns %}{{ ns }}"} {
		if out, err := render(deep+use, nil, Env{}); err == nil {
			t.Errorf("%s: no error, %d bytes", use, len(out))
		}
	}
}

func TestJSONKeepsOrderAndKinds(t *testing.T) {
	const in = `{"z": 1, "a": [1.0, 1e2, -0, 12345678901234567890, null, true, "é\u0001\"\\"], "m": {"y": {}, "b": []}}`
	const want = `{"z": 1, "a": [1.0, 100.0, 0, 12345678901234567890, null, true, "é\u0001\"\\"], "m": {"y": {}, "b": []}}`
	v, err := ParseJSON([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	data := &Dict{}
	data.Set("v", v)
	if got, err := render("{{ v|tojson }}", data, Env{}); err != nil || got != want {
		t.Errorf("got %s, %v\nwant %s", got, err, want)
	}
	for _, bad := range []string{"", "{", `{"a":}`, "[1] 2", "nul", `{"a":1,}`} {
		if v, err := ParseJSON([]byte(bad)); err == nil {
			t.Errorf("%q gave %v", bad, v)
		}
	}
}

func TestRenderingLeavesItsInputAlone(t *testing.T) {
	data := ownData(t)
	const show = "{{ l }}{{ d }}{{ people }}"
	before, err := render(show, data, Env{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := render("{% set l = l + [9] %}{% set d = dict(d, z=1) %}{{ l|sort }}{{ people|groupby('age') }}{{ l[:1] + [7] }}{{ l|list + [1] }}", data, Env{}); err != nil {
		t.Fatal(err)
	}
	if after, _ := render(show, data, Env{}); after != before {
		t.Errorf("was %s\n is %s", before, after)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"{{ x|join(',') }}", "{% for a, b in d.items() if a %}{{ loop.index }}{% else %}{% endfor %}", "{#- c -#}{% raw %}{{{% endraw %}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, src string) {
		if _, err := Parse("fuzz", src); err != nil && !strings.HasPrefix(err.Error(), "fuzz:") {
			t.Errorf("error %v does not name the template", err)
		}
	})
}

func FuzzRender(f *testing.F) {
	for _, s := range []string{"{{ x }}", "{{ '%5.2f' % f }}{{ '{:>8}'.format(s) }}", "{{ l[::-1]|sort|tojson(indent=2) }}", "{% macro m(a=1) %}{{ varargs }}{% endmacro %}{{ m(*l) }}"} {
		f.Add(s)
	}
	eachLine(f, filepath.Join("testdata", "cases.jsonl"), func(c ownCase) { f.Add(c.Template) })
	data := ownData(f)
	f.Fuzz(func(t *testing.T, src string) {
		out, err := render(src, data, Env{Now: fixedClock, MaxSteps: 20_000, MaxOutput: 1 << 16})
		again, errAgain := render(src, data, Env{Now: fixedClock, MaxSteps: 20_000, MaxOutput: 1 << 16})
		if out != again || (err == nil) != (errAgain == nil) {
			t.Errorf("rendered twice: %q, %v and %q, %v", out, err, again, errAgain)
		}
	})
}
