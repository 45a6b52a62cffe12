package task

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"meft/token"
)

// toolCalls returns the calls of a message in the form that chat templates
// read: a list of {"type": "function", "function": {"name", "arguments"}} with
// the arguments as an object. OpenAI writes them as text, which templates would
// quote a second time.
func toolCalls(t map[string]json.RawMessage) (json.RawMessage, error) {
	var list []map[string]json.RawMessage
	if raw := unwrap(t["tool_calls"]); present(raw) {
		if err := json.Unmarshal(raw, &list); err != nil {
			return nil, fmt.Errorf("has as \"tool_calls\" %s, wanted a list of calls", kind(raw))
		}
	} else {
		list = []map[string]json.RawMessage{{"function": t["function_call"]}}
	}
	out := make([]json.RawMessage, len(list))
	for i, c := range list {
		var err error
		if out[i], err = toolCall(c); err != nil {
			return nil, err
		}
	}
	return json.Marshal(out)
}

// toolCall returns one call in that form. A call without the wrapper "function"
// gets it.
func toolCall(c map[string]json.RawMessage) (json.RawMessage, error) {
	call, f := map[string]json.RawMessage{"type": quote("function")}, map[string]json.RawMessage{}
	inner := c["function"]
	if !present(inner) {
		for _, name := range []string{"name", "arguments"} {
			if present(c[name]) {
				f[name] = c[name]
			}
		}
	} else if err := json.Unmarshal(inner, &f); err != nil {
		return nil, fmt.Errorf("calls a function by %s, wanted a JSON object with name and arguments", kind(inner))
	}
	for name, v := range c {
		if name != "function" && name != "name" && name != "arguments" && present(v) {
			call[name] = v
		}
	}
	if _, err := text(f["name"]); err != nil {
		return nil, fmt.Errorf("calls a function whose \"name\" is %w", err)
	}
	if args := unwrap(f["arguments"]); present(args) {
		f["arguments"] = args
	} else {
		f["arguments"] = json.RawMessage("{}")
	}
	call["function"] = ordered(f, "name", "arguments")
	return ordered(call, "id", "type", "function"), nil
}

// ordered writes an object with the fields named first, which some templates
// print as they find them.
func ordered(m map[string]json.RawMessage, first ...string) json.RawMessage {
	rest := slices.DeleteFunc(slices.Sorted(maps.Keys(m)), func(n string) bool { return slices.Contains(first, n) })
	b := []byte{'{'}
	for _, name := range slices.Concat(first, rest) {
		if v, ok := m[name]; ok {
			if len(b) > 1 {
				b = append(b, ',')
			}
			b = append(append(append(b, quote(name)...), ':'), v...)
		}
	}
	return append(b, '}')
}

// called returns the names of the functions that a message calls.
func called(m token.Message) []string {
	var raw struct {
		Calls []struct {
			Function struct{ Name string }
		} `json:"tool_calls"`
	}
	if m.Raw == nil || json.Unmarshal(m.Raw, &raw) != nil {
		return nil
	}
	var names []string
	for _, c := range raw.Calls {
		names = append(names, c.Function.Name)
	}
	return names
}
