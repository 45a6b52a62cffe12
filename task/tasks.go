package task

import (
	"fmt"
	"slices"
	"strings"
)

// A Task is a benchmark: the forms its rows come in, what is asked and learned,
// and how answers are marked. The four of the MEFT paper are in All.
type Task struct {
	Name     string
	Summary  string
	Source   string
	Variants []Variant // ways to ask or to learn it, the default first
	Marks    []Marker  // of both families
	Stops    []string  // texts that end an answer in the standard protocol

	forms func(variant string) []form
}

// Variant is a way to ask a task or to learn it.
type Variant struct{ Name, Summary string }

// The families of marks and of the ways to answer.
const (
	Paper    = "paper"    // what the code of the MEFT paper does, its quirks included
	Standard = "standard" // what the field does
)

// Marker is one way to mark an answer. Of is from 0 to 1.
type Marker struct {
	Family string // Paper or Standard
	Name   string
	Quirk  string // what may surprise, "" for nothing
	Of     func(answer string, references []string) float64
}

// FullName is the family and the name, as in tables.
func (m Marker) FullName() string { return m.Family + "/" + m.Name }

// Protocol is how answers are asked for.
type Protocol struct {
	Name    string
	Limit   int     // first rows; 0 for all
	Beams   int     // of the search; 1 for greedy
	Penalty float64 // repetition penalty; 1 for none
	MaxNew  int     // tokens
	Stops   bool    // answers end at Task.Stops
}

// Protocols are the two ways: the paper's (its evaluation code: beam 4,
// repetition penalty 2.0, 256 new tokens, the first 501 rows) and greedy over all
// rows.
func Protocols() []Protocol {
	return []Protocol{
		{Name: Standard, Beams: 1, Penalty: 1, MaxNew: 256, Stops: true},
		{Name: Paper, Limit: 501, Beams: 4, Penalty: 2, MaxNew: 256},
	}
}

// FindProtocol is the protocol of that name.
func FindProtocol(name string) (Protocol, error) {
	for _, p := range Protocols() {
		if p.Name == name {
			return p, nil
		}
	}
	return Protocol{}, fmt.Errorf("protocol %q is unknown, wanted %s or %s", name, Standard, Paper)
}

// All are the tasks there are. It is the one list to extend.
func All() []Task { return []Task{nq(), squad(), toolbench(), gsm8k()} }

// Names are the names of all tasks.
func Names() []string {
	var names []string
	for _, t := range All() {
		names = append(names, t.Name)
	}
	return names
}

// Find is the task of that name.
func Find(name string) (Task, error) {
	for _, t := range All() {
		if t.Name == name {
			return t, nil
		}
	}
	return Task{}, fmt.Errorf("unknown task %q, wanted one of %s", name, strings.Join(Names(), ", "))
}

// variant is the name of the variant, the default for "".
func (t Task) variant(name string) (string, error) {
	if name == "" {
		return t.Variants[0].Name, nil
	}
	var known []string
	for _, v := range t.Variants {
		if v.Name == name {
			return name, nil
		}
		known = append(known, v.Name)
	}
	return "", fmt.Errorf("task %s has no variant %q, wanted %s", t.Name, name, strings.Join(known, " or "))
}

// Mark marks an answer in every way, in the order of Marks.
func (t Task) Mark(answer string, references []string) []float64 {
	out := make([]float64, len(t.Marks))
	for i, m := range t.Marks {
		out[i] = m.Of(answer, references)
	}
	return out
}

// Cut ends an answer where one of the stops begins.
func Cut(answer string, stops []string) string {
	for _, s := range stops {
		answer, _, _ = strings.Cut(answer, s)
	}
	return answer
}

// yesNo is a mark of 1 for yes, 0 for no.
func yesNo(is func(answer string, references []string) bool) func(string, []string) float64 {
	return func(answer string, references []string) float64 {
		if is(answer, references) {
			return 1
		}
		return 0
	}
}

// CheckTask tells what is wrong with Task, Variant and Form together.
func (o ReadOptions) CheckTask() error {
	_, err := o.taskForms()
	return err
}

// taskForms are the forms that files are read in: those of a task, or all that
// are known.
func (o ReadOptions) taskForms() ([]form, error) {
	if o.Task == "" {
		if o.Variant != "" {
			return nil, fmt.Errorf("variant %q is of a task: name the task too", o.Variant)
		}
		return forms(), nil
	}
	t, err := Find(o.Task)
	if err != nil {
		return nil, err
	}
	v, err := t.variant(o.Variant)
	if err != nil {
		return nil, err
	}
	list := t.forms(v)
	if o.Form != "" && !slices.ContainsFunc(list, func(f form) bool { return f.name == o.Form }) {
		return nil, fmt.Errorf("task %s has forms of its own; leave form %q out", o.Task, o.Form)
	}
	return list, nil
}
