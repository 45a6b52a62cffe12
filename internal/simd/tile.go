package simd

// Products and weights for attention. The left operand of a product lies as it
// is, row by row or column by column; the right one is packed in slivers of
// columns. Scores lie with a key in each row and a query in each column, a lane
// of a vector, so that all that is done by query goes down the columns and no
// sum ever crosses lanes.

// TileShape returns how many rows of the left operand [Level.Tile] takes at a
// time, the columns of a sliver, and the lanes of a vector. A sliver is two
// vectors wide.
func (l Level) TileShape() (rows, sliver, lanes int) {
	switch l {
	case AVX2:
		return 6, 16, 8
	case AVX512:
		return 14, 32, 16
	}
	return 4, 8, 4
}

// Slivers packs columns [0, n) of k rows: element (i, j) goes to
// dst[j/sliver·step + i·sliver + j%sliver]. Columns that fill up the last
// sliver hold anything.
func (l Level) Slivers(dst []float32, step int, src []float32, stride, k, n int) {
	_, nr, _ := l.TileShape()
	if k == 0 || n == 0 {
		return
	}
	_, _ = dst[(n-1)/nr*step+k*nr-1], src[(k-1)*stride+n-1]
	if l == Portable {
		for j := 0; j < n; j += nr {
			packRowsGo(dst[j/nr*step:], nr, src[j:], stride, min(nr, n-j), k)
		}
		return
	}
	whole := n / nr
	for c := 0; c < nr && whole > 0; c += 16 {
		packRows16(&dst[c], step, nr, &src[c], stride, nr, 16, whole, k)
	}
	for c := whole * nr; c < n; c += 16 {
		packRows16(&dst[whole*step+c%nr], 0, nr, &src[c], stride, 0, min(16, n-c), 1, k)
	}
}

// SliversT is Slivers of the transpose: row i of n rows of k becomes column i.
func (l Level) SliversT(dst []float32, step int, src []float32, stride, k, n int) {
	_, nr, _ := l.TileShape()
	if k == 0 || n == 0 {
		return
	}
	_, _ = dst[(n-1)/nr*step+k*nr-1], src[(n-1)*stride+k-1]
	for j := 0; j < n; j += nr {
		to, from, whole := dst[j/nr*step:], src[j*stride:], 0
		if l != Portable {
			whole = k &^ 7
			for c := 0; c < min(nr, n-j) && whole > 0; c += 8 {
				packT(&to[c], nr, &from[c*stride], stride, min(8, n-j-c), whole/8)
			}
		}
		packTGo(to[whole*nr:], nr, from[whole:], stride, min(nr, n-j), k-whole)
	}
}

// Tile computes C[m, n], with row stride ldc, from A, whose element (i, p) is
// a[i·rs + p·ks], and k rows of B in slivers, of which the first begins at b[0]
// and the next at b[step]:
//
//	for p := range k {
//		c[i, j] += a[i, p] * b[p, j]
//	}
//
// with c taken as 0 before unless add is set. The steps of an element are one
// chain of fused multiply-adds (Portable: multiply, then add) in ascending p,
// whatever m and n are; so cutting k between calls that add changes no bit, nor
// does a step with a factor of 0.
func (l Level) Tile(m, n, k int, a []float32, rs, ks int, b []float32, step int, c []float32, ldc int, add bool) {
	if m == 0 || n == 0 || k == 0 {
		return
	}
	mr, nr, _ := l.TileShape()
	whole := n / nr
	_, _ = a[(m-1)*rs+(k-1)*ks], c[(m-1)*ldc+n-1]
	_ = b[(n-1)/nr*step+k*nr-1]
	for i := 0; i < m; i += mr {
		rows := min(mr, m-i)
		if whole > 0 {
			l.tile(rows, whole, k, a[i*rs:], rs, ks, b, step, c[i*ldc:], ldc, add)
		}
		if rest := n - whole*nr; rest > 0 {
			l.narrow(rows, rest, k, a[i*rs:], rs, ks, b[whole*step:], c[i*ldc+whole*nr:], ldc, add)
		}
	}
}

// narrow is tile for a sliver of fewer columns: C goes through a whole tile.
func (l Level) narrow(m, n, k int, a []float32, rs, ks int, b []float32, c []float32, ldc int, add bool) {
	var room [14 * 32]float32
	_, nr, _ := l.TileShape()
	for i := 0; i < m && add; i++ {
		copy(room[i*nr:i*nr+n], c[i*ldc:])
	}
	l.tile(m, 1, k, a, rs, ks, b, 0, room[:], nr, add)
	for i := range m {
		copy(c[i*ldc:i*ldc+n], room[i*nr:])
	}
}

func (l Level) tile(m, slivers, k int, a []float32, rs, ks int, b []float32, step int, c []float32, ldc int, add bool) {
	acc := 0
	if add {
		acc = 1
	}
	_, nr, _ := l.TileShape()
	switch l {
	case AVX2:
		tileAVX2(m, slivers, k, &a[0], rs, ks, &b[0], step-k*nr, &c[0], ldc, acc)
	case AVX512:
		tileAVX512(m, slivers, k, &a[0], rs, ks, &b[0], step-k*nr, &c[0], ldc, acc)
	default:
		for s := range slivers {
			tileGo(m, k, a, rs, ks, b[s*step:], c[s*nr:], ldc, add)
		}
	}
}

// tileGo is one sliver of 8 columns.
func tileGo(m, k int, a []float32, rs, ks int, b, c []float32, ldc int, add bool) {
	for i := range m {
		to := c[i*ldc : i*ldc+8]
		for h := 0; h < 8; h += 4 {
			var s0, s1, s2, s3 float32
			if add {
				s0, s1, s2, s3 = to[h], to[h+1], to[h+2], to[h+3]
			}
			for p := range k {
				x, y := a[i*rs+p*ks], b[p*8+h:p*8+h+4]
				s0 += float32(x * y[0])
				s1 += float32(x * y[1])
				s2 += float32(x * y[2])
				s3 += float32(x * y[3])
			}
			to[h], to[h+1], to[h+2], to[h+3] = s0, s1, s2, s3
		}
	}
}

func tileAVX2(m, slivers, k int, a *float32, rs, ks int, b *float32, skip int, c *float32, ldc, acc int) {
	switch m {
	case 1:
		tile1AVX2(slivers, k, a, rs, ks, b, skip, c, ldc, acc)
	case 2:
		tile2AVX2(slivers, k, a, rs, ks, b, skip, c, ldc, acc)
	case 3:
		tile3AVX2(slivers, k, a, rs, ks, b, skip, c, ldc, acc)
	case 4:
		tile4AVX2(slivers, k, a, rs, ks, b, skip, c, ldc, acc)
	case 5:
		tile5AVX2(slivers, k, a, rs, ks, b, skip, c, ldc, acc)
	default:
		tile6AVX2(slivers, k, a, rs, ks, b, skip, c, ldc, acc)
	}
}

func tileAVX512(m, slivers, k int, a *float32, rs, ks int, b *float32, skip int, c *float32, ldc, acc int) {
	switch m {
	case 1:
		tile1AVX512(slivers, k, a, rs, ks, b, skip, c, ldc, acc)
	case 2:
		tile2AVX512(slivers, k, a, rs, ks, b, skip, c, ldc, acc)
	case 3:
		tile3AVX512(slivers, k, a, rs, ks, b, skip, c, ldc, acc)
	case 4:
		tile4AVX512(slivers, k, a, rs, ks, b, skip, c, ldc, acc)
	case 5:
		tile5AVX512(slivers, k, a, rs, ks, b, skip, c, ldc, acc)
	case 6:
		tile6AVX512(slivers, k, a, rs, ks, b, skip, c, ldc, acc)
	case 7:
		tile7AVX512(slivers, k, a, rs, ks, b, skip, c, ldc, acc)
	case 8:
		tile8AVX512(slivers, k, a, rs, ks, b, skip, c, ldc, acc)
	case 9:
		tile9AVX512(slivers, k, a, rs, ks, b, skip, c, ldc, acc)
	case 10:
		tile10AVX512(slivers, k, a, rs, ks, b, skip, c, ldc, acc)
	case 11:
		tile11AVX512(slivers, k, a, rs, ks, b, skip, c, ldc, acc)
	case 12:
		tile12AVX512(slivers, k, a, rs, ks, b, skip, c, ldc, acc)
	case 13:
		tile13AVX512(slivers, k, a, rs, ks, b, skip, c, ldc, acc)
	default:
		tile14AVX512(slivers, k, a, rs, ks, b, skip, c, ldc, acc)
	}
}
