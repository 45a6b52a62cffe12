package main

import "fmt"

// gemm writes the micro-kernels of one width: 1 to 6 rows by 16 columns, or 1
// to 14 rows by 32 columns. Every kernel is two vectors wide.
func (v vec) gemm() {
	rows := 6
	if v.wide {
		rows = 14
	}
	for mr := 1; mr <= rows; mr++ {
		v.kernel(mr, rows, false)
	}
	for mr := 1; mr <= rows && v.wide; mr++ {
		v.kernel(mr, rows, true)
	}
}

// kernel computes C[mr·panels, 2·lanes] = alpha·(A·B) (+ C if acc is not 0)
// with A packed in panels of [kc][stride], panel floats apart, and B as
// [kc][2·lanes]. Each element is one chain of fused multiply-adds over k, in
// order, whatever mr is. Before every panel it asks for fetch cache lines from
// next on: the left ones of this row, then those of the row rowStep bytes
// further, which has lines of them, and so on.
//
// The form for pairs (AVX512_BF16) has kc steps of two bfloat16 each, side by
// side in 32 bits.
func (v vec) kernel(mr, stride int, pairs bool) {
	name, add := "kern", func(b, a, c int) { v.op("VFMADD231PS", b, a, c) }
	if pairs {
		name, add = "pair", v.dotPairs
	}
	w := 4 * v.lanes() // bytes in a vector
	b0, b1, a0 := 12, 13, 14
	if v.wide {
		b0, b1, a0 = 28, 29, 30
	}
	v.fn(fmt.Sprintf("%s%d", name, mr), "", "panels int", "kc int", "a *float32", "panel int", "b *float32", "c *float32", "ldc int", "acc int", "alpha float32",
		"next *byte", "left int", "lines int", "rowStep int", "fetch int")
	v.load("panels", "R8", "a", "R12", "c", "DI", "ldc", "SI", "next", "R9", "left", "R10", "lines", "R13")
	v.p("\tSHLQ $2, SI\n\tSUBQ R10, R13\n\tSHLQ $6, R13\n\tNEGQ R13\n\tADDQ R9, R13\npanel:")
	v.prefetchLines()
	for i := 0; i < 2*mr; i++ {
		v.zero(i)
	}
	// The rows of C are read after the loop; fetching them here hides the miss.
	v.p("\tMOVQ DI, DX")
	for i := 0; i < mr; i++ {
		v.p("\tPREFETCHT0 (DX)\n\tPREFETCHT0 %d(DX)", 2*w-4)
		if i < mr-1 {
			v.p("\tADDQ SI, DX")
		}
	}
	body := func(u int) {
		v.op("VMOVUPS", fmt.Sprintf("%d(BX)", u*2*w), b0)
		v.op("VMOVUPS", fmt.Sprintf("%d(BX)", u*2*w+w), b1)
		for i := 0; i < mr; i++ {
			a := a0 + i&1
			v.op("VBROADCASTSS", fmt.Sprintf("%d(AX)", (u*stride+i)*4), a)
			add(b0, a, 2*i)
			add(b1, a, 2*i+1)
		}
	}
	const unroll = 4
	v.p("\tMOVQ R12, AX")
	v.load("b", "BX", "kc", "CX")
	v.p("\tMOVQ CX, DX\n\tSHRQ $2, DX\n\tJZ tail\n\tPCALIGN $64\nloop:")
	for u := 0; u < unroll; u++ {
		body(u)
	}
	v.p("\tADDQ $%d, AX\n\tADDQ $%d, BX\n\tDECQ DX\n\tJNZ loop", unroll*stride*4, unroll*2*w)
	v.p("tail:\n\tANDQ $3, CX\n\tJZ store\nrest:")
	body(0)
	v.p("\tADDQ $%d, AX\n\tADDQ $%d, BX\n\tDECQ CX\n\tJNZ rest\nstore:", stride*4, 2*w)
	v.op("VBROADCASTSS", v.arg("alpha"), b0)
	v.load("panel", "DX", "acc", "CX")
	v.p("\tLEAQ (R12)(DX*4), R12\n\tTESTQ CX, CX\n\tJNZ add")
	v.rows(mr, func(i int) {
		v.op("VMULPS", b0, 2*i, 2*i)
		v.op("VMULPS", b0, 2*i+1, 2*i+1)
	})
	v.p("\tDECQ R8\n\tJNZ panel")
	v.end()
	v.p("add:")
	v.rows(mr, func(i int) {
		v.op("VFMADD213PS", "(DI)", b0, 2*i)
		v.op("VFMADD213PS", fmt.Sprintf("%d(DI)", w), b0, 2*i+1)
	})
	v.p("\tDECQ R8\n\tJNZ panel")
	v.end()
}

// dotPairs writes VDPBF16PS a, b, c, which the Go assembler does not know:
// c += a1·b1, then c += a0·b0, for the pairs of bfloat16 in every 32 bits.
// EVEX.512.F3.0F38.W0 52 /r, with c in reg, b in vvvv and a in rm; the prefix
// keeps the upper bits of register numbers inverted.
func (v vec) dotPairs(b, a, c int) {
	not := func(n, bit, at int) int { return (^n >> bit & 1) << at }
	p0 := not(c, 3, 7) | not(a, 4, 6) | not(a, 3, 5) | not(c, 4, 4) | 2
	p1 := (^b&15)<<3 | 4 | 2
	p2 := 2<<5 | not(b, 4, 3)
	v.p("\tBYTE $0x62; BYTE $%#02x; BYTE $%#02x; BYTE $%#02x; BYTE $0x52; BYTE $%#02x // VDPBF16PS Z%d, Z%d, Z%d", p0, p1, p2, 0xc0|c&7<<3|a&7, a, b, c)
}

// roundings writes the routines that round packed operands to bfloat16, in
// place, to nearest with ties to even as toBF16 does.
func (v vec) roundings() {
	v.fn("roundBF16", "", "n int", "x *float32")
	v.load("n", "CX", "x", "SI")
	v.roundConstants()
	v.p("loop:")
	v.op("VMOVUPS", "(SI)", 0)
	v.round(0)
	v.and(7, 0, 0)
	v.op("VMOVUPS", 0, "(SI)")
	v.p("\tADDQ $%d, SI\n\tSUBQ $%d, CX\n\tJNZ loop", 4*v.lanes(), v.lanes())
	v.end()
	if !v.wide {
		return
	}
	// x is [2n][width]; rows 2i and 2i+1 become row i, the first of a pair in the
	// low half. Whole vectors are read and written: those of a row run over its
	// end, into what has been read or is not used.
	v.fn("pairBF16", "", "n int", "x *float32", "width int")
	v.load("n", "CX", "x", "SI", "width", "BX")
	v.roundConstants()
	v.p("\tMOVQ SI, DI\n\tMOVQ BX, R8\n\tSHLQ $2, R8")
	v.p("row:\n\tMOVQ SI, R9\n\tMOVQ DI, R10\n\tMOVQ BX, DX\npart:")
	v.op("VMOVUPS", "(R9)", 0)
	v.op("VMOVUPS", "(R9)(R8*1)", 3)
	v.round(0)
	v.round(3)
	v.op("VPSRLD", "$16", 0, 0)
	v.and(7, 3, 3)
	v.op("VPORD", 3, 0, 0)
	v.op("VMOVUPS", 0, "(R10)")
	v.p("\tADDQ $64, R9\n\tADDQ $64, R10\n\tSUBQ $16, DX\n\tJGT part")
	v.p("\tLEAQ (SI)(R8*2), SI\n\tADDQ R8, DI\n\tDECQ CX\n\tJNZ row")
	v.end()
}

// roundConstants loads what round needs, and the mask of the upper half into
// register 7.
func (v vec) roundConstants() {
	v.op("VMOVUPS", v.u32(1), 4)
	v.op("VMOVUPS", v.u32(0x7fff), 5)
	v.op("VMOVUPS", v.u32(0x400000), 6)
	v.op("VMOVUPS", v.u32(0xffff0000), 7)
}

// round leaves the bfloat16 nearest to x in the upper halves of register x; the
// lower ones hold anything. A NaN is cut instead, with its quiet bit set.
// Registers 1 and 2 are lost.
func (v vec) round(x int) {
	v.op("VPSRLD", "$16", x, 1)
	v.and(4, 1, 2)
	v.op("VPADDD", 5, 2, 2)
	v.op("VPADDD", x, 2, 2)
	v.op(v.pick("VPOR", "VPORD"), 6, x, 1)
	if v.wide {
		v.p("\tVCMPPS $3, Z%d, Z%d, K2\n\tVMOVAPS Z1, K2, Z2\n\tVMOVAPS Z2, Z%d", x, x, x)
	} else {
		v.p("\tVCMPPS $3, Y%d, Y%d, Y3\n\tVBLENDVPS Y3, Y1, Y2, Y%d", x, x, x)
	}
}

// prefetchLines asks for the lines of one panel into the second level. Nothing
// is read: the addresses may lie anywhere. R9 is the next line of the row that
// starts at R13, of which R10 are left.
func (v vec) prefetchLines() {
	v.load("fetch", "CX")
	v.p("\tTESTQ CX, CX\n\tJZ fetched\nline:\n\tPREFETCHT1 (R9)\n\tADDQ $64, R9\n\tDECQ R10\n\tJNZ same")
	v.p("\tADDQ %s, R13\n\tMOVQ R13, R9", v.arg("rowStep"))
	v.load("lines", "R10")
	v.p("same:\n\tDECQ CX\n\tJNZ line\nfetched:")
}

// rows scales and stores the accumulators row by row and moves on to the row
// after them.
func (v vec) rows(mr int, scale func(i int)) {
	for i := 0; i < mr; i++ {
		scale(i)
		v.op("VMOVUPS", 2*i, "(DI)")
		v.op("VMOVUPS", 2*i+1, fmt.Sprintf("%d(DI)", 4*v.lanes()))
		v.p("\tADDQ SI, DI")
	}
}

// packers writes the routines that rearrange blocks of A and B. They are 256
// bits wide for both levels: packing is bound by loads and shuffles, not width.
func (g *gen) packers() {
	g.transpose("packT", false)
	g.transpose("packTBF16", true)
	g.copyRows("packRows8", 1)
	g.copyRows("packRows16", 2)
	g.widenRows("packRows16BF16")
}

var rowPtr = []string{"SI", "R8", "R9", "R10", "R11", "R12", "R13", "AX"}

// transpose writes dst[c·ds + r] = src[r·ss + c] for r < 8 and c < nb·8 (16
// for bfloat16). Rows from the given count on repeat the last row, so nothing
// outside src is read. Strides in elements.
func (g *gen) transpose(name string, bf16 bool) {
	src := "src *float32"
	shift := 2
	if bf16 {
		src, shift = "src *uint16", 1
	}
	g.fn(name, "", "dst *float32", "ds int", src, "ss int", "rows int", "nb int")
	g.load("src", "SI", "ss", "BX", "rows", "CX")
	g.p("\tSHLQ $%d, BX", shift)
	for i := 1; i < 8; i++ {
		g.p("\tLEAQ (%s)(BX*1), %s\n\tCMPQ CX, $%d\n\tCMOVQLE %s, %s", rowPtr[i-1], rowPtr[i], i, rowPtr[i-1], rowPtr[i])
	}
	g.load("dst", "DI", "ds", "DX", "nb", "CX")
	g.p("\tSHLQ $2, DX\n\tXORQ BX, BX")
	if bf16 {
		g.p("\tVPCMPEQD Y15, Y15, Y15\n\tVPSLLD $16, Y15, Y15")
	}
	g.p("loop:")
	for half := 0; half < 2; half++ {
		for i := 0; i < 4; i++ {
			g.p("\tVMOVUPS %d(%s)(BX*1), X%d\n\tVINSERTF128 $1, %d(%s)(BX*1), Y%d, Y%d", half*16, rowPtr[i], i, half*16, rowPtr[i+4], i, i)
		}
		g.p("\tVUNPCKLPS Y1, Y0, Y4\n\tVUNPCKHPS Y1, Y0, Y5\n\tVUNPCKLPS Y3, Y2, Y6\n\tVUNPCKHPS Y3, Y2, Y7")
		g.p("\tVUNPCKLPD Y6, Y4, Y8\n\tVUNPCKHPD Y6, Y4, Y9\n\tVUNPCKLPD Y7, Y5, Y10\n\tVUNPCKHPD Y7, Y5, Y11")
		for c := 8; c < 12; c++ {
			if bf16 { // a lane holds two neighbours of a row: low half first
				g.p("\tVPSLLD $16, Y%d, Y0\n\tVPAND Y15, Y%d, Y1", c, c)
				g.p("\tVMOVUPS Y0, (DI)\n\tADDQ DX, DI\n\tVMOVUPS Y1, (DI)\n\tADDQ DX, DI")
			} else {
				g.p("\tVMOVUPS Y%d, (DI)\n\tADDQ DX, DI", c)
			}
		}
	}
	g.p("\tADDQ $32, BX\n\tDECQ CX\n\tJNZ loop\n\tVZEROUPPER\n\tRET")
}

// copyRows cuts nk rows into panels of cols columns: dst[i·panel + k·ds + c] =
// src[k·ss + i·sp + c]. Whole vectors are stored, 8v floats, 0 from cols on,
// step after step, so a step may run into the next. Strides in elements; 0 <
// cols <= 8v. A row is read from end to end before the next, since rows far
// apart push each other out of the caches.
func (g *gen) copyRows(name string, v int) {
	g.fn(name, "", "dst *float32", "panel int", "ds int", "src *float32", "ss int", "sp int", "cols int", "panels int", "nk int")
	g.load("cols", "AX")
	g.p("\tLEAQ tailmask<>+32(SB), R8")
	for i := range v { // lanes of vector i: min(max(cols-8i, 0), 8)
		g.p("\tMOVQ AX, R9\n\tMOVQ $0, R10\n\tSUBQ $%d, R9\n\tCMOVQLT R10, R9", i*8)
		g.p("\tMOVQ $8, R10\n\tCMPQ R9, $8\n\tCMOVQGT R10, R9\n\tNEGQ R9\n\tVMOVDQU (R8)(R9*4), Y%d", 8+i)
	}
	g.load("dst", "R8", "panel", "R10", "ds", "DX", "src", "R9", "ss", "BX", "sp", "R11", "panels", "R12", "nk", "CX")
	for _, r := range []string{"R10", "DX", "BX", "R11"} {
		g.p("\tSHLQ $2, %s", r)
	}
	g.p("row:\n\tMOVQ R8, DI\n\tMOVQ R9, SI\n\tMOVQ R12, AX\npanel:")
	for i := range v {
		g.p("\tVMASKMOVPS %d(SI), Y%d, Y%d", i*32, 8+i, i)
	}
	for i := range v {
		g.p("\tVMOVUPS Y%d, %d(DI)", i, i*32)
	}
	g.p("\tADDQ R10, DI\n\tADDQ R11, SI\n\tDECQ AX\n\tJNZ panel")
	g.p("\tADDQ DX, R8\n\tADDQ BX, R9\n\tDECQ CX\n\tJNZ row\n\tVZEROUPPER\n\tRET")
}

// widenRows writes dst[k·ds + c] = src[k·ss + c] for 16 columns of bfloat16.
// Strides in elements.
func (g *gen) widenRows(name string) {
	g.fn(name, "", "dst *float32", "ds int", "src *uint16", "ss int", "nk int")
	g.load("dst", "DI", "ds", "DX", "src", "SI", "ss", "BX", "nk", "CX")
	g.p("\tSHLQ $2, DX\n\tSHLQ $1, BX\nloop:")
	for i := 0; i < 2; i++ {
		g.p("\tVPMOVZXWD %d(SI), Y%d\n\tVPSLLD $16, Y%d, Y%d", i*16, i, i, i)
	}
	g.p("\tVMOVUPS Y0, (DI)\n\tVMOVUPS Y1, 32(DI)\n\tADDQ DX, DI\n\tADDQ BX, SI\n\tDECQ CX\n\tJNZ loop\n\tVZEROUPPER\n\tRET")
}
