package main

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"meft/token"
)

// greedyCase is a case of the shared greedy continuations.
type greedyCase struct {
	Prompt    string  `json:"prompt"`
	PromptIDs []int32 `json:"prompt_ids"`
	IDs       []int32 `json:"generated_ids"`
	Text      string  `json:"text"`
}

func greedyCases(t *testing.T) []greedyCase {
	t.Helper()
	data, err := os.ReadFile(shared(t, "models", "stories260K", "expected", "greedy.json"))
	if err != nil {
		t.Fatal(err)
	}
	return decode[struct{ Cases []greedyCase }](t, string(data)).Cases
}

func TestGreedyContinuationsAreThoseOfTheReference(t *testing.T) {
	cases := greedyCases(t)
	var lines []string
	for i, c := range cases {
		lines = append(lines, fmt.Sprintf(`{"prompt":%s,"id":{"n":%d}}`, jsonOf(t, c.Prompt), i))
	}
	const most = 200
	path := file(t, "prompts.jsonl", lines...)
	o := must(t, "generate", "--model", stories(t), "--prompts-file", path, "--max-new-tokens", fmt.Sprint(most), "--json")
	got := decodeLines[continuation](t, o.out)
	if len(got) != len(cases) {
		t.Fatalf("%d results of %d prompts", len(got), len(cases))
	}
	if !strings.Contains(o.err, fmt.Sprintf("prompt %d/%d", len(cases), len(cases))) {
		t.Errorf("no progress on standard error: %q", o.err)
	}
	for i, c := range cases {
		g := got[i]
		// The reference stops at 200 positions or before the end token.
		n := min(len(c.IDs), len(g.IDs))
		if g.Prompt != c.Prompt || !slices.Equal(g.PromptIDs, c.PromptIDs) || !slices.Equal(g.IDs[:n], c.IDs[:n]) {
			t.Errorf("%q: got %v %v\nwant %v %v", c.Prompt, g.PromptIDs, g.IDs, c.PromptIDs, c.IDs)
		}
		if want := fmt.Sprintf(`{"n":%d}`, i); string(g.ID) != want {
			t.Errorf("id %s, want %s", g.ID, want)
		}
		if stopped := len(g.IDs) < most; stopped != (g.FinishReason == "stop") || !stopped && g.FinishReason != "length" {
			t.Errorf("%d ids, finish reason %q", len(g.IDs), g.FinishReason)
		}
		if full := c.Prompt + g.Text; !strings.HasPrefix(full, c.Text) && !strings.HasPrefix(c.Text, full) {
			t.Errorf("text %q, want %q", full, c.Text)
		}
	}
}

// generated runs generate on one prompt.
func generated(t *testing.T, args ...string) continuation {
	t.Helper()
	o := must(t, append([]string{"generate", "--model", stories(t), "--json", "--max-new-tokens", "12", "--prompt", "There was a"}, args...)...)
	return decode[continuation](t, o.out)
}

func TestDecodingFlagsTakeEffect(t *testing.T) {
	greedy := generated(t)
	if len(greedy.IDs) != 12 || greedy.FinishReason != "length" {
		t.Fatalf("%+v", greedy)
	}
	same := func(a, b continuation) bool { return slices.Equal(a.IDs, b.IDs) }
	if !same(greedy, generated(t, "--temperature", "2", "--top-k", "1")) {
		t.Error("the likeliest of one token is not the greedy choice")
	}
	if !same(greedy, generated(t, "--temperature", "2", "--top-p", "0.000001")) {
		t.Error("the smallest nucleus is not the greedy choice")
	}
	hot := []string{"--temperature", "2", "--seed", "1"}
	if !same(generated(t, hot...), generated(t, hot...)) {
		t.Error("the same seed gave different texts")
	}
	if same(generated(t, hot...), generated(t, "--temperature", "2", "--seed", "2")) || same(greedy, generated(t, hot...)) {
		t.Error("sampling does not depend on temperature or seed")
	}
	if same(greedy, generated(t, "--repetition-penalty", "5")) {
		t.Error("the repetition penalty does nothing")
	}
	if same(generated(t, "--num-beams", "4", "--max-new-tokens", "40"), generated(t, "--max-new-tokens", "40")) {
		t.Error("beam search gave the greedy text")
	}
	if !same(greedy, generated(t, "--num-beams", "1", "--threads", "1", "--base-dtype", "f32")) {
		t.Error("settings that are the defaults changed the text")
	}
	if got := generated(t, "--max-new-tokens", "3"); !slices.Equal(got.IDs, greedy.IDs[:3]) {
		t.Errorf("3 tokens: %v", got.IDs)
	}
}

func TestEndTokensStopAndCanBeIgnored(t *testing.T) {
	var ends greedyCase
	for _, c := range greedyCases(t) {
		if len(c.IDs)+len(c.PromptIDs) < 200 {
			ends = c
		}
	}
	args := []string{"generate", "--model", stories(t), "--json", "--prompt", ends.Prompt, "--max-new-tokens", fmt.Sprint(len(ends.IDs) + 5)}
	stopped := decode[continuation](t, must(t, args...).out)
	if !slices.Equal(stopped.IDs, ends.IDs) || stopped.FinishReason != "stop" {
		t.Errorf("got %d ids, %s; want %d, stop", len(stopped.IDs), stopped.FinishReason, len(ends.IDs))
	}
	on := decode[continuation](t, must(t, append(args, "--ignore-eos")...).out)
	if len(on.IDs) != len(ends.IDs)+5 || on.FinishReason != "length" {
		t.Errorf("ignoring: got %d ids, %s", len(on.IDs), on.FinishReason)
	}
}

func TestTextWithoutJSON(t *testing.T) {
	one := must(t, "generate", "--model", stories(t), "--prompt", "Once upon a time", "--max-new-tokens", "4")
	if one.out != ", there was a\n" || one.err != "" {
		t.Errorf("%q, standard error %q", one.out, one.err)
	}
	two := must(t, "generate", "--model", stories(t), "--prompt", "Once upon a time", "--prompt", "Once upon a time", "--max-new-tokens", "4")
	if want := strings.Repeat("> Once upon a time\n, there was a\n", 2); two.out != want {
		t.Errorf("%q, want %q", two.out, want)
	}
}

func TestChatWrapsThePromptInTheTemplate(t *testing.T) {
	refused(t, 1, []string{"no chat template", "--chat-template"}, "generate", "--model", stories(t), "--chat", "--prompt", "x")
	template := file(t, "chat.jinja", `{% for m in messages %}{{ m.role }}: {{ m.content }}. {% endfor %}{% if add_generation_prompt %}assistant:{% endif %}`)
	args := []string{"generate", "--model", stories(t), "--json", "--max-new-tokens", "1"}
	chat := decode[continuation](t, must(t, append(args, "--chat", "--chat-template", template, "--prompt", "hello")...).out)
	spelled := decode[continuation](t, must(t, append(args, "--prompt", "user: hello. assistant:")...).out)
	if chat.Prompt != "hello" || !slices.Equal(chat.PromptIDs, spelled.PromptIDs) {
		t.Errorf("prompt %q, ids %v, want %v", chat.Prompt, chat.PromptIDs, spelled.PromptIDs)
	}
}

func TestGenerateRefusesContradictions(t *testing.T) {
	base := []string{"generate", "--model", "m", "--prompt", "x"}
	for _, c := range []struct {
		word string
		args []string
	}{
		{"one of --prompt and --prompts-file", []string{"--prompts-file", "f"}},
		{"max_new_tokens is 0", []string{"--max-new-tokens", "0"}},
		{"batch of -1", []string{"--batch-size=-1"}},
		{"temperature -1", []string{"--temperature=-1"}},
		{"top_p 2", []string{"--temperature", "1", "--top-p", "2"}},
		{"beam search does not sample", []string{"--temperature", "1", "--num-beams", "2"}},
		{"--num-beams is 0", []string{"--num-beams", "0"}},
		{"--top-p does nothing", []string{"--top-p", "0.5"}},
		{"--top-k does nothing", []string{"--top-k", "5"}},
		{"--seed does nothing", []string{"--seed", "5"}},
		{"--length-penalty does nothing", []string{"--length-penalty", "5"}},
		{"--base-dtype is \"f8\"", []string{"--base-dtype", "f8"}},
		{"--threads is -1", []string{"--threads=-1"}},
		{"max-new-tokens", []string{"--max-new-tokens", "many"}},
	} {
		refused(t, 2, []string{c.word}, append(base, c.args...)...)
	}
	refused(t, 2, []string{"one of --prompt and --prompts-file"}, "generate", "--model", "m")
	refused(t, 1, []string{"no-such-folder"}, "generate", "--model", "no-such-folder", "--prompt", "x")
	refused(t, 1, []string{"no-such-file"}, "generate", "--model", "m", "--prompts-file", "no-such-file")
}

func TestResultsComeInOrder(t *testing.T) {
	var got []string
	o := ordered[string]{write: func(i int, s string) error {
		got = append(got, fmt.Sprint(i, s))
		return nil
	}}
	for _, i := range []int{2, 0, 3, 1, 4} {
		if err := o.put(i, string(rune('a'+i))); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"0a", "1b", "2c", "3d", "4e"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestResultsThatAreHeldBackCanBeHandedOn(t *testing.T) {
	var got []string
	o := ordered[string]{write: func(i int, s string) error {
		got = append(got, fmt.Sprint(i, s))
		return nil
	}}
	for _, i := range []int{4, 0, 2} {
		if err := o.put(i, string(rune('a'+i))); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := o.flush(); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"0a", "2c", "4e"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestInterruptedGenerationKeepsItsAnswers(t *testing.T) {
	lines := make([]string, 12)
	for i := range lines {
		lines[i] = fmt.Sprintf(`{"prompt":"Once upon a time","id":%d}`, i)
	}
	out := &interrupting{at: `"id":1,`}
	e := quiet()
	e.notify = func(c chan<- os.Signal) func() {
		out.signal = c
		return func() {}
	}
	var said locked
	args := []string{"generate", "--model", stories(t), "--json", "--ignore-eos", "--batch-size", "1", "--max-new-tokens", "500", "--prompts-file", file(t, "p.jsonl", lines...)}
	code := run(args, strings.NewReader(""), out, &said, e)
	got := decodeLines[continuation](t, out.String())
	if n := len(got); code != 1 || n < 2 || n == len(lines) || !strings.Contains(said.String(), fmt.Sprintf("interrupted: %d of %d prompts were answered", n, len(lines))) {
		t.Errorf("exit code %d, %d answers, said %q", code, len(got), said.String())
	}
}

func TestNewTextKeepsBlanksAndSplitCharacters(t *testing.T) {
	tok, err := token.Load(stories(t))
	if err != nil {
		t.Fatal(err)
	}
	// The euro sign is three byte pieces in this vocabulary.
	for _, c := range []struct{ all, want string }{{"Once upon", " upon"}, {"a€", "€"}, {"one", "ne"}} {
		ids := tok.Encode(c.all, true)
		for cut := 1; cut < len(ids); cut++ {
			before := tok.Decode(ids[:cut], true)
			text := newText(tok, ids[:cut], ids[cut:])
			if strings.Contains(text, "\uFFFD") || !strings.HasSuffix(c.all, text) || text == "" {
				t.Errorf("%q cut after %q: new text %q", c.all, before, text)
			}
			if cut == 2 && c.all == "Once upon" && text != c.want {
				t.Errorf("new text %q, want %q", text, c.want)
			}
		}
	}
}

func TestScoresAreThoseOfTheReference(t *testing.T) {
	data, err := os.ReadFile(shared(t, "models", "stories260K", "expected", "logits.json"))
	if err != nil {
		t.Fatal(err)
	}
	type refCase struct {
		Text string    `json:"text"`
		IDs  []int32   `json:"ids"`
		NLL  []float64 `json:"nll_per_token"`
		Mean float64   `json:"mean_nll"`
	}
	cases := decode[struct{ Cases []refCase }](t, string(data)).Cases
	var lines []string
	var whole []refCase
	for _, c := range cases {
		// The last case is the beginning of a longer text's ids: its text
		// encodes to the same ids only if it was cut at a token.
		lines, whole = append(lines, fmt.Sprintf(`{"id":"x","text":%s}`, jsonOf(t, c.Text))), append(whole, c)
	}
	got := decodeLines[scored](t, must(t, "score", "--model", stories(t), "--input", file(t, "in.jsonl", lines...), "--json").out)
	for i, c := range whole {
		g := got[i]
		if len(g.IDs) < len(c.IDs) || !slices.Equal(g.IDs[:len(c.IDs)], c.IDs) || len(g.LogProbs) != len(g.IDs)-1 || string(g.ID) != `"x"` {
			t.Errorf("case %d: ids %v, want %v; %d log probabilities; id %s", i, g.IDs, c.IDs, len(g.LogProbs), g.ID)
			continue
		}
		for j, want := range c.NLL {
			// Other float32 implementations differ from float64 by 3e-5 in a logit.
			if math.Abs(-float64(g.LogProbs[j])-want) > 1e-4 {
				t.Errorf("case %d, token %d: %v, want %v", i, j, -g.LogProbs[j], want)
			}
		}
		if len(g.IDs) == len(c.IDs) && math.Abs(g.NLL-c.Mean) > 1e-4 {
			t.Errorf("case %d: nll %v, want %v", i, g.NLL, c.Mean)
		}
	}
}

func TestCompletionIsScoredWithoutItsPrompt(t *testing.T) {
	path := file(t, "in.jsonl",
		`{"text":"Once upon a time, there was a little girl"}`,
		`{"prompt":"Once upon a time","completion":", there was a little girl"}`,
		`{"prompt":"","completion":"Once upon a time, there was a little girl"}`)
	got := decodeLines[scored](t, must(t, "score", "--model", stories(t), "--input", path, "--threads", "1").out)
	text, pair, bare := got[0], got[1], got[2]
	if !slices.Equal(text.IDs, pair.IDs) || !slices.Equal(text.LogProbs, pair.LogProbs) {
		t.Errorf("text %+v\npair %+v", text, pair)
	}
	var sum float64
	scoredTokens := pair.LogProbs[4:] // behind <s> and the prompt's four ids
	for _, l := range scoredTokens {
		sum -= float64(l)
	}
	if want := sum / float64(len(scoredTokens)); math.Abs(pair.NLL-want) > 1e-6 {
		t.Errorf("nll %v, want %v", pair.NLL, want)
	}
	if !slices.Equal(bare.IDs, text.IDs) || math.Abs(bare.NLL-text.NLL) > 1e-12 {
		t.Errorf("without a prompt: %+v, want %+v", bare, text)
	}
}
