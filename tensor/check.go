package tensor

import "fmt"

// The shape rules of the kernels, in one place so that every device refuses the
// same calls. Each Check function panics with the shapes when operands do not
// fit and returns the sizes otherwise. A matrix [n,d] may have a higher rank: it
// counts as [Dims[0], Width]. A vector [n] is any tensor of n elements.

// CheckMatMul returns the sizes of dst [m,n] and the length k of the sums.
func CheckMatMul(dst, a, b Tensor, o MatMulOpts) (m, n, k int) {
	m, k = matrix(a)
	bk, bn := matrix(b)
	if o.TransA {
		m, k = k, m
	}
	if o.TransB {
		bk, bn = bn, bk
	}
	quantised := b.DType.Quantised() && !o.TransA
	if a.DType != F32 || !float(b) && !quantised || bk != k || !isF32(dst, m, bn) || o.TransA && o.TransB {
		panic(fmt.Sprintf("matmul: dst is %v, a is %v, b is %v, options %+v", dst, a, b, o))
	}
	return m, bn, k
}

// CheckGather returns the number of ids n and the width d.
func CheckGather(dst, table, ids Tensor) (n, d int) {
	_, d = matrix(table)
	n = ids.Len()
	if !float(table) || ids.DType != I32 || !isF32(dst, n, d) {
		refuse("gather", dst, table, ids)
	}
	return n, d
}

// CheckScatter is for Scatter and ScatterAdd; it returns the number of ids n,
// the rows of dst and the width d.
func CheckScatter(dst, src, ids Tensor) (n, rows, d int) {
	rows, d = matrix(dst)
	n = ids.Len()
	if dst.DType != F32 || ids.DType != I32 || !isF32(src, n, d) {
		refuse("scatter", dst, src, ids)
	}
	return n, rows, d
}

// CheckRMSNorm returns the sizes of x [n,d].
func CheckRMSNorm(y, rstd, x, w Tensor) (n, d int) {
	n, d = matrix(x)
	if !isF32(x, n, d) || !isF32(y, n, d) || !vector(rstd, F32, n) || !float(w) || w.Len() != d {
		refuse("rmsnorm", y, rstd, x, w)
	}
	return n, d
}

// CheckRMSNormGrad returns the sizes of x [n,d].
func CheckRMSNormGrad(dx, dw, dy, x, w, rstd Tensor) (n, d int) {
	n, d = CheckRMSNorm(dy, rstd, x, w)
	if !isF32(dx, n, d) || !dw.None() && !vector(dw, F32, d) {
		refuse("rmsnorm gradient", dx, dw, dy, x, w, rstd)
	}
	return n, d
}

// CheckBias is for AddBias and, where a bias in BF16 is not allowed, BiasGrad;
// it returns the sizes of y [n,d].
func CheckBias(y, b Tensor, mayBF16 bool) (n, d int) {
	n, d = matrix(y)
	if y.DType != F32 || b.Len() != d || b.DType != F32 && !(mayBF16 && b.DType == BF16) {
		refuse("bias", y, b)
	}
	return n, d
}

// CheckScaleColumns returns the sizes of x [n,d].
func CheckScaleColumns(y, x, c Tensor) (n, d int) {
	n, d = matrix(x)
	if !isF32(x, n, d) || !isF32(y, n, d) || !vector(c, F32, d) {
		refuse("scale columns", y, x, c)
	}
	return n, d
}

// CheckColumnDots returns the sizes of a [n,d].
func CheckColumnDots(s, a, b Tensor) (n, d int) {
	n, d = matrix(a)
	if !isF32(a, n, d) || !isF32(b, n, d) || !vector(s, F32, d) {
		refuse("column dots", s, a, b)
	}
	return n, d
}

// CheckTranspose returns the sizes of x [n,d].
func CheckTranspose(y, x Tensor) (n, d int) {
	n, d = matrix(x)
	if !isF32(x, n, d) || !isF32(y, d, n) {
		refuse("transpose", y, x)
	}
	return n, d
}

// CheckRoPE returns the rows n, heads h and head width hd of x [n,h,hd].
func CheckRoPE(x, pos, table Tensor) (n, h, hd int) {
	if x.Rank == 3 {
		n, h, hd = x.Dims[0], x.Dims[1], x.Dims[2]
	}
	if x.Rank != 3 || x.DType != F32 || hd%2 != 0 || !vector(pos, I32, n) || table.DType != F32 || table.Rank == 0 || table.Width() != hd {
		refuse("rope", x, pos, table)
	}
	return n, h, hd
}

// MaxHead is the widest head of Attention, in numbers.
const MaxHead = 512

// AttentionSizes are the sizes of one Attention call.
type AttentionSizes struct {
	N    int // query rows
	Rows int // key rows
	H    int // query heads
	HKV  int // key heads
	HD   int // width of a head
}

// CheckAttention returns the sizes of an Attention call.
func CheckAttention(o, lse, q, k, v Tensor, m Mask) AttentionSizes {
	if q.Rank != 3 || k.Rank != 3 {
		refuse("attention", o, lse, q, k, v, m.Start, m.End)
	}
	s := AttentionSizes{N: q.Dims[0], Rows: k.Dims[0], H: q.Dims[1], HKV: k.Dims[1], HD: q.Dims[2]}
	if s.HKV == 0 || s.H%s.HKV != 0 || s.HD > MaxHead ||
		!q.Is(F32, s.N, s.H, s.HD) || !k.Is(F32, s.Rows, s.HKV, s.HD) || !v.Is(F32, s.Rows, s.HKV, s.HD) ||
		!isF32(o, s.N, s.H*s.HD) || !isF32(lse, s.N, s.H) || !vector(m.Start, I32, s.N) || !vector(m.End, I32, s.N) {
		refuse("attention", o, lse, q, k, v, m.Start, m.End)
	}
	return s
}

// CheckAttentionGrad returns the sizes of an AttentionGrad call.
func CheckAttentionGrad(dq, dk, dv, do, o, lse, q, k, v Tensor, m Mask) AttentionSizes {
	s := CheckAttention(o, lse, q, k, v, m)
	kv := s.HKV * s.HD
	if !isF32(dq, s.N, s.H*s.HD) || !isF32(do, s.N, s.H*s.HD) || !isF32(dk, s.Rows, kv) || !isF32(dv, s.Rows, kv) {
		refuse("attention gradient", dq, dk, dv, do, o, lse, q, k, v)
	}
	return s
}

// CheckSame is for kernels by element: every operand that is not none has the
// rows and width of the first, which is not none. It returns the number of
// elements.
func CheckSame(kernel string, x Tensor, others ...Tensor) int {
	n, d := matrix(x)
	ok := x.DType == F32
	for _, t := range others {
		ok = ok && (t.None() || isF32(t, n, d))
	}
	if !ok {
		panic(fmt.Sprintf("%s: operands are %v and %v", kernel, x, append([]Tensor(nil), others...)))
	}
	return n * d
}

// CheckDropout returns the number of elements.
func CheckDropout(y, x Tensor, p float32) int {
	if !(p >= 0 && p < 1) {
		panic(fmt.Sprintf("dropout: p is %v", p))
	}
	return CheckSame("dropout", y, x)
}

// CheckRows is for RowDots, RowAdd and RowOuter: z [n,k] has one number for each
// of ids [n,k], x is [n,d] and rows [u,d]. It returns n, k, u and d.
func CheckRows(z, x, rows, ids Tensor) (n, k, u, d int) {
	n, k = matrix(ids)
	u, d = matrix(rows)
	if ids.DType != I32 || !isF32(z, n, k) || !isF32(x, n, d) || rows.DType != F32 {
		refuse("row kernel", z, x, rows, ids)
	}
	return n, k, u, d
}

// CheckPick is for Pick and PickGrad: c [n,k], p [n,m], ids [n,k]. It returns n,
// k and m.
func CheckPick(c, p, ids Tensor) (n, k, m int) {
	n, k = matrix(ids)
	_, m = matrix(p)
	if ids.DType != I32 || !isF32(c, n, k) || !isF32(p, n, m) {
		refuse("pick", c, p, ids)
	}
	return n, k, m
}

// CheckCrossEntropy returns the sizes of logits [n,v].
func CheckCrossEntropy(loss, logits, targets Tensor) (n, v int) {
	n, v = matrix(logits)
	if logits.DType != F32 || !vector(loss, F32, n) || !vector(targets, I32, n) {
		refuse("cross entropy", loss, logits, targets)
	}
	return n, v
}

// CheckConvert returns the number of elements.
func CheckConvert(dst, src Tensor) int {
	n, d := matrix(src)
	dn, dd := matrix(dst)
	if dn != n || dd != d || !convertible(dst.DType, src.DType) {
		refuse("convert", dst, src)
	}
	return n * d
}

// convertible says which types Convert takes: it makes no codes, and reads them
// as F32 only.
func convertible(dst, src DType) bool {
	if src.Quantised() || dst.Quantised() {
		return src.Quantised() && dst == F32
	}
	return src == dst || src != I32 && dst != I32
}

// CheckSumSquares returns the number of elements of x.
func CheckSumSquares(dst, x Tensor) int {
	if dst.DType != F32 || dst.Len() < 1 || x.DType != F32 || x.None() {
		refuse("sum of squares", dst, x)
	}
	return x.Len()
}

// CheckCopy panics unless host has exactly the bytes of t.
func CheckCopy(t Tensor, host []byte) {
	if int64(len(host)) != t.Bytes() {
		panic(fmt.Sprintf("copy: %v has %d bytes, the host side %d", t, t.Bytes(), len(host)))
	}
}

func matrix(t Tensor) (rows, width int) {
	if t.None() {
		panic("kernel: an operand that has to be there is none")
	}
	return t.Dims[0], t.Width()
}

func float(t Tensor) bool { return t.Rank > 0 && (t.DType == F32 || t.DType == BF16) }

func isF32(t Tensor, rows, width int) bool {
	return t.Rank > 0 && t.DType == F32 && t.Dims[0] == rows && t.Width() == width
}

func vector(t Tensor, d DType, n int) bool { return t.Rank > 0 && t.DType == d && t.Len() == n }

func refuse(kernel string, ts ...Tensor) { panic(fmt.Sprintf("%s: operands are %v", kernel, ts)) }
