package world

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"iter"
)

// WriteText writes one JSON object a line, {"text": document}: the raw text
// format of the trainer. The error is the writer's, with the line.
func WriteText(w io.Writer, docs iter.Seq[string]) error {
	return writeLines(w, func(yield func(any) bool) {
		for text := range docs {
			if !yield(struct {
				Text string `json:"text"`
			}{text}) {
				return
			}
		}
	})
}

// WriteQA writes one QA a line as a JSON object with the fields prompt,
// completion, id and answers: for each fact, the question in every form given.
// TrainQuestions gives the forms for training, HeldOutQuestion the one for
// evaluation. The error is the writer's, with the line.
func WriteQA(w io.Writer, facts []Fact, forms ...int) error {
	return writeLines(w, func(yield func(any) bool) {
		for _, f := range facts {
			for _, form := range forms {
				if !yield(f.QA(form)) {
					return
				}
			}
		}
	})
}

// writeLines writes every value as one line of JSON.
func writeLines(w io.Writer, values iter.Seq[any]) error {
	buf := bufio.NewWriter(w)
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false) // the lines are data files, never part of a page
	line := 0
	for v := range values {
		line++
		if err := enc.Encode(v); err != nil {
			return fmt.Errorf("write line %d: %w", line, err)
		}
	}
	if err := buf.Flush(); err != nil {
		return fmt.Errorf("write up to line %d: %w", line, err)
	}
	return nil
}
