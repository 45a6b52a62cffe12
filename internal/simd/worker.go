package simd

import "unsafe"

// worker is the workspace of one thread for matrix products.
type worker struct {
	level Level
	shape blocks
	asm   bool      // pack with the assembly, which AVX2 and AVX512 share
	job   matMul    // for MatMulOn
	a     []float32 // panels of A: [kc][mr] each
	b     []float32 // one sliver of B: [kc][nr]
	tile  []float32 // [mr][nr]
	next  lines     // the source of the sliver after this one
	_     [64]byte  // workers of a pool do not share cache lines
}

func (w *worker) init(l Level, s blocks) {
	w.level, w.shape = l, s
	w.asm = l == AVX2 || l == AVX512 || l == wideTest && hasAVX2
	w.a, w.b, w.tile = aligned(s.aLen), aligned(kcMax*s.nr), aligned(s.mr*s.nr)
}

func (w *worker) bytes() int64 { return 4 * int64(cap(w.a)+cap(w.b)+cap(w.tile)) }

// aligned returns n floats that start on a cache line.
func aligned(n int) []float32 {
	buf := make([]float32, n+16)
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(buf))) % 64 / 4
	return buf[skip : skip+uintptr(n)]
}

// packA writes rows [i, i+rows) of op(A), steps [p, p+kc), as dst[step][mr].
// Lanes from rows on hold anything.
func (w *worker) packA(op Op, a Mat, i, rows, p, kc int, dst []float32) {
	mr := w.shape.mr
	if op == TN {
		src := a.F32[p*a.Stride+i:]
		if !w.asm {
			packRowsGo(dst, mr, src, a.Stride, rows, kc)
			return
		}
		// Whole vectors are stored: the second half first, since it runs into
		// the first half of the next step.
		if rows > 8 {
			packRows8(&dst[8], mr, &src[8], a.Stride, rows-8, kc)
		}
		packRows8(&dst[0], mr, &src[0], a.Stride, min(rows, 8), kc)
		return
	}
	src := a.F32[i*a.Stride+p:]
	whole := kc &^ 7
	if !w.asm {
		whole = 0
	}
	if whole > 0 {
		if rows > 8 {
			packT(&dst[8], mr, &src[8*a.Stride], a.Stride, rows-8, whole/8)
		}
		packT(&dst[0], mr, &src[0], a.Stride, min(rows, 8), whole/8)
	}
	packTGo(dst[whole*mr:], mr, src[whole:], a.Stride, rows, kc-whole)
}

// packB writes columns [j, j+cols) of op(B), steps [p, p+kc), as b[step][nr].
// Lanes from cols on hold anything.
func (w *worker) packB(op Op, b Mat, j, cols, p, kc int) {
	at := p*b.Stride + j
	if op == NT {
		at = j*b.Stride + p
	}
	switch {
	case b.BF16 != nil && op == NT:
		w.packBTBF16(b.BF16[at:], b.Stride, cols, kc)
	case b.BF16 != nil:
		w.packBRowsBF16(b.BF16[at:], b.Stride, cols, kc)
	case op == NT:
		w.packBT(b.F32[at:], b.Stride, cols, kc)
	default:
		w.packBRows(b.F32[at:], b.Stride, cols, kc)
	}
}

func (w *worker) packBT(src []float32, stride, cols, kc int) {
	nr, whole := w.shape.nr, 0
	if w.asm {
		whole = kc &^ 7
		for c := 0; c < cols && whole > 0; c += 8 {
			packT(&w.b[c], nr, &src[c*stride], stride, min(8, cols-c), whole/8)
		}
	}
	packTGo(w.b[whole*nr:], nr, src[whole:], stride, cols, kc-whole)
}

func (w *worker) packBTBF16(src []uint16, stride, cols, kc int) {
	nr, whole := w.shape.nr, 0
	if w.asm {
		whole = kc &^ 15
		for c := 0; c < cols && whole > 0; c += 8 {
			packTBF16(&w.b[c], nr, &src[c*stride], stride, min(8, cols-c), whole/16)
		}
	}
	packTBF16Go(w.b[whole*nr:], nr, src[whole:], stride, cols, kc-whole)
}

func (w *worker) packBRows(src []float32, stride, cols, kc int) {
	if !w.asm {
		packRowsGo(w.b, w.shape.nr, src, stride, cols, kc)
		return
	}
	for c := 0; c < cols; c += 16 {
		packRows16(&w.b[c], w.shape.nr, &src[c], stride, min(16, cols-c), kc)
	}
}

func (w *worker) packBRowsBF16(src []uint16, stride, cols, kc int) {
	c := 0
	if w.asm {
		for ; c+16 <= cols; c += 16 {
			packRows16BF16(&w.b[c], w.shape.nr, &src[c], stride, kc)
		}
	}
	if c < cols {
		packRowsBF16Go(w.b[c:], w.shape.nr, src[c:], stride, cols-c, kc)
	}
}

// lines are cache lines to ask for ahead of their use: rows of count lines.
type lines struct {
	p           *byte
	rowStride   int // bytes between rows
	rows, count int
}

// announce notes the block of B that packB will read next. Its rows are short
// and far apart, which the processor's own prefetchers do not see coming.
func (w *worker) announce(op Op, b Mat, j, cols, p, kc int) {
	w.next.rows = 0
	if !w.asm || cols <= 0 {
		return
	}
	at, rows, width := p*b.Stride+j, kc, cols
	if op == NT {
		at, rows, width = j*b.Stride+p, cols, kc
	}
	size := 4
	if b.BF16 != nil {
		size = 2
		w.next.p = (*byte)(unsafe.Pointer(&b.BF16[at]))
	} else {
		w.next.p = (*byte)(unsafe.Pointer(&b.F32[at]))
	}
	w.next.rowStride, w.next.rows, w.next.count = b.Stride*size, rows, (width*size+63)/64
}

// kernel computes panels of mr rows of C[.., nr] = alpha·(packed A)·(packed B),
// plus C if acc is 1; panels of A are panel floats apart. The announced lines
// are asked for on the way, when the memory is idle.
func (w *worker) kernel(mr, panels, kc int, a []float32, panel int, b, c []float32, ldc, acc int, alpha float32) {
	_, _, _ = c[(panels*mr-1)*ldc+w.shape.nr-1], a[(panels-1)*panel+kc*w.shape.mr-1], b[kc*w.shape.nr-1]
	next := &w.next
	fetch := (next.rows*next.count + panels - 1) / panels
	next.rows = 0
	switch w.level {
	case AVX2:
		kernelAVX2(mr, panels, kc, &a[0], panel, &b[0], &c[0], ldc, acc, alpha, next.p, next.rowStride, next.count, fetch)
	case AVX512:
		kernelAVX512(mr, panels, kc, &a[0], panel, &b[0], &c[0], ldc, acc, alpha, next.p, next.rowStride, next.count, fetch)
	default:
		for i := range panels {
			kernelGo(mr, w.shape.mr, w.shape.nr, kc, a[i*panel:], b, c[i*mr*ldc:], ldc, acc, alpha)
		}
	}
}

func kernelAVX2(mr, panels, kc int, a *float32, panel int, b, c *float32, ldc, acc int, alpha float32, next *byte, rowStep, lines, fetch int) {
	switch mr {
	case 1:
		kern1AVX2(panels, kc, a, panel, b, c, ldc, acc, alpha, next, rowStep, lines, fetch)
	case 2:
		kern2AVX2(panels, kc, a, panel, b, c, ldc, acc, alpha, next, rowStep, lines, fetch)
	case 3:
		kern3AVX2(panels, kc, a, panel, b, c, ldc, acc, alpha, next, rowStep, lines, fetch)
	case 4:
		kern4AVX2(panels, kc, a, panel, b, c, ldc, acc, alpha, next, rowStep, lines, fetch)
	case 5:
		kern5AVX2(panels, kc, a, panel, b, c, ldc, acc, alpha, next, rowStep, lines, fetch)
	default:
		kern6AVX2(panels, kc, a, panel, b, c, ldc, acc, alpha, next, rowStep, lines, fetch)
	}
}

func kernelAVX512(mr, panels, kc int, a *float32, panel int, b, c *float32, ldc, acc int, alpha float32, next *byte, rowStep, lines, fetch int) {
	switch mr {
	case 1:
		kern1AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, rowStep, lines, fetch)
	case 2:
		kern2AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, rowStep, lines, fetch)
	case 3:
		kern3AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, rowStep, lines, fetch)
	case 4:
		kern4AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, rowStep, lines, fetch)
	case 5:
		kern5AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, rowStep, lines, fetch)
	case 6:
		kern6AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, rowStep, lines, fetch)
	case 7:
		kern7AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, rowStep, lines, fetch)
	case 8:
		kern8AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, rowStep, lines, fetch)
	case 9:
		kern9AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, rowStep, lines, fetch)
	case 10:
		kern10AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, rowStep, lines, fetch)
	case 11:
		kern11AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, rowStep, lines, fetch)
	case 12:
		kern12AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, rowStep, lines, fetch)
	case 13:
		kern13AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, rowStep, lines, fetch)
	default:
		kern14AVX512(panels, kc, a, panel, b, c, ldc, acc, alpha, next, rowStep, lines, fetch)
	}
}
