package token

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// object is a JSON object whose keys are written in order.
type object []struct {
	key   string
	value any
}

// MarshalJSON writes the keys in the order of the slice.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // "<s>" stays readable
	b.WriteByte('{')
	for i, e := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := enc.Encode(e.key); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := enc.Encode(e.value); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// WriteJSON writes the vocabulary to path as a Hugging Face tokenizer.json, and
// BOS, EOS and PAD to tokenizer_config.json in the same directory. A special
// token with a well-known spelling ("<s>", "</s>", "<pad>", "<|endoftext|>" ...)
// gets its role by that; with none, the first is BOS and the second EOS. One
// token alone is both. A BOS that is not also EOS is put before encoded texts.
func (tr *Trained) WriteJSON(path string) error {
	config := filepath.Join(filepath.Dir(path), "tokenizer_config.json")
	if path == config {
		return fmt.Errorf("%s: the name is taken by the configuration; use %s", path, fileJSON)
	}
	if err := writeObject(path, tr.tokenizer()); err != nil {
		return err
	}
	return writeObject(config, tr.config())
}

// Tokenizer returns the tokenizer that Load reads after WriteJSON.
func (tr *Trained) Tokenizer() (*Tokenizer, error) {
	file, err := tr.tokenizer().MarshalJSON()
	if err != nil {
		return nil, err
	}
	config, err := tr.config().MarshalJSON()
	if err != nil {
		return nil, err
	}
	doc, err := parseJSON("trained tokenizer", file)
	if err != nil {
		return nil, err
	}
	var sd side
	if err := json.Unmarshal(config, &sd.config); err != nil {
		return nil, err
	}
	return assemble(doc, &sd)
}

// writeObject writes o indented, through a temporary file so that a reader never
// sees half of it.
func writeObject(path string, o object) error {
	raw, err := o.MarshalJSON()
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	b.WriteByte('\n')
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	_, err = tmp.Write(b.Bytes())
	if err == nil {
		err = tmp.Chmod(0o644)
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		os.Remove(tmp.Name())
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// roles returns the spellings of BOS, EOS and PAD, "" for none.
func (tr *Trained) roles() (bos, eos, pad string) {
	find := func(known ...string) string {
		for _, s := range tr.special {
			if slices.Contains(known, s) {
				return s
			}
		}
		return ""
	}
	bos = find("<s>", "<bos>", "[BOS]", "<|bos|>", "<|begin_of_text|>", "<|startoftext|>")
	eos = find("</s>", "<eos>", "[EOS]", "<|eos|>", "<|end_of_text|>", "<|endoftext|>", "<|im_end|>")
	pad = find("<pad>", "[PAD]", "<|pad|>")
	rest := slices.DeleteFunc(slices.Clone(tr.special), func(s string) bool {
		return s == pad || slices.Contains([]string{"<unk>", "[UNK]", "<|unk|>"}, s)
	})
	if bos == "" && eos == "" && len(rest) > 0 {
		bos, eos = rest[0], rest[min(1, len(rest)-1)]
	}
	if bos == "" {
		bos = eos
	}
	if eos == "" {
		eos = bos
	}
	return bos, eos, pad
}

func (tr *Trained) config() object {
	bos, eos, pad := tr.roles()
	o := object{
		{"clean_up_tokenization_spaces", false},
		{"tokenizer_class", "PreTrainedTokenizerFast"},
	}
	for _, r := range [][2]string{{"bos_token", bos}, {"eos_token", eos}, {"pad_token", pad}} {
		var name any
		if r[1] != "" {
			name = r[1]
		}
		o = append(o, object{{r[0], name}}...)
	}
	return o
}

// tokenizer is the content of tokenizer.json.
func (tr *Trained) tokenizer() object {
	vocab := make(object, len(tr.pieces))
	for i, p := range tr.pieces {
		vocab[i].key, vocab[i].value = p, i
	}
	merges := make([]string, len(tr.rules))
	for i, r := range tr.rules {
		merges[i] = tr.pieces[r[0]] + " " + tr.pieces[r[1]]
	}
	added := make([]object, len(tr.special))
	for i, s := range tr.special {
		added[i] = object{
			{"id", i}, {"content", s}, {"single_word", false}, {"lstrip", false},
			{"rstrip", false}, {"normalized", false}, {"special", true},
		}
	}
	bytelevel := object{{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}}
	return object{
		{"version", "1.0"}, {"truncation", nil}, {"padding", nil},
		{"added_tokens", added},
		{"normalizer", nil},
		{"pre_tokenizer", bytelevel},
		{"post_processor", tr.template()},
		{"decoder", bytelevel},
		{"model", object{
			{"type", "BPE"}, {"dropout", nil}, {"unk_token", nil}, {"continuing_subword_prefix", nil},
			{"end_of_word_suffix", nil}, {"fuse_unk", false}, {"byte_fallback", false},
			{"ignore_merges", false}, {"vocab", vocab}, {"merges", merges},
		}},
	}
}

// template is the post-processor that puts BOS before a text, nil for none.
func (tr *Trained) template() any {
	bos, eos, _ := tr.roles()
	if bos == eos {
		return nil
	}
	special := func(typ int) object { return object{{"SpecialToken", object{{"id", bos}, {"type_id", typ}}}} }
	text := func(id string, typ int) object {
		return object{{"Sequence", object{{"id", id}, {"type_id", typ}}}}
	}
	return object{
		{"type", "TemplateProcessing"},
		{"single", []object{special(0), text("A", 0)}},
		{"pair", []object{special(0), text("A", 0), special(1), text("B", 1)}},
		{"special_tokens", object{{bos, object{
			{"id", bos}, {"ids", []int{slices.Index(tr.special, bos)}}, {"tokens", []string{bos}},
		}}}},
	}
}
