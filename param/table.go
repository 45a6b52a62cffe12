package param

import (
	"cmp"
	"fmt"
	"math/bits"
	"sync/atomic"

	"meft/internal/simd"
	"meft/tensor"
)

// Idle says what a step does to the rows of a Table that got no gradient. All
// three are the same when every row gets one.
type Idle string

// The treatments of idle rows.
const (
	// Lazy rows rest: value and moments stay, and each row's own number of steps
	// drives its bias correction.
	Lazy Idle = "lazy"
	// Moving rows make every step, with a gradient of zero: AdamW on the whole
	// table, at the cost of the whole table.
	Moving Idle = "dense"
	// Replay rows rest; when they are next gathered or stepped, and on Flush, the
	// steps they missed are made up for with the learning rates of those steps.
	// What Gather returns and what is saved is bit for bit what Moving gives;
	// only who reads K or V directly sees rows that lag behind.
	Replay Idle = "replay"
)

// Valid reports whether i is one of the treatments.
func (i Idle) Valid() bool { return i == Lazy || i == Moving || i == Replay }

// Part is one of the vectors of a neuron.
type Part uint8

// The vectors of a neuron.
const (
	Key   Part = iota // meets the input
	Value             // is added to the output
	Gate              // meets the input as well, of gated neurons only
	Parts
)

// partNames are the names of the vectors, in files and ledgers.
var partNames = [Parts]string{"key", "value", "gate"}

// TableOptions say how a table is trained.
type TableOptions struct {
	Idle       Idle       // "" stands for Lazy
	Gated      bool       // neurons have a Gate
	Fixed      bool       // not trained: no gradients, no moments
	FrozenKeys bool       // only values are trained
	Master     Master     // "" stands for WholeMaster
	Moments    Moments    // "" stands for WholeMoments
	Grads      int        // rows that get a gradient from one ZeroGrad to the next, at most; 0 for all
	Pool       *simd.Pool // for the work on rows; nil for the calling goroutine alone
}

// part is one vector of every neuron of a table, [rows, dim].
type part struct {
	w    cells
	d    []float32 // [grads, dim] gradients of touched rows
	m, v cells     // AdamW moments

	there   bool // the table has such a part
	trained bool // there are d, m and v
}

// Table is a wide two-layer adapter in host memory: y = V·f(K·x), or with gates
// G y = V·(f(G·x)·(K·x)). A neuron is a row of each, so bringing it in is two or
// three contiguous copies. A
// step costs what the touched rows cost, but for a scan of a bit per row and
// for Moving. Ids given to its methods are strictly ascending. It is not safe
// for concurrent use.
type Table struct {
	Name      string
	Rows, Dim int
	K, V, G   []float32 // [rows, dim] numbers; nil while planning, with SplitMaster and without gates

	o       TableOptions
	level   simd.Level
	parts   [Parts]part
	steps   []int32   // [rows] steps made by each row; nil for Moving
	touched []int32   // [rows/32] one bit a row: it has a gradient
	place   []int32   // [rows] which row of the gradients is a touched row's; nil where grads is rows: its own
	grads   int       // rows there is room for
	count   int       // rows touched
	zero    []float32 // [dim] the gradient of idle rows
	made    int       // steps made by the table

	// Arguments of the tasks below, fields so that a step allocates nothing.
	adam   AdamW
	rate   func(step int) float32
	scale  float32
	ids    []int32
	buf    [Parts][]float32 // gradients
	out    [Parts]Rows      // gathered rows
	sums   [sumParts]float64
	visits atomic.Int64 // rows a step or a replay has worked on
}

// sumParts is the number of partial sums of SumSquares, whatever the threads.
const sumParts = 64

// NewTable allocates a table of zeros in host memory, all of it through a; its
// values and moments in the pool that a has for bulk.
func NewTable(a *tensor.Arena, name string, rows, dim int, o TableOptions) *Table {
	o.Idle, o.Master, o.Moments = cmp.Or(o.Idle, Lazy), cmp.Or(o.Master, WholeMaster), cmp.Or(o.Moments, WholeMoments)
	if rows <= 0 || dim <= 0 || !o.Idle.Valid() || !o.Master.Valid() || !o.Moments.Valid() {
		panic(fmt.Sprintf("param: table %s of %d rows by %d, idle rows %q, master %q, moments %q", name, rows, dim, o.Idle, o.Master, o.Moments))
	}
	t := &Table{Name: name, Rows: rows, Dim: dim, o: o, level: simd.Best(), grads: rows}
	if o.Grads > 0 && o.Grads < rows {
		t.grads = o.Grads
	}
	if o.Pool != nil {
		t.level = o.Pool.Level()
	}
	a = a.Sub(name)
	t.parts[Key] = t.newPart(a, Key, !o.Fixed && !o.FrozenKeys)
	t.parts[Value] = t.newPart(a, Value, !o.Fixed)
	if o.Gated {
		t.parts[Gate] = t.newPart(a, Gate, !o.Fixed && !o.FrozenKeys)
	}
	t.K, t.V, t.G = t.parts[Key].w.f32, t.parts[Value].w.f32, t.parts[Gate].w.f32
	if o.Fixed {
		return t
	}
	t.touched = a.Int32("touched", tensor.OnHost, (rows+31)/32)
	if t.grads < rows {
		t.place = a.Int32("places", tensor.OnHost, rows)
	}
	t.zero = a.Float32("zero", tensor.OnHost, dim)
	if o.Idle != Moving {
		t.steps = a.Int32("steps", tensor.OnHost, rows)
	}
	return t
}

func (t *Table) newPart(a *tensor.Arena, which Part, trained bool) part {
	of, name := allocator{a, a.Bulk(), t.Rows, t.Dim, t.level}, partNames[which]
	p := part{w: of.master(name, t.o.Master), there: true, trained: trained}
	if trained {
		p.d = a.Float32(name+".grad", tensor.OnHost, t.grads*t.Dim)
		p.m = of.moment(name+".m", t.o.Moments, signedCode)
		p.v = of.moment(name+".v", t.o.Moments, rootCode)
	}
	return p
}

// SetRow gives a vector of row id its numbers, [dim].
func (t *Table) SetRow(p Part, id int, x []float32) { t.parts[p].w.set(int32(id), x) }

// Row copies a vector of row id to dst, [dim].
func (t *Table) Row(dst []float32, p Part, id int) { t.parts[p].w.row(dst, int32(id)) }

// Range is a vector of rows [from, to) as Gather gives them, in place.
func (t *Table) Range(p Part, from, to int) Rows {
	a, b, w := from*t.Dim, to*t.Dim, &t.parts[p].w
	if w.f32 == nil {
		return Rows{BF16: w.high[a:b]}
	}
	return Rows{F32: w.f32[a:b]}
}

// Has reports whether the rows have that vector.
func (t *Table) Has(p Part) bool { return t.parts[p].there }

// Fixed reports whether the table is not trained.
func (t *Table) Fixed() bool { return t.o.Fixed }

// row is the slice of row i of x [rows, dim].
func (t *Table) row(x []float32, i int32) []float32 {
	at := int(i) * t.Dim
	return x[at : at+t.Dim]
}

// grad is the gradient of touched row i in d, that of the keys or the values.
func (t *Table) grad(d []float32, i int32) []float32 {
	if t.place != nil {
		i = t.place[i]
	}
	return t.row(d, i)
}

func (t *Table) hasGrad(i int32) bool { return t.touched[i>>5]>>(i&31)&1 != 0 }

// rowsPerTask is the number of rows a worker takes at a time.
const rowsPerTask = 16

// each runs a task over n rows, rowsPerTask at a time.
func (t *Table) each(n int, task simd.Task) { t.run((n+rowsPerTask-1)/rowsPerTask, task) }

func (t *Table) run(pieces int, task simd.Task) {
	if t.o.Pool != nil {
		t.o.Pool.Run(pieces, task)
		return
	}
	for i := range pieces {
		task.Do(i, 0)
	}
}

// piece is the part of ids that piece i of a task works on.
func (t *Table) piece(i int) (from, to int) {
	return i * rowsPerTask, min((i+1)*rowsPerTask, len(t.ids))
}

// take notes the rows to work on, which buffers of n numbers have to hold.
func (t *Table) take(ids []int32, n int) {
	if n < len(ids)*t.Dim {
		panic(fmt.Sprintf("param: %s: %d rows of %d, a buffer of %d", t.Name, len(ids), t.Dim, n))
	}
	last := int32(-1)
	for _, id := range ids {
		if id <= last || int(id) >= t.Rows {
			panic(fmt.Sprintf("param: %s: id %d after %d, of %d rows", t.Name, id, last, t.Rows))
		}
		last = id
	}
	t.ids = ids
}

// Gather copies rows ids to to, by part, each [len(ids), dim]; to[Gate] is not
// used without gates. With Replay it first makes up for the steps those rows
// have missed.
func (t *Table) Gather(to [Parts]Rows, ids []int32) {
	n := to[Key].len()
	for p := range t.parts {
		if t.parts[p].there {
			n = min(n, to[p].len())
		}
	}
	t.take(ids, n)
	t.out = to
	t.each(len(ids), (*gatherTask)(t))
}

type gatherTask Table

// Do copies piece i.
func (g *gatherTask) Do(i, _ int) {
	t := (*Table)(g)
	from, to := t.piece(i)
	for j := from; j < to; j++ {
		id := t.ids[j]
		if t.o.Idle == Replay {
			t.catchUp(id)
		}
		for p := range t.parts {
			if t.parts[p].there {
				t.out[p].copyRow(j, &t.parts[p].w, id)
			}
		}
	}
}

// ScatterAdd adds d, by part, each [len(ids), dim], to the gradients of rows ids
// and marks them as touched. Parts that are not trained are not read and may be
// nil. It panics when more rows are touched than TableOptions.Grads says.
func (t *Table) ScatterAdd(ids []int32, d [Parts][]float32) {
	n := len(d[Value])
	for p := range t.parts {
		if t.parts[p].trained {
			n = min(n, len(d[p]))
		}
	}
	if t.o.Fixed {
		panic(fmt.Sprintf("param: %s: gradient of a table that has none", t.Name))
	}
	t.take(ids, n)
	t.buf = d
	for _, id := range ids {
		if t.hasGrad(id) {
			continue
		}
		if t.count == t.grads {
			panic(fmt.Sprintf("param: %s: gradients of more than %d rows between two ZeroGrads", t.Name, t.grads))
		}
		if t.place != nil {
			t.place[id] = int32(t.count)
		}
		t.count++
	}
	t.each(len(ids), (*scatterTask)(t))
	for _, id := range ids {
		t.touched[id>>5] |= 1 << (id & 31)
	}
}

type scatterTask Table

// Do adds piece i. The first gradient of a row replaces what is left of the
// step before, so that the whole table never needs zeroing.
func (s *scatterTask) Do(i, _ int) {
	t := (*Table)(s)
	from, to := t.piece(i)
	for j := from; j < to; j++ {
		id := t.ids[j]
		more := t.hasGrad(id)
		for p := range t.parts {
			if t.parts[p].trained {
				t.accumulate(t.grad(t.parts[p].d, id), t.buf[p][j*t.Dim:(j+1)*t.Dim], more)
			}
		}
	}
}

func (t *Table) accumulate(dst, src []float32, more bool) {
	if more {
		t.level.Add(dst, dst, src)
	} else {
		copy(dst, src)
	}
}

// Gradient is the gradient of row id by part: views of dim elements, valid until
// the next ZeroGrad. All are nil where the row has none, and those of parts that
// are not trained always.
func (t *Table) Gradient(id int32) (d [Parts][]float32) {
	if t.o.Fixed || !t.hasGrad(id) {
		return d
	}
	for p := range t.parts {
		if t.parts[p].trained {
			d[p] = t.grad(t.parts[p].d, id)
		}
	}
	return d
}

// Touched is the number of rows that have a gradient.
func (t *Table) Touched() int { return t.count }

// ZeroGrad forgets all gradients.
func (t *Table) ZeroGrad() {
	clear(t.touched)
	t.count = 0
}

// words is the range of bitmap words of part i of parts.
func (t *Table) words(i, parts int) (from, to int) {
	n := len(t.touched)
	return i * n / parts, (i + 1) * n / parts
}

// SumSquares is the sum of the squares of all gradients. Its order depends on
// the shape of the table and on the rows touched only.
func (t *Table) SumSquares() float64 {
	t.run(sumParts, (*sumTask)(t))
	sum := 0.0
	for _, s := range t.sums {
		sum += s
	}
	return sum
}

type sumTask Table

// Do sums part i.
func (s *sumTask) Do(i, _ int) {
	t := (*Table)(s)
	sum := 0.0
	from, to := t.words(i, sumParts)
	for w := from; w < to; w++ {
		for set := uint32(t.touched[w]); set != 0; set &= set - 1 {
			id := int32(w*32 + bits.TrailingZeros32(set))
			for p := range t.parts {
				if t.parts[p].trained {
					sum += t.level.SumSquares(t.grad(t.parts[p].d, id))
				}
			}
		}
	}
	t.sums[i] = sum
}
