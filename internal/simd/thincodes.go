package simd

// codes reports whether the thin kernels can take B's codes as they lie: every
// part of 32 then has one scale.
func (j *matMul) codes() bool {
	q := j.b.Quant
	return q != nil && q.Bits == 4 && j.k%32 == 0 && j.b.Stride%32 == 0 && q.First%32 == 0
}

// thinScales writes the scales of rows [j, j+rows) of b, elements [p, p+kc), to
// w.scale as the kernels read them: [kc/32][rows].
func (w *worker) thinScales(b Mat, j, rows, p, kc int) {
	q, parts := b.Quant, kc/32
	for r := range rows {
		first := (q.First + (j+r)*b.Stride + p) / 32
		half := first & 1 // of a block that the part before begins
		to := w.scale[r : (parts-1)*rows+r+1]
		for i := -half; i < parts; i += 2 {
			s := q.scale((first + i) / 2)
			if i >= 0 {
				to[i*rows] = s
			}
			if i+1 < parts {
				to[(i+1)*rows] = s
			}
		}
	}
}

func thinCodes(m, kc int, a *float32, b *byte, ldb, ahead int, scales, table, c *float32, ldc, acc int, alpha float32) {
	switch m {
	case 1:
		thin1Codes(kc, a, b, ldb, ahead, scales, table, c, ldc, acc, alpha)
	case 2:
		thin2Codes(kc, a, b, ldb, ahead, scales, table, c, ldc, acc, alpha)
	case 3:
		thin3Codes(kc, a, b, ldb, ahead, scales, table, c, ldc, acc, alpha)
	case 4:
		thin4Codes(kc, a, b, ldb, ahead, scales, table, c, ldc, acc, alpha)
	case 5:
		thin5Codes(kc, a, b, ldb, ahead, scales, table, c, ldc, acc, alpha)
	case 6:
		thin6Codes(kc, a, b, ldb, ahead, scales, table, c, ldc, acc, alpha)
	case 7:
		thin7Codes(kc, a, b, ldb, ahead, scales, table, c, ldc, acc, alpha)
	default:
		thin8Codes(kc, a, b, ldb, ahead, scales, table, c, ldc, acc, alpha)
	}
}
