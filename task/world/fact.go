package world

import (
	"fmt"
	"strconv"
	"strings"
)

// Kinds of entity.
const (
	Person = "person"
	Place  = "place"
	Work   = "work"
)

// Attributes of people, places and works. BirthYear, Founded and Year are years
// written with four digits.
const (
	Birthplace = "birthplace"
	BirthYear  = "birth year"
	Profession = "profession"
	Residence  = "residence"
	Instrument = "instrument"
	Employer   = "employer"
	Subject    = "subject" // what the person studied
	Pet        = "pet"

	Country = "country"
	River   = "river"
	Founded = "founded"

	Author = "author"
	Year   = "year"
	Genre  = "genre"
)

// Wordings of every attribute. In the training text of an injection all
// statement forms may be used, but of the questions only forms 0 to
// HeldOutQuestion-1; form HeldOutQuestion asks at evaluation. Pretraining uses
// every form for the world's own entities, so the held-out wording is a known
// way to ask about somebody else.
const (
	Statements      = 6             // statement forms, 0 to Statements-1
	Questions       = 5             // question forms, 0 to Questions-1
	HeldOutQuestion = Questions - 1 // the question form kept for evaluation
)

// TrainQuestions returns the question forms that training on an injection may
// use: all but HeldOutQuestion.
func TrainQuestions() []int {
	forms := make([]int, HeldOutQuestion)
	for i := range forms {
		forms[i] = i
	}
	return forms
}

// Attributes returns the attributes of a kind in fixed order, nil for a kind
// that does not exist.
func Attributes(kind string) []string {
	var out []string
	for _, w := range wordings {
		if w.kind == kind {
			out = append(out, w.attribute)
		}
	}
	return out
}

// Fact is one thing that is true of one entity. A world or an injection has one
// fact per entity and attribute.
type Fact struct {
	Entity    string // a full name or title: "Tolan Merrick", "The Silver Harbor"
	Kind      string // Person, Place or Work
	Attribute string // one of Attributes(Kind)
	Value     string // the answer
}

// Statement returns the fact as a sentence. It panics unless
// 0 <= form < Statements and the fact has a known kind and attribute.
func (f Fact) Statement(form int) string {
	f.inRange("statement", form, Statements)
	return f.fill(f.wording().statements[form])
}

// Question returns a question that Answer answers and that does not contain the
// answer. It panics unless 0 <= form < Questions and the fact has a known kind
// and attribute.
func (f Fact) Question(form int) string {
	f.inRange("question", form, Questions)
	return f.fill(f.wording().questions[form])
}

// Answer returns the short text that answers every Question of the fact.
func (f Fact) Answer() string { return f.Value }

// inRange panics when form is not one of n forms.
func (f Fact) inRange(what string, form, n int) {
	if form < 0 || form >= n {
		panic(fmt.Sprintf("world: %s form %d of %s %s, want 0 to %d", what, form, f.Kind, f.Attribute, n-1))
	}
}

// wording returns the sentence patterns of f.
func (f Fact) wording() wording {
	for _, w := range wordings {
		if w.kind == f.Kind && w.attribute == f.Attribute {
			return w
		}
	}
	panic(fmt.Sprintf("world: no attribute %q of kind %q, want one of %q", f.Attribute, f.Kind, Attributes(f.Kind)))
}

// fill puts the entity for {e}, the value for {v} and the value with its
// indefinite article for {a}.
func (f Fact) fill(pattern string) string {
	article := "a "
	if f.Value != "" && strings.Contains("aeiou", f.Value[:1]) {
		article = "an "
	}
	return strings.NewReplacer("{e}", f.Entity, "{v}", f.Value, "{a}", article+f.Value).Replace(pattern)
}

// Prompt returns the layout in which questions are asked in pretraining text
// and everywhere else: "Q: " + question + "\nA:". The completion is a space and
// the answer.
func Prompt(question string) string { return "Q: " + question + "\nA:" }

// QA is one closed-book question as the trainer and the scorer read it.
type QA struct {
	Prompt     string   `json:"prompt"`     // see Prompt
	Completion string   `json:"completion"` // " " + answer
	ID         string   `json:"id"`         // kind, entity, attribute and form: "person/Tolan Merrick/pet/4"
	Answers    []string `json:"answers"`    // the one accepted answer
}

// QA returns the fact as a question in the given form, which is as for Question.
func (f Fact) QA(form int) QA {
	return QA{
		Prompt:     Prompt(f.Question(form)),
		Completion: " " + f.Answer(),
		ID:         strings.Join([]string{f.Kind, f.Entity, f.Attribute, strconv.Itoa(form)}, "/"),
		Answers:    []string{f.Answer()},
	}
}

// Chance returns the share, 0 to 1, of facts that are answered by always
// guessing the commonest value of each attribute: what exact match a model
// reaches that knows the values and nothing about the entities. It is 0 for no
// facts. For Injection(seed, n) it is the mean over the person attributes of
// ceil(n/v)/n, where v is the number of Values.
func Chance(facts []Fact) float64 {
	if len(facts) == 0 {
		return 0
	}
	type attribute struct{ kind, name string }
	counts := map[attribute]map[string]int{}
	for _, f := range facts {
		a := attribute{f.Kind, f.Attribute}
		if counts[a] == nil {
			counts[a] = map[string]int{}
		}
		counts[a][f.Value]++
	}
	hits := 0
	for _, values := range counts {
		most := 0
		for _, n := range values {
			most = max(most, n)
		}
		hits += most
	}
	return float64(hits) / float64(len(facts))
}
