package token

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

const (
	configFile     = "tokenizer_config.json"
	generationFile = "generation_config.json"
	bosEOS         = `{"id":50,"content":"<s>","special":true},{"id":51,"content":"</s>","special":true},{"id":52,"content":"<p>","special":true}`
	addsBOS        = `"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}},{"Sequence":{"id":"A"}}],"special_tokens":{"<s>":{"id":"<s>","ids":[50]}}}`
)

func TestRolesComeFromConfiguration(t *testing.T) {
	for _, c := range []struct {
		name  string
		files []string
		want  string // BOS EOS PAD stops
	}{
		{"well known", nil, "50 51 -1 [51]"},
		{"config", []string{configFile, `{"bos_token":"<p>","eos_token":{"content":"<s>","lstrip":false},"pad_token":"</s>"}`}, "52 50 51 [50]"},
		{"null is none", []string{configFile, `{"bos_token":null,"eos_token":"<s>"}`, generationFile, `{"bos_token_id":50}`}, "-1 50 -1 [50]"},
		{"map", []string{"special_tokens_map.json", `{"pad_token":"<p>"}`}, "50 51 52 [51]"},
		{"config before map", []string{"special_tokens_map.json", `{"eos_token":"<p>"}`, configFile, `{"eos_token":"<s>"}`}, "50 50 -1 [50]"},
		{"ids", []string{generationFile, `{"bos_token_id":52,"eos_token_id":[51,50,51]}`}, "52 51 -1 [51 50]"},
		{"more stops", []string{configFile, `{"eos_token":"</s>"}`, generationFile, `{"eos_token_id":[50,51]}`, "config.json", `{"eos_token_id":52}`}, "50 51 -1 [51 50]"},
		{"stops of config.json", []string{configFile, `{"eos_token":"</s>"}`, "config.json", `{"eos_token_id":52}`}, "50 51 -1 [51 52]"},
		{"missing pad", []string{configFile, `{"pad_token":"[PAD]"}`}, "50 51 -1 [51]"},
		{"token of the configuration", []string{configFile, `{"added_tokens_decoder":{"60":{"content":"<new>","special":true}},"eos_token":"<new>"}`}, "50 60 -1 [60]"},
	} {
		tok := mustParse(t, append([]string{fileJSON, charJSON(bosEOS)}, c.files...)...)
		if got := fmt.Sprint(tok.BOS(), tok.EOS(), tok.PAD(), tok.Stops()); got != c.want {
			t.Errorf("%s: BOS, EOS, PAD, stops are %s, want %s", c.name, got, c.want)
		}
	}
}

func TestWhatGoesAroundAText(t *testing.T) {
	model := string(spFile(spPieces, nil, nil))
	for _, c := range []struct {
		name  string
		files []string
		want  string
		adds  bool
	}{
		{"post-processor", []string{fileJSON, charJSON(bosEOS, addsBOS)}, "<s>,a", true},
		{"no post-processor", []string{fileJSON, charJSON(bosEOS)}, "a", false},
		{"flag adds", []string{fileJSON, charJSON(bosEOS), configFile, `{"add_bos_token":true,"add_eos_token":true}`}, "<s>,a,</s>", true},
		{"flag off in Llama's class", []string{fileJSON, charJSON(bosEOS, addsBOS), configFile, `{"add_bos_token":false,"tokenizer_class":"LlamaTokenizerFast"}`}, "a", false},
		{"flag off elsewhere", []string{fileJSON, charJSON(bosEOS, addsBOS), configFile, `{"add_bos_token":false,"tokenizer_class":"PreTrainedTokenizerFast"}`}, "<s>,a", true},
		{"Roberta", []string{fileJSON, charJSON(bosEOS, `"post_processor":{"type":"RobertaProcessing","sep":["</s>",51],"cls":["<s>",50]}`)}, "<s>,a,</s>", true},
		{"model", []string{fileModel, model}, "<s>,▁a", true},
		{"model, flags", []string{fileModel, model, configFile, `{"add_bos_token":false,"add_eos_token":true}`}, "▁a,</s>", false},
	} {
		tok := mustParse(t, c.files...)
		if got := pieces(tok, tok.Encode("a", true)); got != c.want || tok.AddsBOS() != c.adds {
			t.Errorf("%s: got %s, AddsBOS %t; want %s, %t", c.name, got, tok.AddsBOS(), c.want, c.adds)
		}
		if got := pieces(tok, tok.Encode("a", false)); !strings.HasSuffix(got, "a") || strings.Contains(got, "<") {
			t.Errorf("%s: without special tokens got %s", c.name, got)
		}
	}
}

func TestLegacyDecidesWherePrefixesGo(t *testing.T) {
	model := string(spFile(spPieces, nil, nil))
	for config, want := range map[string]string{
		`{}`:                         "▁a,<s>,▁a",
		`{"legacy":true}`:            "▁a,<s>,▁a",
		`{"legacy":false}`:           "▁a,<s>,a",
		`{"add_prefix_space":false}`: "a,<s>,a",
	} {
		tok := mustParse(t, fileModel, model, configFile, config)
		ids := tok.Encode("a<s>a", false)
		if got := pieces(tok, ids); got != want {
			t.Errorf("%s: got %s, want %s", config, got, want)
		}
		if got := tok.Decode(tok.Encode("ab a", false), false); got != "ab a" {
			t.Errorf("%s: text comes back as %q", config, got)
		}
	}
}

func TestExtraBlanksAreRemovedIfTheModelSaysSo(t *testing.T) {
	tok := mustParse(t, fileModel, string(spFile(spPieces, nil, protoVarint(4, 1))))
	if got := pieces(tok, tok.Encode("  a   b ", false)); got != "▁a,▁,b" {
		t.Errorf("got %s", got)
	}
}

func TestCleanUpDefaults(t *testing.T) {
	byteLevel := `"pre_tokenizer":{"type":"ByteLevel"}`
	for _, c := range []struct {
		name  string
		files []string
		want  bool
	}{
		{"set", []string{fileJSON, charJSON(""), configFile, `{"clean_up_tokenization_spaces":true}`}, true},
		{"byte level", []string{fileJSON, charJSON("", byteLevel)}, true},
		{"byte level, off", []string{fileJSON, charJSON("", byteLevel), configFile, `{"clean_up_tokenization_spaces":false}`}, false},
		{"Llama class", []string{fileJSON, charJSON("", byteLevel), configFile, `{"tokenizer_class":"LlamaTokenizer"}`}, false},
		{"Qwen", []string{fileJSON, charJSON("", byteLevel), "config.json", `{"model_type":"qwen2"}`}, false},
		{"SentencePiece", []string{fileModel, string(spFile(spPieces, nil, nil))}, false},
		{"characters", []string{fileJSON, charJSON("")}, false},
	} {
		if got := mustParse(t, c.files...).cleanUp; got != c.want {
			t.Errorf("%s: clean-up is %t, want %t", c.name, got, c.want)
		}
	}
	const text = "a . b ? c ! d , e ' f do n't I 'm it 's I 've we 're."
	if got, want := cleanUp(text), "a. b? c! d, e'f don't I'm it's I've we're."; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestChatTemplateSources(t *testing.T) {
	for _, c := range []struct {
		files []string
		want  string
	}{
		{nil, ""},
		{[]string{configFile, `{"chat_template":"one"}`}, "one"},
		{[]string{configFile, `{"chat_template":null}`}, ""},
		{[]string{configFile, `{"chat_template":[{"name":"tool_use","template":"x"},{"name":"default","template":"two"}]}`}, "two"},
		{[]string{configFile, `{"chat_template":[]}`}, ""},
		{[]string{configFile, `{"chat_template":"one"}`, "chat_template.jinja", "file"}, "file"},
	} {
		tok := mustParse(t, append([]string{fileJSON, charJSON("")}, c.files...)...)
		if got := tok.ChatTemplate(); got != c.want {
			t.Errorf("%q: got %q, want %q", c.files, got, c.want)
		}
	}
}

func TestRolesInPublishedTokenizers(t *testing.T) {
	for name, want := range map[string]string{
		"llama2": "1 2 -1 [2] true", "llama3": "128000 128001 -1 [128001] true", "mistral-v1": "1 2 -1 [2] true",
		"mistral-v3": "1 2 -1 [2] true", "qwen2": "-1 151645 151643 [151645] false", "stories260K": "1 2 -1 [2 1] true",
	} {
		t.Run(name, func(t *testing.T) {
			tok := published(t, name)
			got := fmt.Sprint(tok.BOS(), tok.EOS(), tok.PAD(), tok.Stops(), tok.AddsBOS())
			if got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			for _, id := range tok.Stops() {
				if !tok.IsSpecial(id) || slices.Contains(tok.EncodePlain(tok.Piece(id)), id) {
					t.Errorf("stop %d, %q, can be made by plain text", id, tok.Piece(id))
				}
			}
		})
	}
}
