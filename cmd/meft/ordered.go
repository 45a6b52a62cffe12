package main

import (
	"maps"
	"slices"
)

// ordered hands results on in the order of their numbers, which begin at 0,
// holding back those that come early.
type ordered[T any] struct {
	next  int
	early map[int]T
	write func(i int, v T) error
}

// put takes result i.
func (o *ordered[T]) put(i int, v T) error {
	if o.early == nil {
		o.early = map[int]T{}
	}
	o.early[i] = v
	for {
		v, ok := o.early[o.next]
		if !ok {
			return nil
		}
		delete(o.early, o.next)
		o.next++
		if err := o.write(o.next-1, v); err != nil {
			return err
		}
	}
}

// flush hands on what is held back, though results before it are missing.
func (o *ordered[T]) flush() error {
	for _, i := range slices.Sorted(maps.Keys(o.early)) {
		if err := o.write(i, o.early[i]); err != nil {
			return err
		}
	}
	clear(o.early)
	return nil
}
