package meft

import (
	"fmt"
	"strings"

	"meft/token"
)

// cutNames are llama.cpp's names (tokenizer.ggml.pre) of the ways to cut text.
func cutNames() map[token.Cut]string {
	return map[token.Cut]string{token.CutLlama3: "llama-bpe", token.CutCL100K: "smaug-bpe", token.CutQwen2: "qwen2",
		token.CutTekken: "tekken", token.CutGPT2: "gpt-2", token.CutSmolLM: "smollm"}
}

// tokenizer writes the keys of the model's tokenizer.
func (e *exporter) tokenizer() error {
	tok, err := token.Load(e.dir)
	if err == nil {
		err = checkVocabulary(e.dir, tok.Size(), e.config.Vocab)
	}
	if err != nil {
		return err
	}
	v, err := tok.Vocabulary()
	if err != nil {
		return fmt.Errorf("%s: %w; llama.cpp has no form for it", e.dir, err)
	}
	kind, cut := "llama", "default"
	if v.ByteLevel {
		kind, cut = "gpt2", cutNames()[v.Cut]
	}
	e.result.Tokenizer = cut
	e.key("tokenizer.ggml.model", kind)
	e.key("tokenizer.ggml.pre", cut)
	e.pieces(v)
	if v.ByteLevel {
		merges := make([]string, len(v.Merges))
		for i, m := range v.Merges {
			merges[i] = m[0] + " " + m[1]
		}
		e.key("tokenizer.ggml.merges", merges)
	}
	for _, special := range []struct {
		name string
		id   int32
	}{{"bos", tok.BOS()}, {"eos", tok.EOS()}, {"unknown", v.Unknown}, {"padding", tok.PAD()}} {
		if special.id >= 0 {
			e.key("tokenizer.ggml."+special.name+"_token_id", uint32(special.id))
		}
	}
	e.key("tokenizer.ggml.add_bos_token", v.AddBOS)
	e.key("tokenizer.ggml.add_eos_token", v.AddEOS)
	if !v.ByteLevel {
		e.key("tokenizer.ggml.add_space_prefix", v.Prefix)
	}
	if chat := tok.ChatTemplate(); chat != "" {
		e.key("tokenizer.chat_template", chat)
	}
	return nil
}

// pieces writes the vocabulary. llama.cpp wants a piece for every row of the
// embedding.
func (e *exporter) pieces(v *token.Vocabulary) {
	n := e.config.Vocab
	pieces, kinds, scores := make([]string, n), make([]int32, n), make([]float32, n)
	for id := range n {
		pieces[id], kinds[id], scores[id] = fmt.Sprintf("[PAD%d]", id), int32(token.Unused), unusedScore
		if id >= len(v.Pieces) || v.Kinds[id] == token.Unused {
			continue
		}
		pieces[id], kinds[id] = v.Pieces[id], int32(v.Kinds[id])
		if v.Scores != nil {
			scores[id] = v.Scores[id]
		}
		if v.Kinds[id] != token.UserDefined {
			continue
		}
		if p := pieces[id]; strings.HasPrefix(p, "<|") && strings.HasSuffix(p, "|>") {
			kinds[id] = int32(token.Control) // what llama.cpp's converter takes them for
		} else if !v.ByteLevel {
			pieces[id] = strings.ReplaceAll(p, "▁", " ")
		}
	}
	e.key("tokenizer.ggml.tokens", pieces)
	if v.Scores != nil {
		e.key("tokenizer.ggml.scores", scores)
	}
	e.key("tokenizer.ggml.token_type", kinds)
}

// unusedScore is llama.cpp's converter's for ids that no piece has.
const unusedScore = -10000
