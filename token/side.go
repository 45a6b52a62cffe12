package token

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// side is what the configuration files beside a tokenizer say.
type side struct {
	config     tokenizerConfig
	configFile string
	special    specialNames // special_tokens_map.json
	added      map[string]int32
	generation modelConfig // generation_config.json
	model      modelConfig // config.json
	jinja      string
}

// specialNames are the spellings of the tokens with a role.
type specialNames struct {
	BOS        tokenName   `json:"bos_token"`
	EOS        tokenName   `json:"eos_token"`
	PAD        tokenName   `json:"pad_token"`
	Unk        tokenName   `json:"unk_token"`
	Additional []tokenName `json:"additional_special_tokens"`
}

type tokenizerConfig struct {
	specialNames
	Class          string                `json:"tokenizer_class"`
	AddBOS         *bool                 `json:"add_bos_token"`
	AddEOS         *bool                 `json:"add_eos_token"`
	CleanUp        *bool                 `json:"clean_up_tokenization_spaces"`
	Legacy         *bool                 `json:"legacy"`
	AddPrefixSpace *bool                 `json:"add_prefix_space"`
	AddedTokens    map[string]addedToken `json:"added_tokens_decoder"`
	ChatTemplate   json.RawMessage       `json:"chat_template"`
}

type modelConfig struct {
	Type string `json:"model_type"`
	BOS  idList `json:"bos_token_id"`
	EOS  idList `json:"eos_token_id"`
	PAD  idList `json:"pad_token_id"`
}

// tokenName is a spelling: "</s>", {"content": "</s>"}, or null for no token.
type tokenName struct {
	set  bool // the key is present
	text string
}

func (n *tokenName) UnmarshalJSON(b []byte) error {
	n.set = true
	if json.Unmarshal(b, &n.text) == nil {
		return nil
	}
	var obj struct{ Content string }
	err := json.Unmarshal(b, &obj)
	n.text = obj.Content
	return err
}

// idList is one id, a list of ids, or null.
type idList []int32

func (l *idList) UnmarshalJSON(b []byte) error {
	*l = nil
	var one *int32
	if json.Unmarshal(b, &one) == nil {
		if one != nil {
			*l = idList{*one}
		}
		return nil
	}
	var many []int32
	err := json.Unmarshal(b, &many)
	*l = many
	return err
}

// side reads the configuration files; all of them are optional.
func (s source) side() (*side, error) {
	sd := &side{configFile: s.path("tokenizer_config.json")}
	for _, f := range []struct {
		name string
		into any
	}{
		{"tokenizer_config.json", &sd.config},
		{"special_tokens_map.json", &sd.special},
		{"added_tokens.json", &sd.added},
		{"generation_config.json", &sd.generation},
		{"config.json", &sd.model},
	} {
		data, err := s.read(f.name)
		if err != nil {
			return nil, err
		}
		if data == nil {
			continue
		}
		if err := json.Unmarshal(data, f.into); err != nil {
			return nil, fmt.Errorf("%s: %w", s.path(f.name), err)
		}
	}
	jinja, err := s.read("chat_template.jinja")
	sd.jinja = string(jinja)
	return sd, err
}

// family names the kind of model, "" when the files do not tell.
func (sd *side) family() string {
	return strings.ToLower(cmp.Or(sd.config.Class, sd.model.Type))
}

func (sd *side) isQwen() bool { return strings.HasPrefix(sd.family(), "qwen") }

// isLlama tells whether add_bos_token and add_eos_token go before the
// post_processor of tokenizer.json, as they do in these classes.
func (sd *side) isLlama() bool {
	for _, p := range []string{"llama", "codellama", "gemma", "cohere"} {
		if strings.HasPrefix(strings.ToLower(sd.config.Class), p) {
			return true
		}
	}
	return false
}

// names are the spellings of both files, tokenizer_config.json first.
func (sd *side) names() specialNames {
	pick := func(a, b tokenName) tokenName {
		if a.set {
			return a
		}
		return b
	}
	c, m := sd.config.specialNames, sd.special
	return specialNames{
		pick(c.BOS, m.BOS), pick(c.EOS, m.EOS), pick(c.PAD, m.PAD), pick(c.Unk, m.Unk),
		slices.Concat(c.Additional, m.Additional),
	}
}

// addFrom adds the tokens that only the configuration files list, and marks
// pieces of the vocabulary that have a role as special.
func (d *document) addFrom(sd *side) error {
	have := map[string]int{} // place in d.Added
	for i, a := range d.Added {
		have[a.Content] = i
	}
	add := func(a addedToken) {
		i, ok := have[a.Content]
		if !ok {
			have[a.Content] = len(d.Added)
			d.Added = append(d.Added, a)
			return
		}
		d.Added[i].Special = d.Added[i].Special || a.Special && a.ID == d.Added[i].ID
	}
	var faults problems
	for _, key := range slices.Sorted(maps.Keys(sd.config.AddedTokens)) {
		id, err := strconv.ParseInt(key, 10, 32)
		if err != nil {
			faults.add("added_tokens_decoder: %q is not an id", key)
			continue
		}
		a := sd.config.AddedTokens[key]
		a.ID = int32(id)
		add(a)
	}
	names := sd.names()
	role := map[string]bool{}
	for _, n := range append([]tokenName{names.BOS, names.EOS, names.PAD, names.Unk}, names.Additional...) {
		role[n.text] = n.text != ""
		if i, ok := have[n.text]; ok {
			d.Added[i].Special = true
		} else if id, ok := d.vocab[n.text]; ok && n.text != "" {
			add(addedToken{ID: id, Content: n.text, Special: true})
		}
	}
	for _, text := range slices.Sorted(maps.Keys(sd.added)) {
		add(addedToken{ID: sd.added[text], Content: text, Special: role[text]})
	}
	return faults.err(sd.configFile)
}
