package main

import "fmt"

// thin writes the kernels of few rows (decoding), which the reading of B
// bounds: B is transposed in registers and used at once, without a packed
// copy. 256 bits wide for both levels.
func (g *gen) thin() {
	for mr := 1; mr <= 8; mr++ {
		g.thinKernel(mr, false)
		g.thinKernel(mr, true)
	}
}

// thinVectors is how many vectors of C a row has: eight accumulators are left
// beside the transposition.
func thinVectors(mr int) int {
	if mr <= 4 {
		return 2
	}
	return 1
}

// thinB is the operand of row i of B, behind bases of four rows each, with the
// row stride in BX and three times that in DX.
func thinB(i, off int) string {
	return fmt.Sprintf("%d(%s)%s", off, []string{"SI", "R8", "R9", "R10"}[i/4], []string{"", "(BX*1)", "(BX*2)", "(DX*1)"}[i%4])
}

// thinKernel computes C[mr, 8v] = alpha·A·Bᵀ (+ C if acc is not 0) for A packed
// as [kc][mr], 8v rows of B, v = thinVectors(mr), and kc steps, a multiple of 16
// (32 for bfloat16). Packed rows of A do not fight with those of B over the same
// lines of the first-level cache. Each element is the chain of fused multiply-adds of the packed kernels.
// Accumulators are Y8 and up, v a row. Lines of B are asked for ahead bytes
// before their use; the addresses may lie anywhere.
func (g *gen) thinKernel(mr int, bf16 bool) {
	name, typ, shift, steps := fmt.Sprintf("thin%d", mr), "*float32", 2, 16
	if bf16 {
		name, typ, shift, steps = name+"BF16", "*uint16", 1, 32
	}
	v := thinVectors(mr)
	g.fn(name, "", "kc int", "a *float32", "b "+typ, "ldb int", "ahead int", "c *float32", "ldc int", "acc int", "alpha float32")
	g.load("kc", "CX", "a", "AX", "b", "SI", "ldb", "BX", "ahead", "R11")
	g.p("\tSHLQ $%d, BX\n\tLEAQ (BX)(BX*2), DX\n\tLEAQ (SI)(BX*4), R8", shift)
	if v == 2 {
		g.p("\tLEAQ (R8)(BX*4), R9\n\tLEAQ (R9)(BX*4), R10")
	}
	rows := []string{"SI", "R8", "R9", "R10"}[:2*v]
	for i := range v * mr {
		g.p("\tVXORPS Y%d, Y%d, Y%d", 8+i, 8+i, 8+i)
	}
	g.p("\tPCALIGN $32\nloop:")
	// Rows are often a power of two apart, so that only eight of their lines fit
	// into the first-level cache: eight rows give a whole line each before the
	// other eight are touched.
	for group := range v {
		g.thinGroup(mr, group, bf16)
	}
	for _, r := range rows {
		g.p("\tLEAQ (%s)(R11*1), DI\n\tPREFETCHT1 (DI)\n\tPREFETCHT1 (DI)(BX*1)\n\tPREFETCHT1 (DI)(BX*2)\n\tPREFETCHT1 (DI)(DX*1)", r)
	}
	for _, r := range rows {
		g.p("\tADDQ $64, %s", r)
	}
	g.p("\tADDQ $%d, AX\n\tSUBQ $%d, CX\n\tJNZ loop", 4*mr*steps, steps)
	g.thinStore(mr)
}

// thinGroup multiplies a line of each of eight rows of B.
func (g *gen) thinGroup(mr, group int, bf16 bool) {
	for quarter := range 4 {
		for i := range 4 {
			r := 8*group + i
			g.p("\tVMOVUPS %s, X%d\n\tVINSERTF128 $1, %s, Y%d, Y%d", thinB(r, 16*quarter), i, thinB(r+4, 16*quarter), i, i)
		}
		g.p("\tVUNPCKLPS Y1, Y0, Y4\n\tVUNPCKHPS Y1, Y0, Y5\n\tVUNPCKLPS Y3, Y2, Y6\n\tVUNPCKHPS Y3, Y2, Y7")
		g.p("\tVUNPCKLPD Y6, Y4, Y0\n\tVUNPCKHPD Y6, Y4, Y1\n\tVUNPCKLPD Y7, Y5, Y2\n\tVUNPCKHPD Y7, Y5, Y3")
		for c := range 4 {
			if !bf16 {
				g.thinStep(mr, group, c, 4*quarter+c)
				continue
			}
			g.p("\tVPSLLD $16, Y%d, Y6\n\tVPAND %s, Y%d, Y7", c, g.u32(0xffff0000), c)
			g.thinStep(mr, group, 6, 8*quarter+2*c)
			g.thinStep(mr, group, 7, 8*quarter+2*c+1)
		}
	}
}

// thinStep adds step k of the eight columns in register b to every row.
func (g *gen) thinStep(mr, group, b, k int) {
	for i := range mr {
		g.p("\tVBROADCASTSS %d(AX), Y%d", 4*(k*mr+i), 4+i&1)
		g.p("\tVFMADD231PS Y%d, Y%d, Y%d", b, 4+i&1, 8+thinVectors(mr)*i+group)
	}
}

// thinStore scales the accumulators and stores them or adds them to C.
func (g *gen) thinStore(mr int) {
	g.load("c", "DI", "ldc", "SI", "acc", "R8")
	g.p("\tSHLQ $2, SI\n\tVBROADCASTSS %s, Y0\n\tTESTQ R8, R8\n\tJNZ add", g.arg("alpha"))
	v := thinVectors(mr)
	for _, add := range []bool{false, true} {
		if add {
			g.p("add:")
		}
		for i := range mr {
			for h := range v {
				y := 8 + v*i + h
				if add {
					g.p("\tVFMADD213PS %d(DI), Y0, Y%d", 32*h, y)
				} else {
					g.p("\tVMULPS Y0, Y%d, Y%d", y, y)
				}
				g.p("\tVMOVUPS Y%d, %d(DI)", y, 32*h)
			}
			if i < mr-1 {
				g.p("\tADDQ SI, DI")
			}
		}
		g.p("\tVZEROUPPER\n\tRET")
	}
}
