package token

// candidate is a pair that may merge: val is rank<<32 | id of the result, at
// the index of its left symbol.
type candidate struct {
	val uint64
	at  int32
}

// before orders candidates by rank, then by place in the text.
func (c candidate) before(d candidate) bool {
	if c.val>>32 != d.val>>32 {
		return c.val>>32 < d.val>>32
	}
	return c.at < d.at
}

// pairHeap is a binary heap, first candidate on top. container/heap boxes each
// element in an interface, which costs an allocation a merge.
type pairHeap []candidate

func (h *pairHeap) push(c candidate) {
	*h = append(*h, c)
	a := *h
	for i := len(a) - 1; i > 0; {
		up := (i - 1) / 2
		if !a[i].before(a[up]) {
			return
		}
		a[i], a[up] = a[up], a[i]
		i = up
	}
}

func (h *pairHeap) pop() candidate {
	a := *h
	top, last := a[0], len(a)-1
	a[0] = a[last]
	a = a[:last]
	*h = a
	for i := 0; ; {
		c := 2*i + 1
		if c >= last {
			return top
		}
		if c+1 < last && a[c+1].before(a[c]) {
			c++
		}
		if !a[c].before(a[i]) {
			return top
		}
		a[i], a[c] = a[c], a[i]
		i = c
	}
}
