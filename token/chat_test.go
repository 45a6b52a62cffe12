package token

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

	"meft/internal/jinja"
)

// chatDir returns the folder of real chat templates and their cases.
func chatDir(t *testing.T) string {
	t.Helper()
	dir := filepath.FromSlash("../../shared/data/chat_templates")
	if _, err := os.Stat(dir); err != nil {
		t.Skip("shared test material not found")
	}
	return dir
}

// chatLines decodes every line of a JSON lines file in dir.
func chatLines[T any](t *testing.T, dir, name string, do func(T)) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
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

func readChat(t *testing.T, dir, name string) *ChatTemplate {
	t.Helper()
	src, err := os.ReadFile(filepath.Join(dir, "templates", name+".jinja"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseChat(name, string(src))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// rawMessages wraps message objects.
func rawMessages(objects []json.RawMessage) []Message {
	ms := make([]Message, len(objects))
	for i, o := range objects {
		ms[i].Raw = o
	}
	return ms
}

func TestChatTemplatesOfModelsRenderAsTransformers(t *testing.T) {
	dir := chatDir(t)
	type chatCase struct {
		Template, Conversation string
		Messages               []json.RawMessage
		Generation             bool   `json:"add_generation_prompt"`
		BOS                    string `json:"bos_token"`
		EOS                    string `json:"eos_token"`
		Tools                  json.RawMessage
		Date                   string `json:"date_string"`
		Expected               *string
		ExpectedError          string `json:"expected_error"`
	}
	n := 0
	chatLines(t, dir, "llama_cpp_template_cases.jsonl", func(c chatCase) {
		n++
		o := ChatOptions{Generation: c.Generation, Tools: c.Tools, BOS: c.BOS, EOS: c.EOS,
			Now: time.Date(2025, 7, 10, 12, 0, 0, 0, time.UTC)}
		if c.Date != "" {
			o.Extra = json.RawMessage(`{"date_string": "` + c.Date + `"}`)
		}
		got, err := readChat(t, dir, c.Template).Render(rawMessages(c.Messages), o)
		if c.Expected == nil {
			var refused *jinja.RaisedError
			if !errors.As(err, &refused) || refused.Message != c.ExpectedError {
				t.Errorf("%s/%s: got %q, %v, want the error %q", c.Template, c.Conversation, got, err, c.ExpectedError)
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

func TestMistralTemplatesGiveTheOfficialPrompt(t *testing.T) {
	dir := chatDir(t)
	type sample struct {
		Name    string
		Request struct {
			Messages []json.RawMessage
			Tools    json.RawMessage
		}
		V1 string `json:"text_v1"`
		V2 string `json:"text_v2"`
		V3 string `json:"text_v3"`
	}
	n := 0
	chatLines(t, dir, "mistral_common_samples.jsonl", func(s sample) {
		messages := rawMessages(s.Request.Messages)
		for i := range messages {
			messages[i].Raw = pythonArguments(t, messages[i].Raw)
		}
		o := ChatOptions{BOS: "<s>", EOS: "</s>", Tools: s.Request.Tools}
		for version, want := range map[string]string{"v1": s.V1, "v2": s.V2, "v3": s.V3} {
			if want == "" {
				continue
			}
			n++
			want = strings.NewReplacer("▁", " ", "<0x0A>", "\n").Replace(want) // pieces to text
			got, err := readChat(t, dir, "mistral-common-"+version+"_spm").Render(messages, o)
			// mistral-common decodes a tool's answer that is JSON, the templates
			// print it as a string: what follows the last one's mark differs.
			const mark = "[TOOL_RESULTS]"
			if i := strings.LastIndex(want, mark); i >= 0 {
				want = want[:i+len(mark)]
				got = got[:min(len(got), len(want))]
			}
			if err != nil || got != want {
				t.Errorf("%s %s: %v\n got %q\nwant %q", s.Name, version, err, got, want)
			}
		}
	})
	if n < 5 {
		t.Errorf("only %d prompts", n)
	}
}

// pythonArguments writes the arguments of tool calls as Python's json.dumps
// does: mistral-common normalises them so before its prompt is built, while the
// templates print them as they come.
func pythonArguments(t *testing.T, message json.RawMessage) json.RawMessage {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(message, &m); err != nil {
		t.Fatal(err)
	}
	dumps, err := jinja.Parse("dumps", "{{ x|tojson }}")
	if err != nil {
		t.Fatal(err)
	}
	calls, _ := m["tool_calls"].([]any)
	for _, c := range calls {
		fn := c.(map[string]any)["function"].(map[string]any)
		v, err := jinja.ParseJSON([]byte(fn["arguments"].(string)))
		if err != nil {
			t.Fatal(err)
		}
		data := &jinja.Dict{}
		data.Set("x", v)
		if fn["arguments"], err = dumps.Render(data, jinja.Env{}); err != nil {
			t.Fatal(err)
		}
	}
	out, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// chatML is the smallest template in wide use, with tools added.
const chatML = `{% if tools %}{{ tools|tojson }}
{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`

func mustChat(t *testing.T, src string) *ChatTemplate {
	t.Helper()
	c, err := ParseChat("test", src)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestChatOptionsReachTheTemplate(t *testing.T) {
	hi := []Message{{Role: "user", Content: "hi"}}
	cases := []struct {
		name, src string
		messages  []Message
		options   ChatOptions
		want      string
	}{
		{"plain", chatML, hi, ChatOptions{}, "<|im_start|>user\nhi<|im_end|>\n"},
		{"generation", chatML, hi, ChatOptions{Generation: true}, "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"},
		{"tools keep key order", chatML, nil, ChatOptions{Tools: json.RawMessage(`[{"z":1,"a":{"y":1.0,"b":null}}]`)},
			"[{\"z\": 1, \"a\": {\"y\": 1.0, \"b\": null}}]\n"},
		{"raw wins over the fields", `{{ messages[0] }}`,
			[]Message{{Role: "user", Content: "x", Raw: json.RawMessage(`{"role":"tool","id":7,"content":null}`)}}, ChatOptions{},
			"{'role': 'tool', 'id': 7, 'content': None}"},
		{"absent tools are undefined", `{{ tools is defined }}{% for t in tools %}{% endfor %}`, nil, ChatOptions{}, "False"},
		{"null tools are none", `{{ tools is none }}`, nil, ChatOptions{Tools: json.RawMessage("null")}, "True"},
		{"absent tokens are undefined", `{{ bos_token is defined }}{{ eos_token }}`, nil, ChatOptions{EOS: "</s>"}, "False</s>"},
		{"extra", `{{ enable_thinking }}{{ bos_token }}`, nil,
			ChatOptions{BOS: "a", Extra: json.RawMessage(`{"enable_thinking": false, "bos_token": "b"}`)}, "Falseb"},
		{"clock", `{{ strftime_now("%d %b %Y") }}`, nil, ChatOptions{Now: time.Date(2024, 7, 5, 0, 0, 0, 0, time.UTC)}, "05 Jul 2024"},
	}
	for _, c := range cases {
		got, err := mustChat(t, c.src).Render(c.messages, c.options)
		if err != nil || got != c.want {
			t.Errorf("%s: got %q, %v, want %q", c.name, got, err, c.want)
		}
	}
}

func TestChatReportsAllFaultsOfItsInput(t *testing.T) {
	_, err := mustChat(t, chatML).Render(
		[]Message{{Raw: json.RawMessage(`{"role":`)}, {Role: "user"}, {Raw: json.RawMessage(`[1]`)}},
		ChatOptions{Tools: json.RawMessage(`{}`), Extra: json.RawMessage(`{"tools": [], "messages": 1}`)})
	for _, want := range []string{"message 0: json", "message 2: it is not a JSON object", "tools: they are not a JSON array", "extra variables: messages, tools"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
}

func TestChatErrorsNameTemplateAndLine(t *testing.T) {
	_, err := ParseChat("tokenizer_config.json", "a\n{% if %}")
	if err == nil || !strings.Contains(err.Error(), "tokenizer_config.json:2: ") {
		t.Errorf("parse error %v does not name file and line", err)
	}
	_, err = mustChat(t, "a\n\n{{ raise_exception('no tools here') }}").Render(nil, ChatOptions{})
	if err == nil || !strings.Contains(err.Error(), "test:3: the template refuses the input: no tools here") {
		t.Errorf("render error %v does not name template, line and reason", err)
	}
}
