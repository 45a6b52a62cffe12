package simd

// thinRows is the largest number of rows for the kernels that use B as it
// lies; from there on packing it pays.
const thinRows = 3

// thin reports whether the product can use them: they take whole cache lines of B.
func (j *matMul) thin(w *worker) bool {
	if j.op != NT || j.m > thinRows || w.level != AVX2 && w.level != AVX512 {
		return false
	}
	return j.b.BF16 == nil && j.k%16 == 0 || j.k%32 == 0
}

// thinBlock computes columns [j0, j1) but for the last j1-j0 mod 16, and
// returns the first column that is left.
func (j *matMul) thinBlock(j0, j1 int) int {
	for ; j0+16 <= j1; j0 += 16 {
		for p := 0; p < j.k; p += j.kc {
			acc := 0
			if p > 0 || j.accumulate {
				acc = 1
			}
			_ = j.c[(j.m-1)*j.ldc+j0+15]
			kc, a, c := min(j.kc, j.k-p), &j.a.F32[p], &j.c[j0]
			if j.b.BF16 != nil {
				thinBF16(j.m, kc, a, j.a.Stride, &j.b.BF16[j0*j.b.Stride+p], j.b.Stride, c, j.ldc, acc, j.alpha)
			} else {
				thinF32(j.m, kc, a, j.a.Stride, &j.b.F32[j0*j.b.Stride+p], j.b.Stride, c, j.ldc, acc, j.alpha)
			}
		}
	}
	return j0
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
