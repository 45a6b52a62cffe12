package token

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync/atomic"
)

const (
	cacheSlots   = 1 << 14 // a power of two; about 2 MB when full of English words
	cacheLongest = 48      // bytes; longer words seldom come again
)

// wordCache remembers the ids of words seen lately. Each word has one slot that
// the last writer owns; entries never change, so readers need no lock.
type wordCache struct {
	seed  maphash.Seed
	slots [cacheSlots]atomic.Pointer[cachedWord]
}

type cachedWord struct {
	word string
	ids  []int32
}

func newWordCache() *wordCache { return &wordCache{seed: maphash.MakeSeed()} }

func (c *wordCache) slot(w string) *atomic.Pointer[cachedWord] {
	return &c.slots[maphash.String(c.seed, w)&(cacheSlots-1)]
}

// get returns the ids of w, nil when they are not known.
func (c *wordCache) get(w string) []int32 {
	if e := c.slot(w).Load(); e != nil && e.word == w {
		return e.ids
	}
	return nil
}

// put remembers copies of w and ids.
func (c *wordCache) put(w string, ids []int32) {
	if len(ids) > 0 {
		c.slot(w).Store(&cachedWord{strings.Clone(w), slices.Clone(ids)})
	}
}
