package task

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"meft/token"
)

// texts reads several string columns, reporting every one that is no string.
func texts(r Row, names ...string) (map[string]string, error) {
	out := map[string]string{}
	var errs []error
	for _, n := range names {
		s, err := r.Text(n)
		if err != nil {
			errs = append(errs, err)
		}
		out[n] = s
	}
	return out, errors.Join(errs...)
}

// finish gives the example its id and its references: the columns answers or
// answer, else the text that it is to learn. A column of that name that holds
// something else is an error only where there is no such text.
func finish(r Row, e Example, text string) ([]Example, error) {
	e.ID = r.id()
	learned := strings.TrimSpace(text)
	for _, name := range []string{"answers", "answer"} {
		raw := r.Raw(name)
		if raw == nil {
			continue
		}
		refs, err := answers(raw)
		if err != nil && learned == "" && e.Messages == nil {
			return nil, fmt.Errorf("%s: field %q is %w", r.Where(), name, err)
		}
		if err == nil {
			e.Answers = refs
			return []Example{e}, nil
		}
	}
	if learned != "" {
		e.Answers = []string{learned}
	}
	return []Example{e}, nil
}

// id returns the row's field id, else the row's number. An id that is no string
// is taken as it is written.
func (r Row) id() string {
	raw := r.Raw("id")
	if raw == nil {
		return strconv.Itoa(r.Number)
	}
	if s, err := text(raw); err == nil {
		return s
	}
	return string(raw)
}

// scalar returns a string, or a number as it is written.
func scalar(raw json.RawMessage) (string, bool) {
	if s, err := text(raw); err == nil {
		return s, true
	}
	var n json.Number
	if err := json.Unmarshal(raw, &n); err != nil {
		return "", false
	}
	return n.String(), true
}

// answers reads references: a string or number, a list of them, or SQuAD's
// object with a list "text". The error reads on from "field x is".
func answers(raw json.RawMessage) ([]string, error) {
	if s, ok := scalar(raw); ok {
		if inner := unwrap(raw); inner != nil && inner[0] == '[' {
			// A table's cell can hold a list only as text. A list of anything
			// but strings and numbers is an answer that is JSON itself.
			if list, err := answers(inner); err == nil {
				return list, nil
			}
		}
		return []string{s}, nil
	}
	if raw[0] == '{' {
		var o struct{ Text []string }
		if err := json.Unmarshal(raw, &o); err != nil || o.Text == nil {
			return nil, fmt.Errorf("%s, wanted an object with a list of strings \"text\"", kind(raw))
		}
		return o.Text, nil
	}
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		return nil, fmt.Errorf("%s, wanted a string or a list of strings", kind(raw))
	}
	out := make([]string, len(items))
	for i, item := range items {
		s, ok := scalar(item)
		if !ok {
			return nil, fmt.Errorf("a list whose item %d is %s, wanted a string", i+1, kind(item))
		}
		out[i] = s
	}
	return out, nil
}

func fromText(r Row, _ prompter) ([]Example, error) {
	s, err := r.Text("text")
	return []Example{{ID: r.id(), Text: s}}, err
}

func fromAlpaca(r Row, p prompter) ([]Example, error) {
	f, err := texts(r, "instruction", "input", "output", "system")
	a := ask{system: f["system"], instruction: f["instruction"], input: f["input"]}
	if raw := r.Raw("history"); raw != nil {
		var h error
		if a.history, h = history(raw); h != nil {
			err = errors.Join(err, fmt.Errorf("%s: field \"history\" is %w", r.Where(), h))
		}
	}
	if err != nil {
		return nil, err
	}
	e, err := p.example(r, a, f["output"])
	if err != nil {
		return nil, err
	}
	return finish(r, e, f["output"])
}

// history reads earlier turns: a list of pairs of strings. A table's cell may
// hold them as JSON text.
func history(raw json.RawMessage) ([][2]string, error) {
	if raw = unwrap(raw); raw == nil {
		return nil, nil
	}
	var pairs [][]string
	if err := json.Unmarshal(raw, &pairs); err != nil {
		return nil, fmt.Errorf("%s, wanted a list of [question, answer] pairs", kind(raw))
	}
	var out [][2]string
	for i, p := range pairs {
		if len(p) != 2 {
			return nil, fmt.Errorf("a list whose item %d has %d strings, wanted a question and an answer", i+1, len(p))
		}
		out = append(out, [2]string(p))
	}
	return out, nil
}

// unwrap returns the JSON list or object inside a JSON string, as CSV cells and
// some parquet columns hold them; anything else it returns as it is.
func unwrap(raw json.RawMessage) json.RawMessage {
	s, err := text(raw)
	if err != nil {
		return raw
	}
	s = strings.TrimSpace(s)
	if s == "" {
		return nil
	}
	if (s[0] == '[' || s[0] == '{') && json.Valid([]byte(s)) {
		return json.RawMessage(s)
	}
	return raw
}

// fromPrompt reads prompt and completion: two strings, joined as they stand, or
// lists of messages, of which those of the completion are trained.
func fromPrompt(r Row, p prompter) ([]Example, error) {
	if r.Raw("prompt")[0] == '[' {
		return fromPromptMessages(r, p)
	}
	f, err := texts(r, "prompt", "completion", "system")
	if err != nil {
		return nil, err
	}
	e, err := p.example(r, ask{system: f["system"], instruction: f["prompt"]}, f["completion"])
	if err != nil {
		return nil, err
	}
	return finish(r, e, f["completion"])
}

func fromPromptMessages(r Row, p prompter) ([]Example, error) {
	if p.template != "plain" && p.template != "chat" {
		return nil, fmt.Errorf("%s: the prompt is a list of messages, which the model's chat template renders; no other template can be given", r.Where())
	}
	var errs []error
	prompt, _, err := messages(r.Raw("prompt"))
	if err != nil {
		errs = append(errs, fmt.Errorf("%s: field \"prompt\" is %w", r.Where(), err))
	}
	var reply []token.Message
	var learn []bool
	if s, err := text(r.Raw("completion")); err == nil {
		reply, learn = []token.Message{{Role: "assistant", Content: s}}, []bool{true}
	} else if reply, learn, err = messages(r.Raw("completion")); err != nil {
		errs = append(errs, fmt.Errorf("%s: field \"completion\" is %w", r.Where(), err))
	}
	e := Example{Messages: append(prompt, reply...), Learn: append(make([]bool, len(prompt)), learn...)}
	if e.Tools, err = tools(r); err != nil {
		errs = append(errs, err)
	}
	if errs != nil {
		return nil, errors.Join(errs...)
	}
	return finish(r, e, lastAnswer(e.Messages))
}

// fromQuestion reads a question, perhaps with a context. Several answers are
// several references; the first one is learned.
func fromQuestion(r Row, p prompter) ([]Example, error) {
	f, err := texts(r, "question", "context")
	if raw := r.Raw("answer"); raw != nil && raw[0] != '[' && raw[0] != '{' {
		if _, bad := r.Text("answer"); bad != nil {
			err = errors.Join(err, bad)
		}
	}
	if err != nil {
		return nil, err
	}
	all, err := finish(r, Example{}, "")
	if err != nil {
		return nil, err
	}
	refs := all[0].Answers
	learned := refs
	if s, err := r.Text("answer"); err == nil && s != "" {
		learned = []string{s}
	}
	if len(learned) == 0 {
		return nil, fmt.Errorf("%s: the list of answers is empty", r.Where())
	}
	a := ask{instruction: f["question"]}
	if p.form != "question" {
		a.input = f["context"]
	}
	e, err := p.example(r, a, learned[0])
	e.ID, e.Answers = all[0].ID, refs
	return []Example{e}, err
}

// fromParagraphs reads an article of the SQuAD v1.1 files: every question of
// every paragraph is an example, with SQuAD's own id and all answers.
func fromParagraphs(r Row, p prompter) ([]Example, error) {
	var paragraphs []struct {
		Context string
		Qas     []struct {
			ID, Question string
			Answers      []struct{ Text string }
		}
	}
	if err := json.Unmarshal(r.Raw("paragraphs"), &paragraphs); err != nil {
		return nil, fmt.Errorf("%s: field \"paragraphs\" is not in the form of SQuAD v1.1: %w", r.Where(), err)
	}
	var all []Example
	var errs []error
	for i, par := range paragraphs {
		for j, q := range par.Qas {
			if q.ID == "" || q.Question == "" || len(q.Answers) == 0 {
				errs = append(errs, fmt.Errorf("%s: paragraph %d, question %d lacks its id, question or answers (SQuAD v2's unanswerable questions are not read)", r.Where(), i+1, j+1))
				continue
			}
			var refs []string
			for _, a := range q.Answers {
				refs = append(refs, a.Text)
			}
			e, err := p.example(r, ask{instruction: q.Question, input: par.Context}, refs[0])
			if err != nil {
				return nil, err
			}
			e.ID, e.Answers = q.ID, refs
			all = append(all, e)
		}
	}
	if len(errs) > 3 {
		errs = append(errs[:3], fmt.Errorf("%s: and %d more", r.Where(), len(errs)-3))
	}
	return all, errors.Join(errs...)
}
