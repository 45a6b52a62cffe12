package meft

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"

	"meft/gguf"
	"meft/method"
	"meft/model"
)

// architecture is llama.cpp's name of the decoder. The error is about a part that
// llama.cpp's has not.
func architecture(c model.Config) (string, error) {
	switch c.Architecture {
	case "LlamaForCausalLM", "MistralForCausalLM":
		return "llama", nil
	case "Qwen2ForCausalLM":
		return "qwen2", nil
	case "Qwen3ForCausalLM":
		if c.QKVBias || c.OBias {
			return "", fmt.Errorf("attention_bias with %s, which llama.cpp does not compute", c.Architecture)
		}
		return "qwen3", nil
	}
	return "", fmt.Errorf("%s is nothing that llama.cpp computes; known are Llama, Mistral, Qwen2 and Qwen3", c.Architecture)
}

// ggufName is what llama.cpp calls a weight of a checkpoint.
func ggufName(name string) string {
	if new, ok := map[string]string{"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", headName: "output.weight"}[name]; ok {
		return new
	}
	part := strings.Split(name, ".") // model layers 3 [self_attn] q_proj weight
	if len(part) < 5 || part[1] != "layers" {
		panic("meft: weight " + name + " has no name in llama.cpp")
	}
	new, ok := map[string]string{"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v",
		"o_proj": "attn_output", "q_norm": "attn_q_norm", "k_norm": "attn_k_norm", "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down"}[part[len(part)-2]]
	if !ok {
		panic("meft: weight " + name + " has no name in llama.cpp")
	}
	return "blk." + part[2] + "." + new + "." + part[len(part)-1]
}

// weight is a weight of the model as a tensor of the file, without its values.
func (e *exporter) weight(w model.WeightShape) gguf.Tensor {
	return gguf.Tensor{Name: ggufName(w.Name), Shape: w.Dims}
}

// permuted reports whether a weight's rows are in another order in the file:
// those of queries and keys of the architecture llama.
func (e *exporter) permuted(name string) bool {
	return e.arch == "llama" && (strings.Contains(name, ".q_proj.") || strings.Contains(name, ".k_proj."))
}

// adapterAlone makes the file of a LoRA adapter.
func (e *exporter) adapterAlone() error {
	e.result.Kind = "adapter"
	l, ok := e.method.(*method.LoRA)
	if !ok {
		return fmt.Errorf("only LoRA adapters are GGUF files of their own; leave --adapter-only out to fold this one in")
	}
	alpha := l.EffectiveAlpha()
	if l.RSLoRA {
		alpha *= math.Sqrt(float64(l.Rank)) // llama.cpp divides by the rank
	}
	e.general("adapter")
	e.key("adapter.type", "lora")
	e.key("adapter.lora.alpha", float32(alpha))
	for _, name := range e.adapter.Names() {
		info, _ := e.adapter.Info(name)
		layer, isA := strings.CutSuffix(name, ".lora_A.weight")
		layer, isB := strings.CutSuffix(layer, ".lora_B.weight")
		weight := strings.TrimPrefix(layer, "base_model.model.") + ".weight"
		switch {
		case !isA && !isB:
			return fmt.Errorf("%s: tensor %q has no place in an adapter of llama.cpp; leave --adapter-only out to fold the adapter in", filepath.Base(info.File), name)
		case weight == headName && e.stored.Tied:
			return fmt.Errorf("tensor %q: llama.cpp has no adapters of a head that is the embedding; leave --adapter-only out to fold the adapter in", name)
		}
		t := gguf.Tensor{Name: ggufName(weight) + map[bool]string{true: ".lora_a", false: ".lora_b"}[isA], Shape: info.Shape}
		heads := isB && e.permuted(weight)
		var values []float32
		t.Rows = func(dst []float32, row int) error {
			if row == 0 {
				values = make([]float32, info.Len())
				if err := e.adapter.ReadF32(values, name); err != nil {
					return err
				}
			}
			pick(dst, values, row, info.Shape[1], heads, e.config.HeadDim)
			return nil
		}
		e.add(t)
	}
	return nil
}
