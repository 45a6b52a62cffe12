package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"meft/tensor"
)

// Config describes a decoder of the Llama family. Its fields are the numbers of
// a Hugging Face config.json under shorter names.
type Config struct {
	Architecture string // LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM

	Dim     int // d, width of the residual stream
	Layers  int
	Heads   int // query heads
	KVHeads int // key and value heads, a divisor of Heads
	HeadDim int // width of one head
	Hidden  int // width of the feed-forward layer
	Vocab   int

	MaxPositions int     // context the model was trained for, in tokens
	Eps          float32 // of every RMSNorm
	Theta        float64 // base of the rotary frequencies
	Scaling      Scaling // of the rotary frequencies
	Window       []int   // per layer: keys a query sees, itself included; 0 for all

	Tied      bool // the head is the embedding
	QKVBias   bool
	OBias     bool
	MLPBias   bool
	QKNorm    bool    // RMSNorm over each query and key head (Qwen3)
	InitRange float32 // standard deviation of random weights

	BOS int32   // -1 for none
	EOS []int32 // ids that end a text
}

// Scaling is how rotary frequencies are stretched beyond the trained context.
type Scaling struct {
	Kind      string  // "", "linear", "dynamic" or "llama3"
	Factor    float64 // of the stretch
	Low, High float64 // llama3: low_freq_factor, high_freq_factor
	Original  int     // llama3: original_max_position_embeddings
}

// rawConfig is config.json as Hugging Face writes it. Pointers tell an absent
// key from a zero.
type rawConfig struct {
	Architectures         []string        `json:"architectures"`
	ModelType             string          `json:"model_type"`
	HiddenSize            int             `json:"hidden_size"`
	NumHiddenLayers       int             `json:"num_hidden_layers"`
	NumAttentionHeads     int             `json:"num_attention_heads"`
	NumKeyValueHeads      *int            `json:"num_key_value_heads"`
	HeadDim               *int            `json:"head_dim"`
	IntermediateSize      int             `json:"intermediate_size"`
	VocabSize             int             `json:"vocab_size"`
	MaxPositionEmbeddings int             `json:"max_position_embeddings"`
	RMSNormEps            *float64        `json:"rms_norm_eps"`
	RopeTheta             *float64        `json:"rope_theta"`
	RopeScaling           *rawScaling     `json:"rope_scaling"`
	RopeParameters        *rawScaling     `json:"rope_parameters"` // newer name; holds rope_theta too
	HiddenAct             string          `json:"hidden_act"`
	TieWordEmbeddings     bool            `json:"tie_word_embeddings"`
	AttentionBias         bool            `json:"attention_bias"`
	MLPBias               bool            `json:"mlp_bias"`
	SlidingWindow         *int            `json:"sliding_window"`
	UseSlidingWindow      *bool           `json:"use_sliding_window"`
	MaxWindowLayers       *int            `json:"max_window_layers"`
	LayerTypes            []string        `json:"layer_types"`
	InitializerRange      *float64        `json:"initializer_range"`
	BOS                   *int32          `json:"bos_token_id"`
	EOS                   json.RawMessage `json:"eos_token_id"`
	PartialRotary         *float64        `json:"partial_rotary_factor"`
	Quantization          json.RawMessage `json:"quantization_config"`
}

type rawScaling struct {
	Type     string   `json:"type"`
	RopeType string   `json:"rope_type"`
	Theta    *float64 `json:"rope_theta"`
	Factor   float64  `json:"factor"`
	Low      float64  `json:"low_freq_factor"`
	High     float64  `json:"high_freq_factor"`
	Original int      `json:"original_max_position_embeddings"`
}

// architectures are the decoders this package builds.
var architectures = []string{"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"}

// ReadConfig reads dir/config.json.
func ReadConfig(dir string) (Config, error) {
	path := filepath.Join(dir, "config.json")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Config{}, fmt.Errorf("%s: no config.json there; wanted a folder with a Hugging Face checkpoint (config.json and *.safetensors)", dir)
	}
	if err != nil {
		return Config{}, err
	}
	return ParseConfig(path, data)
}

// ParseConfig reads the bytes of a config.json; name is used in errors. All
// problems are reported in one error.
func ParseConfig(name string, data []byte) (Config, error) {
	var r rawConfig
	if err := json.Unmarshal(data, &r); err != nil {
		return Config{}, fmt.Errorf("%s: %w", name, err)
	}
	c, problems := r.config()
	problems = append(problems, c.check()...)
	if len(problems) > 0 {
		return Config{}, fmt.Errorf("%s: %s", name, strings.Join(problems, "; "))
	}
	return c, nil
}

func (r *rawConfig) config() (c Config, problems []string) {
	c = Config{
		Dim: r.HiddenSize, Layers: r.NumHiddenLayers, Heads: r.NumAttentionHeads,
		KVHeads: or(r.NumKeyValueHeads, r.NumAttentionHeads), Hidden: r.IntermediateSize, Vocab: r.VocabSize,
		MaxPositions: r.MaxPositionEmbeddings, Eps: float32(or(r.RMSNormEps, 1e-6)), Theta: or(r.RopeTheta, 10000),
		Tied: r.TieWordEmbeddings, InitRange: float32(or(r.InitializerRange, 0.02)), BOS: or(r.BOS, -1),
	}
	if c.Architecture = r.architecture(); c.Architecture == "" {
		problems = append(problems, fmt.Sprintf("architecture %q (model_type %q) is not known; known: %s",
			strings.Join(r.Architectures, ", "), r.ModelType, strings.Join(architectures, ", ")))
	}
	if c.Heads > 0 {
		c.HeadDim = or(r.HeadDim, c.Dim/c.Heads)
	}
	if c.MaxPositions == 0 {
		c.MaxPositions = 2048
	}
	switch c.Architecture {
	case "LlamaForCausalLM":
		c.QKVBias, c.OBias, c.MLPBias = r.AttentionBias, r.AttentionBias, r.MLPBias
	case "Qwen2ForCausalLM":
		c.QKVBias = true
	case "Qwen3ForCausalLM":
		c.QKNorm = true
		c.QKVBias, c.OBias = r.AttentionBias, r.AttentionBias
	}
	c.Window = r.windows(c.Architecture)
	problems = append(problems, r.eos(&c)...)
	problems = append(problems, r.scaling(&c)...)
	if r.HiddenAct != "" && r.HiddenAct != "silu" && r.HiddenAct != "swish" {
		problems = append(problems, fmt.Sprintf("hidden_act is %q, wanted silu", r.HiddenAct))
	}
	if r.PartialRotary != nil && *r.PartialRotary != 1 {
		problems = append(problems, fmt.Sprintf("partial_rotary_factor is %v, wanted 1", *r.PartialRotary))
	}
	if len(r.Quantization) > 0 && string(r.Quantization) != "null" {
		problems = append(problems, "quantization_config: weights that were stored quantised cannot be read; use the unquantised checkpoint")
	}
	return c, problems
}

func (r *rawConfig) architecture() string {
	for _, a := range r.Architectures {
		if slices.Contains(architectures, a) {
			return a
		}
	}
	if len(r.Architectures) == 0 {
		for _, a := range architectures {
			if r.ModelType != "" && strings.HasPrefix(strings.ToLower(a), r.ModelType+"for") {
				return a
			}
		}
	}
	return ""
}

// windows gives each layer its sliding window, as the Hugging Face classes of
// the architecture read these keys.
func (r *rawConfig) windows(arch string) []int {
	w := make([]int, max(0, min(r.NumHiddenLayers, 1<<20)))
	if r.SlidingWindow == nil || *r.SlidingWindow <= 0 || arch == "LlamaForCausalLM" {
		return w
	}
	qwen := arch == "Qwen2ForCausalLM" || arch == "Qwen3ForCausalLM"
	if qwen && !or(r.UseSlidingWindow, false) {
		return w
	}
	for i := range w {
		switch {
		case i < len(r.LayerTypes):
			if r.LayerTypes[i] == "sliding_attention" {
				w[i] = *r.SlidingWindow
			}
		case !qwen || i >= or(r.MaxWindowLayers, 28):
			w[i] = *r.SlidingWindow
		}
	}
	return w
}

func (r *rawConfig) eos(c *Config) []string {
	if len(r.EOS) == 0 || string(r.EOS) == "null" {
		return nil
	}
	var one int32
	if json.Unmarshal(r.EOS, &one) == nil {
		c.EOS = []int32{one}
		return nil
	}
	if err := json.Unmarshal(r.EOS, &c.EOS); err != nil {
		return []string{fmt.Sprintf("eos_token_id is %s, wanted an id or a list of ids", r.EOS)}
	}
	return nil
}

func (r *rawConfig) scaling(c *Config) []string {
	s := r.RopeScaling
	if s == nil {
		s = r.RopeParameters
	}
	if s == nil {
		return nil
	}
	if s.Theta != nil {
		c.Theta = *s.Theta
	}
	kind := s.RopeType
	if kind == "" {
		kind = s.Type
	}
	switch kind {
	case "", "default":
		return nil
	case "linear", "dynamic", "llama3":
	default:
		return []string{fmt.Sprintf("rope_scaling kind %q is not known; known: default, linear, dynamic, llama3", kind)}
	}
	c.Scaling = Scaling{Kind: kind, Factor: s.Factor, Low: s.Low, High: s.High, Original: s.Original}
	var problems []string
	if s.Factor < 1 {
		problems = append(problems, fmt.Sprintf("rope_scaling factor is %v, wanted 1 or more", s.Factor))
	}
	if kind == "llama3" && (s.Low <= 0 || s.High <= s.Low || s.Original <= 0) {
		problems = append(problems, fmt.Sprintf("rope_scaling llama3 has low_freq_factor %v, high_freq_factor %v, original_max_position_embeddings %d; wanted 0 < low < high and a context", s.Low, s.High, s.Original))
	}
	return problems
}

// check names every number that no decoder can have.
func (c Config) check() (problems []string) {
	const limit = 1 << 24 // beyond any model, and small enough that products fit an int
	positive := []struct {
		key string
		v   int
	}{
		{"hidden_size", c.Dim}, {"num_hidden_layers", c.Layers}, {"num_attention_heads", c.Heads},
		{"num_key_value_heads", c.KVHeads}, {"intermediate_size", c.Hidden},
		{"vocab_size", c.Vocab}, {"max_position_embeddings", c.MaxPositions},
	}
	for _, p := range positive {
		if p.v <= 0 || p.v > limit {
			problems = append(problems, fmt.Sprintf("%s is %d, wanted 1 to %d", p.key, p.v, limit))
		}
	}
	if len(problems) > 0 {
		return problems
	}
	if c.Heads%c.KVHeads != 0 {
		problems = append(problems, fmt.Sprintf("num_attention_heads %d is not a multiple of num_key_value_heads %d", c.Heads, c.KVHeads))
	}
	if c.HeadDim <= 0 || c.HeadDim > tensor.MaxHead || c.HeadDim%2 != 0 {
		problems = append(problems, fmt.Sprintf("head_dim is %d, wanted an even number up to %d", c.HeadDim, tensor.MaxHead))
	}
	if c.Eps <= 0 || c.Theta <= 0 {
		problems = append(problems, fmt.Sprintf("rms_norm_eps is %v and rope_theta %v, wanted both above 0", c.Eps, c.Theta))
	}
	for _, id := range append([]int32{c.BOS}, c.EOS...) {
		if int(id) >= c.Vocab {
			problems = append(problems, fmt.Sprintf("token id %d is outside the vocabulary of %d", id, c.Vocab))
		}
	}
	return problems
}

// Parameters is the number of weights.
func (c Config) Parameters() int64 {
	var n int64
	for _, s := range c.specs() {
		n += s.count()
	}
	return n
}

func or[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}
