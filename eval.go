package meft

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"strings"

	"meft/model"
	"meft/task"
)

// EvalOptions say what is measured on which rows.
type EvalOptions struct {
	Data           string
	DataFormat     string // "" or auto: by the columns
	Columns        string // prompt=question,completion=answer
	PromptTemplate string
	Task           string // "" or qa: marked in every way that suits a question; else one of task.Names
	Variant        string // of the task; "" for its first
	Protocol       string // of a task: task.Standard or task.Paper; "" for the standard one
	Limit          int    // first rows only; 0 for all
	MaxLength      int    // of a row for the perplexity; 0 for the model's context
	TrainOnInputs  bool   // perplexity of prompts too
	SkipAnswers    bool   // perplexity only
	Decoding       model.Decoding
	Output         string // predictions as JSONL, written as they come; "" for none
	Resume         bool   // go on with the answers that an interrupted evaluation left in Output
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

// addScores adds the marks of questions of any kind.
func (r *EvalResult) addScores(s task.Scores) {
	r.Missing, r.Unused = s.Missing, s.Unused
	for _, m := range []struct {
		name string
		mean task.Mean
	}{{"exact_match", s.Exact}, {"f1", s.F1}, {"strict_match", s.Strict}, {"contains", s.Contains}, {"contains_ignore_case", s.ContainsFold}} {
		r.Metrics = append(r.Metrics, Metric{m.name, m.mean.Value, m.mean.StdErr, s.N})
	}
}

// addMarks adds the marks of a task, of both families.
func (r *EvalResult) addMarks(m *task.Marks) {
	r.Missing, r.Unused = m.Missing, m.Unused
	for _, s := range m.Scores() {
		r.Metrics = append(r.Metrics, Metric{s.Marker.FullName(), s.Value, s.StdErr, s.N})
	}
}

// benchmark is the task that is meant and the way it is asked, nil for
// questions of any kind.
func (o EvalOptions) benchmark() (*task.Task, task.Protocol, error) {
	if o.Task == "" || o.Task == "qa" {
		if o.Variant != "" || o.Protocol != "" {
			return nil, task.Protocol{}, &UsageError{fmt.Errorf("variant %q and protocol %q belong to a task: wanted --task %s with them", o.Variant, o.Protocol, strings.Join(task.Names(), ", "))}
		}
		return nil, task.Protocol{}, nil
	}
	t, err := task.Find(o.Task)
	if err != nil {
		return nil, task.Protocol{}, &UsageError{fmt.Errorf("%w, or qa for questions of any kind", err)}
	}
	p, err := task.FindProtocol(cmp.Or(o.Protocol, task.Standard))
	if err != nil {
		return nil, p, &UsageError{err}
	}
	return &t, p, nil
}

// examples reads the rows, with a task as many as its protocol takes, and counts
// in report those that ask nothing.
func (o EvalOptions) examples(report *task.Report) ([]task.Example, error) {
	t, p, err := o.benchmark()
	if err != nil {
		return nil, err
	}
	if o.Data == "" {
		return nil, &UsageError{fmt.Errorf("no rows to evaluate on: give --data FILE")}
	}
	c := Config{DataFormat: o.DataFormat, Columns: o.Columns, PromptTemplate: o.PromptTemplate, TaskVariant: o.Variant}
	limit := o.Limit
	if t != nil {
		c.Task = t.Name
		limit = cmp.Or(limit, p.Limit)
	}
	ro, err := c.readOptions()
	if err != nil {
		return nil, err
	}
	ro.Unasked = report.LeaveOut
	return task.Load(o.Data, ro, limit)
}

// ScorePredictions marks a file of predictions without a model: SQuAD's
// {"id": "answer"} or rows with id and prediction.
func ScorePredictions(o EvalOptions) (*EvalResult, error) {
	report := &task.Report{}
	examples, err := o.examples(report)
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
	r := &EvalResult{Data: o.Data, Rows: len(examples)}
	if report.Unasked > 0 {
		r.Report = report
	}
	if t, _, _ := o.benchmark(); t != nil {
		m, err := task.ScoreTask(*t, each, predictions)
		if err != nil {
			return nil, err
		}
		r.addMarks(m)
		return r, nil
	}
	s, err := task.Score(each, predictions)
	if err != nil {
		return nil, err
	}
	r.addScores(s)
	return r, nil
}

// Evaluate takes the perplexity of the rows' answers and, where rows have
// references, asks for answers and marks them. progress may be nil.
func (s *Session) Evaluate(ctx context.Context, o EvalOptions, progress func(done, total int)) (*EvalResult, error) {
	report := &task.Report{}
	examples, err := o.examples(report)
	if err != nil {
		return nil, err
	}
	limit := s.base.config.MaxPositions - s.ahead().Len()
	if o.MaxLength > 0 {
		limit = min(limit, o.MaxLength)
	}
	enc := task.NewEncoder(s.tok, s.chat, task.EncodeOptions{MaxLength: limit, TrainOnInputs: o.TrainOnInputs})
	r := &EvalResult{Data: o.Data, Rows: len(examples), Report: report}
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
		if len(e.Answers) > 0 || e.Unanswerable {
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
		return fmt.Errorf("%s: no row has an answer left to score: of %d rows, %d lost it to the limit of tokens (the longest has %d tokens: %s)", r.Data, r.Report.Rows, r.Report.Dropped, r.Report.Longest, r.Report.LongestRow)
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
