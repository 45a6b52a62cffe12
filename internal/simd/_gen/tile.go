package main

import "fmt"

// tiles writes the products of attention: a panel of rows of A as it lies, with
// a stride between rows and one between steps, by packed slivers of B two
// vectors wide. Each element goes on from what C holds, or from 0, as one chain
// of fused multiply-adds.
func (v vec) tiles() {
	rows := 6
	if v.wide {
		rows = 14
	}
	for mr := 1; mr <= rows; mr++ {
		v.tile(mr)
	}
	v.laneTop()
	v.laneWeights()
	v.laneGrads()
}

// tileBases point to rows 0, 3, 6, 9 and 12 of A.
var tileBases = []string{"AX", "R10", "R11", "R12", "R13"}

// tile computes C[mr, slivers·2·lanes] (+)= A·B. skip is from the end of a
// sliver's kc steps to the next sliver. Strides in elements.
func (v vec) tile(mr int) {
	w := 4 * v.lanes()
	b0, b1, a0 := 12, 13, 14
	if v.wide {
		b0, b1, a0 = 28, 29, 30
	}
	v.fn(fmt.Sprintf("tile%d", mr), "", "slivers int", "kc int", "a *float32", "rs int", "ks int", "b *float32", "skip int", "c *float32", "ldc int", "acc int")
	v.load("slivers", "CX", "rs", "R8", "ks", "R9", "b", "BX", "c", "DI", "ldc", "SI")
	v.p("\tSHLQ $2, R8\n\tSHLQ $2, R9\n\tSHLQ $2, SI\nsliver:")
	v.load("a", "AX")
	bases := tileBases[:(mr+2)/3]
	for i := 1; i < len(bases); i++ {
		v.p("\tLEAQ (%s)(R8*2), %s\n\tADDQ R8, %s", bases[i-1], bases[i], bases[i])
	}
	v.p("\tMOVQ %s, DX\n\tTESTQ DX, DX\n\tJZ zero\n\tMOVQ DI, DX", v.arg("acc"))
	for i := 0; i < mr; i++ {
		v.op("VMOVUPS", "(DX)", 2*i)
		v.op("VMOVUPS", fmt.Sprintf("%d(DX)", w), 2*i+1)
		if i < mr-1 {
			v.p("\tADDQ SI, DX")
		}
	}
	v.p("\tJMP start\nzero:")
	for i := 0; i < 2*mr; i++ {
		v.zero(i)
	}
	v.p("start:")
	v.load("kc", "DX")
	v.p("\tPCALIGN $32\nloop:")
	v.op("VMOVUPS", "(BX)", b0)
	v.op("VMOVUPS", fmt.Sprintf("%d(BX)", w), b1)
	for i := 0; i < mr; i++ {
		a := a0 + i&1
		v.op("VBROADCASTSS", "("+bases[i/3]+")"+[]string{"", "(R8*1)", "(R8*2)"}[i%3], a)
		v.op("VFMADD231PS", b0, a, 2*i)
		v.op("VFMADD231PS", b1, a, 2*i+1)
	}
	for _, b := range bases {
		v.p("\tADDQ R9, %s", b)
	}
	v.p("\tADDQ $%d, BX\n\tDECQ DX\n\tJNZ loop\n\tMOVQ DI, DX", 2*w)
	for i := 0; i < mr; i++ {
		v.op("VMOVUPS", 2*i, "(DX)")
		v.op("VMOVUPS", 2*i+1, fmt.Sprintf("%d(DX)", w))
		if i < mr-1 {
			v.p("\tADDQ SI, DX")
		}
	}
	v.p("\tADDQ $%d, DI\n\tMOVQ %s, DX\n\tLEAQ (BX)(DX*4), BX\n\tDECQ CX\n\tJNZ sliver", 2*w, v.arg("skip"))
	v.end()
}

// Registers of the routines by lane: they go down a column one vector wide. A
// lane counts a row where the distance from the middle of what it sees, which
// grows by one a row, is less than half of that.
const (
	laneDist = 13 // of the row at hand
	laneHalf = 14
	laneOne  = 12
)

// lanes loads what the routines by lane share and moves the distance on by skip
// rows.
func (v vec) laneStart() {
	v.load("s", "DI", "ld", "SI", "dist", "AX", "half", "BX")
	v.p("\tSHLQ $2, SI")
	v.op("VMOVUPS", "(AX)", laneDist)
	v.op("VMOVUPS", "(BX)", laneHalf)
	v.op("VBROADCASTSS", v.arg("skip"), laneOne)
	v.op("VADDPS", laneOne, laneDist, laneDist)
	v.op("VMOVUPS", v.f32(1), laneOne)
}

// seen compares and moves on; register t, or K2, is the mask.
func (v vec) seen(t int) {
	v.and(v.u32(0x7fffffff), laneDist, t)
	if v.wide {
		v.p("\tVCMPPS $1, Z%d, Z%d, K2", laneHalf, t)
	} else {
		v.op("VCMPPS", "$1", laneHalf, t, t)
	}
	v.op("VADDPS", laneOne, laneDist, laneDist)
}

// keep clears the lanes of x that the mask of seen excludes.
func (v vec) keep(x, t int) {
	if v.wide {
		v.op("VMOVAPS.Z", x, "K2", x)
	} else {
		v.and(t, x, x)
	}
}

// zeros stores so many rows of zeros, register z, to the columns at the
// pointers.
func (v vec) zeros(count, label string, z int, ptrs ...string) {
	v.load(count, "CX")
	v.p("\tTESTQ CX, CX\n\tJZ %sdone\n%s:", label, label)
	for _, p := range ptrs {
		v.op("VMOVUPS", z, "("+p+")")
		v.p("\tADDQ SI, %s", p)
	}
	v.p("\tDECQ CX\n\tJNZ %s\n%sdone:", label, label)
}

// laneTop is top = max(top, s) over n > 0 rows of s that a lane sees.
func (v vec) laneTop() {
	v.fn("laneTop", "", "n int", "s *float32", "ld int", "dist *float32", "half *float32", "skip float32", "top *float32")
	v.laneStart()
	v.load("n", "CX", "top", "DX")
	v.op("VMOVUPS", "(DX)", 0)
	v.p("loop:")
	v.seen(2)
	v.op("VMOVUPS", "(DI)", 1)
	if v.wide {
		v.p("\tVMOVAPS Z0, Z3\n\tVMOVAPS Z1, K2, Z3")
	} else {
		v.op("VBLENDVPS", 2, 1, 0, 3)
	}
	v.op("VMAXPS", 0, 3, 0)
	v.p("\tADDQ SI, DI\n\tDECQ CX\n\tJNZ loop")
	v.op("VMOVUPS", 0, "(DX)")
	v.end()
}

// power splits register x into the nearest integer, register n, and what is
// left, of which p becomes the power of two by a polynomial (Cephes' exp2f).
func (v vec) power(x, n, p int) {
	v.op("VCVTPS2DQ", x, n)
	v.op("VCVTDQ2PS", n, p)
	v.op("VSUBPS", p, x, x)
	v.op("VMOVUPS", v.f32(exp2[0]), p)
	for _, c := range exp2[1:] {
		v.op("VFMADD213PS", v.f32(c), x, p)
	}
}

// exp2 are the coefficients of 2^x for |x| <= 1/2, highest first.
var exp2 = []float64{1.535336188319500e-4, 1.339887440266574e-3, 9.618437357674640e-3, 5.550332471162809e-2, 2.402264791363012e-1, 6.931472028550421e-1, 1}

// laneWeights replaces n > 0 rows of s by 2^(s-T), 0 where a lane does not see
// the row, and adds them to sum in order; bias is T-127. The rows before and
// after become 0. Weights below 2^-126 are 0.
func (v vec) laneWeights() {
	v.fn("laneWeights", "", "before int", "n int", "after int", "s *float32", "ld int", "dist *float32", "half *float32", "skip float32", "bias *int32", "sum *float32")
	v.laneStart()
	v.load("bias", "AX", "sum", "DX")
	v.op("VMOVUPS", "(AX)", 8)
	v.op("VMOVUPS", "(DX)", 9)
	v.zero(10)
	v.zeros("before", "head", 10, "DI")
	v.load("n", "CX")
	v.p("\tPCALIGN $32\nloop:")
	v.op("VMOVUPS", "(DI)", 0)
	v.power(0, 1, 2)
	v.op("VPSUBD", 8, 1, 1)
	v.op("VPMAXSD", 10, 1, 1)
	v.op("VPSLLD", "$23", 1, 1)
	v.op("VMULPS", 1, 2, 2)
	v.seen(3)
	v.keep(2, 3)
	v.op("VADDPS", 2, 9, 9)
	v.op("VMOVUPS", 2, "(DI)")
	v.p("\tADDQ SI, DI\n\tDECQ CX\n\tJNZ loop")
	v.op("VMOVUPS", 9, "(DX)")
	v.zeros("after", "tail", 10, "DI")
	v.end()
}

// laneGrads replaces n > 0 rows of s by the weights p = 2^(s-lse) and of g by
// p·(scale·g + delta), both 0 where a lane does not see the row. The rows before
// and after become 0.
func (v vec) laneGrads() {
	v.fn("laneGrads", "", "before int", "n int", "after int", "s *float32", "grad *float32", "ld int", "dist *float32", "half *float32", "skip float32", "lse *float32", "delta *float32", "scale float32")
	v.laneStart()
	v.load("grad", "R8", "lse", "AX", "delta", "DX")
	v.op("VMOVUPS", "(AX)", 8)
	v.op("VMOVUPS", "(DX)", 9)
	v.op("VBROADCASTSS", v.arg("scale"), 11)
	v.zero(10)
	v.zeros("before", "head", 10, "DI", "R8")
	v.load("n", "CX")
	v.p("\tPCALIGN $32\nloop:")
	v.op("VMOVUPS", "(DI)", 0)
	v.op("VSUBPS", 8, 0, 0)
	v.power(0, 1, 2)
	v.op("VPADDD", v.u32(127), 1, 1)
	v.op("VPMAXSD", 10, 1, 1)
	v.op("VPSLLD", "$23", 1, 1)
	v.op("VMULPS", 1, 2, 2)
	v.op("VMOVUPS", "(R8)", 4)
	v.op("VFMADD213PS", 9, 11, 4)
	v.op("VMULPS", 2, 4, 4)
	v.seen(3)
	v.keep(2, 3)
	v.keep(4, 3)
	v.op("VMOVUPS", 2, "(DI)")
	v.op("VMOVUPS", 4, "(R8)")
	v.p("\tADDQ SI, DI\n\tADDQ SI, R8\n\tDECQ CX\n\tJNZ loop")
	v.zeros("after", "tail", 10, "DI", "R8")
	v.end()
}
