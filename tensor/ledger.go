package tensor

import (
	"fmt"
	"sort"
)

// Entry is one named allocation.
type Entry struct {
	Name  string
	Pool  Pool
	DType DType
	Dims  []int
	Bytes int64
	// Part is true for a tensor inside an overlay, whose bytes are counted by
	// the overlay's own entry.
	Part bool
}

// Ledger is the account of every byte, by pool and by name. The zero Ledger is
// ready. It is not safe for concurrent use.
type Ledger struct {
	entries  []Entry
	used     [Pools]int64
	peak     [Pools]int64
	overlays map[string]int64 // largest extent of each overlay, in bytes
}

// Used is the number of bytes allocated and not freed.
func (l *Ledger) Used(p Pool) int64 { return l.used[p] }

// Peak is the largest Used there has been.
func (l *Ledger) Peak(p Pool) int64 { return l.peak[p] }

// Entries are all allocations in the order they were made; the freed ones are
// left out.
func (l *Ledger) Entries() []Entry { return l.entries }

// Group is a sum of entries.
type Group struct {
	Name  string
	Pool  Pool
	Count int
	Bytes int64
}

// Groups sums the entries by key, largest first within a pool.
func (l *Ledger) Groups(key func(Entry) string) []Group {
	type id struct {
		name string
		pool Pool
	}
	at := map[id]int{}
	var out []Group
	for _, e := range l.entries {
		if e.Part {
			continue
		}
		k := id{key(e), e.Pool}
		i, ok := at[k]
		if !ok {
			i = len(out)
			at[k] = i
			out = append(out, Group{Name: k.name, Pool: k.pool})
		}
		out[i].Count++
		out[i].Bytes += e.Bytes
	}
	sort.SliceStable(out, func(i, j int) bool {
		if out[i].Pool != out[j].Pool {
			return out[i].Pool < out[j].Pool
		}
		return out[i].Bytes > out[j].Bytes
	})
	return out
}

func (l *Ledger) add(e Entry) {
	l.entries = append(l.entries, e)
	if e.Part {
		return
	}
	l.used[e.Pool] += e.Bytes
	l.peak[e.Pool] = max(l.peak[e.Pool], l.used[e.Pool])
}

func (l *Ledger) drop(from, to int) {
	for _, e := range l.entries[from:to] {
		if !e.Part {
			l.used[e.Pool] -= e.Bytes
		}
	}
	l.entries = append(l.entries[:from], l.entries[to:]...)
}

// extent notes that an overlay needs at least so many bytes.
func (l *Ledger) extent(name string, bytes int64) {
	if l.overlays == nil {
		l.overlays = map[string]int64{}
	}
	l.overlays[name] = max(l.overlays[name], bytes)
}

// Diff describes how the pools of l and m differ, "" when they are equal.
func (l *Ledger) Diff(m *Ledger) string {
	for p := Pool(0); p < Pools; p++ {
		if l.used[p] != m.used[p] {
			return fmt.Sprintf("%v: %d bytes against %d", p, l.used[p], m.used[p])
		}
	}
	return ""
}
