package world

import (
	"iter"
	"math/rand/v2"
	"strings"
)

// biographyShare is the share of biographies among pretraining documents. One
// has about four times the characters of a question, so half of the text are
// statements and half are questions.
const biographyShare = 0.2

// Pretraining yields that many documents about the entities of New(seed, s).
// About one in five is a biography (see Biographies), the others are one
// question each, Prompt and answer, in a random form out of all of them. An
// answer always ends its document, so a model learns to stop after it.
// Entities and facts are dealt evenly: every fact is asked once before any is
// asked again. Every range over the sequence yields the same documents. It
// panics when s.Check does not return nil; a world without entities yields
// nothing.
func Pretraining(seed uint64, s Size, documents int) iter.Seq[string] {
	facts := New(seed, s).facts
	return func(yield func(string) bool) {
		if len(facts) == 0 {
			return
		}
		r := random(seed, "pretraining")
		entities := newDeck(r, byEntity(facts))
		asked := newDeck(r, facts)
		for range documents {
			var doc string
			if r.Float64() < biographyShare {
				doc = biography(r, entities.next())
			} else {
				qa := asked.next().QA(r.IntN(Questions))
				doc = qa.Prompt + qa.Completion
			}
			if !yield(doc) {
				return
			}
		}
	}
}

// Biographies yields that many short texts about the entities of facts, whose
// facts must be neighbors as in World.Facts and Injection. Each text states at
// least three facts of one entity, or all if it has fewer, in random order and
// random statement forms. Entities are dealt evenly. No text holds a question,
// so over an injection this is training text that shows no evaluation wording.
// Every range over the sequence yields the same texts.
func Biographies(seed uint64, facts []Fact, documents int) iter.Seq[string] {
	return func(yield func(string) bool) {
		if len(facts) == 0 {
			return
		}
		r := random(seed, "biographies")
		entities := newDeck(r, byEntity(facts))
		for range documents {
			if !yield(biography(r, entities.next())) {
				return
			}
		}
	}
}

// biography states some of the facts of one entity.
func biography(r *rand.Rand, facts []Fact) string {
	least := min(3, len(facts))
	n := least + r.IntN(len(facts)-least+1)
	sentences := make([]string, n)
	for i, j := range r.Perm(len(facts))[:n] {
		sentences[i] = facts[j].Statement(r.IntN(Statements))
	}
	return strings.Join(sentences, " ")
}

// byEntity cuts facts where the entity changes.
func byEntity(facts []Fact) [][]Fact {
	var out [][]Fact
	start := 0
	for i := range facts {
		last := i+1 == len(facts)
		if last || facts[i+1].Entity != facts[i].Entity || facts[i+1].Kind != facts[i].Kind {
			out = append(out, facts[start:i+1])
			start = i + 1
		}
	}
	return out
}
