package token

import (
	"cmp"
	"slices"
)

// merge is one rule of the byte-pair encoding: left followed by right becomes
// id. Lower ranks are applied first; rules of equal rank, leftmost first.
type merge struct {
	left, right, id int32
	rank            uint32
}

// pairTable is an open-addressing hash from (left, right) to rank<<32 | id.
// A Go map does the same at less than half the speed, and this look-up is most
// of the time of encoding.
type pairTable struct {
	keys, vals []uint64
	mask       uint64
}

const noPair = ^uint64(0) // no key has a negative left id, so it marks free slots

func pairKey(left, right int32) uint64 { return uint64(uint32(left))<<32 | uint64(uint32(right)) }

func mixPair(k uint64) uint64 {
	k *= 0x9E3779B97F4A7C15 // 2⁶⁴/φ: spreads the low bits over the high ones
	return k ^ k>>29
}

// newPairTable holds the rules. Of two rules for one pair the first counts.
func newPairTable(rules []merge) pairTable {
	size := 16
	for size < 2*len(rules) {
		size *= 2
	}
	p := pairTable{make([]uint64, size), make([]uint64, size), uint64(size - 1)}
	for i := range p.keys {
		p.keys[i] = noPair
	}
	for _, m := range rules {
		k := pairKey(m.left, m.right)
		i := mixPair(k) & p.mask
		for p.keys[i] != noPair && p.keys[i] != k {
			i = (i + 1) & p.mask
		}
		if p.keys[i] == noPair {
			p.keys[i], p.vals[i] = k, uint64(m.rank)<<32|uint64(uint32(m.id))
		}
	}
	return p
}

// get returns rank<<32 | id of the pair, noPair when no rule joins it.
func (p *pairTable) get(left, right int32) uint64 {
	k := pairKey(left, right)
	for i := mixPair(k) & p.mask; p.keys[i] != noPair; i = (i + 1) & p.mask {
		if p.keys[i] == k {
			return p.vals[i]
		}
	}
	return noPair
}

// list returns the rules by rank, then result, left and right.
func (p *pairTable) list() []merge {
	var rules []merge
	for i, k := range p.keys {
		if k != noPair {
			v := p.vals[i]
			rules = append(rules, merge{int32(k >> 32), int32(uint32(k)), int32(uint32(v)), uint32(v >> 32)})
		}
	}
	slices.SortFunc(rules, func(a, b merge) int {
		if a.rank != b.rank {
			return cmp.Compare(a.rank, b.rank)
		}
		return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.left, b.left), cmp.Compare(a.right, b.right))
	})
	return rules
}

// allMerges returns every rule that two pieces of the vocabulary make a third
// by: how SentencePiece (order: falling score) and tiktoken (order: id) merge.
// order holds the ids of the pieces that may be made, first to merge first;
// sameRank reports whether two neighbours in it have the same priority.
func allMerges(pieces []string, ids map[string]int32, order []int32, sameRank func(a, b int32) bool) []merge {
	var rules []merge
	rank := uint32(0)
	for i, id := range order {
		if i > 0 && !sameRank(order[i-1], id) {
			rank++
		}
		p := pieces[id]
		for k := 1; k < len(p); k++ {
			left, ok := ids[p[:k]]
			if !ok {
				continue
			}
			if right, ok := ids[p[k:]]; ok {
				rules = append(rules, merge{left, right, id, rank})
			}
		}
	}
	return rules
}
