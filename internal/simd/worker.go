package simd

import "unsafe"

// worker is the workspace of one thread for matrix products.
type worker struct {
	level Level
	shape blocks
	asm   bool      // pack with the assembly, which AVX2 and AVX512 share
	job   matMul    // for MatMulOn
	a     []float32 // panels of A: [kc][mr] each, for MatMulOn
	b     []float32 // slivers of B: [kc][nr] each
	tile  []float32 // [mr][nr]
	wide  []float32 // a sliver's rows of a quantised B, decoded: [nr][kc]
	scale []float32 // scales of blocks
	next  lines     // the source of the slivers after these
	_     [64]byte  // workers of a pool do not share cache lines
}

func (w *worker) init(l Level, s blocks) {
	w.level, w.shape = l, s
	w.asm = l == AVX2 || l == AVX512 || l == wideTest && hasAVX2
	w.a, w.b, w.tile = aligned(s.aLen(s.mc)), aligned(groupMax*kcOnce*s.nr), aligned(s.mr*s.nr)
	w.wide, w.scale = aligned(max(s.nr, 16)*kcOnce), aligned(kcOnce)
}

func (w *worker) bytes() int64 {
	return 4 * int64(cap(w.a)+cap(w.b)+cap(w.tile)+cap(w.wide)+cap(w.scale))
}

// aligned returns n floats that start on a cache line.
func aligned(n int) []float32 {
	buf := make([]float32, n+16)
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(buf))) % 64 / 4
	return buf[skip : skip+uintptr(n)]
}

// packA writes panels of mr rows of op(A) from row i on, steps [p, p+kc), as
// dst[panel·size + step·mr + row]. Lanes from rows on hold anything.
func (w *worker) packA(op Op, a Mat, i, rows, panels, p, kc int, dst []float32, size int) {
	mr := w.shape.mr
	if op == TN && w.asm {
		src := a.F32[p*a.Stride+i:]
		_, _ = src[(kc-1)*a.Stride+panels*rows-1], dst[(panels-1)*size+kc*mr]
		if rows > 8 {
			packRows16(&dst[0], size, mr, &src[0], a.Stride, rows, rows, panels, kc)
		} else {
			packRows8(&dst[0], size, mr, &src[0], a.Stride, rows, rows, panels, kc)
		}
		return
	}
	for n := range panels {
		if op == TN {
			packRowsGo(dst[n*size:], mr, a.F32[p*a.Stride+i+n*rows:], a.Stride, rows, kc)
		} else {
			w.packPanel(a.F32[(i+n*rows)*a.Stride+p:], a.Stride, rows, kc, dst[n*size:])
		}
	}
}

// packPanel transposes one panel. Whole vectors are stored: the second half
// first, since the first half runs into it, and both into the next step.
func (w *worker) packPanel(src []float32, stride, rows, kc int, dst []float32) {
	mr, whole := w.shape.mr, 0
	if w.asm {
		whole = kc &^ 7
	}
	if whole > 0 {
		if rows > 8 {
			packT(&dst[8], mr, &src[8*stride], stride, rows-8, whole/8)
		}
		packT(&dst[0], mr, &src[0], stride, min(rows, 8), whole/8)
	}
	packTGo(dst[whole*mr:], mr, src[whole:], stride, rows, kc-whole)
}

// packB writes columns [j, j+cols) of op(B), steps [p, p+kc), as slivers
// b[step][nr] of kc steps. Lanes from cols on hold anything.
func (w *worker) packB(op Op, b Mat, j, cols, p, kc int) {
	nr := w.shape.nr
	if b.Quant != nil {
		w.packBQuant(op, b, j, cols, p, kc)
		return
	}
	if op != NT && b.BF16 == nil && w.asm {
		w.packBRows(b.F32[p*b.Stride+j:], b.Stride, cols, kc)
		return
	}
	for c := 0; c < cols; c += nr {
		dst, wide := w.b[c*kc:(c+nr)*kc], min(nr, cols-c)
		at := p*b.Stride + j + c
		if op == NT {
			at = (j+c)*b.Stride + p
		}
		switch {
		case b.BF16 != nil && op == NT:
			w.packBTBF16(dst, b.BF16[at:], b.Stride, wide, kc)
		case b.BF16 != nil:
			w.packBRowsBF16(dst, b.BF16[at:], b.Stride, wide, kc)
		case op == NT:
			w.packBT(dst, b.F32[at:], b.Stride, wide, kc)
		default:
			packRowsGo(dst, nr, b.F32[at:], b.Stride, wide, kc)
		}
	}
}

func (w *worker) packBT(dst, src []float32, stride, cols, kc int) {
	nr, whole := w.shape.nr, 0
	if w.asm {
		whole = kc &^ 7
		for c := 0; c < cols && whole > 0; c += 8 {
			packT(&dst[c], nr, &src[c*stride], stride, min(8, cols-c), whole/8)
		}
	}
	packTGo(dst[whole*nr:], nr, src[whole:], stride, cols, kc-whole)
}

func (w *worker) packBTBF16(dst []float32, src []uint16, stride, cols, kc int) {
	nr, whole := w.shape.nr, 0
	if w.asm {
		whole = kc &^ 15
		for c := 0; c < cols && whole > 0; c += 8 {
			packTBF16(&dst[c], nr, &src[c*stride], stride, min(8, cols-c), whole/16)
		}
	}
	packTBF16Go(dst[whole*nr:], nr, src[whole:], stride, cols, kc-whole)
}

// packBRows copies whole slivers together, in columns of 16, and the rest.
func (w *worker) packBRows(src []float32, stride, cols, kc int) {
	nr := w.shape.nr
	_ = src[(kc-1)*stride+cols-1]
	whole := cols / nr
	for c := 0; c < nr && whole > 0; c += 16 {
		packRows16(&w.b[c], kc*nr, nr, &src[c], stride, nr, 16, whole, kc)
	}
	for c := whole * nr; c < cols; c += 16 {
		packRows16(&w.b[whole*nr*kc+c%nr], 0, nr, &src[c], stride, 0, min(16, cols-c), 1, kc)
	}
}

func (w *worker) packBRowsBF16(dst []float32, src []uint16, stride, cols, kc int) {
	c := 0
	if w.asm {
		for ; c+16 <= cols; c += 16 {
			packRows16BF16(&dst[c], w.shape.nr, &src[c], stride, kc)
		}
	}
	if c < cols {
		packRowsBF16Go(dst[c:], w.shape.nr, src[c:], stride, cols-c, kc)
	}
}

// lines are cache lines to ask for ahead of their use: rows of count lines.
type lines struct {
	p         unsafe.Pointer
	rowStride int // bytes between rows
	rows      int
	count     int
	at        int // lines asked for so far
	panel     int // lines to ask for before a panel
}

// announce notes the block of B that packB will read next, to be asked for
// while so many panels are multiplied. Its rows are short and far apart, which
// the processor's own prefetchers do not see coming.
func (w *worker) announce(op Op, b Mat, j, cols, p, kc, panels int) {
	w.next = lines{}
	if !w.asm || cols <= 0 {
		return
	}
	at, rows, width := p*b.Stride+j, kc, cols
	if op == NT {
		at, rows, width = j*b.Stride+p, cols, kc
	}
	var from unsafe.Pointer
	switch {
	case b.Quant != nil:
		from = unsafe.Pointer(&b.Quant.Codes[b.bytes(b.Quant.First+at)])
	case b.BF16 != nil:
		from = unsafe.Pointer(&b.BF16[at])
	default:
		from = unsafe.Pointer(&b.F32[at])
	}
	count := (b.bytes(width) + 63) / 64
	w.next = lines{p: from, rowStride: b.bytes(b.Stride), rows: rows, count: count, panel: (rows*count + panels - 1) / panels}
}

// take returns the place of the lines to ask for in so many panels: the first,
// how many are left in its row, and how many to ask for before a panel.
func (l *lines) take(panels int) (p *byte, left, fetch int) {
	if l.at >= l.rows*l.count {
		return nil, 0, 0
	}
	row, line := l.at/l.count, l.at%l.count
	l.at += panels * l.panel
	return (*byte)(unsafe.Add(l.p, row*l.rowStride+line*64)), l.count - line, l.panel
}

// kernel computes panels of mr rows of C[.., nr] = alpha·(packed A)·(packed B),
// plus C if acc is 1; panels of A are panel floats apart. The announced lines
// are asked for on the way, when the memory is idle.
func (w *worker) kernel(f form, mr, panels, kc int, a []float32, panel int, b, c []float32, ldc, acc int, alpha float32) {
	_, _, _ = c[(panels*mr-1)*ldc+w.shape.nr-1], a[(panels-1)*panel+kc*w.shape.mr-1], b[kc*w.shape.nr-1]
	next, left, fetch := w.next.take(panels)
	if f == paired {
		kc = (kc + 1) / 2
		if w.level == AVX512 {
			pairsAVX512(mr, panels, kc, &a[0], panel, &b[0], &c[0], ldc, acc, alpha, next, left, w.next.count, w.next.rowStride, fetch)
			return
		}
		for i := range panels {
			pairsGo(mr, w.shape.mr, w.shape.nr, kc, a[i*panel:], b, c[i*mr*ldc:], ldc, acc, alpha)
		}
		return
	}
	switch w.level {
	case AVX2:
		kernelAVX2(mr, panels, kc, &a[0], panel, &b[0], &c[0], ldc, acc, alpha, next, left, w.next.count, w.next.rowStride, fetch)
	case AVX512:
		kernelAVX512(mr, panels, kc, &a[0], panel, &b[0], &c[0], ldc, acc, alpha, next, left, w.next.count, w.next.rowStride, fetch)
	default:
		for i := range panels {
			kernelGo(mr, w.shape.mr, w.shape.nr, kc, a[i*panel:], b, c[i*mr*ldc:], ldc, acc, alpha)
		}
	}
}

func kernelAVX2(mr, panels, kc int, a *float32, panel int, b, c *float32, ldc, acc int, alpha float32, next *byte, left, lines, rowStep, fetch int) {
	switch mr {
	case 1:
		kern1AVX2(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	case 2:
		kern2AVX2(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	case 3:
		kern3AVX2(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	case 4:
		kern4AVX2(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	case 5:
		kern5AVX2(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	default:
		kern6AVX2(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	}
}

func kernelAVX512(mr, panels, kc int, a *float32, panel int, b, c *float32, ldc, acc int, alpha float32, next *byte, left, lines, rowStep, fetch int) {
	switch mr {
	case 1:
		kern1AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	case 2:
		kern2AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	case 3:
		kern3AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	case 4:
		kern4AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	case 5:
		kern5AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	case 6:
		kern6AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	case 7:
		kern7AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	case 8:
		kern8AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	case 9:
		kern9AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	case 10:
		kern10AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	case 11:
		kern11AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	case 12:
		kern12AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	case 13:
		kern13AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	default:
		kern14AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	}
}

func pairsAVX512(mr, panels, kc int, a *float32, panel int, b, c *float32, ldc, acc int, alpha float32, next *byte, left, lines, rowStep, fetch int) {
	switch mr {
	case 1:
		pair1AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	case 2:
		pair2AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	case 3:
		pair3AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	case 4:
		pair4AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	case 5:
		pair5AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	case 6:
		pair6AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	case 7:
		pair7AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	case 8:
		pair8AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	case 9:
		pair9AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	case 10:
		pair10AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	case 11:
		pair11AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	case 12:
		pair12AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	case 13:
		pair13AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	default:
		pair14AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, left, lines, rowStep, fetch)
	}
}
