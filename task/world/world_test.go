package world

import (
	"iter"
	"slices"
	"strings"
	"testing"
)

var small = Size{People: 60, Places: 30, Works: 40}

// wide is a world with every closed value: the longest lists have 120, so 240
// people deal each value twice or more.
var wide = Size{People: 240, Places: MaxPlaces, Works: 240}

func all(docs iter.Seq[string]) string { return strings.Join(slices.Collect(docs), "\n") }

func TestSameSeedGivesSameWorldAndOtherSeedAnother(t *testing.T) {
	if !slices.Equal(New(7, small).Facts(), New(7, small).Facts()) {
		t.Error("two worlds of seed 7 differ")
	}
	if slices.Equal(New(7, small).Facts(), New(8, small).Facts()) {
		t.Error("the worlds of seeds 7 and 8 are equal")
	}
	if !slices.Equal(Injection(7, 50), Injection(7, 50)) {
		t.Error("two injections of seed 7 differ")
	}
	if slices.Equal(Injection(7, 50), Injection(8, 50)) {
		t.Error("the injections of seeds 7 and 8 are equal")
	}
}

func TestSequencesCanBeReadAgainAndCutShort(t *testing.T) {
	for name, docs := range map[string]iter.Seq[string]{
		"pretraining": Pretraining(3, small, 200),
		"biographies": Biographies(3, Injection(3, 20), 200),
	} {
		first, second := slices.Collect(docs), slices.Collect(docs)
		if len(first) != 200 || !slices.Equal(first, second) {
			t.Errorf("%s: %d documents, then %d, want the same 200", name, len(first), len(second))
		}
		for doc := range docs {
			if doc != first[0] {
				t.Errorf("%s: first document is %q, want %q", name, doc, first[0])
			}
			break
		}
	}
}

func TestSizeIsWhatFactsDescribe(t *testing.T) {
	w := New(1, small)
	kinds := map[string]map[string]bool{Person: {}, Place: {}, Work: {}}
	for _, f := range w.Facts() {
		kinds[f.Kind][f.Entity] = true
	}
	got := Size{len(kinds[Person]), len(kinds[Place]), len(kinds[Work])}
	if got != small {
		t.Errorf("world describes %+v, want %+v", got, small)
	}
	if n := len(New(1, Size{}).Facts()); n != 0 {
		t.Errorf("the empty world has %d facts", n)
	}
	if docs := slices.Collect(Pretraining(1, Size{}, 10)); len(docs) != 0 {
		t.Errorf("the empty world has documents %q", docs)
	}
}

func TestCallersCannotChangeTheWorld(t *testing.T) {
	w := New(1, small)
	want := w.Facts()[0]
	w.Facts()[0].Value = "changed"
	if got := w.Facts()[0]; got != want {
		t.Errorf("fact is %+v after a caller wrote to its copy, want %+v", got, want)
	}
}

func TestEntityAndAttributeNameOneFact(t *testing.T) {
	lists := map[string][]Fact{
		"world":     New(1, Size{People: 3000, Places: MaxPlaces, Works: MaxWorks}).Facts(),
		"injection": Injection(1, MaxPeople),
	}
	for name, facts := range lists {
		seen := map[Fact]bool{}
		for _, f := range facts {
			key := Fact{Entity: f.Entity, Kind: f.Kind, Attribute: f.Attribute}
			if seen[key] {
				t.Fatalf("%s: %+v twice", name, key)
			}
			seen[key] = true
			if f.Value == "" {
				t.Fatalf("%s: %+v has no value", name, f)
			}
		}
	}
}

func TestInjectedNamesAreInNoWorld(t *testing.T) {
	// All names that any world can ever use, against all of any injection.
	used := map[string]bool{}
	for _, n := range names(random(1, "any"), worldSide, MaxPeople) {
		used[n] = true
	}
	injected := names(random(2, "any"), injectionSide, MaxPeople)
	if len(used) != MaxPeople {
		t.Fatalf("%d world names, want %d", len(used), MaxPeople)
	}
	for _, n := range injected {
		if used[n] {
			t.Fatalf("%q is a world name and an injected one", n)
		}
	}
	for _, seed := range []uint64{1, 2, 77} {
		text := all(Pretraining(seed, wide, 4000))
		for _, f := range Injection(1, 500) {
			if strings.Contains(text, f.Entity) {
				t.Fatalf("seed %d: pretraining text contains the injected name %q", seed, f.Entity)
			}
		}
	}
}

func TestInjectedValuesAreAnswersInPretraining(t *testing.T) {
	answered := map[string]bool{} // completions of the pretraining questions
	for doc := range Pretraining(5, wide, 40000) {
		if _, answer, ok := strings.Cut(doc, "\nA: "); ok {
			answered[answer] = true
		}
	}
	for _, f := range Injection(6, 400) {
		if !answered[f.Value] {
			t.Errorf("no pretraining question has the answer %q of %s", f.Value, f.Attribute)
		}
	}
}

func TestPretrainingUsesEveryForm(t *testing.T) {
	docs := slices.Collect(Pretraining(5, small, 30000))
	text := strings.Join(docs, "\n")
	missing := map[string]bool{}
	for _, w := range wordings {
		for _, p := range slices.Concat(w.statements[:], w.questions[:]) {
			missing[p] = true
		}
	}
	for _, f := range New(5, small).Facts() {
		w := f.wording()
		for _, p := range slices.Concat(w.statements[:], w.questions[:]) {
			if missing[p] && strings.Contains(text, f.fill(p)) {
				delete(missing, p)
			}
		}
	}
	for p := range missing {
		t.Errorf("no pretraining document uses %q", p)
	}
}

func TestHeldOutQuestionIsInNoInjectionTrainingText(t *testing.T) {
	facts := Injection(9, 100)
	var text strings.Builder
	for bio := range Biographies(9, facts, 3000) {
		text.WriteString(bio + "\n")
		if strings.Contains(bio, "?") {
			t.Fatalf("biography asks: %q", bio)
		}
	}
	var prompts strings.Builder
	for _, f := range facts {
		for form := range Statements {
			text.WriteString(f.Statement(form) + "\n")
		}
		for _, form := range TrainQuestions() {
			prompts.WriteString(f.QA(form).Prompt + "\n")
		}
	}
	for _, f := range facts {
		held := f.Question(HeldOutQuestion)
		if strings.Contains(text.String(), held) || strings.Contains(prompts.String(), held) {
			t.Errorf("training text contains the evaluation wording %q", held)
		}
		for form := range Questions - 1 {
			if !strings.Contains(prompts.String(), Prompt(f.Question(form))) {
				t.Errorf("training misses question form %d of %+v", form, f)
			}
		}
	}
}

func TestChanceOfInjectionIsTheEvenDeal(t *testing.T) {
	// Worked by hand: of 240 people each place and year is dealt to 2, each
	// profession to 4, each of four lists of 40 to 6: (3*2 + 4 + 4*6)/240/8.
	if got, want := Chance(Injection(4, 240)), float64(3*2+4+4*6)/240/8; got != want {
		t.Errorf("chance is %v, want %v", got, want)
	}
	facts := []Fact{{"a", Person, Pet, "cat"}, {"b", Person, Pet, "cat"}, {"c", Person, Pet, "dog"}, {"a", Person, Subject, "cat"}}
	if got := Chance(facts); got != 0.75 {
		t.Errorf("chance is %v, want 0.75", got)
	}
	if got := Chance(nil); got != 0 {
		t.Errorf("chance of no facts is %v, want 0", got)
	}
}

func TestImpossibleSizesAreRefusedWithEveryReason(t *testing.T) {
	err := Size{People: -1, Places: MaxPlaces + 1, Works: MaxWorks + 1}.Check()
	for _, want := range []string{"people is -1", "places is 121", "works is 1601"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want it to say %q", err, want)
		}
	}
	if err := (Size{Works: 1}).Check(); err == nil {
		t.Error("works without people are accepted")
	}
	if err := (Size{MaxPeople, MaxPlaces, MaxWorks}).Check(); err != nil {
		t.Errorf("the largest world is refused: %v", err)
	}
	panics(t, "world", func() { New(1, Size{People: -1}) })
	panics(t, "injection", func() { Injection(1, MaxPeople+1) })
}

func panics(t *testing.T, name string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s: no panic", name)
		}
	}()
	f()
}
