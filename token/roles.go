package token

import (
	"encoding/json"
	"fmt"
	"slices"
)

// apply sets what the configuration files decide: roles of tokens, what is
// added around a text, clean-up, and the chat template.
func (sd *side) apply(t *Tokenizer, d *document) error {
	names := sd.names()
	var faults problems
	named := func(role string, n tokenName, id *int32, rest ...idList) {
		if n.set {
			*id = -1
			if n.text == "" {
				return
			}
			v, ok := t.ID(n.text)
			if ok {
				*id = v
			} else if role != "pad_token" { // often named before the model gets a row for it
				faults.add("%s %q is not in the vocabulary of %s", role, n.text, d.file)
			}
			return
		}
		for _, ids := range rest {
			if *id < 0 && len(ids) > 0 && t.Piece(ids[0]) != "" {
				*id = ids[0]
			}
		}
	}
	named("bos_token", names.BOS, &t.bos, sd.generation.BOS, sd.model.BOS)
	named("eos_token", names.EOS, &t.eos, sd.generation.EOS, sd.model.EOS)
	named("pad_token", names.PAD, &t.pad, sd.generation.PAD, sd.model.PAD)
	if err := faults.err(sd.configFile); err != nil {
		return err
	}
	if t.bos < 0 && !names.BOS.set {
		t.bos = t.wellKnown("<s>", "<|begin_of_text|>", "<bos>")
	}
	if t.eos < 0 && !names.EOS.set {
		t.eos = t.wellKnown("</s>", "<|end_of_text|>", "<|endoftext|>", "<eos>")
	}
	sd.around(t, d)
	t.stops = sd.stops(t)
	t.cleanUp = sd.cleansUp(d)
	var err error
	t.chat, err = sd.template()
	return err
}

// wellKnown returns the first of the spellings that is a special token: what a
// tokenizer file without any configuration most likely means.
func (t *Tokenizer) wellKnown(spellings ...string) int32 {
	for _, s := range spellings {
		if id, ok := t.added[s]; ok && t.special[id] {
			return id
		}
	}
	return -1
}

// around sets the ids put before and after a text. tokenizer.json says it in
// its post_processor, which add_bos_token and add_eos_token replace in Llama's
// tokenizer classes. For the other file forms, Llama's and Llama 3's
// tokenizer.model add BOS unless the configuration says otherwise.
func (sd *side) around(t *Tokenizer, d *document) {
	set := func(ids *[]int32, flag *bool, id int32, usual bool) {
		switch {
		case d.form != formJSON:
			*ids = nil
			if id >= 0 && (flag == nil && usual || flag != nil && *flag) {
				*ids = []int32{id}
			}
		case flag == nil || id < 0:
		case *flag && len(*ids) == 0:
			*ids = []int32{id}
		case !*flag && sd.isLlama():
			*ids = slices.DeleteFunc(slices.Clone(*ids), func(v int32) bool { return v == id })
		}
	}
	model := d.form == formSentencePiece || d.form == formTiktoken && !sd.isQwen()
	set(&t.prefix, sd.config.AddBOS, t.bos, model)
	set(&t.suffix, sd.config.AddEOS, t.eos, false)
}

// stops lists EOS and the ids that end generation.
func (sd *side) stops(t *Tokenizer) []int32 {
	ids := []int32{}
	more := sd.generation.EOS
	if len(more) == 0 {
		more = sd.model.EOS
	}
	for _, id := range append([]int32{t.eos}, more...) {
		if id >= 0 && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// cleansUp is the value of clean_up_tokenization_spaces; see Load for the
// values taken when it is not set.
func (sd *side) cleansUp(d *document) bool {
	if c := sd.config.CleanUp; c != nil {
		return *c
	}
	if sd.isLlama() || sd.isQwen() || d.form == formSentencePiece {
		return false
	}
	byteLevel := false
	var ignore unsupported
	for _, n := range flatten(d.PreTokenizer, func(n *node) []*node { return n.PreTokenizers }, 0, &ignore) {
		if n.Pattern.Regex != nil && *n.Pattern.Regex == patternQwen2 {
			return false
		}
		byteLevel = byteLevel || n.Type == "ByteLevel"
	}
	return byteLevel
}

// template returns the chat template: a string, or the entry named default of a
// list of {"name", "template"}.
func (sd *side) template() (string, error) {
	raw := sd.config.ChatTemplate
	if sd.jinja != "" || len(raw) == 0 {
		return sd.jinja, nil
	}
	var text *string
	if json.Unmarshal(raw, &text) == nil {
		if text == nil {
			return "", nil
		}
		return *text, nil
	}
	var list []struct{ Name, Template string }
	if err := json.Unmarshal(raw, &list); err != nil {
		return "", fmt.Errorf("%s: chat_template is neither text nor a list of named templates: %w", sd.configFile, err)
	}
	for _, e := range list {
		if e.Name == "default" {
			return e.Template, nil
		}
	}
	return "", nil
}
