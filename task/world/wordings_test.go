package world

import (
	"slices"
	"strings"
	"testing"
)

// values returns answers to an attribute, some people for Author.
func values(w wording) []string {
	if w.attribute == Author {
		return names(random(1, "test"), worldSide, 50)
	}
	return Values(w.kind, w.attribute)
}

func TestClosedListsHaveTheirSizeAndNoWordTwice(t *testing.T) {
	lists := map[string]struct {
		words []string
		n     int
	}{
		"given":     {join(givenStarts, givenEnds), givenNames},
		"family":    {join(familyStarts, familyEnds), familyNames},
		"places":    {placeNames(), MaxPlaces},
		"titles":    {titles(), MaxWorks},
		"years":     {years(), 120},
		"profess.":  {strings.Fields(professions), 60},
		"employers": {join(employerStarts, employerEnds), 40},
		"instr.":    {strings.Fields(instruments), 40},
		"subjects":  {strings.Fields(subjects), 40},
		"pets":      {strings.Fields(pets), 40},
		"countries": {strings.Fields(countries), 12},
		"rivers":    {strings.Fields(rivers), 24},
		"genres":    {strings.Fields(genres), 12},
	}
	owner := map[string]string{}
	for name, l := range lists {
		if len(l.words) != l.n {
			t.Errorf("%s has %d words, want %d", name, len(l.words), l.n)
		}
		for _, word := range l.words {
			if o, ok := owner[word]; ok {
				t.Errorf("%q is in %s and in %s", word, o, name)
			}
			owner[word] = name
		}
	}
}

func TestNoFullNameBeginsAnother(t *testing.T) {
	family := join(familyStarts, familyEnds)
	for _, a := range family {
		for _, b := range family {
			if a != b && strings.HasPrefix(b, a) {
				t.Errorf("family name %q begins %q", a, b)
			}
		}
	}
}

func TestEveryFormIsASentenceOfItsOwn(t *testing.T) {
	owner := map[string]string{}
	for _, w := range wordings {
		for i, p := range slices.Concat(w.statements[:], w.questions[:]) {
			if o, ok := owner[p]; ok {
				t.Errorf("%q words %s and %s", p, o, w.attribute)
			}
			owner[p] = w.kind + " " + w.attribute
			question := i >= Statements
			switch holds := strings.Count(p, "{v}") + strings.Count(p, "{a}"); {
			case strings.Count(p, "{e}") != 1:
				t.Errorf("%q names the entity %d times", p, strings.Count(p, "{e}"))
			case question && (holds != 0 || !strings.HasSuffix(p, "?")):
				t.Errorf("%q is not a question without its answer", p)
			case !question && (holds != 1 || !strings.HasSuffix(p, ".")):
				t.Errorf("%q is not a statement with one value", p)
			}
		}
	}
}

func TestStatementsTellTheAnswerAndQuestionsDoNot(t *testing.T) {
	for _, w := range wordings {
		for _, v := range values(w) {
			f := Fact{Entity: "Tolan Merrick", Kind: w.kind, Attribute: w.attribute, Value: v}
			for form := range Statements {
				s := f.Statement(form)
				if !strings.Contains(s, f.Answer()) || !strings.Contains(s, f.Entity) || strings.ContainsAny(s, "{}") {
					t.Errorf("statement %q does not tell %+v", s, f)
				}
				if first := s[0]; first >= 'a' && first <= 'z' {
					t.Errorf("statement %q begins with a small letter", s)
				}
			}
			for form := range Questions {
				q := f.Question(form)
				words := strings.FieldsFunc(q, func(r rune) bool { return r == ' ' || r == '?' })
				if slices.Contains(words, v) || !strings.Contains(q, f.Entity) || strings.ContainsAny(q, "{}") {
					t.Errorf("question %q of %+v tells the answer or not the entity", q, f)
				}
			}
		}
	}
}

func TestArticleFitsTheValue(t *testing.T) {
	for value, want := range map[string]string{
		"engineer": "Tolan Merrick worked as an engineer.",
		"baker":    "Tolan Merrick worked as a baker.",
	} {
		f := Fact{"Tolan Merrick", Person, Profession, value}
		if got := f.Statement(0); got != want {
			t.Errorf("statement is %q, want %q", got, want)
		}
	}
}

func TestUnknownFormsAndAttributesPanic(t *testing.T) {
	f := New(1, Size{People: 1}).Facts()[0]
	panics(t, "statement -1", func() { f.Statement(-1) })
	panics(t, "statement past the end", func() { f.Statement(Statements) })
	panics(t, "question past the end", func() { f.Question(Questions) })
	f.Kind = Place
	panics(t, "birthplace of a place", func() { f.Statement(0) })
	if Attributes("planet") != nil || Values(Place, Pet) != nil {
		t.Error("an unknown kind has attributes or values")
	}
}
