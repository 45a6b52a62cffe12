package methodtest

import (
	"testing"

	"meft/method"
	"meft/param"
)

// small is MEFT for the suite's model: several experts, the last one short, and
// a union that does not cover all neurons.
func small() method.MEFT {
	return method.MEFT{Neurons: 46, TopK: 5, Experts: 12, Probe: 3, Router: method.RouteKeyExperts, Balance: 0.3, Capacity: 1.25, StableShare: 0.1, StableLoss: 0.3, Gate: method.GateLogit, Share: method.ShareToken,
		Layers: "all", Idle: param.Lazy, Activation: "relu", Master: param.WholeMaster, Moments: param.WholeMoments}
}

func TestMethodsKeepTheirPromises(t *testing.T) {
	with := func(change func(f *method.MEFT)) *method.MEFT {
		f := small()
		change(&f)
		return &f
	}
	for _, c := range []struct {
		name, method string
		m            method.Method
	}{
		{"full", "full", &method.Full{}},
		{"parallel", "parallel", &method.Parallel{Bottleneck: 9, Activation: "relu", Layers: "all"}},
		{"parallel silu some layers", "parallel", &method.Parallel{Bottleneck: 8, Activation: "silu", Layers: "1-2"}},
		{"series", "series", &method.Series{Bottleneck: 7, Position: "both", Activation: "tanh", Layers: "all"}},
		{"series ffn relu some layers", "series", &method.Series{Bottleneck: 9, Position: "ffn", Activation: "relu", Layers: "1-2"}},
		{"series attention silu", "series", &method.Series{Bottleneck: 9, Position: "attention", Activation: "silu", Layers: "all"}},
		{"series around", "series", &method.Series{Bottleneck: 8, Position: "around", Activation: "silu", Layers: "1-2"}},
		{"series gelu one layer", "series", &method.Series{Bottleneck: 12, Position: "both", Activation: "gelu", Layers: "1"}},
		{"parallel swiglu", "parallel", &method.Parallel{Bottleneck: 9, Activation: "swiglu", Layers: "all"}},
		{"lst", "lst", &method.LST{Reduction: 2, Layers: "all", Temperature: 0.5, Init: method.InitPruned}},
		{"lst random some layers", "lst", &method.LST{Reduction: 3, Layers: "0-1", Temperature: 1, Init: method.InitRandom}},
		{"lst one layer as wide", "lst", &method.LST{Reduction: 1, Layers: "2", Temperature: 0.1, Init: method.InitPruned}},
		{"shira", "shira", &method.SHiRA{Rank: 2, Targets: "all-linear"}},
		{"shira head", "shira", &method.SHiRA{Rank: 4, Targets: "q_proj,v_proj,lm_head"}},
		{"lora", "lora", &method.LoRA{Rank: 3, Targets: "all-linear", Layers: "all"}},
		{"lora query value some layers", "lora", &method.LoRA{Rank: 2, Alpha: 3, Targets: "q_proj,v_proj", Layers: "1-2", RSLoRA: true}},
		{"lora output", "lora", &method.LoRA{Rank: 4, Targets: "o_proj", Layers: "1"}},
		{"lora gate down", "lora", &method.LoRA{Rank: 4, Targets: "gate_proj,down_proj", Layers: "0,2"}},
		{"lora down", "lora", &method.LoRA{Rank: 5, Targets: "down_proj", Layers: "all"}},
		{"lora head", "lora", &method.LoRA{Rank: 6, Targets: "lm_head", Layers: "all"}},
		{"lora head dropout", "lora", &method.LoRA{Rank: 3, Targets: "q_proj,down_proj,lm_head", Layers: "all", Dropout: 0.3}},
		{"lora plus gaussian", "lora", &method.LoRA{Rank: 3, Targets: "all-linear", Layers: "all", Ratio: 4, Init: "gaussian"}},
		{"dora", "lora", &method.LoRA{Rank: 3, Targets: "all-linear", Layers: "all", DoRA: true}},
		{"dora some layers", "lora", &method.LoRA{Rank: 2, Alpha: 3, Targets: "q_proj,v_proj,up_proj", Layers: "1-2", RSLoRA: true, DoRA: true, Ratio: 2}},
		{"dora head", "lora", &method.LoRA{Rank: 6, Targets: "lm_head", Layers: "all", DoRA: true}},
		{"dora dropout", "lora", &method.LoRA{Rank: 3, Targets: "q_proj,k_proj,v_proj,down_proj,lm_head", Layers: "all", DoRA: true, Dropout: 0.3}},
		{"lora dropout", "lora", &method.LoRA{Rank: 3, Targets: "all-linear", Layers: "all", Dropout: 0.3}},
		{"prompt", "prompt", &method.Prompt{Tokens: 12, Init: method.FromVocabulary}},
		{"prompt random", "prompt", &method.Prompt{Tokens: 5, Init: method.FromRandom}},
		{"prefix", "prefix", &method.Prefix{Tokens: 3, Init: method.FromVocabulary}},
		{"prefix random", "prefix", &method.Prefix{Tokens: 6, Init: method.FromRandom}},
		{"prefix longer than a batch", "prefix", &method.Prefix{Tokens: 20, Init: method.FromRandom}},
		{"prefix projection", "prefix", &method.Prefix{Tokens: 3, Init: method.FromVocabulary, Projects: true}},
		{"prefix projection random", "prefix", &method.Prefix{Tokens: 3, Init: method.FromRandom, Projects: true, Hidden: 5}},
		{"meft", "meft", with(func(f *method.MEFT) {})},
		{"meft ungated", "meft", with(func(f *method.MEFT) { f.Gate, f.Idle = method.GateNone, param.Moving })},
		{"meft softmax replay", "meft", with(func(f *method.MEFT) { f.Gate, f.Idle = method.GateSoftmax, param.Replay })},
		{"meft union some layers", "meft", with(func(f *method.MEFT) { f.Share, f.Layers = method.ShareUnion, "0,2" })},
		{"meft union softmax chunks", "meft", with(func(f *method.MEFT) { f.Share, f.Gate, f.Buffer = method.ShareUnion, method.GateSoftmax, 6 })},
		{"meft union ungated", "meft", with(func(f *method.MEFT) { f.Share, f.Gate = method.ShareUnion, method.GateNone })},
		{"meft chunks", "meft", with(func(f *method.MEFT) { f.Buffer = 7 })},
		{"meft frozen keys", "meft", with(func(f *method.MEFT) { f.FrozenKeys, f.Idle = true, param.Replay })},
		{"meft split", "meft", with(func(f *method.MEFT) { f.Master, f.Buffer = param.SplitMaster, 7 })},
		{"meft split union bytes", "meft", with(func(f *method.MEFT) {
			f.Master, f.Moments, f.Share = param.SplitMaster, param.ByteMoments, method.ShareUnion
		})},
		{"meft half moments dense", "meft", with(func(f *method.MEFT) { f.Moments, f.Idle = param.HalfMoments, param.Moving })},
		{"meft byte moments replay", "meft", with(func(f *method.MEFT) { f.Moments, f.Idle = param.ByteMoments, param.Replay })},
		{"meft swiglu", "meft", with(func(f *method.MEFT) { f.Activation = method.SwiGLU })},
		{"meft swiglu ungated chunks", "meft", with(func(f *method.MEFT) { f.Activation, f.Gate, f.Buffer = method.SwiGLU, method.GateNone, 7 })},
		{"meft swiglu union softmax split", "meft", with(func(f *method.MEFT) {
			f.Activation, f.Share, f.Gate, f.Master, f.Buffer = method.SwiGLU, method.ShareUnion, method.GateSoftmax, param.SplitMaster, 9
		})},
		{"meft swiglu frozen keys replay", "meft", with(func(f *method.MEFT) { f.Activation, f.FrozenKeys, f.Idle = method.SwiGLU, true, param.Replay })},
		{"meft swiglu half moments", "meft", with(func(f *method.MEFT) { f.Activation, f.Moments, f.Idle = method.SwiGLU, param.HalfMoments, param.Moving })},
		{"meft exact", "meft", with(func(f *method.MEFT) { f.Router = method.RouteExact })},
		{"meft exact ungated", "meft", with(func(f *method.MEFT) { f.Router, f.Gate, f.Buffer = method.RouteExact, method.GateNone, 7 })},
		{"meft switch", "meft", with(func(f *method.MEFT) { f.Router, f.Neurons, f.Gate = method.RouteSwitch, 48, method.GateAuto })},
		{"meft switch without limits", "meft", with(func(f *method.MEFT) {
			f.Router, f.Neurons, f.Gate, f.Capacity, f.Balance, f.Activation = method.RouteSwitch, 48, method.GateAuto, 0, 0, method.SwiGLU
		})},
		{"meft stable", "meft", with(func(f *method.MEFT) { f.Router, f.Gate = method.RouteStable, method.GateAuto })},
		{"meft stable chunks swiglu", "meft", with(func(f *method.MEFT) {
			f.Router, f.Gate, f.Buffer, f.Activation = method.RouteStable, method.GateAuto, 3, method.SwiGLU
		})},
		{"meft product keys", "meft", with(func(f *method.MEFT) { f.Router, f.Neurons, f.Gate = method.RouteProductKey, 49, method.GateSoftmax })},
		{"meft product keys logit chunks", "meft", with(func(f *method.MEFT) {
			f.Router, f.Neurons, f.Gate, f.Buffer = method.RouteProductKey, 49, method.GateLogit, 7
		})},
		{"meft product keys ungated swiglu", "meft", with(func(f *method.MEFT) {
			f.Router, f.Neurons, f.Gate, f.Activation = method.RouteProductKey, 49, method.GateNone, method.SwiGLU
		})},
		{"meft one layer", "meft", with(func(f *method.MEFT) { f.Layers, f.Neurons = "2", 60 })},
	} {
		t.Run(c.name, func(t *testing.T) { Run(t, c.method, c.m) })
	}
}
