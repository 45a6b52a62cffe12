package model

import (
	"math"

	"meft/tensor"
)

// rotary is the table of rotary angles of a model (Su et al. 2021,
// https://arxiv.org/abs/2104.09864), in the half-rotation layout of Hugging
// Face: row p has the cosines of all frequencies at position p, then the sines.
type rotary struct {
	dev    tensor.Device
	table  tensor.Tensor // [context, head width]
	config Config
	length int // context the frequencies in the table are for
}

func newRotary(a *tensor.Arena, c Config, context int) *rotary {
	r := &rotary{dev: a.Device(), config: c, table: a.New("rope", tensor.F32, context, c.HeadDim)}
	return r
}

// fit makes the table right for sequences of up to length tokens. Only dynamic
// scaling depends on it: its base grows with the longest sequence of the batch,
// as in Hugging Face.
func (r *rotary) fit(length int) {
	want := r.config.MaxPositions
	if r.config.Scaling.Kind == "dynamic" && length > want {
		want = length
	}
	if want == r.length {
		return
	}
	r.length = want
	half := r.config.HeadDim / 2
	rows := r.table.Dim(0)
	host := make([]float32, rows*2*half)
	for j, f := range r.config.frequencies(want) {
		for p := range rows {
			// The product is rounded to float32 first, as the reference
			// implementation does, so that far positions get its angles.
			angle := float64(float32(p) * float32(f))
			host[p*2*half+j] = float32(math.Cos(angle))
			host[p*2*half+half+j] = float32(math.Sin(angle))
		}
	}
	r.dev.Await(r.dev.Upload(r.table, tensor.Bytes(host)))
}

// frequencies are the HeadDim/2 rotary frequencies, in radians per position.
// length matters for dynamic scaling only.
func (c Config) frequencies(length int) []float64 {
	theta := c.Theta
	if c.Scaling.Kind == "dynamic" {
		// NTK-aware scaling: theta grows so that the longest wave is stretched
		// by the factor and the shortest stays.
		d := float64(c.HeadDim)
		grow := c.Scaling.Factor*float64(length)/float64(c.MaxPositions) - (c.Scaling.Factor - 1)
		theta *= math.Pow(grow, d/(d-2))
	}
	fs := make([]float64, c.HeadDim/2)
	for j := range fs {
		f := 1 / math.Pow(theta, float64(2*j)/float64(c.HeadDim))
		switch c.Scaling.Kind {
		case "linear":
			f /= c.Scaling.Factor
		case "llama3":
			f = c.Scaling.llama3(f)
		}
		fs[j] = f
	}
	return fs
}

// RopeFactors are the numbers, HeadDim/2 of them, by which scaling of kind llama3
// divides the rotary frequencies.
func (c Config) RopeFactors() []float32 {
	plain := c
	plain.Scaling = Scaling{}
	factors := make([]float32, c.HeadDim/2)
	for j, f := range c.frequencies(c.MaxPositions) {
		factors[j] = float32(plain.frequencies(c.MaxPositions)[j] / f)
	}
	return factors
}

// llama3 is Llama 3.1's rule: waves longer than the original context over Low
// are stretched by the factor, those shorter than it over High stay, and those
// between are blended.
func (s Scaling) llama3(f float64) float64 {
	wave := 2 * math.Pi / f
	ctx := float64(s.Original)
	switch {
	case wave < ctx/s.High:
		return f
	case wave > ctx/s.Low:
		return f / s.Factor
	}
	smooth := (ctx/wave - s.Low) / (s.High - s.Low)
	return (1-smooth)*f/s.Factor + smooth*f
}
