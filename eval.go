package meft

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"

	"meft/model"
	"meft/task"
	"meft/train"
)

// EvalOptions say what is measured on which rows.
type EvalOptions struct {
	Data           string
	DataFormat     string // "" or auto: by the columns
	Columns        string // prompt=question,completion=answer
	PromptTemplate string
	Task           string // "" or qa
	Limit          int    // first rows only; 0 for all
	MaxLength      int    // of a row for the perplexity; 0 for the model's context
	TrainOnInputs  bool   // perplexity of prompts too
	SkipAnswers    bool   // perplexity only
	Decoding       model.Decoding
	Output         string // predictions as JSONL, written as they come; "" for none
	Predictions    string // score this file instead of asking a model
}

// Metric is one measured number with its standard error.
type Metric struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	StdErr float64 `json:"stderr"`
	N      int     `json:"n"`
}

// EvalResult is what an evaluation found.
type EvalResult struct {
	Data    string       `json:"data"`
	Rows    int          `json:"rows"`
	Metrics []Metric     `json:"metrics"`
	Missing int          `json:"missing,omitempty"` // rows without a prediction, counted as wrong
	Unused  int          `json:"unused,omitempty"`  // predictions for no row
	Report  *task.Report `json:"report,omitempty"`  // of the rows the perplexity was taken on
}

func (r *EvalResult) addScores(s task.Scores) {
	r.Missing, r.Unused = s.Missing, s.Unused
	for _, m := range []struct {
		name string
		mean task.Mean
	}{{"exact_match", s.Exact}, {"f1", s.F1}, {"strict_match", s.Strict}, {"contains", s.Contains}, {"contains_ignore_case", s.ContainsFold}} {
		r.Metrics = append(r.Metrics, Metric{m.name, m.mean.Value, m.mean.StdErr, s.N})
	}
}

func (o EvalOptions) examples() ([]task.Example, error) {
	if o.Task != "" && o.Task != "qa" {
		return nil, &UsageError{fmt.Errorf("unknown task %q; known: qa", o.Task)}
	}
	if o.Data == "" {
		return nil, &UsageError{fmt.Errorf("no rows to evaluate on: give --data FILE")}
	}
	c := Config{DataFormat: o.DataFormat, Columns: o.Columns, PromptTemplate: o.PromptTemplate}
	ro, err := c.readOptions()
	if err != nil {
		return nil, err
	}
	return task.Load(o.Data, ro, o.Limit)
}

// ScorePredictions marks a file of predictions without a model: SQuAD's
// {"id": "answer"} or rows with id and prediction.
func ScorePredictions(o EvalOptions) (*EvalResult, error) {
	examples, err := o.examples()
	if err != nil {
		return nil, err
	}
	predictions, err := task.ReadPredictions(o.Predictions)
	if err != nil {
		return nil, err
	}
	each := func(yield func(task.Example, error) bool) {
		for _, e := range examples {
			if !yield(e, nil) {
				return
			}
		}
	}
	s, err := task.Score(each, predictions)
	if err != nil {
		return nil, err
	}
	r := &EvalResult{Data: o.Data, Rows: len(examples)}
	r.addScores(s)
	return r, nil
}

// Evaluate takes the perplexity of the rows' answers and, where rows have
// references, asks for answers and marks them. progress may be nil.
func (s *Session) Evaluate(ctx context.Context, o EvalOptions, progress func(done, total int)) (*EvalResult, error) {
	examples, err := o.examples()
	if err != nil {
		return nil, err
	}
	limit := s.base.config.MaxPositions
	if o.MaxLength > 0 {
		limit = min(limit, o.MaxLength)
	}
	enc := task.NewEncoder(s.tok, s.chat, task.EncodeOptions{MaxLength: limit, TrainOnInputs: o.TrainOnInputs})
	r := &EvalResult{Data: o.Data, Rows: len(examples), Report: &task.Report{}}
	if err := s.perplexity(ctx, enc, examples, r); err != nil {
		return nil, err
	}
	if o.SkipAnswers || !anyAnswers(examples) {
		return r, nil
	}
	return r, s.answer(ctx, enc, examples, o, r, progress)
}

func anyAnswers(examples []task.Example) bool {
	for _, e := range examples {
		if len(e.Answers) > 0 {
			return true
		}
	}
	return false
}

// perplexity scores what the rows would train on.
func (s *Session) perplexity(ctx context.Context, enc *task.Encoder, examples []task.Example, r *EvalResult) error {
	var in []ScoreInput
	var masks [][]bool
	for _, e := range examples {
		x, err := enc.Encode(e)
		if err != nil {
			return err
		}
		if r.Report.Add(e, x) && len(x.IDs) > 1 {
			in = append(in, ScoreInput{IDs: x.IDs})
			masks = append(masks, x.Train)
		}
	}
	if len(in) == 0 {
		return fmt.Errorf("%s: no row has an answer left to score", r.Data)
	}
	var sum, squares float64
	n := 0
	err := s.Score(ctx, in, func(i int, out ScoreOutput) error {
		for j, l := range out.LogProbs {
			if masks[i][j+1] {
				v := -float64(l)
				sum, squares, n = sum+v, squares+v*v, n+1
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	mean := sum / float64(n)
	spread := math.Sqrt(max(0, squares/float64(n)-mean*mean) / float64(n))
	r.Metrics = append(r.Metrics, Metric{"loss", mean, spread, n}, Metric{"perplexity", perplexity(mean), perplexity(mean) * spread, n})
	return nil
}

// answer asks the model and marks what it says.
func (s *Session) answer(ctx context.Context, enc *task.Encoder, examples []task.Example, o EvalOptions, r *EvalResult, progress func(done, total int)) (err error) {
	asked, err := questions(enc, examples, 0)
	if err != nil {
		return err
	}
	out, err := newPredictionFile(o.Output)
	if err != nil {
		return err
	}
	defer func() {
		if e := out.close(); err == nil {
			err = e
		}
	}()
	prompts := make([][]int32, len(asked))
	for i, q := range asked {
		prompts[i] = q.Prompt
	}
	d := o.Decoding
	if d.Stops == nil {
		d.Stops = stops(s.tok, s.base.config)
	}
	marks := make([]task.ItemScore, len(asked))
	done := 0
	err = s.Generate(ctx, prompts, d, func(i int, c model.Continuation) error {
		text := strings.TrimSpace(s.tok.Decode(c.IDs, true))
		marks[i] = task.Mark(text, asked[i].Answers)
		if done++; progress != nil {
			progress(done, len(asked))
		}
		return out.write(asked[i], text, c.Reason, marks[i])
	})
	if err != nil {
		return err
	}
	var t task.Tally
	for _, m := range marks {
		t.Add(m)
	}
	r.addScores(t.Scores())
	return nil
}

// predictionFile writes one line an answer as it comes.
type predictionFile struct {
	file *os.File
	w    *bufio.Writer
}

func newPredictionFile(path string) (*predictionFile, error) {
	if path == "" {
		return &predictionFile{}, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &predictionFile{f, bufio.NewWriter(f)}, nil
}

func (p *predictionFile) write(q train.Question, text, reason string, s task.ItemScore) error {
	if p.file == nil {
		return nil
	}
	line, err := json.Marshal(struct {
		ID         string         `json:"id"`
		Prediction string         `json:"prediction"`
		Answers    []string       `json:"answers"`
		Reason     string         `json:"finish_reason"`
		Scores     task.ItemScore `json:"scores"`
	}{q.ID, text, q.Answers, reason, s})
	if err != nil {
		return err
	}
	if _, err := p.w.Write(append(line, '\n')); err != nil {
		return err
	}
	return p.w.Flush()
}

func (p *predictionFile) close() error {
	if p.file == nil {
		return nil
	}
	return p.file.Close()
}
