package simd

// thinRows is the largest number of rows for the kernels that use B as it
// lies; from there on packing it pays.
const thinRows = 8

// thin reports whether the product can use them, given room for packed A: they
// take whole cache lines of B.
func (j *matMul) thin(room []float32) bool {
	l := j.pool.level
	if j.form == paired || j.form == rounded && j.b.BF16 == nil {
		return false // B is not used as it lies
	}
	if j.op != NT || j.m > thinRows || l != AVX2 && l != AVX512 || j.m*j.k+panelPad > len(room) {
		return false
	}
	return j.b.BF16 == nil && j.k%16 == 0 || j.k%32 == 0
}

// thinCols is the number of columns that a thin kernel of m rows computes.
func thinCols(m int) int {
	if m <= 4 {
		return 16
	}
	return 8
}

// thinBytes is the number of bytes of B that pays for handing a piece to another
// thread: what a core reads from memory in about 6 µs.
const thinBytes = 1 << 16

// thinPieces packs A into room, leaves the last n mod thinCols columns to the
// phases, and cuts the others into pieces for the threads, whose number it
// returns.
func (j *matMul) thinPieces(threads int, room []float32) int {
	j.packed = j.a.F32 // one row is packed as it is
	if j.m > 1 || j.form != exact {
		j.packed = room
		packT(&room[0], j.m, &j.a.F32[0], j.a.Stride, j.m, j.k/8)
	}
	if j.form != exact {
		j.pool.level.roundBF16(room[:j.m*j.k])
	}
	cols := thinCols(j.m)
	blocks := j.n / cols
	j.col0 = blocks * cols
	pieces := 1
	if threads > 1 {
		pieces = max(1, min(4*threads, max(j.b.bytes(j.n*j.k)/thinBytes, j.m*j.n*j.k/minPiece)))
	}
	j.groups = max(1, (blocks+pieces-1)/pieces)
	return (blocks + j.groups - 1) / j.groups
}

// thinning is the task of the thin kernels.
type thinning matMul

// Do computes piece i.
func (t *thinning) Do(i, worker int) {
	j := (*matMul)(t)
	j.thinPiece(&j.pool.workers[worker], i)
}

// longRow is the bytes of a row of B from which it pays to ask ahead within it.
const longRow = 4096

// thinPiece computes blocks of columns [i·groups, (i+1)·groups).
func (j *matMul) thinPiece(w *worker, i int) {
	cols := thinCols(j.m)
	// The lines to ask for ahead: of the same rows, or of the rows after them
	// when these are short.
	ahead := 768
	if j.b.bytes(j.k) < longRow {
		ahead = j.b.bytes(cols * j.b.Stride)
	}
	share := j.groups * cols
	for j0 := i * share; j0 < min((i+1)*share, j.col0); j0 += cols {
		for p := 0; p < j.k; p += j.kc {
			acc := 0
			if p > 0 || j.accumulate {
				acc = 1
			}
			_ = j.c[(j.m-1)*j.ldc+j0+cols-1]
			kc, a, c := min(j.kc, j.k-p), &j.packed[p*j.m], &j.c[j0]
			switch {
			case j.codes():
				w.thinScales(j.b, j0, cols, p, kc)
				at := (j.b.Quant.First + j0*j.b.Stride + p) / 2
				_ = j.b.Quant.Codes[at+((cols-1)*j.b.Stride+kc)/2-1]
				thinCodes(j.m, kc, a, &j.b.Quant.Codes[at], j.b.Stride/2, ahead, &w.scale[0], &j.b.Quant.Table[0], c, j.ldc, acc, j.alpha)
			case j.b.Quant != nil:
				w.decodeRows(j.b, j0, cols, p, kc)
				thinF32(j.m, kc, a, &w.wide[0], kc, 0, c, j.ldc, acc, j.alpha)
			case j.b.BF16 != nil:
				thinBF16(j.m, kc, a, &j.b.BF16[j0*j.b.Stride+p], j.b.Stride, ahead, c, j.ldc, acc, j.alpha)
			default:
				thinF32(j.m, kc, a, &j.b.F32[j0*j.b.Stride+p], j.b.Stride, ahead, c, j.ldc, acc, j.alpha)
			}
		}
	}
}

func thinF32(m, kc int, a *float32, b *float32, ldb, ahead int, c *float32, ldc, acc int, alpha float32) {
	switch m {
	case 1:
		thin1(kc, a, b, ldb, ahead, c, ldc, acc, alpha)
	case 2:
		thin2(kc, a, b, ldb, ahead, c, ldc, acc, alpha)
	case 3:
		thin3(kc, a, b, ldb, ahead, c, ldc, acc, alpha)
	case 4:
		thin4(kc, a, b, ldb, ahead, c, ldc, acc, alpha)
	case 5:
		thin5(kc, a, b, ldb, ahead, c, ldc, acc, alpha)
	case 6:
		thin6(kc, a, b, ldb, ahead, c, ldc, acc, alpha)
	case 7:
		thin7(kc, a, b, ldb, ahead, c, ldc, acc, alpha)
	default:
		thin8(kc, a, b, ldb, ahead, c, ldc, acc, alpha)
	}
}

func thinBF16(m, kc int, a *float32, b *uint16, ldb, ahead int, c *float32, ldc, acc int, alpha float32) {
	switch m {
	case 1:
		thin1BF16(kc, a, b, ldb, ahead, c, ldc, acc, alpha)
	case 2:
		thin2BF16(kc, a, b, ldb, ahead, c, ldc, acc, alpha)
	case 3:
		thin3BF16(kc, a, b, ldb, ahead, c, ldc, acc, alpha)
	case 4:
		thin4BF16(kc, a, b, ldb, ahead, c, ldc, acc, alpha)
	case 5:
		thin5BF16(kc, a, b, ldb, ahead, c, ldc, acc, alpha)
	case 6:
		thin6BF16(kc, a, b, ldb, ahead, c, ldc, acc, alpha)
	case 7:
		thin7BF16(kc, a, b, ldb, ahead, c, ldc, acc, alpha)
	default:
		thin8BF16(kc, a, b, ldb, ahead, c, ldc, acc, alpha)
	}
}
