package simd

// thinRows is the largest number of rows for the kernels that use B as it
// lies; from there on packing it pays.
const thinRows = 3

// thin reports whether the product can use them: they take whole cache lines of B.
func (j *matMul) thin() bool {
	if l := j.pool.level; j.op != NT || j.m > thinRows || l != AVX2 && l != AVX512 {
		return false
	}
	return j.b.BF16 == nil && j.k%16 == 0 || j.k%32 == 0
}

// thinCols is the number of columns a thin kernel computes.
const thinCols = 16

// thinPieces leaves the last n mod 16 columns to the phases, and cuts the others
// into pieces for the threads, whose number it returns.
func (j *matMul) thinPieces(threads int) int {
	blocks := j.n / thinCols
	j.col0 = blocks * thinCols
	pieces := 1
	if threads > 1 {
		pieces = max(1, min(4*threads, j.m*j.n*j.k/minPiece))
	}
	j.groups = max(1, (blocks+pieces-1)/pieces)
	return (blocks + j.groups - 1) / j.groups
}

// thinning is the task of the thin kernels.
type thinning matMul

// Do computes piece i.
func (t *thinning) Do(i, _ int) { (*matMul)(t).thinPiece(i) }

// thinPiece computes blocks of columns [i·groups, (i+1)·groups).
func (j *matMul) thinPiece(i int) {
	size := j.groups * thinCols
	for j0 := i * size; j0 < min((i+1)*size, j.col0); j0 += thinCols {
		for p := 0; p < j.k; p += j.kc {
			acc := 0
			if p > 0 || j.accumulate {
				acc = 1
			}
			_ = j.c[(j.m-1)*j.ldc+j0+thinCols-1]
			kc, a, c := min(j.kc, j.k-p), &j.a.F32[p], &j.c[j0]
			if j.b.BF16 != nil {
				thinBF16(j.m, kc, a, j.a.Stride, &j.b.BF16[j0*j.b.Stride+p], j.b.Stride, c, j.ldc, acc, j.alpha)
			} else {
				thinF32(j.m, kc, a, j.a.Stride, &j.b.F32[j0*j.b.Stride+p], j.b.Stride, c, j.ldc, acc, j.alpha)
			}
		}
	}
}

func thinF32(m, kc int, a *float32, lda int, b *float32, ldb int, c *float32, ldc, acc int, alpha float32) {
	switch m {
	case 1:
		thin1(kc, a, lda, b, ldb, c, ldc, acc, alpha)
	case 2:
		thin2(kc, a, lda, b, ldb, c, ldc, acc, alpha)
	default:
		thin3(kc, a, lda, b, ldb, c, ldc, acc, alpha)
	}
}

func thinBF16(m, kc int, a *float32, lda int, b *uint16, ldb int, c *float32, ldc, acc int, alpha float32) {
	switch m {
	case 1:
		thin1BF16(kc, a, lda, b, ldb, c, ldc, acc, alpha)
	case 2:
		thin2BF16(kc, a, lda, b, ldb, c, ldc, acc, alpha)
	default:
		thin3BF16(kc, a, lda, b, ldb, c, ldc, acc, alpha)
	}
}
