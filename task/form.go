package task

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"meft/token"
)

// An Example is one row with its meaning. Exactly one of these is set: Text (a
// document to learn whole), Messages (a conversation), or Completion with
// Prompt (either may be "").
type Example struct {
	File       string
	Row        int    // from 1 in its file
	ID         string // the row's field id, else its number
	Prompt     string // what the model is given, template applied
	Completion string // what it is to answer, to be put right behind Prompt
	Text       string
	Messages   []token.Message
	// Learn tells for each message whether it is trained; nil trains every
	// message of the assistant.
	Learn   []bool
	Tools   json.RawMessage // JSON list of the functions offered, nil for none
	Answers []string        // references to mark an answer with
	// Unanswerable tells that there are no Answers because nothing is right.
	Unanswerable bool
	// Unasked is why the row asks nothing of the task, "" where it does.
	Unasked string

	line int
	form string
}

// Where names the example's row for messages.
func (e Example) Where() string {
	return Row{File: e.File, Number: e.Row, Line: e.line}.Where()
}

// Form returns the name of the form the example was read in.
func (e Example) Form() string { return e.form }

// form is one way of writing training rows.
type form struct {
	name string
	need []string // fields every row has
	one  []string // fields of which every row has at least one
	may  []string // fields that are read when there
	make func(Row, prompter) ([]Example, error)
}

// forms lists the known forms; the first are the more specific ones.
func forms() []form {
	answers := []string{"answer", "answers"}
	return []form{
		{"messages", []string{"messages"}, nil, []string{"tools", "functions"}, fromMessages},
		{"conversations", []string{"conversations"}, nil, []string{"system", "tools", "functions"}, fromConversations},
		{"alpaca", []string{"instruction", "output"}, nil, []string{"input", "system", "history"}, fromAlpaca},
		{"prompt", []string{"prompt", "completion"}, nil, []string{"system", "tools", "functions"}, fromPrompt},
		{"squad", []string{"paragraphs"}, nil, []string{"title"}, fromParagraphs},
		{"context", []string{"context", "question"}, answers, nil, fromQuestion},
		{"question", []string{"question"}, answers, nil, fromQuestion},
		{"text", []string{"text"}, nil, nil, fromText},
	}
}

// Forms returns the names of the known forms.
func Forms() []string {
	var names []string
	for _, f := range forms() {
		names = append(names, f.name)
	}
	return names
}

// fits tells whether the row has the fields of the form.
func (f form) fits(r Row) bool { return len(f.missing(r)) == 0 }

// missing returns the fields that the row lacks, alternatives joined by "or".
func (f form) missing(r Row) []string {
	var names []string
	for _, n := range f.need {
		if !r.Has(n) {
			names = append(names, n)
		}
	}
	if f.one != nil && !slices.ContainsFunc(f.one, r.Has) {
		names = append(names, strings.Join(f.one, " or "))
	}
	return names
}

func (f form) String() string {
	s := f.name + " (" + strings.Join(f.need, ", ")
	if f.one != nil {
		s += ", " + strings.Join(f.one, " or ")
	}
	return s + ")"
}

// check reports every setting that cannot be.
func (o ReadOptions) check() error {
	var errs []error
	list, err := o.taskForms()
	if err != nil {
		return err
	}
	if o.Task == "" && o.Form != "" && !slices.Contains(Forms(), o.Form) {
		errs = append(errs, fmt.Errorf("form %q is not known; known: %s", o.Form, strings.Join(Forms(), ", ")))
	}
	if o.Format != "" && !slices.Contains(extensions(), o.Format) {
		errs = append(errs, fmt.Errorf("format %q is not known; known: %s", o.Format, strings.Join(extensions(), ", ")))
	}
	known := map[string]bool{"id": true, "answers": true, "answer": true}
	for _, f := range list {
		for _, names := range [][]string{f.need, f.one, f.may} {
			for _, n := range names {
				known[n] = true
			}
		}
	}
	for _, field := range slices.Sorted(maps.Keys(o.Columns)) {
		if !known[field] && !strings.Contains(o.Template, "{"+field+"}") {
			errs = append(errs, fmt.Errorf("columns: %q is not a field of any form nor in the template; known: %s (write field=column)", field, strings.Join(slices.Sorted(maps.Keys(known)), ", ")))
		}
	}
	if err := checkTemplate(o.Template); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// detect returns the form of a file by its first row. A column that was mapped
// to a field that the form does not read is an error: it would be ignored.
func (o ReadOptions) detect(r Row) (form, error) {
	f, err := o.match(r)
	if err != nil {
		return f, err
	}
	reads := slices.Concat(f.need, f.one, f.may, []string{"id", "answer", "answers"})
	for _, field := range slices.Sorted(maps.Keys(o.Columns)) {
		if !slices.Contains(reads, field) && !strings.Contains(o.Template, "{"+field+"}") {
			return f, fmt.Errorf("%s: columns say %s=%s, but the row was taken for the form %s, which has no field %s; the row has %s", r.Where(), field, o.Columns[field], f.name, field, columnList(r))
		}
	}
	return f, nil
}

// match returns the form that the row fits.
func (o ReadOptions) match(r Row) (form, error) {
	list, err := o.taskForms()
	if err != nil {
		return form{}, err
	}
	var fit []form
	for _, f := range list {
		if f.name == o.Form {
			return f, nil
		}
		if f.fits(r) {
			fit = append(fit, f)
		}
	}
	// A text column beside others is their rendering (as in the published
	// alpaca file), and a context makes a question the more specific form.
	fit = without(fit, "text")
	if slices.ContainsFunc(fit, func(f form) bool { return f.name == "context" }) {
		fit = without(fit, "question")
	}
	switch {
	case o.Form != "":
		return form{}, fmt.Errorf("form %q is not known; known: %s", o.Form, strings.Join(Forms(), ", "))
	case len(fit) == 1:
		return fit[0], nil
	case len(fit) > 1:
		var names []string
		for _, f := range fit {
			names = append(names, f.String())
		}
		return form{}, fmt.Errorf("%s: the row fits several forms: %s; name the form", r.Where(), strings.Join(names, "; "))
	}
	if o.Task != "" {
		return form{}, fmt.Errorf("%s: the row has %s, which is no form of task %s; its forms: %s", r.Where(), columnList(r), o.Task, joinForms(list))
	}
	return form{}, unknownForm(r)
}

func joinForms(list []form) string {
	var known []string
	for _, f := range list {
		known = append(known, f.String())
	}
	return strings.Join(known, ", ")
}

// without drops the form of that name if others are left.
func without(fit []form, name string) []form {
	rest := slices.DeleteFunc(slices.Clone(fit), func(f form) bool { return f.name == name })
	if len(rest) == 0 {
		return fit
	}
	return rest
}

func unknownForm(r Row) error {
	hint := "name the columns, field=column"
	switch {
	case r.Has("chosen") && r.Has("rejected"):
		hint = "this is preference data; to train on the better answers use completion=chosen"
	case len(r.Names) == 1 && strings.ContainsAny(r.Names[0], ";\t|"):
		hint = "is the separator another one than the file name says?"
	}
	return fmt.Errorf("%s: no known form has the columns %s; known forms: %s; %s", r.Where(), columnList(r), joinForms(forms()), hint)
}

// columnList names the columns that have a value.
func columnList(r Row) string {
	var names []string
	for _, n := range r.Names {
		if r.Has(n) {
			names = append(names, n)
		} else {
			names = append(names, n+" (null)")
		}
	}
	if len(names) == 0 {
		return "(none)"
	}
	return strings.Join(names, ", ")
}

// Examples streams the examples of a file or folder. The form is found from the
// first row of each file unless o names it; every row is checked against it.
// After an error in one row the next one is read if the consumer goes on. A row
// of the form squad holds several examples; every other row holds one.
func Examples(path string, o ReadOptions) iter.Seq2[Example, error] {
	return o.examples(Read(path, o))
}

// examples gives rows their meaning.
func (o ReadOptions) examples(rows iter.Seq2[Row, error]) iter.Seq2[Example, error] {
	return func(yield func(Example, error) bool) {
		var f form
		file := ""
		for row, err := range rows {
			if err == nil && row.File != file {
				file = row.File
				if f, err = o.detect(row); err != nil {
					yield(Example{File: row.File, Row: row.Number}, err)
					return // without a form no other row can be read
				}
			}
			var all []Example
			if err == nil {
				all, err = f.examples(row, o.template())
			}
			if err != nil {
				if !yield(Example{File: row.File, Row: row.Number, line: row.Line}, err) {
					return
				}
				continue
			}
			for _, e := range all {
				var err error
				if e.Unasked != "" {
					if o.Unasked != nil {
						o.Unasked(e)
						continue
					}
					err = fmt.Errorf("%s: %s", e.Where(), e.Unasked)
				}
				if !yield(e, err) {
					return
				}
			}
		}
	}
}

// examples makes the examples of one row.
func (f form) examples(r Row, template string) ([]Example, error) {
	if missing := f.missing(r); missing != nil {
		return nil, fmt.Errorf("%s: no field %s, which the form %s needs; the row has %s", r.Where(), strings.Join(missing, ", "), f.name, columnList(r))
	}
	p, err := newPrompter(f, template)
	if err != nil {
		return nil, err
	}
	all, err := f.make(r, p)
	for i := range all {
		all[i].File, all[i].Row, all[i].line, all[i].form = r.File, r.Number, r.Line, f.name
	}
	return all, err
}

// Each hands the first limit examples of a file or folder to do, counted from
// 0; a limit of 0 is all. A row that is broken, or that do fails on, does not
// stop it: the error tells of up to ten such rows and how many more there are.
func Each(path string, o ReadOptions, limit int, do func(i int, e Example) error) error {
	var errs []error
	n, bad := 0, 0
	for e, err := range Examples(path, o) {
		if err == nil {
			err = do(n, e)
		}
		if err != nil {
			if bad++; bad <= 10 {
				errs = append(errs, err)
			}
		}
		if n++; limit > 0 && n == limit {
			break
		}
	}
	if bad > 10 {
		errs = append(errs, fmt.Errorf("%s: and %d more broken rows", path, bad-10))
	}
	return errors.Join(errs...)
}

// Load is Each with the examples in a list.
func Load(path string, o ReadOptions, limit int) ([]Example, error) {
	var all []Example
	err := Each(path, o, limit, func(_ int, e Example) error {
		all = append(all, e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}
