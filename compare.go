package meft

import (
	"context"
	"fmt"
	"math"

	"meft/model"
	"meft/task"
)

// CompareOptions say on which tokens two models are compared.
type CompareOptions struct {
	Tokens  int    // most tokens; 0 for no comparison
	Text    string // compared on this text
	Data    string // or on the rows of this data file; with neither on what the model itself writes
	Threads int    // 0 for all
}

// Difference is how far apart the logits of two models are on the same tokens.
type Difference struct {
	Of        string  `json:"of"`        // what the tokens are
	Tokens    int     `json:"tokens"`    // places compared
	MaxAbs    float64 `json:"max_abs"`   // of the differences
	Relative  float64 `json:"relative"`  // L2 norm of the differences over that of the logits
	KL        float64 `json:"kl"`        // mean over places, in nats, of the second model's distribution from the first's
	Agreement float64 `json:"agreement"` // share of places where the same token is likeliest
}

// compare loads the first model, takes its logits, and compares the second's.
func compare(ctx context.Context, before, after SessionOptions, o CompareOptions) (*Difference, error) {
	first, err := Open(before)
	if err != nil {
		return nil, err
	}
	defer first.Close()
	rows, what, err := first.compared(ctx, o)
	if err != nil {
		return nil, err
	}
	var logits []float32
	for _, ids := range rows {
		if err := first.logits(ids, func(row []float32) { logits = append(logits, row...) }); err != nil {
			return nil, err
		}
	}
	if err := first.Close(); err != nil { // the second needs its memory
		return nil, err
	}
	second, err := Open(after)
	if err != nil {
		return nil, err
	}
	defer second.Close()
	sum := comparison{Difference: Difference{Of: what}}
	for _, ids := range rows {
		err := second.logits(ids, func(row []float32) {
			sum.add(logits[:len(row)], row)
			logits = logits[len(row):]
		})
		if err != nil {
			return nil, err
		}
	}
	return sum.result(), nil
}

// logits calls each with the logits after every token of a text.
func (s *Session) logits(ids []int32, each func(row []float32)) error {
	n := len(ids)
	if err := s.need(model.Size{Rows: max(inferRows, n), Context: n, CacheRows: n}); err != nil {
		return err
	}
	step := model.Step{IDs: ids, Pos: make([]int32, n), Base: make([]int32, n), Want: make([]int32, n)}
	for i := range n {
		step.Pos[i], step.Want[i] = int32(i), int32(i)
	}
	s.engine.model.Infer(step, func(_ int, row []float32) { each(row) })
	return s.engine.dev.Sync()
}

// compared are the token rows that two models are compared on, and what they
// are: at most o.Tokens in all, none longer than the model was trained for.
func (s *Session) compared(ctx context.Context, o CompareOptions) (rows [][]int32, what string, err error) {
	switch {
	case o.Text != "" && o.Data != "":
		return nil, "", &UsageError{fmt.Errorf("--text and --data: compare on one of them")}
	case o.Text != "":
		rows, what = [][]int32{s.tok.Encode(o.Text, true)}, "the text"
	case o.Data != "":
		what = o.Data
		enc := task.NewEncoder(s.tok, s.chat, task.EncodeOptions{})
		examples, err := task.Load(o.Data, task.ReadOptions{}, o.Tokens)
		if err != nil {
			return nil, "", err
		}
		for _, e := range examples {
			x, err := enc.Encode(e)
			if err != nil {
				return nil, "", err
			}
			rows = append(rows, x.IDs)
		}
	default:
		what = "the model's own text"
		if rows, err = s.own(ctx, o.Tokens); err != nil {
			return nil, "", err
		}
	}
	left := o.Tokens
	for i, ids := range rows {
		rows[i] = ids[:min(len(ids), left, s.base.config.MaxPositions)]
		if left -= len(rows[i]); left == 0 {
			rows = rows[:i+1]
			break
		}
	}
	if left == o.Tokens {
		return nil, "", fmt.Errorf("%s has no tokens to compare the models on", what)
	}
	return rows, what, nil
}

// own is text the model writes: what it finds likeliest, and what it draws.
func (s *Session) own(ctx context.Context, tokens int) ([][]int32, error) {
	start := int32(0)
	for _, id := range []int32{s.tok.EOS(), s.base.config.BOS, s.tok.BOS()} { // the last one there is
		if id >= 0 {
			start = id
		}
	}
	var rows [][]int32
	for _, temperature := range []float64{0, 1} {
		n := min((tokens+1)/2, s.base.config.MaxPositions-1)
		err := s.Generate(ctx, [][]int32{{start}}, model.Decoding{MaxNew: n, Temperature: temperature}, func(_ int, c model.Continuation) error {
			rows = append(rows, append([]int32{start}, c.IDs...))
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// comparison sums up what a Difference says.
type comparison struct {
	Difference
	square, norm float64 // of the differences, of the first's logits
	same         int
}

// add compares the logits of one place.
func (c *comparison) add(p, q []float32) {
	logP, logQ := logSum(p), logSum(q)
	bestP, bestQ := 0, 0
	for i, a := range p {
		x, y := float64(a), float64(q[i])
		d := x - y
		c.MaxAbs = max(c.MaxAbs, math.Abs(d))
		c.square += d * d
		c.norm += x * x
		c.KL += math.Exp(x-logP) * (x - logP - y + logQ)
		if a > p[bestP] {
			bestP = i
		}
		if q[i] > q[bestQ] {
			bestQ = i
		}
	}
	if bestP == bestQ {
		c.same++
	}
	c.Tokens++
}

func (c *comparison) result() *Difference {
	d := c.Difference
	n := float64(d.Tokens)
	if c.norm > 0 {
		d.Relative = math.Sqrt(c.square / c.norm)
	}
	d.KL = max(0, d.KL/n) // rounding can make it negative
	d.Agreement = float64(c.same) / n
	return &d
}

// logSum is the logarithm of the sum of the exponentials.
func logSum(x []float32) float64 {
	top := math.Inf(-1)
	for _, v := range x {
		top = max(top, float64(v))
	}
	var sum float64
	for _, v := range x {
		sum += math.Exp(float64(v) - top)
	}
	return top + math.Log(sum)
}
