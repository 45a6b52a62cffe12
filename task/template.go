package task

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"meft/token"
)

// Templates returns the names that ReadOptions.Template knows besides a text
// with placeholders:
//
//   - alpaca: the two published prompts, with and without an input
//   - alpaca-indented: those as the released code of the MEFT paper has them in
//     training: 16 blanks before each line but the first, so that the answer
//     begins on a line of its own behind 16 blanks
//   - plain: the bare fields, a line each
//   - chat: messages, which the model's own chat template renders
//
// "" is alpaca for rows in the alpaca form, "Question: ...\nAnswer:" for
// questions, and for all others the text as it stands. A text with placeholders
// like {instruction} may name every column of the row; {instruction}, {prompt}
// and {question} are one field, as are {input} and {context}. Forms that are
// conversations take only "" and chat, plain documents only "".
func Templates() []string { return []string{"alpaca", "alpaca-indented", "plain", "chat"} }

// The prompts of Stanford Alpaca (github.com/tatsu-lab/stanford_alpaca,
// train.py), cut where a system text of the row's own takes the first sentence's
// place.
const (
	alpacaHead      = "Below is an instruction that describes a task. Write a response that appropriately completes the request."
	alpacaInputHead = "Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request."
	alpacaBody      = "\n\n### Instruction:\n%s\n\n### Response:"
	alpacaInputBody = "\n\n### Instruction:\n%s\n\n### Input:\n%s\n\n### Response:"
)

var placeholder = regexp.MustCompile(`\{[A-Za-z_][A-Za-z0-9_]*\}`)

// ask is what a row asks of the model, before a template.
type ask struct {
	system, instruction, input string
	history                    [][2]string // earlier questions with their answers
}

// prompter makes prompts for the rows of one form.
type prompter struct {
	form     string
	template string
	gap      bool // answers are words after a colon: a blank goes between
}

// template is the template to use: rows of a task are asked as the paper asks
// them where none is given.
func (o ReadOptions) template() string {
	if o.Task != "" && o.Template == "" {
		return "alpaca"
	}
	return o.Template
}

func checkTemplate(t string) error {
	switch t {
	case "", "alpaca", "alpaca-indented", "plain", "chat":
		return nil
	}
	if placeholder.MatchString(t) {
		return nil
	}
	return fmt.Errorf("template %q is neither one of %s nor a text with a placeholder like {instruction}", t, strings.Join(Templates(), ", "))
}

// newPrompter returns the prompter for a form. The error tells that the form
// takes no such template.
func newPrompter(f form, template string) (prompter, error) {
	p := prompter{form: f.name, template: template}
	switch f.name {
	case "messages", "conversations":
		if template != "" && template != "chat" {
			return p, fmt.Errorf("rows in the form %s are rendered by the model's chat template; no other template can be given", f.name)
		}
	case "text":
		if template != "" {
			return p, errors.New("rows in the form text are learned whole and take no template")
		}
	case "alpaca":
		if template == "" {
			p.template = "alpaca"
		}
	case "question", "context", "squad":
		p.gap = template != "chat"
		if template == "" {
			p.template = "Question: {question}\nAnswer:"
			if f.name != "question" {
				p.template = "Context: {context}\nQuestion: {question}\nAnswer:"
			}
		}
	case "prompt":
		if template == "" {
			p.template = "plain"
		}
	}
	return p, nil
}

// example returns the example that a and the answer make.
func (p prompter) example(r Row, a ask, answer string) (Example, error) {
	if p.template == "chat" {
		return p.chat(a, answer), nil
	}
	prompt, err := p.prompt(r, a)
	if err != nil {
		return Example{}, err
	}
	if p.gap && !endsBlank(prompt) && !startsBlank(answer) && answer != "" {
		answer = " " + answer
	}
	return Example{Prompt: prompt, Completion: answer}, nil
}

func endsBlank(s string) bool   { return s != strings.TrimRight(s, " \t\r\n") }
func startsBlank(s string) bool { return s != strings.TrimLeft(s, " \t\r\n") }

// prompt puts a into the template.
func (p prompter) prompt(r Row, a ask) (string, error) {
	switch p.template {
	case "alpaca":
		return alpaca(a), nil
	case "alpaca-indented":
		return indented(a), nil
	case "plain":
		return plainPrompt(a), nil
	}
	var errs []error
	out := placeholder.ReplaceAllStringFunc(p.template, func(m string) string {
		s, err := a.field(r, m[1:len(m)-1])
		if err != nil {
			errs = append(errs, err)
		}
		return s
	})
	if len(a.history) > 0 && !strings.Contains(p.template, "{history}") {
		errs = append(errs, fmt.Errorf("%s: the row has a history, which the template would lose; use the templates alpaca or chat", r.Where()))
	}
	return out, errors.Join(errs...)
}

// field returns what a placeholder stands for.
func (a ask) field(r Row, name string) (string, error) {
	if r.Has(name) && name != "history" {
		return r.Text(name)
	}
	switch name {
	case "instruction", "prompt", "question":
		return a.instruction, nil
	case "input", "context":
		return a.input, nil
	case "system":
		return a.system, nil
	case "history":
		return joinHistory(a.history), nil
	}
	return "", fmt.Errorf("%s: the template names {%s}, the row has %s", r.Where(), name, columnList(r))
}

// joinHistory writes earlier turns a line each.
func joinHistory(h [][2]string) string {
	var b strings.Builder
	for _, turn := range h {
		b.WriteString(turn[0] + "\n" + turn[1] + "\n")
	}
	return b.String()
}

// alpaca returns the published prompt. A system text takes the place of the
// opening sentence; earlier turns stand before the last with their responses.
func alpaca(a ask) string {
	var b strings.Builder
	switch {
	case a.system != "":
		b.WriteString(a.system)
	case a.input != "":
		b.WriteString(alpacaInputHead)
	default:
		b.WriteString(alpacaHead)
	}
	for _, turn := range a.history {
		fmt.Fprintf(&b, alpacaBody, turn[0])
		b.WriteString(turn[1])
	}
	if a.input != "" {
		fmt.Fprintf(&b, alpacaInputBody, a.instruction, a.input)
	} else {
		fmt.Fprintf(&b, alpacaBody, a.instruction)
	}
	return b.String()
}

// indented is the prompt of the paper's finetune.py: the head ends in two blanks
// without an input and in one with it.
func indented(a ask) string {
	const gap = "                " // 16 blanks
	head, blanks := alpacaHead, "  "
	if a.input != "" {
		head, blanks = alpacaInputHead, " "
	}
	s := strings.TrimPrefix(alpaca(a), head)
	lines := strings.Split(head+blanks+s+"\n", "\n")
	return strings.Join(lines, "\n"+gap)
}

// plainPrompt returns the fields that are not empty. A lone instruction stays
// exactly as it is.
func plainPrompt(a ask) string {
	s := a.instruction
	if a.input != "" {
		s += "\n" + a.input
	}
	s = joinHistory(a.history) + s
	if a.system != "" {
		s = a.system + "\n\n" + s
	}
	return s
}

// chat returns the conversation, of which only the last answer is trained:
// earlier ones are the given situation, as in the other templates.
func (p prompter) chat(a ask, answer string) Example {
	var e Example
	say := func(role, text string, learn bool) {
		e.Messages = append(e.Messages, token.Message{Role: role, Content: text})
		e.Learn = append(e.Learn, learn)
	}
	if a.system != "" {
		say("system", a.system, false)
	}
	for _, turn := range a.history {
		say("user", turn[0], false)
		say("assistant", turn[1], false)
	}
	user := a.instruction
	switch {
	case a.input != "" && (p.form == "context" || p.form == "squad"):
		user = a.input + "\n\n" + user
	case a.input != "":
		user += "\n" + a.input
	}
	say("user", user, false)
	say("assistant", answer, true)
	return e
}
