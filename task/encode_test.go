package task

import (
	"encoding/json"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"meft/token"
)

const (
	chatML = `{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`
	// llamaChat writes BOS itself and marks turns with words only.
	llamaChat = `{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}`
	// bareChat never ends a turn with a special token.
	bareChat = `{% for m in messages %}{{ m.role }}: {{ m.content }}
{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}`
	// forgetful drops what an answer says before </think> once it is history.
	forgetful = `{% for m in messages %}<|im_start|>{{ m.role }}
{% if m.role == 'assistant' and not loop.last %}{{ m.content.split('</think>')[-1] }}{% else %}{{ m.content }}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`
	// closing writes EOS behind the last message only.
	closing = `{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% else %}{{ eos_token }}{% endif %}`
)

// byteTokenizer is a small byte-level vocabulary; BOS is put before texts.
func byteTokenizer(t testing.TB) *token.Tokenizer {
	t.Helper()
	text := strings.Repeat("the answer is Paris. the question: what is it? user assistant system ", 40)
	tr, err := token.Train(slices.Values([]string{text}), 320, []string{"<s>", "</s>", "<|im_start|>", "<|im_end|>"})
	if err != nil {
		t.Fatal(err)
	}
	tok, err := tr.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func parseChat(t testing.TB, src string) *token.ChatTemplate {
	t.Helper()
	c, err := token.ParseChat("test", src)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// show writes a row as text with its targets in brackets.
func show(tok tokenizer, x Encoded) string {
	var b strings.Builder
	in := false
	for i, id := range x.IDs {
		if x.Train[i] != in {
			in = x.Train[i]
			b.WriteString(map[bool]string{true: "[", false: "]"}[in])
		}
		b.WriteString(strings.NewReplacer("Ġ", " ", "Ċ", "\n", "▁", " ").Replace(tok.Piece(id)))
	}
	if in {
		b.WriteString("]")
	}
	return b.String()
}

func encode(t testing.TB, e *Encoder, x Example) Encoded {
	t.Helper()
	out, err := e.Encode(x)
	if err != nil {
		t.Fatal(err)
	}
	if len(out.IDs) != len(out.Train) {
		t.Fatalf("%d ids, %d flags", len(out.IDs), len(out.Train))
	}
	return out
}

func TestPairTrainsAnswerAndEnd(t *testing.T) {
	tok := byteTokenizer(t)
	for _, c := range []struct {
		x    Example
		o    EncodeOptions
		want string
	}{
		{Example{Prompt: "what is it?", Completion: " Paris."}, EncodeOptions{}, "<s>what is it?[ Paris.</s>]"},
		{Example{Prompt: "what is it?", Completion: " Paris.</s>"}, EncodeOptions{}, "<s>what is it?[ Paris.</s>]"},
		{Example{Prompt: "<s>what is it?", Completion: " Paris."}, EncodeOptions{}, "<s>what is it?[ Paris.</s>]"},
		{Example{Prompt: "what", Completion: " Paris."}, EncodeOptions{TrainOnInputs: true}, "<s>[what Paris.</s>]"},
		{Example{Prompt: "", Completion: "Paris."}, EncodeOptions{}, "<s>[Paris.</s>]"},
		{Example{Prompt: "what", Completion: ""}, EncodeOptions{}, "<s>what[</s>]"},
		{Example{Text: "Paris."}, EncodeOptions{}, "<s>[Paris.</s>]"},
		{Example{Text: "<s><s>Paris.</s>"}, EncodeOptions{}, "<s>[Paris.</s>]"},
	} {
		got := encode(t, NewEncoder(tok, nil, c.o), c.x)
		if s := show(tok, got); s != c.want {
			t.Errorf("%+v: %q, want %q", c.x, s, c.want)
		}
		if !got.EOS {
			t.Errorf("%+v: EOS is not said to be trained", c.x)
		}
		if wantDouble := strings.Count(c.x.Prompt+c.x.Text, "<s>"); got.DoubleBOS != wantDouble {
			t.Errorf("%+v: DoubleBOS %d, want %d", c.x, got.DoubleBOS, wantDouble)
		}
	}
}

// TestBoundaryIsTheOneGenerationSees checks, for prompts that end within what
// would be one token, that the row begins with the prompt's own ids, masked,
// and that the trained rest is the whole answer.
func TestBoundaryIsTheOneGenerationSees(t *testing.T) {
	toks := map[string]*token.Tokenizer{"bytes": byteTokenizer(t)}
	for _, name := range []string{"llama2", "mistral-v1", "llama3", "qwen2"} {
		if testing.Short() {
			break
		}
		t.Run(name, func(t *testing.T) {
			tok, err := token.Load(shared(t, "tokenizers/"+name))
			if err != nil {
				t.Fatal(err)
			}
			toks[name] = tok
		})
	}
	apart := 0
	for name, tok := range toks {
		e := NewEncoder(tok, nil, EncodeOptions{})
		for _, c := range [][2]string{
			{"Answer: ", "Paris"}, {"Answer:", " Paris"}, {"Answer:", "Paris"}, {"Answer:\n", "Paris"}, {"Answer:\n", "\nParis"},
			{"the ans", "wer"}, {"  ", "  x"}, {"### Response:", "the"}, {"北", "京"}, {"e", "\u0301t"}, {"a", ""}, {"Answer: ", " Paris"}, {"1", "234"},
		} {
			x := Example{Prompt: c[0], Completion: c[1]}
			got := encode(t, e, x)
			prompt, err := e.Prompt(x)
			if err != nil {
				t.Fatal(err)
			}
			if len(got.IDs) < len(prompt) || !slices.Equal(got.IDs[:len(prompt)], prompt) {
				t.Errorf("%s %q: the row does not begin with the prompt's ids", name, c)
				continue
			}
			for i, tr := range got.Train {
				if tr != (i >= len(prompt)) {
					t.Errorf("%s %q: mask %v, prompt has %d ids", name, c, got.Train, len(prompt))
					break
				}
			}
			before, after := tok.Decode(prompt, true), tok.Decode(got.IDs, true)
			if after != before+c[1] {
				t.Errorf("%s %q: trained text %q behind %q", name, c, after, before)
			}
			if got.Apart {
				apart++
			}
		}
	}
	if apart == 0 {
		t.Error("no case needed prompt and answer apart: the test tests nothing")
	}
}

func talk(turns ...string) []token.Message {
	ms := make([]token.Message, len(turns))
	for i, s := range turns {
		ms[i] = token.Message{Role: []string{"user", "assistant"}[i%2], Content: s}
	}
	return ms
}

func TestChatTrainsEveryAnswerWithItsEnd(t *testing.T) {
	tok := byteTokenizer(t)
	four := talk("what?", "Paris.", "is it?", "the end")
	for _, c := range []struct {
		name, chat string
		x          Example
		want       string
	}{
		{"chatml", chatML, Example{Messages: four},
			"<s><|im_start|>user\nwhat?<|im_end|>\n<|im_start|>assistant\n[Paris.<|im_end|>]\n<|im_start|>user\nis it?<|im_end|>\n<|im_start|>assistant\n[the end<|im_end|>]\n"},
		{"template with BOS", llamaChat, Example{Messages: four},
			"<s>[INST] what? [/INST][ Paris.</s>][INST] is it? [/INST][ the end</s>]"},
		{"no end token", bareChat, Example{Messages: four[:2]},
			"<s>user: what?\nassistant: [Paris.\n</s>]"},
		{"EOS behind the last", closing, Example{Messages: four},
			"<s><|im_start|>user\nwhat?<|im_end|>\n<|im_start|>assistant\n[Paris.<|im_end|>]\n<|im_start|>user\nis it?<|im_end|>\n<|im_start|>assistant\n[the end<|im_end|>\n</s>]"},
		{"one turn wanted", chatML, Example{Messages: four, Learn: []bool{false, false, false, true}},
			"<s><|im_start|>user\nwhat?<|im_end|>\n<|im_start|>assistant\nParis.<|im_end|>\n<|im_start|>user\nis it?<|im_end|>\n<|im_start|>assistant\n[the end<|im_end|>]\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := NewEncoder(tok, parseChat(t, c.chat), EncodeOptions{})
			got := encode(t, e, c.x)
			if s := show(tok, got); s != c.want {
				t.Errorf("got  %q\nwant %q", s, c.want)
			}
			if !got.EOS || got.SkippedTurns != 0 || got.DoubleBOS != 0 {
				t.Errorf("%+v", got)
			}
			prompt, err := e.Prompt(c.x)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(prompt, got.IDs[:len(prompt)]) || got.Train[len(prompt)-1] || !got.Train[len(prompt)] {
				t.Errorf("the last answer does not start behind the %d ids of its prompt", len(prompt))
			}
		})
	}
}

func TestRewrittenHistoryIsSkippedAndCounted(t *testing.T) {
	tok := byteTokenizer(t)
	e := NewEncoder(tok, parseChat(t, forgetful), EncodeOptions{})
	got := encode(t, e, Example{Messages: talk("what?", "hm</think>Paris.", "is it?", "so</think>it is")})
	if got.SkippedTurns != 1 || got.Turns != 1 {
		t.Errorf("turns %d, skipped %d, want 1 and 1", got.Turns, got.SkippedTurns)
	}
	if s := show(tok, got); !strings.Contains(s, "assistant\nParis.<|im_end|>") || !strings.HasSuffix(s, "[so</think>it is<|im_end|>]\n") {
		t.Errorf("got %q", s)
	}
}

func TestConversationErrorsSayWhatIsWrong(t *testing.T) {
	tok := byteTokenizer(t)
	strict := parseChat(t, `{{ raise_exception('roles must alternate') }}`)
	for _, c := range []struct {
		e    *Encoder
		x    Example
		want string
	}{
		{NewEncoder(tok, nil, EncodeOptions{}), Example{File: "f", Row: 3, Messages: talk("a", "b")}, "f: row 3: the row is a conversation, but the model has no chat template"},
		{NewEncoder(tok, parseChat(t, chatML), EncodeOptions{}), Example{Messages: talk("a")}, "no message of the assistant"},
		{NewEncoder(tok, strict, EncodeOptions{}), Example{Messages: talk("a", "b")}, "roles must alternate"},
		{NewEncoder(tok, parseChat(t, `{{ messages|length }}`), EncodeOptions{}), Example{Messages: talk("a", "b")}, "renders no answer as generation would"},
		{NewEncoder(tok, parseChat(t, chatML), EncodeOptions{}), Example{Messages: talk("a", "b"), Learn: []bool{true}}, "2 messages, but flags for 1"},
	} {
		if _, err := c.e.Encode(c.x); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}

func TestCutIsCounted(t *testing.T) {
	tok := byteTokenizer(t)
	x := Example{File: "f", Row: 7, Prompt: "what is it?", Completion: " the answer is Paris."}
	whole := encode(t, NewEncoder(tok, nil, EncodeOptions{}), x)
	var r Report
	n, rows := len(whole.IDs), 0
	for limit := 1; limit <= n; limit++ {
		got := encode(t, NewEncoder(tok, nil, EncodeOptions{MaxLength: limit}), x)
		if len(got.IDs) != limit || got.Cut != n-limit || got.Supervised+got.LostSupervised != whole.Supervised {
			t.Fatalf("limit %d: %+v", limit, got)
		}
		if !slices.Equal(got.IDs, whole.IDs[:limit]) || !slices.Equal(got.Train, whole.Train[:limit]) {
			t.Fatalf("limit %d: not the start of the row", limit)
		}
		if got.EOS != (limit == n) {
			t.Errorf("limit %d: EOS %v", limit, got.EOS)
		}
		if r.Add(x, got) != (got.Supervised > 0) {
			t.Errorf("limit %d: kept with %d targets", limit, got.Supervised)
		}
		rows++
	}
	prompt := n - whole.Supervised
	want := Report{Rows: rows, CutRows: n - 1, CutTokens: n * (n - 1) / 2, Dropped: prompt, NoEOS: whole.Supervised - 1,
		Tokens: (prompt + 1 + n) * whole.Supervised / 2, Supervised: whole.Supervised * (whole.Supervised + 1) / 2,
		LostSupervised: prompt*whole.Supervised + whole.Supervised*(whole.Supervised-1)/2, Longest: n, LongestRow: "f: row 7"}
	if r != want {
		t.Errorf("report %+v\nwant   %+v", r, want)
	}
	if lost := float64(want.LostSupervised) / float64(rows*whole.Supervised); r.Lost() != lost {
		t.Errorf("lost %v, want %v", r.Lost(), lost)
	}
	lines := strings.Join(r.Lines(), "\n")
	for _, w := range []string{"rows are cut", "rows are dropped", "do not train the end", "f: row 7"} {
		if !strings.Contains(lines, w) {
			t.Errorf("lines lack %q:\n%s", w, lines)
		}
	}
	if b, err := json.Marshal(r); err != nil || !strings.Contains(string(b), `"lost_supervised":`) {
		t.Errorf("json %s %v", b, err)
	}
}

func TestToolCallsMustBeRendered(t *testing.T) {
	tok := byteTokenizer(t)
	ms := []token.Message{{Role: "user", Content: "what?"}}
	call, err := functionCall(`{"name":"weather","arguments":{"city":"Paris"}}`)
	if err != nil {
		t.Fatal(err)
	}
	x := Example{Messages: append(ms, call)}
	if _, err := NewEncoder(tok, parseChat(t, chatML), EncodeOptions{}).Encode(x); err == nil || !strings.Contains(err.Error(), `message 2 calls the function "weather"`) {
		t.Errorf("error %v", err)
	}
	tools := parseChat(t, `{% for m in messages %}<|im_start|>{{ m.role }}
{% if m.tool_calls %}{{ m.tool_calls[0].function.name }} {{ m.tool_calls[0].function.arguments|tojson }}{% else %}{{ m.content }}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`)
	got := encode(t, NewEncoder(tok, tools, EncodeOptions{}), x)
	if s := show(tok, got); !strings.HasSuffix(s, "assistant\n[weather {\"city\": \"Paris\"}<|im_end|>]\n") || got.Empty {
		t.Errorf("%q", s)
	}
}

func TestBlankRowsAreDroppedAndCounted(t *testing.T) {
	var r Report
	if x := encode(t, NewEncoder(byteTokenizer(t), nil, EncodeOptions{}), Example{}); r.Add(Example{}, x) || len(x.IDs) != 0 {
		t.Error("a row without text is kept")
	}
	if r.Dropped != 1 || r.Blank != 1 {
		t.Errorf("%+v", r)
	}
}

func TestCleanReportSaysNoMore(t *testing.T) {
	var r Report
	x := Example{File: "f", Row: 1, Prompt: "a", Completion: "b"}
	r.Add(x, encode(t, NewEncoder(byteTokenizer(t), nil, EncodeOptions{MaxLength: 100}), x))
	if got := r.Lines(); !reflect.DeepEqual(got, []string{"1 rows, 4 tokens, 2 of them supervised (50.0 %)", "longest row: 4 tokens (f: row 1)"}) {
		t.Errorf("%q", got)
	}
	if r.Lost() != 0 {
		t.Error("lost", r.Lost())
	}
}

// TestRealTemplatesTrainTheAnswers runs published chat templates: the trained
// text of every answer must be the answer and its end.
func TestRealTemplatesTrainTheAnswers(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(shared(t, "chat_templates/templates"), "*.jinja"))
	if err != nil || len(files) == 0 {
		t.Fatal("no templates", err)
	}
	tok := byteTokenizer(t)
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			src := readAll(t, f)
			e := NewEncoder(tok, parseChat(t, src), EncodeOptions{})
			x := Example{Messages: talk("what is it?", "the answer", "is it?", "Paris.")}
			if strings.HasPrefix(filepath.Base(f), "deepseek-ai-DeepSeek-R1") {
				// It asks with "<think>" and then leaves that out of every answer.
				if _, err := e.Encode(x); err == nil || !strings.Contains(err.Error(), "<think>") {
					t.Errorf("error %v", err)
				}
				return
			}
			got := encode(t, e, x)
			if got.Turns+got.SkippedTurns != 2 || got.Turns < 1 {
				t.Fatalf("%d turns, %d skipped", got.Turns, got.SkippedTurns)
			}
			s := show(tok, got)
			if !strings.Contains(s, "Paris.") || strings.Count(s, "<s>") > 1 {
				t.Errorf("row %q", s)
			}
			var learned []int32
			for i, id := range got.IDs {
				if got.Train[i] {
					learned = append(learned, id)
				}
			}
			text := tok.Decode(learned, true)
			if !strings.Contains(text, "Paris.") || strings.Contains(text, "what is it?") || strings.Contains(text, "is it?") {
				t.Errorf("trained text %q of %q", text, s)
			}
			if got.Turns == 2 && !strings.Contains(text, "the answer") {
				t.Errorf("trained text %q", text)
			}
			if !got.EOS {
				t.Errorf("the end of the last answer is not trained: %q", s)
			}
		})
	}
}
