// Package world makes a small invented world and the text that describes it:
// people, places and works with one-line facts, biographies and closed-book
// questions. A language model of a few million parameters can learn it in
// minutes, and facts about people who are in no world measure how well a
// method teaches something that no pretraining text could have said.
//
// Everything is a pure function of its arguments: the same seed gives the same
// bytes on every machine. No real person, place or book is meant. The package
// reads no file and no network, and it judges no answers.
package world

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
)

// Size says how many entities of each kind a world has.
type Size struct {
	People int // 0 to MaxPeople
	Places int // 0 to MaxPlaces; places beyond it are named but not described
	Works  int // 0 to MaxWorks; works need at least one person to write them
}

// The largest world that the name tables can hold. MaxPeople is also the
// largest Injection: one half of all names is for worlds, the other half for
// injections.
const (
	MaxPeople = givenNames * familyNames / 2
	MaxPlaces = 120
	MaxWorks  = 1600
)

// Check returns nil when a world of this size can be made, and otherwise one
// error that names every count that is out of range.
func (s Size) Check() error {
	var errs []error
	inRange := func(name string, n, limit int) {
		if n < 0 || n > limit {
			errs = append(errs, fmt.Errorf("world size: %s is %d, want 0 to %d", name, n, limit))
		}
	}
	inRange("people", s.People, MaxPeople)
	inRange("places", s.Places, MaxPlaces)
	inRange("works", s.Works, MaxWorks)
	if s.Works > 0 && s.People == 0 {
		errs = append(errs, fmt.Errorf("world size: %d works and no people to write them, want at least 1 person", s.Works))
	}
	return errors.Join(errs...)
}

// World is a fixed set of entities with attributes, a pure function of the seed
// and the size it was made with.
type World struct {
	facts []Fact // people, places, works; the facts of one entity are neighbors
}

// New makes the world of this seed. It panics when s.Check does not return nil.
func New(seed uint64, s Size) *World {
	if err := s.Check(); err != nil {
		panic(err.Error())
	}
	people := names(random(seed, "world names"), worldSide, s.People)
	w := &World{facts: describe(random(seed, "world people"), Person, people, nil)}
	// Every place of the closed list can be a birthplace; these are described.
	places := sample(random(seed, "world place names"), placeNames(), s.Places)
	w.facts = append(w.facts, describe(random(seed, "world places"), Place, places, nil)...)
	books := sample(random(seed, "world titles"), titles(), s.Works)
	w.facts = append(w.facts, describe(random(seed, "world works"), Work, books, people)...)
	return w
}

// Facts returns every fact of the world, in a fixed order: people, places,
// works, each with its attributes in the order of Attributes.
func (w *World) Facts() []Fact { return slices.Clone(w.facts) }

// Injection returns facts about people who are in no world: their full names
// come from the half of the name table that New never uses, whatever the seeds
// are. Their given and family names, taken alone, and all their values do occur
// in worlds, every value in any world of at least 120 people: a model pretrained
// on one can express every answer and knows none. Each attribute deals its
// values evenly, which fixes the guessing level: see Chance. It panics unless
// 0 <= people <= MaxPeople.
//
// Two injections with different seeds may share names.
func Injection(seed uint64, people int) []Fact {
	if people < 0 || people > MaxPeople {
		panic(fmt.Sprintf("world injection: people is %d, want 0 to %d", people, MaxPeople))
	}
	who := names(random(seed, "injection names"), injectionSide, people)
	return describe(random(seed, "injection people"), Person, who, nil)
}

// describe gives every entity a value for each attribute of its kind. Values
// are dealt from shuffled decks, so that among n entities no value is used more
// often than ceil(n / number of values) times. People write the works.
func describe(r *rand.Rand, kind string, entities, people []string) []Fact {
	attrs := Attributes(kind)
	facts := make([]Fact, len(entities)*len(attrs))
	for a, attr := range attrs {
		list := Values(kind, attr)
		if attr == Author {
			list = people
		}
		values := newDeck(r, list)
		for e, entity := range entities {
			facts[e*len(attrs)+a] = Fact{Entity: entity, Kind: kind, Attribute: attr, Value: values.next()}
		}
	}
	return facts
}
