package meft

import (
	"meft/task"
)

// PreparedRow is a row as a run learns it and an evaluation asks it. Prompt and
// completion are also a row that can be trained on.
type PreparedRow struct {
	ID         string   `json:"id"`
	Where      string   `json:"where"` // file and line
	Prompt     string   `json:"prompt"`
	Completion string   `json:"completion"`
	Answers    []string `json:"answers,omitempty"`
	IDs        []int32  `json:"ids,omitempty"`     // with a model
	Learned    []bool   `json:"learned,omitempty"` // of each id, whether it is a target

	pieces []string
}

// Pieces are the spellings of IDs, as the tokenizer has them.
func (r PreparedRow) Pieces() []string { return r.pieces }

// Prepare hands the rows of a run's data to each, in order, and returns the
// account of what was cut, dropped or left out (without a model only of what was
// left out).
func Prepare(c Config, each func(PreparedRow) error) (*task.Report, error) {
	o, err := c.readOptions()
	if err != nil {
		return nil, err
	}
	if err := o.CheckTask(); err != nil {
		return nil, &UsageError{err}
	}
	var enc *task.Encoder
	var piece func(int32) string
	report := &task.Report{}
	if c.Model != "" {
		b, err := openBase(c)
		if err != nil {
			return nil, err
		}
		tok, err := b.tokenizer()
		if err != nil {
			return nil, err
		}
		chat, err := chatTemplate(c.ChatTemplate, tok)
		if err != nil {
			return nil, err
		}
		day, err := c.day()
		if err != nil {
			return nil, err
		}
		limit := c.MaxLength
		if limit == 0 || limit > b.config.MaxPositions {
			limit = b.config.MaxPositions
		}
		piece = tok.Piece
		enc = task.NewEncoder(tok, chat, task.EncodeOptions{MaxLength: limit, TrainOnInputs: c.TrainOnInputs, Now: day})
	}
	o.Unasked = report.LeaveOut
	err = task.Each(c.Data, o, c.Limit, func(_ int, e task.Example) error {
		row := PreparedRow{ID: e.ID, Where: e.Where(), Prompt: e.Prompt, Completion: e.Completion + e.Text, Answers: e.Answers}
		if enc != nil {
			x, err := enc.Encode(e)
			if err != nil {
				return err
			}
			report.Add(e, x)
			row.IDs, row.Learned = x.IDs, x.Train
			for _, id := range x.IDs {
				row.pieces = append(row.pieces, piece(id))
			}
		}
		return each(row)
	})
	return report, err
}
