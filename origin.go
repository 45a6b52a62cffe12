package meft

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"meft/method"
	"meft/safetensors"
	"meft/token"
)

// originFile stands beside the two files of adapters in PEFT's form, whose own
// keys have no place for what is in it.
const originFile = "meft.json"

// origin is what an adapter was trained on, and by what.
type origin struct {
	Base      string       `json:"base_sha256,omitempty"` // see fingerprint
	BaseDType string       `json:"base_dtype,omitempty"`  // that its matrices were kept in, by tensor.DType's name
	Shape     adapterShape `json:"base_shape"`
	Version   string       `json:"meft_version"`
	Tokenizer string       `json:"tokenizer_sha256,omitempty"`
}

// origin is that of adapters trained on b.
func (b *base) origin(tok *token.Tokenizer) (o origin, err error) {
	o = origin{Shape: adapterShape{b.config.Dim, b.config.Layers, b.config.Vocab}, BaseDType: b.frozen.String(), Version: Version}
	if tok != nil {
		o.Tokenizer = tok.Hash()
	}
	o.Base, err = b.fingerprint()
	return o, err
}

// inPEFTsForm reports whether PEFT has adapters of that peft_type.
func inPEFTsForm(peftType string) bool {
	return slices.Contains([]string{"LORA", "PROMPT_TUNING", "PREFIX_TUNING", "SHIRA"}, peftType)
}

// writeOrigin writes originFile where an adapter's own files cannot say it.
func (o origin) write(dir string, m method.Method) error {
	if !inPEFTsForm(m.About().PEFT) {
		return nil
	}
	return writeJSON(filepath.Join(dir, originFile), o)
}

// readOrigin is the originFile of an adapter folder, empty where there is none.
func readOrigin(dir string) (o origin, err error) {
	path := filepath.Join(dir, originFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return o, nil
	}
	if err == nil {
		if err = json.Unmarshal(data, &o); err != nil {
			err = fmt.Errorf("%s: %w", path, err)
		}
	}
	return o, err
}

// madeFor reports why an adapter is not of this base model: it was trained on
// another, as far as its files say.
func (o origin) madeFor(dir, name string, b *base, tok *token.Tokenizer) error {
	const anyway = "; --allow-other-base loads it nevertheless"
	if has := (adapterShape{b.config.Dim, b.config.Layers, b.config.Vocab}); has != o.Shape && o.Shape != (adapterShape{}) {
		return fmt.Errorf("%s: made for a model of hidden_size %d, %d layers, vocabulary %d (%s); this one has %d, %d, %d"+anyway, dir,
			o.Shape.Hidden, o.Shape.Layers, o.Shape.Vocab, name, has.Hidden, has.Layers, has.Vocab)
	}
	if tok != nil && o.Tokenizer != "" && o.Tokenizer != tok.Hash() {
		return fmt.Errorf("%s: trained with another tokenizer than this model's (sha256 %.12s, here %.12s): its token ids would mean other text"+anyway, dir, o.Tokenizer, tok.Hash())
	}
	if o.Base == "" {
		return nil
	}
	hash, err := b.fingerprint()
	if err == nil && hash != "" && hash != o.Base {
		return fmt.Errorf("%s: trained on other weights than this model's (base_sha256 %.12s of %s, here %.12s), which it would not suit"+anyway, dir, o.Base, name, hash)
	}
	return err
}

// quantised is the quantised type of the base that an adapter was trained on, as
// SessionOptions have it; "" where it was none, or nobody says.
func (o origin) quantised() (dtype string, plain bool) {
	for _, double := range []bool{false, true} {
		for name, t := range baseTypes(double) {
			if t.Quantised() && t.String() == o.BaseDType {
				return name, !t.DoubleScales()
			}
		}
	}
	return "", false
}

// fingerprintKeys are the keys of config.json that say what a model computes, in
// the order they are hashed.
var fingerprintKeys = []string{"architectures", "attention_bias", "head_dim", "hidden_act", "hidden_size", "intermediate_size", "layer_types", "mlp_bias", "model_type",
	"num_attention_heads", "num_hidden_layers", "num_key_value_heads", "rms_norm_eps", "rope_parameters", "rope_scaling", "rope_theta", "sliding_window",
	"tie_word_embeddings", "use_sliding_window", "vocab_size"}

// fingerprintEnd is how much is hashed at each end of a tensor, in bytes.
const fingerprintEnd = 4096

// fingerprint is a SHA-256, in hexadecimal, that models with other weights are
// told apart by: of the keys of config.json and of names, types, shapes and both
// ends of all tensors, so that it is as quick for large models; docs/format.md
// draws it. It is "" for a model without files, or with random weights.
func (b *base) fingerprint() (string, error) {
	if b.dir == "" || b.random {
		return "", nil
	}
	if b.hash != "" {
		return b.hash, nil
	}
	h := sha256.New()
	data, err := os.ReadFile(filepath.Join(b.dir, "config.json"))
	if err != nil {
		return "", err
	}
	var config map[string]json.RawMessage
	if err := json.Unmarshal(data, &config); err != nil {
		return "", fmt.Errorf("%s: %w", filepath.Join(b.dir, "config.json"), err)
	}
	for _, key := range fingerprintKeys {
		if value, ok := config[key]; ok {
			var compact bytes.Buffer
			if err := json.Compact(&compact, value); err != nil {
				return "", err
			}
			fmt.Fprintf(h, "%s=%s\n", key, compact.Bytes())
		}
	}
	set, err := safetensors.Open(b.dir)
	if err != nil {
		return "", err
	}
	defer set.Close()
	if err := hashEnds(h, set); err != nil {
		return "", err
	}
	b.hash = hex.EncodeToString(h.Sum(nil))
	return b.hash, nil
}

// hashEnds hashes what tells the tensors of one model from those of another.
func hashEnds(h io.Writer, set *safetensors.Set) error {
	names := set.Names()
	slices.Sort(names)
	for _, name := range names {
		info, _ := set.Info(name)
		fmt.Fprintf(h, "%s %s %v\n", name, info.DType, info.Shape)
		data, err := set.Bytes(name)
		if err != nil {
			return err
		}
		if len(data) > 2*fingerprintEnd {
			h.Write(data[:fingerprintEnd])
			data = data[len(data)-fingerprintEnd:]
		}
		h.Write(data)
		set.Release(name)
	}
	return nil
}
