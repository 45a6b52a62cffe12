package world

import (
	"hash/fnv"
	"math/rand/v2"
	"slices"
)

// random returns the stream of random numbers for one purpose. Streams of
// different purposes are independent, so a longer list of names, say, changes
// no value drawn for another purpose.
func random(seed uint64, purpose string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(purpose))
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// A deck deals its cards in random order and shuffles again when none is left,
// so that all cards are dealt equally often.
type deck[T any] struct {
	r     *rand.Rand
	cards []T
	dealt int // cards dealt since the last shuffle
}

// newDeck returns a deck of a copy of cards.
func newDeck[T any](r *rand.Rand, cards []T) *deck[T] {
	return &deck[T]{r: r, cards: slices.Clone(cards), dealt: len(cards)}
}

// next deals one card. The deck must have at least one.
func (d *deck[T]) next() T {
	if d.dealt == len(d.cards) {
		d.r.Shuffle(len(d.cards), func(i, j int) { d.cards[i], d.cards[j] = d.cards[j], d.cards[i] })
		d.dealt = 0
	}
	d.dealt++
	return d.cards[d.dealt-1]
}

// sample returns n different elements of list in random order.
func sample(r *rand.Rand, list []string, n int) []string {
	out := make([]string, n)
	d := newDeck(r, list)
	for i := range out {
		out[i] = d.next()
	}
	return out
}
