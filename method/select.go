package method

import "math"

// highest fills dst with the places of the len(dst) highest scores, ascending,
// or of all if there are fewer, and returns the part that it filled. Of equal
// scores the lower place wins; what is not a number counts as the lowest. spare
// is as long as score; both are overwritten.
func highest(dst []int32, score, spare []float32) []int32 {
	k := min(len(dst), len(score))
	for i, v := range score {
		if v != v {
			score[i] = float32(math.Inf(-1))
		}
	}
	if k <= fewHighest && 4*k <= len(score) {
		return highestFew(dst[:k], score, spare[:k])
	}
	copy(spare, score)
	bound := kth(spare[:len(score)], k)
	above := 0
	for _, v := range score {
		if v > bound {
			above++
		}
	}
	equal, n := k-above, 0
	for i, v := range score {
		if v < bound || v == bound && equal == 0 {
			continue
		}
		if v == bound {
			equal--
		}
		dst[n] = int32(i)
		n++
	}
	return dst[:n]
}

// fewHighest is the most that highestFew is used for: with more, moving the list
// costs more than partitioning the scores.
const fewHighest = 16

// highestFew is highest for a short dst: it keeps the list of the best so far,
// which nearly all scores fail to enter. best is as long as dst.
func highestFew(dst []int32, score, best []float32) []int32 {
	n := 0
	for i, v := range score {
		if n == len(best) && v <= best[n-1] {
			continue
		}
		at := min(n, len(best)-1)
		for at > 0 && best[at-1] < v { // behind equal scores: they have lower places
			best[at], dst[at] = best[at-1], dst[at-1]
			at--
		}
		best[at], dst[at] = v, int32(i)
		n = min(n+1, len(best))
	}
	for i := 1; i < len(dst); i++ { // ascending places; the list is short
		v, at := dst[i], i
		for at > 0 && dst[at-1] > v {
			dst[at] = dst[at-1]
			at--
		}
		dst[at] = v
	}
	return dst
}

// kth is the k-th highest of x, k from 1 to len(x), and reorders x. Values equal
// to the pivot are set aside in one pass, so that many equal scores cost no more
// than different ones.
func kth(x []float32, k int) float32 {
	for {
		pivot := median(x[0], x[len(x)/2], x[len(x)-1])
		// x is [above | equal | not looked at | below].
		above, i, below := 0, 0, len(x)
		for i < below {
			switch v := x[i]; {
			case v > pivot:
				x[i], x[above] = x[above], v
				above++
				i++
			case v < pivot:
				below--
				x[i], x[below] = x[below], v
			default:
				i++
			}
		}
		switch {
		case k <= above:
			x = x[:above]
		case k <= below:
			return pivot
		default:
			x, k = x[below:], k-below
		}
	}
}

func median(a, b, c float32) float32 { return max(min(a, b), min(max(a, b), c)) }
