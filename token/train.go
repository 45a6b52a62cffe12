package token

import (
	"container/heap"
	"fmt"
	"iter"
	"maps"
	"slices"
	"unicode/utf8"
)

// Trained is a byte-level vocabulary made by Train.
type Trained struct {
	special []string
	pieces  []string   // by id: special tokens, the 256 bytes, then merged pieces
	rules   [][2]int32 // merge rules, first to merge first
}

const minPairCount = 2 // a pair seen once is no regularity

// Train makes a byte-level BPE vocabulary of at most size pieces from texts:
// the special tokens (ids from 0), the 256 bytes, and merges of the pair that is
// most frequent in words cut as GPT-2 cuts them, lowest ids first among equals.
// It stops early when no pair occurs twice. Special tokens spelled in the texts
// cut them and are not learned. The result depends on the texts only, not on
// their order. size less than 256 plus the special tokens is an error.
// Sennrich et al. 2016, https://arxiv.org/abs/1508.07909, algorithm 1.
func Train(texts iter.Seq[string], size int, special []string) (*Trained, error) {
	if least := 256 + len(special); size < least {
		return nil, fmt.Errorf("train tokenizer: size is %d, want at least %d: 256 bytes and %d special tokens", size, least, len(special))
	}
	if size > 1<<24 {
		return nil, fmt.Errorf("train tokenizer: size is %d, want at most %d", size, 1<<24)
	}
	tr := &Trained{special: slices.Clone(special), pieces: slices.Clone(special)}
	taken := map[string]int32{}
	var cut []addedToken
	for b := range 256 {
		tr.pieces = append(tr.pieces, string(byteRune[b]))
		taken[string(byteRune[b])] = int32(len(special) + b)
	}
	for i, s := range special {
		if _, again := taken[s]; again || s == "" || !utf8.ValidString(s) {
			return nil, fmt.Errorf("train tokenizer: special token %d is %q, want text of its own", i, s)
		}
		taken[s] = int32(i)
		cut = append(cut, addedToken{Content: s, ID: int32(i)})
	}
	g := newTrainer(countWords(texts, newTrie(cut)), int32(len(special)))
	ruled := map[[2]int32]bool{}
	for len(tr.pieces) < size {
		pair, ok := g.best()
		if !ok {
			break
		}
		text := tr.pieces[pair[0]] + tr.pieces[pair[1]]
		id, known := taken[text]
		switch {
		case known && int(id) < len(special):
			g.forbid(pair)
			continue
		case !known:
			id = int32(len(tr.pieces))
			taken[text] = id
			tr.pieces = append(tr.pieces, text)
		}
		if !ruled[pair] { // a pair comes back when two pairs make the same piece
			ruled[pair] = true
			tr.rules = append(tr.rules, pair)
		}
		g.merge(pair, id)
	}
	return tr, nil
}

// Size returns the number of pieces, at most the size asked for.
func (tr *Trained) Size() int { return len(tr.pieces) }

// countWords counts the words of texts.
func countWords(texts iter.Seq[string], special *trie) map[string]int {
	counts := map[string]int{}
	for text := range texts {
		special.split(text, false, func(part string, _ int, id int32) {
			for i := 0; id < 0 && i < len(part); {
				end := scanGPT2(part, i)
				counts[part[i:end]]++
				i = end
			}
		})
	}
	return counts
}

// trainer keeps the words as sequences of ids and the count of every pair of
// neighbours.
type trainer struct {
	words []trainWord
	pairs map[[2]int32]*pairStat
	queue pairQueue // holds every pair that counts, maybe with an old count too
}

type trainWord struct {
	ids []int32
	n   int // times the word was seen
}

type pairStat struct {
	n     int
	words map[int32]struct{} // words that have the pair
}

func newTrainer(counts map[string]int, firstByte int32) *trainer {
	g := &trainer{pairs: map[[2]int32]*pairStat{}}
	for _, w := range slices.Sorted(maps.Keys(counts)) {
		ids := make([]int32, len(w))
		for i := range len(w) {
			ids[i] = firstByte + int32(w[i])
		}
		g.words = append(g.words, trainWord{ids, counts[w]})
		g.count(int32(len(g.words)-1), 1, nil)
	}
	for p, st := range g.pairs {
		g.queue = append(g.queue, pairCount{p, st.n})
	}
	heap.Init(&g.queue)
	return g
}

// count adds (sign 1) or takes away (-1) the pairs of word k; touched, when not
// nil, gathers them.
func (g *trainer) count(k int32, sign int, touched map[[2]int32]struct{}) {
	w := &g.words[k]
	for i := 1; i < len(w.ids); i++ {
		p := [2]int32{w.ids[i-1], w.ids[i]}
		st := g.pairs[p]
		if st == nil {
			st = &pairStat{words: map[int32]struct{}{}}
			g.pairs[p] = st
		}
		st.n += sign * w.n
		if sign > 0 {
			st.words[k] = struct{}{}
		} else {
			delete(st.words, k)
		}
		if touched != nil {
			touched[p] = struct{}{}
		}
	}
}

// best returns the pair to merge next.
func (g *trainer) best() ([2]int32, bool) {
	for len(g.queue) > 0 {
		top := g.queue[0]
		st := g.pairs[top.pair]
		switch {
		case st == nil || st.n < minPairCount:
			heap.Pop(&g.queue)
		case st.n != top.n:
			g.queue[0].n = st.n
			heap.Fix(&g.queue, 0)
		default:
			return top.pair, true
		}
	}
	return [2]int32{}, false
}

// forbid takes a pair out of the choice.
func (g *trainer) forbid(p [2]int32) { g.pairs[p].n = 0 }

// merge replaces the pair by id in all words, from the left.
func (g *trainer) merge(p [2]int32, id int32) {
	touched := map[[2]int32]struct{}{}
	for _, k := range slices.Collect(maps.Keys(g.pairs[p].words)) {
		g.count(k, -1, nil)
		ids := g.words[k].ids
		out := ids[:0]
		for i := 0; i < len(ids); i++ {
			if i+1 < len(ids) && ids[i] == p[0] && ids[i+1] == p[1] {
				out = append(out, id)
				i++
				continue
			}
			out = append(out, ids[i])
		}
		g.words[k].ids = out
		g.count(k, 1, touched)
	}
	delete(g.pairs, p)
	delete(touched, p)
	for q := range touched {
		// Only pairs with the new piece can count more than the queue knows.
		if q[0] == id || q[1] == id {
			heap.Push(&g.queue, pairCount{q, g.pairs[q].n})
		}
	}
}

type pairCount struct {
	pair [2]int32
	n    int
}

// pairQueue is a heap with the most frequent pair on top, lowest ids first
// among equals. The order is total, so the order of pushes does not matter.
type pairQueue []pairCount

func (q pairQueue) Len() int      { return len(q) }
func (q pairQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *pairQueue) Push(x any)   { *q = append(*q, x.(pairCount)) }

func (q *pairQueue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

func (q pairQueue) Less(i, j int) bool {
	a, b := q[i], q[j]
	if a.n != b.n {
		return a.n > b.n
	}
	return slices.Compare(a.pair[:], b.pair[:]) < 0
}
