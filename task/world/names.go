package world

import (
	"math/rand/v2"
	"strconv"
	"strings"
)

// A full name is a pair of a given and a family name. The pairs form a chess
// board: worlds use one color and injections the other, so no name is on both
// sides, while every given and every family name occurs on both.
const (
	givenNames    = 240
	familyNames   = 240
	worldSide     = 0 // given + family index is even
	injectionSide = 1 // given + family index is odd
)

// names returns n different full names of one side in random order.
func names(r *rand.Rand, side, n int) []string {
	given, family := join(givenStarts, givenEnds), join(familyStarts, familyEnds)
	out := make([]string, n)
	for i, k := range r.Perm(MaxPeople)[:n] {
		g := k / (familyNames / 2)
		f := 2*(k%(familyNames/2)) + (g+side)%2
		out[i] = given[g] + " " + family[f]
	}
	return out
}

// Values returns the closed list of answers to an attribute, in fixed order. It
// is nil for Author, whose answers are the people of the world, and for an
// attribute that the kind does not have.
func Values(kind, attribute string) []string {
	switch (Fact{Kind: kind, Attribute: attribute}) {
	case Fact{Kind: Person, Attribute: Birthplace}, Fact{Kind: Person, Attribute: Residence}:
		return placeNames()
	case Fact{Kind: Person, Attribute: BirthYear}, Fact{Kind: Place, Attribute: Founded}, Fact{Kind: Work, Attribute: Year}:
		return years()
	case Fact{Kind: Person, Attribute: Profession}:
		return strings.Fields(professions)
	case Fact{Kind: Person, Attribute: Instrument}:
		return strings.Fields(instruments)
	case Fact{Kind: Person, Attribute: Employer}:
		return join(employerStarts, employerEnds)
	case Fact{Kind: Person, Attribute: Subject}:
		return strings.Fields(subjects)
	case Fact{Kind: Person, Attribute: Pet}:
		return strings.Fields(pets)
	case Fact{Kind: Place, Attribute: Country}:
		return strings.Fields(countries)
	case Fact{Kind: Place, Attribute: River}:
		return strings.Fields(rivers)
	case Fact{Kind: Work, Attribute: Genre}:
		return strings.Fields(genres)
	}
	return nil
}

// placeNames returns the MaxPlaces invented places.
func placeNames() []string { return join(placeStarts, placeEnds) }

// titles returns the MaxWorks invented titles.
func titles() []string {
	out := join(titleAdjectives, titleNouns)
	for i, t := range out {
		out[i] = "The " + t
	}
	return out
}

// years returns 1880 to 1999.
func years() []string {
	var out []string
	for y := 1880; y <= 1999; y++ {
		out = append(out, strconv.Itoa(y))
	}
	return out
}

// join returns every word of starts followed by every word of ends. An
// underscore in an end stands for a space.
func join(starts, ends string) []string {
	var out []string
	for _, s := range strings.Fields(starts) {
		for _, e := range strings.Fields(ends) {
			out = append(out, s+strings.ReplaceAll(e, "_", " "))
		}
	}
	return out
}
