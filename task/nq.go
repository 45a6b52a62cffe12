package task

import (
	"errors"
	"fmt"
	"strings"
)

// nq is Natural Questions, closed book: Kwiatkowski et al. 2019; the open form
// is that of Lee et al. 2019, https://arxiv.org/abs/1906.00300.
func nq() Task {
	return Task{
		Name:    "nq",
		Summary: "Natural Questions, closed book: a question, no passage",
		Source:  "Kwiatkowski et al. 2019; NQ-open: Lee et al. 2019, https://arxiv.org/abs/1906.00300",
		Variants: []Variant{
			{"short", "learns the first short answer"},
			{"long", "learns the long answers, one after the other, as the MEFT paper does; rows need long_answers"},
		},
		Marks: []Marker{
			{Paper, "contains", "with upper and lower case, and without normalising", yesNo(Contains)},
			{Standard, "exact_match", "", yesNo(Exact)},
			{Standard, "f1", "", F1},
		},
		Stops: []string{"\n"},
		forms: func(variant string) []form {
			if variant == "long" {
				return []form{{"nq", []string{"question", "long_answers"}, []string{"answer", "answers", "short_answers"}, nil, fromLong}}
			}
			return []form{{"nq", []string{"question"}, []string{"answer", "answers", "short_answers"}, nil, fromShort}}
		},
	}
}

// fromShort reads a question with its accepted answers, of which the first is
// learned.
func fromShort(r Row, p prompter) ([]Example, error) {
	refs, err := references(r, "answers", "answer", "short_answers")
	if err != nil {
		return nil, err
	}
	if strings.Contains(refs[0], "\n#### ") {
		return nil, fmt.Errorf("%s: the answer ends in a number behind ####: these are rows of task gsm8k", r.Where())
	}
	return fromAsk(r, p, "question", refs[0], refs)
}

// fromLong is fromShort, but what is learned is the text of the long answers.
func fromLong(r Row, p prompter) ([]Example, error) {
	refs, err := references(r, "answers", "answer", "short_answers")
	long, e := references(r, "long_answers")
	if err = errors.Join(err, e); err != nil {
		return nil, err
	}
	return fromAsk(r, p, "question", strings.Join(long, " "), refs)
}

// references are the accepted answers in the first of the columns that the row
// has. A list without answers, or with an empty one, is an error: nothing could
// be right.
func references(r Row, columns ...string) ([]string, error) {
	for _, name := range columns {
		raw := r.Raw(name)
		if raw == nil {
			continue
		}
		refs, err := answers(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: field %q is %w", r.Where(), name, err)
		}
		if len(refs) == 0 {
			return nil, fmt.Errorf("%s: field %q is a list without answers", r.Where(), name)
		}
		for i, s := range refs {
			if strings.TrimSpace(s) == "" {
				return nil, fmt.Errorf("%s: field %q: answer %d is empty", r.Where(), name, i+1)
			}
		}
		return refs, nil
	}
	return nil, fmt.Errorf("%s: no field %s; the row has %s", r.Where(), strings.Join(columns, " or "), columnList(r))
}

// fromAsk makes the example of a question in a column.
func fromAsk(r Row, p prompter, column, learned string, refs []string) ([]Example, error) {
	q, err := r.Text(column)
	if err != nil {
		return nil, err
	}
	e, err := p.example(r, ask{instruction: q}, learned)
	e.ID, e.Answers = r.id(), refs
	return []Example{e}, err
}
