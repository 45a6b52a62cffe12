package task

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"meft/token"
)

// render returns the chat template's text of ms.
func (e *Encoder) render(ms []token.Message, x Example, generation bool) (string, error) {
	if e.chat == nil {
		return "", errors.New("the row is a conversation, but the model has no chat template; name a file with chat_template")
	}
	return e.chat.Render(ms, token.ChatOptions{
		Generation: generation,
		Tools:      x.Tools,
		BOS:        e.name.bos,
		EOS:        e.name.eos,
		Now:        e.o.Now,
		Extra:      e.o.Extra,
	})
}

// turn is a span of the rendered conversation that is to be learned: bytes from
// start to end.
type turn struct{ start, end int }

// conversation encodes a chat. Its trained spans are found from outside the
// template: what is rendered up to a turn, with the words that make the model
// speak, is where the turn starts; what is rendered with the turn is where it
// ends. Both must be the beginning of the whole text. Templates that write a
// turn differently once it is history (some strip the reasoning, some move the
// tools) break that for the turn, which is then not trained and counted: the
// whole text does not hold the words the model would have spoken.
func (e *Encoder) conversation(x Example) (Encoded, error) {
	if x.Learn != nil && len(x.Learn) != len(x.Messages) {
		return Encoded{}, fmt.Errorf("%d messages, but flags for %d", len(x.Messages), len(x.Learn))
	}
	whole, err := e.render(x.Messages, x, false)
	if err != nil {
		return Encoded{}, err
	}
	var out Encoded
	var turns []turn
	var last error
	answers := 0
	for i, m := range x.Messages {
		if m.Role != "assistant" || x.Learn != nil && !x.Learn[i] {
			continue
		}
		answers++
		t, err := e.span(x, whole, i)
		if err != nil {
			out.SkippedTurns++
			last = fmt.Errorf("message %d: %w", i+1, err)
			continue
		}
		for _, name := range called(m) {
			// A template without tools would train "None" or nothing as the answer.
			if !strings.Contains(whole[t.start:t.end], name) {
				return Encoded{}, fmt.Errorf("message %d calls the function %q, which the chat template leaves out; give a template that knows tool_calls", i+1, name)
			}
		}
		out.Empty = strings.TrimSpace(m.Content) == "" && m.Raw == nil
		turns = append(turns, t)
	}
	switch {
	case answers == 0:
		return Encoded{}, errors.New("no message of the assistant is to be trained")
	case len(turns) == 0:
		return Encoded{}, fmt.Errorf("the chat template renders no answer as generation would see it, so none can be trained; give another chat template: %w", last)
	}
	out.Turns = len(turns)
	e.assemble(&out, whole, turns)
	return out, nil
}

// span returns where message i stands in the whole text.
func (e *Encoder) span(x Example, whole string, i int) (turn, error) {
	before, err := e.render(x.Messages[:i], x, true)
	if err != nil {
		return turn{}, fmt.Errorf("the conversation before it cannot be rendered: %w", err)
	}
	after := whole
	if i+1 < len(x.Messages) {
		if after, err = e.render(x.Messages[:i+1], x, false); err != nil {
			return turn{}, fmt.Errorf("the conversation up to it cannot be rendered: %w", err)
		}
	}
	if !strings.HasPrefix(whole, after) && e.name.eos != "" {
		// Some templates write EOS behind whatever message is the last one.
		after = strings.TrimSuffix(after, e.name.eos)
	}
	switch {
	case !strings.HasPrefix(whole, before):
		return turn{}, fmt.Errorf("asked for it, the template writes %s", differs(before, whole))
	case !strings.HasPrefix(whole, after):
		return turn{}, fmt.Errorf("as the last message the template writes %s", differs(after, whole))
	case len(after) < len(before):
		return turn{}, errors.New("its text is not rendered behind the words that ask for it")
	}
	return turn{len(before), len(after)}, nil
}

// differs shows where a text leaves the whole conversation.
func differs(part, whole string) string {
	n := 0
	for n < len(part) && n < len(whole) && part[n] == whole[n] {
		n++
	}
	for n > 0 && n < len(part) && !utf8.RuneStart(part[n]) {
		n--
	}
	show := func(s string) string {
		if r := []rune(s[n:]); len(r) > 24 {
			return string(r[:24]) + "..."
		}
		return s[n:]
	}
	return fmt.Sprintf("%q where the whole conversation has %q (byte %d)", show(part), show(whole), n)
}

// assemble fills ids and mask. Every start of a turn is a boundary that
// generation sees: the ids before it are those of the text before it alone.
func (e *Encoder) assemble(out *Encoded, whole string, turns []turn) {
	ids, _ := e.begin(whole[:turns[0].start])
	at := turns[0].start // text that ids stand for
	step := func(to int) {
		var apart bool
		ids, apart = e.extend(ids, whole[:at], whole[at:to])
		out.Apart = out.Apart || apart
		at = to
	}
	var spans [][2]int
	for _, t := range turns {
		step(t.start)
		from := len(ids)
		step(t.end)
		spans = append(spans, [2]int{from, len(ids)})
	}
	last := spans[len(spans)-1]
	out.EOS = e.closed(ids[last[0]:last[1]])
	if !out.EOS && at == len(whole) && e.tok.EOS() >= 0 {
		ids = append(ids, e.tok.EOS())
		spans[len(spans)-1][1]++
		out.EOS = true
	}
	if at < len(whole) {
		step(len(whole))
	}
	out.IDs, out.Train = ids, make([]bool, len(ids))
	for _, s := range spans {
		for i := s[0]; i < s[0]+e.spoken(ids[s[0]:s[1]]); i++ {
			out.Train[i] = true
		}
	}
}

// spoken returns how many ids of a turn the model itself speaks: all up to the
// special token that ends it. The line end that templates write behind is never
// generated. Without such a token it is the whole turn.
func (e *Encoder) spoken(ids []int32) int {
	for i, id := range slices.Backward(ids) {
		if e.tok.IsSpecial(id) {
			if strings.TrimSpace(e.tok.Decode(ids[i+1:], false)) == "" {
				return i + 1
			}
			break
		}
	}
	return len(ids)
}

// closed tells whether a turn ends with a special token of its own.
func (e *Encoder) closed(ids []int32) bool {
	n := e.spoken(ids)
	return n > 0 && e.tok.IsSpecial(ids[n-1])
}
