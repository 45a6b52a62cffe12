package simd

// phase is a part of a product: rows [i0, i0+rows), steps [p0, p1) of k and
// columns from col0 on. Its block of op(A) is packed once, by all threads, and
// meets every sliver of op(B), nr columns, which whoever computes them packs for
// itself. When A is small a phase spans several or all steps of k, so that a
// sliver of C is written once.
type phase struct {
	packed   []float32 // panels of A, ordered by block of k and then row
	most     int       // rows of a phase at most
	i0, rows int
	panels   int // that the rows make
	panel    int // floats of one
	p0, p1   int
	depth    int // steps of k in a phase
	col0     int
	packs    int // panels to pack
	group    int // slivers that are packed together
	across   int // pieces of columns,
	down     int // pieces of rows,
	groups   int // and groups in a piece
}

// A phase of MatMul has up to phaseRows rows, and steps of k as room allows:
// phaseDepth blocks of so many rows, more of fewer. It takes 4 MB, which the
// third-level cache holds.
const (
	phaseRows  = 1024
	phaseDepth = 3
)

// groupMax is the most slivers that a worker packs at a time: as many as fit
// into the second-level cache beside mc rows of A, which are read once a group.
const groupMax = 4

// packsPiece is the panels of A that a thread packs at a time.
const packsPiece = 16

// minPiece is the number of multiply-adds that pays for handing a piece to
// another thread: about 10 µs of one core.
const minPiece = 1 << 19

// start begins the first phase, with room for packed A and a number of rows
// for which it holds kcOnce steps.
func (j *matMul) start(room []float32, most int) {
	j.packed, j.most = room, most
	j.i0, j.rows, j.p0, j.p1 = 0, 0, 0, j.k
	j.advance()
}

// more reports whether there is a phase to do.
func (j *matMul) more() bool { return j.i0 < j.m && j.col0 < j.n }

// advance goes on to the next steps of k, or the next rows.
func (j *matMul) advance() {
	if j.p1 < j.k {
		j.p0 = j.p1
	} else {
		if j.i0 += j.rows; j.i0 == j.m {
			return
		}
		s := j.pool.level.blocks()
		left := (j.m - j.i0 + j.most - 1) / j.most
		j.rows = (j.m - j.i0 + left - 1) / left // equal blocks: a thin one packs B for little
		j.panels = (j.rows + s.mr - 1) / s.mr
		j.panel = s.mr*j.kc + panelPad
		fit := max(1, len(j.packed)/(j.panels*j.panel)) // blocks of k
		blocks := (j.k + j.kc - 1) / j.kc
		turns := (blocks + fit - 1) / fit
		j.depth = (blocks + turns - 1) / turns * j.kc
		j.p0 = 0
	}
	j.p1 = min(j.p0+j.depth, j.k)
	j.packs = (j.p1 - j.p0 + j.kc - 1) / j.kc * j.panels
}

// split cuts the phase into pieces for the threads and returns their number.
// Columns are cut first: B is packed once for every piece of rows.
func (j *matMul) split(threads int) int {
	s := j.pool.level.blocks()
	slivers := (j.n - j.col0 + s.nr - 1) / s.nr
	want := j.rows * (j.n - j.col0) * (j.p1 - j.p0) / minPiece
	j.group, j.across, j.down = groupMax, 1, 1
	if threads > 1 && want > 1 {
		if j.b.Quant == nil { // whose blocks of codes had better stay whole
			j.group = min(max(slivers/(8*threads), 1), groupMax)
		}
		j.across = min((slivers+j.group-1)/j.group, want)
		if want = min(want, 4*threads); j.across < want {
			j.down = min((want+j.across-1)/j.across, max(1, j.panels/2))
		}
	}
	groups := (slivers + j.group - 1) / j.group
	j.groups = (groups + j.across - 1) / j.across
	j.across = (groups + j.groups - 1) / j.groups
	return j.across * j.down
}

// packing is the task of packing A, packsPiece panels a piece.
type packing matMul

// Do packs piece i.
func (t *packing) Do(i, worker int) {
	j := (*matMul)(t)
	j.pack(&j.pool.workers[worker], i*packsPiece, min((i+1)*packsPiece, j.packs))
}

// pack packs panels [from, to) of the phase.
func (j *matMul) pack(w *worker, from, to int) {
	for from < to {
		p := j.p0 + from/j.panels*j.kc
		r, mr, same := panelRows(j.rows, j.panels, from%j.panels)
		same = min(same, to-from)
		kc, dst := min(j.kc, j.p1-p), j.packed[from*j.panel:(from+same)*j.panel]
		w.packA(j.op, j.a, j.i0+r, mr, same, p, kc, dst, j.panel)
		for i := 0; i < same && j.form != exact; i++ {
			j.round(w, dst[i*j.panel:(i+1)*j.panel], kc, w.shape.mr, true)
		}
		from += same
	}
}

// round gives x, a packed panel or sliver [kc][width], the form of the product.
// wide operands are not bfloat16 as they are.
func (j *matMul) round(w *worker, x []float32, kc, width int, wide bool) {
	switch {
	case j.form == paired:
		w.level.pairBF16(x, kc, width)
	case wide:
		w.level.roundBF16(x[:kc*width])
	}
}

// panelRows cuts rows into panels that differ by one row at most, the higher
// ones first: panel i starts at row r, is mr rows high, and same panels from i
// on are of that height.
func panelRows(rows, panels, i int) (r, mr, same int) {
	mr, high := rows/panels, rows%panels
	if i < high {
		return i * (mr + 1), mr + 1, high - i
	}
	return i*mr + high, mr, panels - i
}

// multiplying is the task of a phase once A is packed.
type multiplying matMul

// Do computes piece i.
func (t *multiplying) Do(i, worker int) {
	j := (*matMul)(t)
	j.multiply(&j.pool.workers[worker], i)
}

// multiply computes piece i.
func (j *matMul) multiply(w *worker, i int) {
	first, last := j.panels*(i/j.across)/j.down, j.panels*(i/j.across+1)/j.down
	nr, wide := w.shape.nr, j.group*w.shape.nr
	col := j.col0 + i%j.across*j.groups*wide
	end := min(col+j.groups*wide, j.n)
	for ; col < end; col += wide {
		cols := min(wide, end-col)
		slivers := (cols + nr - 1) / nr
		for p := j.p0; p < j.p1; p += j.kc {
			kc := min(j.kc, j.p1-p)
			w.packB(j.op, j.b, col, cols, p, kc)
			for s := 0; s < cols && j.form != exact; s += nr {
				j.round(w, w.b[s*kc:(s+nr)*kc], kc, nr, j.b.BF16 == nil)
			}
			if p+kc < j.p1 {
				w.announce(j.op, j.b, col, cols, p+kc, min(j.kc, j.p1-p-kc), slivers*(last-first))
			} else {
				// Threads take turns, so the next piece is likely to be so far on.
				next := col + wide
				if next >= end {
					next += (len(j.pool.workers) - 1) * j.groups * wide
				}
				w.announce(j.op, j.b, next, min(wide, j.n-next), j.p0, min(j.kc, j.p1-j.p0), slivers*(last-first))
			}
			at := (p - j.p0) / j.kc * j.panels * j.panel
			for from := first; from < last; from += w.shape.mc / w.shape.mr {
				to := min(from+w.shape.mc/w.shape.mr, last)
				for s := 0; s < cols; s += nr {
					j.sliver(w, from, to, at, col+s, min(nr, cols-s), kc, w.b[s*kc:(s+nr)*kc], p > 0 || j.accumulate)
				}
			}
		}
	}
	w.next = lines{} // keep nothing of the caller's alive
}

// sliver multiplies panels [from, to) of a block of packed A, at offset at, with
// a packed sliver of B. A narrow sliver goes through a whole tile: the padding
// lanes hold anything and are not copied back.
func (j *matMul) sliver(w *worker, from, to, at, col, cols, kc int, b []float32, add bool) {
	acc := 0
	if add {
		acc = 1
	}
	nr := w.shape.nr
	for from < to {
		r, mr, same := panelRows(j.rows, j.panels, from)
		same = min(same, to-from)
		a := j.packed[at+from*j.panel : at+(from+same)*j.panel]
		c := j.c[(j.i0+r)*j.ldc+col:]
		if cols == nr {
			w.kernel(j.form, mr, same, kc, a, j.panel, b, c, j.ldc, acc, j.alpha)
			from += same
			continue
		}
		for r := 0; r < mr && add; r++ {
			copy(w.tile[r*nr:r*nr+cols], c[r*j.ldc:])
		}
		w.kernel(j.form, mr, 1, kc, a, j.panel, b, w.tile, nr, acc, j.alpha)
		for r := range mr {
			copy(c[r*j.ldc:r*j.ldc+cols], w.tile[r*nr:])
		}
		from++
	}
}
