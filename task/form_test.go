package task

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// one reads a row of JSONL.
func one(t *testing.T, row string, o ReadOptions) Example {
	t.Helper()
	all := load(t, put(t, "a.jsonl", row), o)
	if len(all) != 1 {
		t.Fatalf("%d examples", len(all))
	}
	return all[0]
}

// script shows a conversation, with a star at trained messages.
func script(e Example) string {
	var b strings.Builder
	for i, m := range e.Messages {
		star := ""
		if e.Learn == nil && m.Role == "assistant" || e.Learn != nil && e.Learn[i] {
			star = "*"
		}
		fmt.Fprintf(&b, "%s%s:%s", m.Role, star, m.Content)
		if m.Raw != nil {
			b.WriteString(string(m.Raw))
		}
		b.WriteString("|")
	}
	return b.String()
}

// TestAlpacaPromptIsThePublishedOne has the two prompts of Stanford's train.py.
func TestAlpacaPromptIsThePublishedOne(t *testing.T) {
	bare := "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\nSay hi.\n\n### Response:"
	input := "Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\nTranslate.\n\n### Input:\nhallo\n\n### Response:"
	for _, c := range []struct{ row, want string }{
		{`{"instruction":"Say hi.","input":"","output":"hi","text":"x"}`, bare + "|hi|"},
		{`{"instruction":"Say hi.","output":"hi"}`, bare + "|hi|"},
		{`{"instruction":"Say hi.","input":null,"output":"hi","history":[]}`, bare + "|hi|"},
		{`{"instruction":"Translate.","input":"hallo","output":"hello"}`, input + "|hello|"},
		{`{"instruction":"Go on.","output":"c","system":"Be brief.","history":[["a?","a"],["b?","b"]]}`,
			"Be brief.\n\n### Instruction:\na?\n\n### Response:a\n\n### Instruction:\nb?\n\n### Response:b\n\n### Instruction:\nGo on.\n\n### Response:|c|"},
	} {
		e := one(t, c.row, ReadOptions{})
		if got := pairs([]Example{e})[0]; got != c.want || e.Form() != "alpaca" {
			t.Errorf("%s:\ngot  %q\nwant %q", c.row, got, c.want)
		}
	}
}

func TestTemplates(t *testing.T) {
	alpaca := `{"instruction":"I","input":"C","output":"O","extra":"E"}`
	question := `{"question":"Q","answer":["A","B"],"id":7}`
	context := `{"context":"C","question":"Q","answers":{"text":["A","B"],"answer_start":[0,1]}}`
	for _, c := range []struct{ row, template, want string }{
		{alpaca, "plain", "I\nC|O|"},
		{alpaca, "{extra}: {instruction} {\"x\": {input}} {question}=", "E: I {\"x\": C} I=|O|"},
		{question, "", "Question: Q\nAnswer:| A|"},
		{question, "plain", "Q| A|"},
		{question, "Q: {question}\n", "Q: Q\n|A|"},
		{context, "", "Context: C\nQuestion: Q\nAnswer:| A|"},
		{`{"prompt":"P ","completion":"C"}`, "", "P |C|"},
		{`{"prompt":"P","completion":"C","system":"S"}`, "", "S\n\nP|C|"},
		{`{"prompt":"P","completion":"C"}`, "<{prompt}>", "<P>|C|"},
		{`{"text":"T"}`, "", "||T"},
	} {
		if got := pairs([]Example{one(t, c.row, ReadOptions{Template: c.template})})[0]; got != c.want {
			t.Errorf("%s with %q: %q, want %q", c.row, c.template, got, c.want)
		}
	}
	for _, c := range []struct{ row, want string }{
		{alpaca, "user:I\nC|assistant*:O|"},
		{`{"instruction":"I","output":"O","system":"S","history":[["q","a"]]}`, "system:S|user:q|assistant:a|user:I|assistant*:O|"},
		{question, "user:Q|assistant*:A|"},
		{context, "user:C\n\nQ|assistant*:A|"},
		{`{"prompt":"P","completion":"C"}`, "user:P|assistant*:C|"},
	} {
		if got := script(one(t, c.row, ReadOptions{Template: "chat"})); got != c.want {
			t.Errorf("%s as chat: %q, want %q", c.row, got, c.want)
		}
	}
	for _, c := range []struct{ row, template, want string }{
		{alpaca, "{nothing}", "a.jsonl:1: the template names {nothing}, the row has extra, input"},
		{`{"text":"T"}`, "chat", "take no template"},
		{`{"messages":[{"role":"user","content":"x"}]}`, "alpaca", "rendered by the model's chat template"},
		{`{"instruction":"I","output":"O","history":[["q","a"]]}`, "{instruction}", "history, which the template would lose"},
		{`{"instruction":"I","output":"O","history":[["q"]]}`, "", `field "history" is a list whose item 1 has 1 strings`},
	} {
		if _, err := Load(put(t, "a.jsonl", c.row), ReadOptions{Template: c.template}, 0); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with %q: %v, want %q", c.row, c.template, err, c.want)
		}
	}
}

func TestAnswersAndIDs(t *testing.T) {
	for _, c := range []struct {
		row  string
		id   string
		want []string
	}{
		{`{"question":"Q","answer":"A"}`, "1", []string{"A"}},
		{`{"question":"Q","answer":["A","B"],"id":"x"}`, "x", []string{"A", "B"}},
		{`{"question":"Q","answer":"long","answers":["A","B"],"id":70}`, "70", []string{"A", "B"}},
		{`{"question":"Q","answers":"[\"A\",2]"}`, "1", []string{"A", "2"}},
		{`{"prompt":"Q","completion":" C\n"}`, "1", []string{"C"}},
		{`{"prompt":"Q","completion":"[1,{}]","answers":"[1,{}]"}`, "1", []string{"[1,{}]"}},
		{`{"instruction":"Q","output":"long: 4","answer":4.0,"id":{"$oid":"9"}}`, `{"$oid":"9"}`, []string{"4.0"}},
		{`{"instruction":"Q","output":"O","answer":{"x":1}}`, "1", []string{"O"}},
		{`{"context":"c","question":"Q","answers":{"text":["A"],"answer_start":[3]}}`, "1", []string{"A"}},
		{`{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}`, "1", []string{"a"}},
	} {
		e := one(t, c.row, ReadOptions{})
		if e.ID != c.id || !reflect.DeepEqual(e.Answers, c.want) {
			t.Errorf("%s: id %q, answers %q; want %q, %q", c.row, e.ID, e.Answers, c.id, c.want)
		}
	}
	// What is learned is the answer, the references are for marking.
	if e := one(t, `{"question":"Q","answer":"long","answers":["A"]}`, ReadOptions{}); e.Completion != " long" {
		t.Errorf("learns %q", e.Completion)
	}
	for row, want := range map[string]string{
		`{"question":"Q","answer":7}`:       `a.jsonl:1: field "answer" is a number (7), wanted a string`,
		`{"question":"Q","answer":[]}`:      "the list of answers is empty",
		`{"question":"Q","answers":[true]}`: `field "answers" is a list whose item 1 is a boolean (true)`,
		`{"question":"Q","answer":{"x":1}}`: `field "answer" is an object`,
	} {
		if _, err := Load(put(t, "a.jsonl", row), ReadOptions{}, 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", row, err, want)
		}
	}
}

func TestConversationsBecomeMessages(t *testing.T) {
	call := `{"content":null,"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":{"x":1}}}]}`
	for _, c := range []struct{ row, want, tools string }{
		{`{"messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"u"},{"type":"text","text":"v"}]},{"role":"assistant","content":"a"}]}`,
			"system:s|user:uv|assistant*:a|", ""},
		{`{"messages":[{"role":"user","content":"u"},{"role":"assistant","content":"a","weight":0},{"role":"assistant","content":"b","weight":1},{"role":"assistant","content":"c","train":false}]}`,
			"user:u|assistant:a|assistant*:b|assistant:c|", ""},
		{`{"messages":[{"role":"user","content":"u","name":null},{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}}]},{"role":"tool","content":"r","tool_call_id":"1"}],"tools":[{"type":"function"}]}`,
			"user:u|assistant*:" + call + `|tool:r{"content":"r","role":"tool","tool_call_id":"1"}|`, `[{"type":"function"}]`},
		{`{"messages":[{"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{\"x\":1}"}},{"role":"function","content":"r"}]}`,
			"assistant*:" + strings.Replace(call, `"id":"1",`, "", 1) + "|tool:r|", ""},
		{`{"messages":"[{\"role\":\"user\",\"content\":\"u\"}]","tools":"[]"}`, "user:u|", ""},
		{`{"conversations":[{"from":"system","value":"s"},{"from":"human","value":"u"},{"from":"gpt","value":"a"}],"tools":"[{\"name\":\"f\"}]"}`,
			"system:s|user:u|assistant*:a|", `[{"name":"f"}]`},
		{`{"conversations":{"from":["human","gpt"],"value":["u","a"]},"system":"s"}`, "system:s|user:u|assistant*:a|", ""},
		{`{"conversations":[{"role":"user","content":"u"},{"role":"assistant","content":"a"}]}`, "user:u|assistant*:a|", ""},
		{`{"conversations":[{"from":"human","value":"u"},{"from":"function_call","value":"{\"name\":\"f\",\"arguments\":{\"x\":1}}"},{"from":"observation","value":"r"},{"from":"gpt","value":"a"}]}`,
			"user:u|assistant*:" + strings.Replace(call, `"id":"1",`, "", 1) + "|tool:r|assistant*:a|", ""},
		{`{"prompt":[{"role":"user","content":"u"},{"role":"assistant","content":"a"},{"role":"user","content":"v"}],"completion":[{"role":"assistant","content":"b"}]}`,
			"user:u|assistant:a|user:v|assistant*:b|", ""},
		{`{"prompt":[{"role":"user","content":"u"}],"completion":"b"}`, "user:u|assistant*:b|", ""},
	} {
		e := one(t, c.row, ReadOptions{})
		if got := script(e); got != c.want || string(e.Tools) != c.tools {
			t.Errorf("%s:\ngot  %s tools %s\nwant %s tools %s", c.row, got, e.Tools, c.want, c.tools)
		}
	}
	for row, want := range map[string]string{
		`{"messages":[]}`: `field "messages" is an empty list`,
		`{"messages":[{"role":"assistant","tool_calls":[{"function":{"arguments":"{}"}}]}]}`: `item 1 calls a function whose "name" is nothing`,
		`{"messages":"hello"}`: `field "messages" is a string ("hello"), wanted a list of messages`,
		`{"messages":[{"role":"user","content":"u"},{"role":"assistant"}]}`:                          "item 2 has no content (and calls no tool)",
		`{"messages":[{"content":"u"},{"role":"user","content":5}]}`:                                 `item 1 has as "role" nothing`,
		`{"messages":[{"role":"user","content":5}]}`:                                                 `item 1 has as "content" a number (5)`,
		`{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}`:                            `part 1 is of type "image_url"`,
		`{"conversations":[{"from":"martian","value":"u"}]}`:                                         `item 1 is from "martian"; known: human`,
		`{"conversations":[{"from":"human","value":"u"},{"from":"function_call","value":"f(x)"}]}`:   "item 2 calls a function by no JSON (f(x))",
		`{"conversations":{"from":["human"],"value":[]}}`:                                            "unequal length",
		`{"conversations":[{"from":"human"}]}`:                                                       `item 1 has as "value" nothing`,
		`{"messages":[{"role":"user","content":"u"}],"tools":{"a":1}}`:                               `field "tools" is an object`,
		`{"prompt":[{"role":"user","content":"u"}],"completion":[{"role":"assistant","content":1}]}`: `field "completion" is a list whose item 1`,
	} {
		if _, err := Load(put(t, "a.jsonl", row), ReadOptions{}, 0); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "a.jsonl:1: ") {
			t.Errorf("%s: %v, want %q", row, err, want)
		}
	}
}

func TestFormCanBeNamed(t *testing.T) {
	row := `{"text":"T","prompt":"P","completion":"C","messages":[{"role":"user","content":"u"}]}`
	for form, want := range map[string]string{"text": "||T", "prompt": "P|C|", "messages": "||"} {
		if got := pairs([]Example{one(t, row, ReadOptions{Form: form})})[0]; got != want {
			t.Errorf("%s: %q, want %q", form, got, want)
		}
	}
	_, err := Load(put(t, "a.jsonl", row), ReadOptions{Form: "alpaca"}, 0)
	if err == nil || !strings.Contains(err.Error(), "no field instruction, output") {
		t.Errorf("%v", err)
	}
}
