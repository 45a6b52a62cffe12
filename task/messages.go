package task

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"meft/token"
)

// fromMessages reads a conversation in the form of OpenAI's chat API. A turn's
// weight 0 (OpenAI) or train false (Axolotl) keeps it from being trained.
func fromMessages(r Row, _ prompter) ([]Example, error) {
	var e Example
	var err error
	if e.Messages, e.Learn, err = messages(r.Raw("messages")); err != nil {
		err = fmt.Errorf("%s: field \"messages\" is %w", r.Where(), err)
	}
	var toolErr error
	e.Tools, toolErr = tools(r)
	if err := errors.Join(err, toolErr); err != nil {
		return nil, err
	}
	return finish(r, e, lastAnswer(e.Messages))
}

// lastAnswer returns the assistant's last words.
func lastAnswer(ms []token.Message) string {
	for i := len(ms) - 1; i >= 0; i-- {
		if ms[i].Role == "assistant" {
			return ms[i].Content
		}
	}
	return ""
}

// tools returns the row's list of functions, nil for none.
func tools(r Row) (json.RawMessage, error) {
	for _, name := range []string{"tools", "functions"} {
		raw := unwrap(r.Raw(name))
		if raw == nil {
			continue
		}
		if raw[0] != '[' {
			return nil, fmt.Errorf("%s: field %q is %s, wanted a list of functions", r.Where(), name, kind(raw))
		}
		if string(raw) == "[]" {
			continue
		}
		return raw, nil
	}
	return nil, nil
}

// messages reads a list of messages and which of them are trained. Errors read
// on from "field x is".
func messages(raw json.RawMessage) ([]token.Message, []bool, error) {
	turns, err := turns(raw)
	if err != nil {
		return nil, nil, err
	}
	ms, learn := make([]token.Message, len(turns)), make([]bool, len(turns))
	var errs []error
	for i, t := range turns {
		if ms[i], err = message(t); err != nil {
			errs = append(errs, fmt.Errorf("a list whose item %d %w", i+1, err))
			continue
		}
		learn[i] = ms[i].Role == "assistant" && wanted(t)
	}
	return ms, learn, errors.Join(errs...)
}

// turns splits a list of objects, which may also be an object of lists of equal
// length (the older datasets library writes that) or JSON text in a cell.
func turns(raw json.RawMessage) ([]map[string]json.RawMessage, error) {
	raw = unwrap(raw)
	var list []map[string]json.RawMessage
	if len(raw) > 0 && raw[0] == '{' {
		var columns map[string][]json.RawMessage
		if err := json.Unmarshal(raw, &columns); err != nil {
			return nil, fmt.Errorf("%s, wanted a list of messages", kind(raw))
		}
		n := -1
		for name, col := range columns {
			if n >= 0 && n != len(col) {
				return nil, fmt.Errorf("an object of lists of unequal length (%q has %d items, another %d)", name, len(col), n)
			}
			n = len(col)
		}
		for i := range n {
			t := map[string]json.RawMessage{}
			for name, col := range columns {
				t[name] = col[i]
			}
			list = append(list, t)
		}
	} else if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("%s, wanted a list of messages", kind(raw))
	}
	if len(list) == 0 {
		return nil, errors.New("an empty list of messages")
	}
	return list, nil
}

// message reads one message. Fields besides role and content (tool calls, a
// name) travel in Raw, for templates that use them. OpenAI's older function_call
// and role function become tool_calls and role tool, which templates know.
func message(t map[string]json.RawMessage) (token.Message, error) {
	var m token.Message
	role, err := text(t["role"])
	if err != nil {
		return m, fmt.Errorf("has as \"role\" %w", err)
	}
	if m.Role = role; role == "function" {
		m.Role = "tool"
	}
	calls := present(t["tool_calls"]) || present(t["function_call"])
	switch c := t["content"]; {
	case present(c):
		if m.Content, err = content(c); err != nil {
			return m, fmt.Errorf("has as \"content\" %w", err)
		}
	case !calls:
		return m, errors.New("has no content (and calls no tool)")
	}
	rest := map[string]json.RawMessage{}
	for name, v := range t {
		if present(v) {
			rest[name] = v
		}
	}
	for _, name := range []string{"role", "content", "weight", "train", "training", "tool_calls", "function_call"} {
		delete(rest, name)
	}
	if calls {
		if rest["tool_calls"], err = toolCalls(t); err != nil {
			return m, err
		}
	}
	if len(rest) == 0 {
		return m, nil
	}
	rest["role"] = quote(m.Role)
	rest["content"] = json.RawMessage("null")
	if present(t["content"]) {
		rest["content"] = quote(m.Content)
	}
	m.Raw, err = json.Marshal(rest)
	return m, err
}

func present(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// content returns a message's text, which may come in parts.
func content(raw json.RawMessage) (string, error) {
	if raw[0] != '[' {
		return text(raw)
	}
	var parts []struct {
		Type string
		Text *string
	}
	if err := json.Unmarshal(raw, &parts); err != nil {
		return "", fmt.Errorf("%s, wanted a string or a list of text parts", kind(raw))
	}
	var b strings.Builder
	for i, p := range parts {
		if p.Type != "text" || p.Text == nil {
			return "", fmt.Errorf("a list whose part %d is of type %q; only text can be trained on", i+1, p.Type)
		}
		b.WriteString(*p.Text)
	}
	return b.String(), nil
}

// wanted tells whether the turn's own flags let it be trained.
func wanted(t map[string]json.RawMessage) bool {
	var weight float64
	if json.Unmarshal(t["weight"], &weight) == nil && present(t["weight"]) && weight == 0 {
		return false
	}
	return string(t["train"]) != "false" && string(t["training"]) != "false"
}

// fromConversations reads ShareGPT's form: turns with from and value (role and
// content are taken too), the system text perhaps in a column of its own.
func fromConversations(r Row, _ prompter) ([]Example, error) {
	var e Example
	var errs []error
	list, err := turns(r.Raw("conversations"))
	if err != nil {
		errs = append(errs, fmt.Errorf("%s: field \"conversations\" is %w", r.Where(), err))
	}
	system, err := r.Text("system")
	if err != nil {
		errs = append(errs, err)
	}
	if system != "" {
		e.Messages, e.Learn = []token.Message{{Role: "system", Content: system}}, []bool{false}
	}
	for i, t := range list {
		m, err := shareGPT(t)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: field \"conversations\" is a list whose item %d %w", r.Where(), i+1, err))
		}
		e.Messages = append(e.Messages, m)
		e.Learn = append(e.Learn, m.Role == "assistant" && wanted(t))
	}
	if e.Tools, err = tools(r); err != nil {
		errs = append(errs, err)
	}
	if errs != nil {
		return nil, errors.Join(errs...)
	}
	return finish(r, e, lastAnswer(e.Messages))
}

// shareGPT reads one turn of ShareGPT's form.
func shareGPT(t map[string]json.RawMessage) (token.Message, error) {
	if !present(t["from"]) && present(t["role"]) {
		return message(t)
	}
	from, err := text(t["from"])
	if err != nil {
		return token.Message{}, fmt.Errorf("has as \"from\" %w", err)
	}
	value, err := text(t["value"])
	if err != nil {
		return token.Message{}, fmt.Errorf("has as \"value\" %w", err)
	}
	switch from {
	case "human", "user":
		return token.Message{Role: "user", Content: value}, nil
	case "gpt", "assistant", "chatgpt", "bing", "bard", "model":
		return token.Message{Role: "assistant", Content: value}, nil
	case "system":
		return token.Message{Role: "system", Content: value}, nil
	case "observation", "tool", "function_response":
		return token.Message{Role: "tool", Content: value}, nil
	case "function_call":
		return functionCall(value)
	}
	return token.Message{}, fmt.Errorf("is from %q; known: human, gpt, system, function_call, observation", from)
}

// functionCall makes an assistant's message of one call, or a list of calls,
// written as JSON {"name", "arguments"}.
func functionCall(value string) (token.Message, error) {
	m := token.Message{Role: "assistant"}
	var fs []json.RawMessage
	if json.Unmarshal([]byte(value), &fs) != nil {
		fs = []json.RawMessage{json.RawMessage(value)}
	}
	list := make([]json.RawMessage, len(fs))
	for i, f := range fs {
		c, err := toolCall(map[string]json.RawMessage{"function": f})
		if err != nil {
			return m, err
		}
		list[i] = c
	}
	var err error
	m.Raw, err = json.Marshal(struct {
		Content *string           `json:"content"`
		Role    string            `json:"role"`
		Calls   []json.RawMessage `json:"tool_calls"`
	}{nil, m.Role, list})
	return m, err
}
