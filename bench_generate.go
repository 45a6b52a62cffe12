package meft

import (
	"context"
	"math/rand/v2"
	"time"

	"meft/cpu"
	"meft/model"
	"meft/tensor"
)

// GenerateBench is the speed of reading prompts and of generating, on random
// token ids.
type GenerateBench struct {
	BenchCase
	Method      string          `json:"method,omitempty"` // of the adapter, none for the bare model
	Prompt      int             `json:"prompt_tokens"`
	New         int             `json:"new_tokens"`
	WeightBytes int64           `json:"weight_bytes"` // that a step of generation reads
	ReadGBs     float64         `json:"read_gbs"`     // reading from memory, median
	DeviceBytes int64           `json:"device_bytes"`
	RSSMiB      int64           `json:"rss_mib"`
	Rows        []GenerateSpeed `json:"rows"`
}

// GenerateSpeed is the speed with so many sequences at once. Tokens of all of
// them count.
type GenerateSpeed struct {
	Sequences  int     `json:"sequences"`
	PromptTokS float64 `json:"prompt_tok_s"` // reading prompts, median
	DecodeTokS float64 `json:"decode_tok_s"` // generating after one token, median
	MinTokS    float64 `json:"min_tok_s"`    // of generating
	MaxTokS    float64 `json:"max_tok_s"`
	WeightGBs  float64 `json:"weight_gbs"` // weights read a second while generating
	ReadShare  float64 `json:"read_share"` // of the reading speed of the machine, median of the rounds
}

// BenchGenerate measures how fast a model, with random weights for a built-in
// shape, reads prompts and generates greedily, with several numbers of
// sequences at once. With a method that has one, the model has its adapter, as
// it is before training; method full or none is the bare model.
func BenchGenerate(ctx context.Context, c Config, o BenchOptions) (*GenerateBench, error) {
	o, err := o.filled()
	if err != nil {
		return nil, err
	}
	rss := forgetPeakRSS()
	s, err := Open(SessionOptions{Model: c.Model, Shape: c.Shape, RandomWeights: c.Shape != "", BaseDType: c.BaseDType, PlainScales: !c.DoubleQuant, ComputeDType: c.ComputeDType, Threads: c.Threads, Seed: c.Seed})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	b := &GenerateBench{Prompt: o.Prompt, New: o.New}
	if c.Method != "" && c.Method != "full" {
		b.Method = c.Method
		if s.method, err = newMethod(c.Method, c.Settings); err == nil {
			err = takeText(s.method, s.base)
		}
		if err != nil {
			return nil, &UsageError{err}
		}
	}
	if err := s.needFor(o); err != nil {
		return nil, &UsageError{err}
	}
	dev := s.engine.dev.(*cpu.Device)
	var l tensor.Ledger
	a := tensor.NewArena(dev, &l, nil)
	defer a.Close()
	p, err := newProbe(dev, a, 0)
	if err != nil {
		return nil, err
	}
	b.BenchCase, b.DeviceBytes, b.WeightBytes = benchCase("generate", s.base, dev), s.engine.ledger.Peak(tensor.OnDevice), readWeights(s.engine.model)
	var reads []float64
	for _, n := range o.Sequences {
		g, read, err := s.measure(ctx, p, n, o, float64(b.WeightBytes))
		if err != nil {
			return nil, err
		}
		b.Rows, reads = append(b.Rows, g), append(reads, read...)
	}
	b.ReadGBs = spreadOf(reads).median / 1e9
	if rss {
		b.RSSMiB = (peakRSS() - p.memory.Bytes()) >> 20
	}
	return b, nil
}

// needFor builds the model large enough for everything that is measured.
func (s *Session) needFor(o BenchOptions) error {
	size := model.Size{}
	for _, n := range o.Sequences {
		for _, p := range [][2]int{{o.Prompt, 1}, {1, o.New}} {
			g := generateSize(s.base.config, s.ahead(), randomPrompts(s.base.config, n, p[0]), model.Decoding{MaxNew: p[1]})
			size.Rows, size.Context, size.CacheRows = max(size.Rows, g.Rows), max(size.Context, g.Context), max(size.CacheRows, g.CacheRows)
		}
	}
	return s.need(size)
}

// readWeights is the bytes of the weights that a generated token goes through:
// all but an embedding that is not the head as well.
func readWeights(m *model.Model) int64 {
	bytes := int64(0)
	for i, w := range m.Weights() {
		if i > 0 || m.Config.Tied { // the embedding comes first
			bytes += w.W.Bytes()
		}
	}
	return bytes
}

// measure times rounds of reading n prompts, generating for n prompts of one
// token, and reading memory.
func (s *Session) measure(ctx context.Context, p *probe, n int, o BenchOptions, weights float64) (GenerateSpeed, []float64, error) {
	long, short := randomPrompts(s.base.config, n, o.Prompt), randomPrompts(s.base.config, n, 1)
	timed := func(prompts [][]int32, most int) (float64, error) {
		start := time.Now()
		err := s.Generate(ctx, prompts, model.Decoding{MaxNew: most}, func(int, model.Continuation) error { return nil })
		return time.Since(start).Seconds(), err
	}
	var prompts, decodes, shares, reads []float64
	for round := range o.Repeats + 1 {
		first, err := timed(long, 1)
		if err != nil {
			return GenerateSpeed{}, nil, err
		}
		read := p.read()
		rest, err := timed(short, o.New)
		if err != nil {
			return GenerateSpeed{}, nil, err
		}
		if round == 0 {
			continue // warm-up
		}
		prompts = append(prompts, float64(n*o.Prompt)/first)
		decodes = append(decodes, float64(n*o.New)/rest)
		shares = append(shares, weights*float64(o.New)/rest/read)
		reads = append(reads, read)
	}
	d := spreadOf(decodes)
	return GenerateSpeed{Sequences: n, PromptTokS: spreadOf(prompts).median, DecodeTokS: d.median, MinTokS: d.least, MaxTokS: d.most,
		WeightGBs: weights * d.median / float64(n) / 1e9, ReadShare: spreadOf(shares).median}, reads, nil
}

func randomPrompts(c model.Config, n, length int) [][]int32 {
	r := rand.New(rand.NewPCG(uint64(n), uint64(length)))
	out := make([][]int32, n)
	for i := range out {
		out[i] = make([]int32, length)
		for j := range out[i] {
			out[i][j] = int32(r.IntN(c.Vocab))
		}
	}
	return out
}
