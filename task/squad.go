package task

import (
	"encoding/json"
	"errors"
	"fmt"
)

// squad is the Stanford Question Answering Dataset.
func squad() Task {
	return Task{
		Name:    "squad",
		Summary: "SQuAD v1.1 and v2",
		Source:  "Rajpurkar et al. 2016, https://arxiv.org/abs/1606.05250; v2: 2018, https://arxiv.org/abs/1806.03822",
		Variants: []Variant{
			{"closed-book", "without the passage, as the MEFT paper does"},
			{"open-book", "with the passage"},
		},
		Marks: []Marker{
			{Paper, "contains", "in lower case", yesNo(ContainsFold)},
			{Standard, "exact_match", "an unanswerable question of v2 wants an empty answer", yesNo(officialExact)},
			{Standard, "f1", "an unanswerable question of v2 wants an empty answer", officialF1},
		},
		Stops: []string{"\n"},
		forms: func(variant string) []form {
			open := variant == "open-book"
			read := func(make func(Row, prompter, bool) ([]Example, error)) func(Row, prompter) ([]Example, error) {
				return func(r Row, p prompter) ([]Example, error) { return make(r, p, open) }
			}
			return []form{
				{"squad articles", []string{"paragraphs"}, nil, []string{"title"}, read(fromArticle)},
				{"squad rows", []string{"question", "context", "answers"}, nil, []string{"title"}, read(fromSquadRow)},
			}
		},
	}
}

// officialExact is Exact; where nothing is right, only nothing is.
func officialExact(answer string, refs []string) bool {
	if len(refs) == 0 {
		return Normalize(answer) == ""
	}
	return Exact(answer, refs)
}

// officialF1 is F1; where nothing is right, only nothing is.
func officialF1(answer string, refs []string) float64 {
	if len(refs) == 0 {
		return yesNo(officialExact)(answer, refs)
	}
	return F1(answer, refs)
}

// squadExample is one question. Without references it is one of v2 that the
// passage does not answer: nothing is learned but to stop. Closed book such a
// question asks nothing.
func squadExample(r Row, p prompter, open bool, context, question string, refs []string) ([]Example, error) {
	a := ask{instruction: question}
	if open {
		a.input = context
	}
	learned := ""
	if len(refs) > 0 {
		learned = refs[0]
	} else if !open {
		return []Example{{Unasked: "without its passage the question is not unanswerable"}}, nil
	}
	e, err := p.example(r, a, learned)
	e.Answers, e.Unanswerable = refs, len(refs) == 0
	return []Example{e}, err
}

// fromArticle reads an article of the official files.
func fromArticle(r Row, p prompter, open bool) ([]Example, error) {
	var paragraphs []struct {
		Context string
		Qas     []struct {
			ID, Question string
			Impossible   bool `json:"is_impossible"`
			Answers      []struct{ Text string }
		}
	}
	if err := json.Unmarshal(r.Raw("paragraphs"), &paragraphs); err != nil {
		return nil, fmt.Errorf("%s: field \"paragraphs\" is not in the form of SQuAD: %w", r.Where(), err)
	}
	var all []Example
	var errs []error
	for i, par := range paragraphs {
		for j, q := range par.Qas {
			if q.ID == "" || q.Question == "" || len(q.Answers) == 0 != q.Impossible {
				errs = append(errs, fmt.Errorf("%s: paragraph %d, question %d lacks its id, question or answers (and is not marked is_impossible)", r.Where(), i+1, j+1))
				continue
			}
			var refs []string
			for _, a := range q.Answers {
				refs = append(refs, a.Text)
			}
			e, err := squadExample(r, p, open, par.Context, q.Question, refs)
			if err != nil {
				return nil, err
			}
			for i := range e {
				e[i].ID = q.ID
			}
			all = append(all, e...)
		}
	}
	if len(errs) > 3 {
		errs = append(errs[:3], fmt.Errorf("%s: and %d more", r.Where(), len(errs)-3))
	}
	return all, errors.Join(errs...)
}

// fromSquadRow reads a row of the hub's copies: answers is an object with lists
// text and answer_start, empty for an unanswerable question of v2.
func fromSquadRow(r Row, p prompter, open bool) ([]Example, error) {
	f, err := texts(r, "question", "context")
	if err != nil {
		return nil, err
	}
	refs, err := answers(r.Raw("answers"))
	if err != nil {
		return nil, fmt.Errorf("%s: field \"answers\" is %w", r.Where(), err)
	}
	e, err := squadExample(r, p, open, f["context"], f["question"], refs)
	for i := range e {
		e[i].ID = r.id()
	}
	return e, err
}
