package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"meft/internal/jinja"
)

// Message is one turn of a conversation.
type Message struct {
	Role    string // "system", "user", "assistant", "tool" or what else the template knows
	Content string
	// Raw is the whole message object if it came from JSON; nil otherwise. The
	// template then sees this object and not Role and Content, so tool calls,
	// content parts and the order of keys survive.
	Raw json.RawMessage
}

// ChatTemplate turns conversations into the text a model was trained on. It
// renders the chat_template of a tokenizer_config.json as transformers'
// apply_chat_template(tokenize=False) does. It is immutable and may be used by
// several goroutines at once.
type ChatTemplate struct{ template *jinja.Template }

// ChatOptions are the variables of one rendering besides the messages.
type ChatOptions struct {
	// Generation is add_generation_prompt: end with the start of the
	// assistant's answer.
	Generation bool
	// Tools is a JSON array of tool descriptions. Empty means the variable is
	// undefined; "null" defines it as None, as transformers does when it has no
	// tools, with which the rare template that loops over it unasked fails.
	Tools json.RawMessage
	// BOS and EOS are the texts of bos_token and eos_token; the variable of an
	// empty one is undefined, as for a tokenizer without it.
	BOS, EOS string
	// Now is what strftime_now tells; zero means the time of the call.
	Now time.Time
	// Extra is a JSON object with more variables, such as
	// {"enable_thinking": false}; it may be empty.
	Extra json.RawMessage
}

// ParseChat reads a template in Jinja2's language. The name appears in errors
// only, which give the line too. Files of the project Hugging Face may hold
// several named templates; src is one of them.
func ParseChat(name, src string) (*ChatTemplate, error) {
	t, err := jinja.Parse(name, src)
	if err != nil {
		return nil, fmt.Errorf("chat template %w", err)
	}
	return &ChatTemplate{t}, nil
}

// Render returns the text of a conversation. It already holds the special
// tokens the template prints, usually bos_token too, so it is to be encoded
// without adding them again. It fails with the template's own text if the
// template refuses the conversation, for instance because roles do not
// alternate.
func (c *ChatTemplate) Render(messages []Message, o ChatOptions) (string, error) {
	data, err := o.variables(messages)
	if err != nil {
		return "", fmt.Errorf("chat template: %w", err)
	}
	env := jinja.Env{}
	if !o.Now.IsZero() {
		env.Now = func() time.Time { return o.Now }
	}
	text, err := c.template.Render(data, env)
	if err != nil {
		return "", fmt.Errorf("chat template %w", err)
	}
	return text, nil
}

// variables returns what the template sees. All faults of the input are
// reported, not only the first.
func (o ChatOptions) variables(messages []Message) (*jinja.Dict, error) {
	var faults []error
	list := make([]jinja.Value, len(messages))
	for i, m := range messages {
		v, err := m.value()
		if err != nil {
			faults = append(faults, fmt.Errorf("message %d: %w", i, err))
		}
		list[i] = v
	}
	data := &jinja.Dict{}
	data.Set("messages", jinja.NewList(list...))
	if err := o.addTools(data); err != nil {
		faults = append(faults, fmt.Errorf("tools: %w", err))
	}
	data.Set("add_generation_prompt", o.Generation)
	if o.BOS != "" {
		data.Set("bos_token", o.BOS)
	}
	if o.EOS != "" {
		data.Set("eos_token", o.EOS)
	}
	if err := o.addExtra(data); err != nil {
		faults = append(faults, fmt.Errorf("extra variables: %w", err))
	}
	return data, errors.Join(faults...)
}

// value returns the message as the template sees it.
func (m Message) value() (jinja.Value, error) {
	if len(m.Raw) == 0 {
		d := &jinja.Dict{}
		d.Set("role", m.Role)
		d.Set("content", m.Content)
		return d, nil
	}
	v, err := jinja.ParseJSON(m.Raw)
	if err != nil {
		return nil, err
	}
	if _, ok := v.(*jinja.Dict); !ok {
		return nil, errors.New("it is not a JSON object")
	}
	return v, nil
}

func (o ChatOptions) addTools(data *jinja.Dict) error {
	if len(o.Tools) == 0 {
		return nil
	}
	v, err := jinja.ParseJSON(o.Tools)
	if err != nil {
		return err
	}
	if _, ok := v.(*jinja.List); !ok && v != nil {
		return errors.New("they are not a JSON array")
	}
	data.Set("tools", v)
	return nil
}

// addExtra adds the variables of Extra, which may replace bos_token and
// eos_token but not what has its own option.
func (o ChatOptions) addExtra(data *jinja.Dict) error {
	if len(o.Extra) == 0 {
		return nil
	}
	v, err := jinja.ParseJSON(o.Extra)
	if err != nil {
		return err
	}
	extra, ok := v.(*jinja.Dict)
	if !ok {
		return errors.New("they are not a JSON object")
	}
	var taken []string
	for _, name := range []string{"messages", "tools", "add_generation_prompt"} {
		if _, ok := extra.Get(name); ok {
			taken = append(taken, name)
		}
	}
	if taken != nil {
		return fmt.Errorf("%s cannot be set here, use the message list and the options", strings.Join(taken, ", "))
	}
	for name, v := range extra.All() {
		data.Set(name, v)
	}
	return nil
}
