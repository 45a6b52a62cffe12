package jinja

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sharedDir returns the folder of real chat templates.
func sharedDir(t *testing.T) string {
	t.Helper()
	dir := filepath.FromSlash("../../../shared/data/chat_templates")
	if _, err := os.Stat(dir); err != nil {
		t.Skip("shared test material not found")
	}
	return dir
}

// eachLine decodes every line of a JSON lines file.
func eachLine[T any](t testing.TB, path string, do func(T)) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var c T
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		do(c)
	}
}

func mustJSON(t *testing.T, data string) Value {
	t.Helper()
	v, err := ParseJSON([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// fixedClock is the time at which the cases were rendered.
func fixedClock() time.Time { return time.Date(2025, 7, 10, 12, 0, 0, 0, time.UTC) }

func TestRealTemplatesRenderAsJinja2(t *testing.T) {
	dir := sharedDir(t)
	type llamaCase struct {
		Template, Conversation string
		Messages, Tools        json.RawMessage
		Generation             bool    `json:"add_generation_prompt"`
		BOS                    string  `json:"bos_token"`
		EOS                    string  `json:"eos_token"`
		Date                   *string `json:"date_string"`
		Expected               *string
		ExpectedError          string `json:"expected_error"`
	}
	n := 0
	eachLine(t, filepath.Join(dir, "llama_cpp_template_cases.jsonl"), func(c llamaCase) {
		n++
		src, err := os.ReadFile(filepath.Join(dir, "templates", c.Template+".jinja"))
		if err != nil {
			t.Fatal(err)
		}
		tpl, err := Parse(c.Template, string(src))
		if err != nil {
			t.Errorf("%v", err)
			return
		}
		data := &Dict{}
		data.Set("messages", mustJSON(t, string(c.Messages)))
		data.Set("add_generation_prompt", c.Generation)
		data.Set("bos_token", c.BOS)
		data.Set("eos_token", c.EOS)
		if c.Tools != nil {
			data.Set("tools", mustJSON(t, string(c.Tools)))
		}
		if c.Date != nil {
			data.Set("date_string", *c.Date)
		}
		got, err := tpl.Render(data, Env{Now: fixedClock})
		if c.Expected == nil {
			var raised *RaisedError
			if !errors.As(err, &raised) || raised.Message != c.ExpectedError {
				t.Errorf("%s/%s: got %q, %v, want raised %q", c.Template, c.Conversation, got, err, c.ExpectedError)
			}
			return
		}
		if err != nil || got != *c.Expected {
			t.Errorf("%s/%s: %v\n got %q\nwant %q", c.Template, c.Conversation, err, got, *c.Expected)
		}
	})
	if n < 100 {
		t.Errorf("only %d cases", n)
	}
}

func TestHuggingFaceCasesRenderAsExpected(t *testing.T) {
	dir := sharedDir(t)
	type hfCase struct {
		Name, Expected string
		Template       string `json:"chat_template"`
		Data           json.RawMessage
		Same           bool `json:"jinja2_gives_the_same"`
	}
	n := 0
	eachLine(t, filepath.Join(dir, "huggingface_js_cases.jsonl"), func(c hfCase) {
		n++
		tpl, err := Parse(c.Name, c.Template)
		if err != nil {
			t.Errorf("%v", err)
			return
		}
		got, err := tpl.Render(mustJSON(t, string(c.Data)).(*Dict), Env{Now: fixedClock})
		if !c.Same {
			// The case differs from Jinja2 in the quotes of a Python repr only.
			quotes := strings.NewReplacer(`"`, "", "'", "", `\`, "")
			got, c.Expected = quotes.Replace(got), quotes.Replace(c.Expected)
		}
		if err != nil || got != c.Expected {
			t.Errorf("%s: %v\n got %q\nwant %q", c.Name, err, got, c.Expected)
		}
	})
	if n < 30 {
		t.Errorf("only %d cases", n)
	}
}
