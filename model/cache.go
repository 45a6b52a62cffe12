package model

import "slices"

// rooms shares out the rows of the cache: each sequence, or the beams of one
// prompt together, has a range of its own, as long as it may become.
type rooms struct {
	rows  int    // of the cache
	taken []room // in order
}

// room is rows [from, to) of the cache.
type room struct{ from, to int }

// take finds the first range of n free rows.
func (r *rooms) take(n int) (room, bool) {
	from, i := 0, 0
	for ; i < len(r.taken) && r.taken[i].from-from < n; i++ {
		from = r.taken[i].to
	}
	if i == len(r.taken) && r.rows-from < n {
		return room{}, false
	}
	got := room{from, from + n}
	r.taken = slices.Insert(r.taken, i, got)
	return got, true
}

// give takes a range back.
func (r *rooms) give(back room) {
	i := slices.Index(r.taken, back)
	r.taken = slices.Delete(r.taken, i, i+1)
}
