package meft

import (
	"fmt"
	"os"
	"strings"
	"time"

	"meft/task"
	"meft/train"
)

// day is the date that chat templates print.
func (c Config) day() (time.Time, error) {
	if c.ChatDate == "" {
		return time.Now(), nil
	}
	day, err := time.Parse(time.DateOnly, c.ChatDate)
	if err != nil {
		return day, &UsageError{fmt.Errorf("chat_date is %q, wanted a date as in 2026-01-31", c.ChatDate)}
	}
	return day, nil
}

// readOptions say how data files are read.
func (c Config) readOptions() (task.ReadOptions, error) {
	columns, err := parseColumns(c.Columns)
	o := task.ReadOptions{Form: c.DataFormat, Columns: columns, Template: c.PromptTemplate, Task: c.Task, Variant: c.TaskVariant}
	if o.Form == "auto" {
		o.Form = ""
	}
	return o, err
}

// parseColumns reads prompt=question,completion=answer.
func parseColumns(text string) (map[string]string, error) {
	if text == "" {
		return nil, nil
	}
	out := map[string]string{}
	for _, part := range strings.Split(text, ",") {
		to, from, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok || to == "" || from == "" {
			return nil, &UsageError{fmt.Errorf("columns has %q, wanted field=column as in prompt=question,completion=answer", part)}
		}
		out[to] = from
	}
	return out, nil
}

// readData reads and encodes the training and validation rows, refuses what
// would lose too much, and notes the questions to be asked. Of the text of rows
// only that of questions is kept.
func (j *job) readData() error {
	c := j.config
	o, err := c.readOptions()
	if err != nil {
		return err
	}
	day, err := c.day()
	if err != nil {
		return err
	}
	limit := c.MaxLength
	if context := j.context(); limit == 0 || limit > context {
		limit = context
	}
	enc := task.NewEncoder(j.tok, j.chat, task.EncodeOptions{MaxLength: limit, TrainOnInputs: c.TrainOnInputs, Now: day})
	training, held := &encoded{}, &encoded{keep: c.Generate}
	o.Unasked = func(task.Example) {} // counted when the rows are encoded
	out, err := c.heldOut(o)
	if err != nil {
		return err
	}
	o.Unasked = training.report.LeaveOut
	err = task.Each(c.Data, o, c.Limit, func(i int, e task.Example) error {
		if out[i] {
			return held.add(enc, e)
		}
		return training.add(enc, e)
	})
	if err == nil && c.ValidationData != "" {
		v := o
		v.Unasked = held.report.LeaveOut
		if info, e := os.Stat(c.ValidationData); e == nil && info.IsDir() {
			v.Split = "validation"
		}
		err = task.Each(c.ValidationData, v, 0, func(_ int, e task.Example) error { return held.add(enc, e) })
	}
	if err != nil {
		return err
	}
	j.data, j.report = &training.data, &training.report
	if err := j.refuseLoss(c.Data, j.report); err != nil || c.ValidationData == "" && out == nil {
		return err
	}
	j.valid, j.vreport = &held.data, &held.report
	if err := j.refuseLoss(c.ValidationData, j.vreport); err != nil || !c.Generate {
		return err
	}
	j.ask, err = questions(enc, held.examples, c.EvalLimit)
	return err
}

// heldOut are the training rows that val_size sets aside, counted from 0, nil
// for none. To know how many rows there are it reads them once.
func (c Config) heldOut(o task.ReadOptions) (map[int]bool, error) {
	if c.ValidationData != "" || c.ValSize == 0 {
		return nil, nil
	}
	n := 0
	if err := task.Each(c.Data, o, c.Limit, func(int, task.Example) error { n++; return nil }); err != nil {
		return nil, err
	}
	_, validation, err := task.Split(n, c.ValSize, c.Seed)
	if err != nil {
		return nil, &UsageError{err}
	}
	out := map[int]bool{}
	for _, i := range validation {
		out[i] = true
	}
	return out, nil
}

// encoded are rows as token ids, and what became of them on the way.
type encoded struct {
	data     train.Data
	report   task.Report
	keep     bool // the rows themselves too
	examples []task.Example
}

// add encodes a row; one that has nothing to train on is only counted.
func (r *encoded) add(enc *task.Encoder, e task.Example) error {
	if r.keep {
		r.examples = append(r.examples, e)
	}
	x, err := enc.Encode(e)
	if err != nil || !r.report.Add(e, x) {
		return err
	}
	return r.data.Add(x, e.File, e.Row)
}

// refuseLoss stops a run that would not learn what its rows say.
func (j *job) refuseLoss(path string, r *task.Report) error {
	if path == "" {
		path = j.config.Data + " (validation part)"
	}
	limit, mend := fmt.Sprintf("max_length %d", j.config.MaxLength), "raise max_length"
	if positions := j.base.config.MaxPositions; j.config.MaxLength == 0 || j.config.MaxLength > j.context() {
		limit, mend = fmt.Sprintf("the model's context of %d tokens", positions), "shorten the rows"
		if j.context() < positions {
			limit += fmt.Sprintf(", of which %d are num_virtual_tokens,", positions-j.context())
		}
	}
	if r.Supervised == 0 {
		return fmt.Errorf("%s: no token is left to train on: of %d rows, %d lost their whole answer to %s (the longest row has %d tokens: %s); %s", path, r.Rows, r.Dropped, limit, r.Longest, r.LongestRow, mend)
	}
	if lost := r.Lost(); lost > j.config.MaxLostSupervision {
		return fmt.Errorf("%s: %.2f %% of the tokens to be learned would be cut away by %s (%d rows cut, %d lose their whole answer; the longest has %d tokens: %s); %s, or allow it with --max_lost_supervision %.2f",
			path, 100*lost, limit, r.CutRows, r.Dropped, r.Longest, r.LongestRow, mend, lost+0.005)
	}
	return nil
}

// questions are the prompts of rows that have something to mark an answer with.
func questions(enc *task.Encoder, examples []task.Example, limit int) ([]train.Question, error) {
	var out []train.Question
	for _, e := range examples {
		if len(e.Answers) == 0 && !e.Unanswerable {
			continue
		}
		ids, err := enc.Prompt(e)
		if err != nil {
			return nil, err
		}
		out = append(out, train.Question{ID: e.ID, Prompt: ids, Answers: e.Answers})
		if limit > 0 && len(out) == limit {
			break
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("predict_with_generate: none of the %d validation rows has an answer to mark with", len(examples))
	}
	return out, nil
}
