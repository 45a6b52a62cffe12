package param

import (
	"fmt"
	"math/bits"

	"meft/internal/simd"
)

// Step makes optimizer step number step, counted from 0, on the rows that have
// a gradient, multiplied by scale, and treats the others as Idle says. rate is
// a pure function of the step: Replay calls it again for steps of the past, and
// wants the steps in order. Gradients stay until ZeroGrad.
func (t *Table) Step(step int, a AdamW, rate func(step int) float32, scale float32) {
	if t.o.Fixed || t.o.Idle == Replay && step < t.made {
		panic(fmt.Sprintf("param: %s: step %d after %d steps, fixed %v", t.Name, step, t.made, t.o.Fixed))
	}
	if t.made == 0 && t.o.Idle == Replay && step > 0 {
		t.startAt(step)
	}
	t.adam, t.rate, t.scale = a, rate, scale
	t.made = step
	t.run(sumParts, (*stepTask)(t))
	t.made = step + 1
}

// startAt says that a table without a history begins at a step above 0: there
// is nothing before it to make up for.
func (t *Table) startAt(step int) {
	for i := range t.steps {
		t.steps[i] = int32(step)
	}
}

type stepTask Table

// Do makes the step on part i of the rows.
func (s *stepTask) Do(i, _ int) {
	t := (*Table)(s)
	from, to := t.words(i, sumParts)
	if t.o.Idle == Moving {
		p := scalars(t.adam.opts(t.made, t.rate(t.made), t.scale))
		for id := int32(from * 32); id < int32(min(to*32, t.Rows)); id++ {
			t.move(id, t.hasGrad(id), &p, t.made)
		}
		return
	}
	for w := from; w < to; w++ {
		for set := uint32(t.touched[w]); set != 0; set &= set - 1 {
			id := int32(w*32 + bits.TrailingZeros32(set))
			done := t.made
			if t.o.Idle == Replay {
				t.catchUp(id)
			} else {
				done = int(t.steps[id])
			}
			p := scalars(t.adam.opts(done, t.rate(t.made), t.scale))
			t.move(id, true, &p, done)
			t.steps[id]++
		}
	}
}

// move makes one step, by its number, on row id, with its gradient or with zero.
// Numbers that are not float32 are so for as long as a block of them is worked
// on, in the first-level cache: every byte comes from memory and goes back once.
func (t *Table) move(id int32, hasGrad bool, p *simd.AdamW, step int) {
	t.visits.Add(1)
	var w, m, v [block]float32
	for i := range t.parts {
		h := &t.parts[i]
		if !h.trained {
			continue
		}
		g := t.zero
		if hasGrad {
			g = t.grad(h.d, id)
		}
		if t.o.Master == WholeMaster && t.o.Moments == WholeMoments {
			t.level.AdamW(t.row(h.w.f32, id), g, t.row(h.m.f32, id), t.row(h.v.f32, id), p)
			continue
		}
		// Row, step, part and moment give each block random bits of its own.
		seed := uint64(id)<<34 ^ uint64(i>>1)<<33 ^ uint64(step)<<2 ^ uint64(i&1)<<1
		for from := 0; from < t.Dim; from += block {
			n := min(block, t.Dim-from)
			w, m, v := h.w.at(w[:n], id, from), h.m.at(m[:n], id, from), h.v.at(v[:n], id, from)
			t.level.AdamW(w, g[from:from+n], m, v, p)
			h.w.put(w, id, from, 0)
			h.m.put(m, id, from, mix(seed))
			h.v.put(v, id, from, mix(seed|1))
		}
	}
}

// catchUp makes the zero-gradient steps that row id has missed.
func (t *Table) catchUp(id int32) {
	if t.steps == nil || int(t.steps[id]) >= t.made {
		return
	}
	if t.adam.Decay != 0 || !t.resting(id) {
		for s := int(t.steps[id]); s < t.made; s++ {
			p := scalars(t.adam.opts(s, t.rate(s), 1))
			t.move(id, false, &p, s)
		}
	}
	t.steps[id] = int32(t.made)
}

// resting reports whether a step without gradient and decay leaves row id as it
// is: it never had a gradient.
func (t *Table) resting(id int32) bool {
	for i := range t.parts {
		if h := &t.parts[i]; h.trained && !(h.m.zero(id) && h.v.zero(id)) {
			return false
		}
	}
	return true
}

// Flush makes up for all missed steps of all rows, with Replay. Reading a table
// through a Blob does it too.
func (t *Table) Flush() {
	if t.o.Idle == Replay && !t.o.Fixed {
		t.run((t.Rows+rowsPerTask-1)/rowsPerTask, (*flushTask)(t))
	}
}

type flushTask Table

// Do flushes piece i of the rows.
func (f *flushTask) Do(i, _ int) {
	t := (*Table)(f)
	for id := i * rowsPerTask; id < min((i+1)*rowsPerTask, t.Rows); id++ {
		t.catchUp(int32(id))
	}
}
