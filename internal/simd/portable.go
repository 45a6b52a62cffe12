package simd

import "math"

// The portable halves of the matrix product. float32(...) around a product
// keeps compilers from fusing it with the addition, so that all machines get
// the same bits.

// packTGo writes dst[c·ds + r] = src[r·ss + c] for r < rows, c < cols.
func packTGo(dst []float32, ds int, src []float32, ss, rows, cols int) {
	for c := range cols {
		for r := range rows {
			dst[c*ds+r] = src[r*ss+c]
		}
	}
}

// packTBF16Go is packTGo for bfloat16 input.
func packTBF16Go(dst []float32, ds int, src []uint16, ss, rows, cols int) {
	for c := range cols {
		for r := range rows {
			dst[c*ds+r] = widen(src[r*ss+c])
		}
	}
}

// packRowsGo writes dst[k·ds + c] = src[k·ss + c] for c < cols, k < nk.
func packRowsGo(dst []float32, ds int, src []float32, ss, cols, nk int) {
	for k := range nk {
		copy(dst[k*ds:k*ds+cols], src[k*ss:])
	}
}

// packRowsBF16Go is packRowsGo for bfloat16 input.
func packRowsBF16Go(dst []float32, ds int, src []uint16, ss, cols, nk int) {
	for k := range nk {
		for c := range cols {
			dst[k*ds+c] = widen(src[k*ss+c])
		}
	}
}

// widen is the float32 with the bits of a bfloat16 on top.
func widen(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// kernelGo computes rows by nr (a multiple of 4) elements of C from packed A
// [kc][mr] and packed B [kc][nr], two rows by four columns at a time.
func kernelGo(rows, mr, nr, kc int, a, b, c []float32, ldc, acc int, alpha float32) {
	for j := 0; j < nr; j += 4 {
		i := 0
		for ; i+2 <= rows; i += 2 {
			var s, t [4]float32
			kernel2x4(mr, nr, kc, a[i:], b[j:], &s, &t)
			finish(&s, c[i*ldc+j:], acc, alpha)
			finish(&t, c[(i+1)*ldc+j:], acc, alpha)
		}
		if i < rows {
			var s [4]float32
			for k := range kc {
				x, y := a[k*mr+i], b[k*nr+j:k*nr+j+4]
				for l := range s {
					s[l] += float32(x * y[l])
				}
			}
			finish(&s, c[i*ldc+j:], acc, alpha)
		}
	}
}

func kernel2x4(mr, nr, kc int, a, b []float32, s, t *[4]float32) {
	var s0, s1, s2, s3, t0, t1, t2, t3 float32
	for k := range kc {
		x, y := a[k*mr], a[k*mr+1]
		v := b[k*nr : k*nr+4]
		s0 += float32(x * v[0])
		s1 += float32(x * v[1])
		s2 += float32(x * v[2])
		s3 += float32(x * v[3])
		t0 += float32(y * v[0])
		t1 += float32(y * v[1])
		t2 += float32(y * v[2])
		t3 += float32(y * v[3])
	}
	*s, *t = [4]float32{s0, s1, s2, s3}, [4]float32{t0, t1, t2, t3}
}

func finish(s *[4]float32, c []float32, acc int, alpha float32) {
	for l := range s {
		v := float32(alpha * s[l])
		if acc != 0 {
			v += c[l]
		}
		c[l] = v
	}
}

// pairsGo is kernelGo for kc pairs of bfloat16, as VDPBF16PS computes them but
// for numbers below 2^-126. Products of bfloat16 are exact.
func pairsGo(rows, mr, nr, kc int, a, b, c []float32, ldc, acc int, alpha float32) {
	for i := range rows {
		for j := 0; j < nr; j += 4 {
			var s [4]float32
			for k := range kc {
				x, y := a[k*mr+i], b[k*nr+j:k*nr+j+4]
				for l := range s {
					s[l] += float32(second(x) * second(y[l]))
					s[l] += float32(first(x) * first(y[l]))
				}
			}
			finish(&s, c[i*ldc+j:], acc, alpha)
		}
	}
}

// first and second are the bfloat16 of a pair that is kept in a float32.
func first(x float32) float32  { return math.Float32frombits(math.Float32bits(x) << 16) }
func second(x float32) float32 { return math.Float32frombits(math.Float32bits(x) & 0xffff0000) }
