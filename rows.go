package meft

import (
	"fmt"
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
	o := task.ReadOptions{Form: c.DataFormat, Columns: columns, Template: c.PromptTemplate}
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
// would lose too much, and notes the questions to be asked.
func (j *job) readData() error {
	c := j.config
	o, err := c.readOptions()
	if err != nil {
		return err
	}
	examples, err := loadRows(c.Data, o, c.Limit)
	if err != nil {
		return err
	}
	var held []task.Example
	switch {
	case c.ValidationData != "":
		if held, err = loadRows(c.ValidationData, o, 0); err != nil {
			return err
		}
	case c.ValSize > 0:
		train, valid, err := task.Split(len(examples), c.ValSize, c.Seed)
		if err != nil {
			return &UsageError{err}
		}
		held, examples = choose(examples, valid), choose(examples, train)
	}
	limit := c.MaxLength
	if positions := j.base.config.MaxPositions; limit == 0 || limit > positions {
		limit = positions
	}
	day, err := c.day()
	if err != nil {
		return err
	}
	enc := task.NewEncoder(j.tok, j.chat, task.EncodeOptions{MaxLength: limit, TrainOnInputs: c.TrainOnInputs, Now: day})
	if j.data, j.report, err = encodeRows(enc, examples); err != nil {
		return err
	}
	if err := j.refuseLoss(c.Data, j.report); err != nil || len(held) == 0 {
		return err
	}
	if j.valid, j.vreport, err = encodeRows(enc, held); err != nil {
		return err
	}
	if err := j.refuseLoss(c.ValidationData, j.vreport); err != nil || !c.Generate {
		return err
	}
	j.ask, err = questions(enc, held, c.EvalLimit)
	return err
}

func loadRows(path string, o task.ReadOptions, limit int) ([]task.Example, error) {
	var out []task.Example
	for e, err := range task.Examples(path, o) {
		if err != nil {
			return nil, err
		}
		if out = append(out, e); limit > 0 && len(out) == limit {
			break
		}
	}
	return out, nil
}

func choose(all []task.Example, at []int) []task.Example {
	out := make([]task.Example, len(at))
	for i, n := range at {
		out[i] = all[n]
	}
	return out
}

// encodeRows turns rows into token ids and counts what is cut or dropped.
func encodeRows(enc *task.Encoder, examples []task.Example) (*train.Data, *task.Report, error) {
	d, r := &train.Data{}, &task.Report{}
	for _, e := range examples {
		x, err := enc.Encode(e)
		if err != nil {
			return nil, nil, err
		}
		if !r.Add(e, x) {
			continue
		}
		if err := d.Add(x, e.File, e.Row); err != nil {
			return nil, nil, err
		}
	}
	return d, r, nil
}

// refuseLoss stops a run that would not learn what its rows say.
func (j *job) refuseLoss(path string, r *task.Report) error {
	if path == "" {
		path = j.config.Data + " (validation part)"
	}
	if r.Supervised == 0 {
		return fmt.Errorf("%s: no token is left to train on: of %d rows, %d lost their whole answer to max_length %d (the longest row has %d tokens: %s); raise max_length", path, r.Rows, r.Dropped, j.config.MaxLength, r.Longest, r.LongestRow)
	}
	if lost := r.Lost(); lost > j.config.MaxLostSupervision {
		return fmt.Errorf("%s: %.2f %% of the tokens to be learned would be cut away by max_length %d (%d rows cut, %d lose their whole answer; the longest has %d tokens: %s); raise max_length, or allow it with --max_lost_supervision %.2f",
			path, 100*lost, j.config.MaxLength, r.CutRows, r.Dropped, r.Longest, r.LongestRow, lost+0.005)
	}
	return nil
}

// questions are the prompts of rows that have something to mark an answer with.
func questions(enc *task.Encoder, examples []task.Example, limit int) ([]train.Question, error) {
	var out []train.Question
	for _, e := range examples {
		if len(e.Answers) == 0 {
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
