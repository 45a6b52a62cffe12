package model

// Shapes are the built-in configurations, for planning and for measuring
// without weights. The numbers are those of the published config.json files.
func Shapes() map[string]Config {
	llama2 := Config{Architecture: "LlamaForCausalLM", Vocab: 32000, MaxPositions: 4096, Eps: 1e-5, Theta: 10000, InitRange: 0.02, BOS: 1, EOS: []int32{2}}
	llama3 := Config{Architecture: "LlamaForCausalLM", Vocab: 128256, MaxPositions: 131072, Eps: 1e-5, Theta: 500000, InitRange: 0.02,
		Scaling: Scaling{Kind: "llama3", Factor: 8, Low: 1, High: 4, Original: 8192}, BOS: 128000, EOS: []int32{128001}}
	llama32 := llama3
	llama32.Scaling.Factor = 32
	llama32.Tied = true
	mistral := Config{Architecture: "MistralForCausalLM", Vocab: 32000, MaxPositions: 32768, Eps: 1e-5, Theta: 10000, InitRange: 0.02, BOS: 1, EOS: []int32{2}}
	qwen2 := Config{Architecture: "Qwen2ForCausalLM", MaxPositions: 32768, Eps: 1e-6, Theta: 1000000, InitRange: 0.02, QKVBias: true, BOS: 151643, EOS: []int32{151643}}
	qwen3 := Config{Architecture: "Qwen3ForCausalLM", Vocab: 151936, MaxPositions: 40960, Eps: 1e-6, Theta: 1000000, InitRange: 0.02, QKNorm: true, BOS: 151643, EOS: []int32{151645}}
	return map[string]Config{
		"llama-15m":        llama2.shaped(288, 6, 6, 6, 48, 768).context(256).tied(),
		"llama-110m":       llama2.shaped(768, 12, 12, 12, 64, 2048).context(1024).tied(),
		"tinyllama-1.1b":   llama2.shaped(2048, 22, 32, 4, 64, 5632).context(2048),
		"llama-7b":         llama2.shaped(4096, 32, 32, 32, 128, 11008).context(2048).eps(1e-6),
		"llama-2-7b":       llama2.shaped(4096, 32, 32, 32, 128, 11008),
		"llama-2-13b":      llama2.shaped(5120, 40, 40, 40, 128, 13824),
		"llama-2-70b":      llama2.shaped(8192, 80, 64, 8, 128, 28672),
		"llama-3-8b":       llama3.shaped(4096, 32, 32, 8, 128, 14336).context(8192).unscaled(),
		"llama-3.1-8b":     llama3.shaped(4096, 32, 32, 8, 128, 14336),
		"llama-3.1-70b":    llama3.shaped(8192, 80, 64, 8, 128, 28672),
		"llama-3.2-1b":     llama32.shaped(2048, 16, 32, 8, 64, 8192),
		"llama-3.2-3b":     llama32.shaped(3072, 28, 24, 8, 128, 8192),
		"mistral-7b-v0.1":  mistral.shaped(4096, 32, 32, 8, 128, 14336).windowed(4096),
		"mistral-7b-v0.3":  mistral.shaped(4096, 32, 32, 8, 128, 14336).vocab(32768).theta(1000000),
		"mistral-nemo-12b": mistral.shaped(5120, 40, 32, 8, 128, 14336).vocab(131072).theta(1000000).context(131072),
		"qwen2.5-0.5b":     qwen2.shaped(896, 24, 14, 2, 64, 4864).vocab(151936).tied(),
		"qwen2.5-1.5b":     qwen2.shaped(1536, 28, 12, 2, 128, 8960).vocab(151936).tied().context(131072),
		"qwen2.5-7b":       qwen2.shaped(3584, 28, 28, 4, 128, 18944).vocab(152064).context(131072),
		"qwen3-0.6b":       qwen3.shaped(1024, 28, 16, 8, 128, 3072).tied(),
		"qwen3-8b":         qwen3.shaped(4096, 36, 32, 8, 128, 12288),
	}
}

func (c Config) shaped(dim, layers, heads, kv, headDim, hidden int) Config {
	c.Dim, c.Layers, c.Heads, c.KVHeads, c.HeadDim, c.Hidden = dim, layers, heads, kv, headDim, hidden
	c.Window = make([]int, layers)
	return c
}

func (c Config) context(n int) Config   { c.MaxPositions = n; return c }
func (c Config) eps(e float32) Config   { c.Eps = e; return c }
func (c Config) vocab(n int) Config     { c.Vocab = n; return c }
func (c Config) theta(t float64) Config { c.Theta = t; return c }
func (c Config) tied() Config           { c.Tied = true; return c }
func (c Config) unscaled() Config       { c.Scaling = Scaling{}; return c }

func (c Config) windowed(n int) Config {
	for i := range c.Window {
		c.Window[i] = n
	}
	return c
}
