package main

import "fmt"

// thin writes the kernels of few rows (decoding), which the reading of B
// bounds: B is transposed in registers and used at once, without a packed
// copy. 256 bits wide for both levels.
func (g *gen) thin() {
	for mr := 1; mr <= 3; mr++ {
		g.thinKernel(mr, false)
		g.thinKernel(mr, true)
	}
}

// thinRow is the operand of row i of an array behind four bases of four rows, with
// the row stride in BX and three times that in DX.
func thinRow(i, off int) string {
	return fmt.Sprintf("%d(%s)%s", off, []string{"SI", "R8", "R9", "R10"}[i/4], []string{"", "(BX*1)", "(BX*2)", "(DX*1)"}[i%4])
}

// thinKernel computes C[mr, 16] = alpha·A·Bᵀ (+ C if acc is not 0) for 16 rows
// of B and kc steps, a multiple of 16 (32 for bfloat16). Each element is the
// chain of fused multiply-adds of the packed kernels. Accumulators are Y8 and
// up, two a row.
func (g *gen) thinKernel(mr int, bf16 bool) {
	name, typ, shift, steps := fmt.Sprintf("thin%d", mr), "*float32", 2, 16
	if bf16 {
		name, typ, shift, steps = name+"BF16", "*uint16", 1, 32
	}
	g.fn(name, "", "kc int", "a *float32", "lda int", "b "+typ, "ldb int", "c *float32", "ldc int", "acc int", "alpha float32")
	g.load("kc", "CX", "a", "AX", "lda", "R11", "b", "SI", "ldb", "BX")
	g.p("\tSHLQ $2, R11\n\tSHLQ $%d, BX\n\tLEAQ (BX)(BX*2), DX", shift)
	g.p("\tLEAQ (SI)(BX*4), R8\n\tLEAQ (R8)(BX*4), R9\n\tLEAQ (R9)(BX*4), R10")
	for i := range 2 * mr {
		g.p("\tVXORPS Y%d, Y%d, Y%d", 8+i, 8+i, 8+i)
	}
	g.p("\tPCALIGN $32\nloop:")
	// Rows are often a power of two apart, so that only eight of their lines fit
	// into the first-level cache: eight rows give a whole line each before the
	// other eight are touched.
	for group := range 2 {
		for quarter := range 4 {
			for i := range 4 {
				r := 8*group + i
				g.p("\tVMOVUPS %s, X%d\n\tVINSERTF128 $1, %s, Y%d, Y%d", thinRow(r, 16*quarter), i, thinRow(r+4, 16*quarter), i, i)
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
	for i := range 16 {
		g.p("\tPREFETCHT1 %s", thinRow(i, 768))
	}
	for _, r := range []string{"SI", "R8", "R9", "R10"} {
		g.p("\tADDQ $64, %s", r)
	}
	g.p("\tADDQ $%d, AX\n\tSUBQ $%d, CX\n\tJNZ loop", 4*steps, steps)
	g.thinStore(mr)
}

// thinStore scales the accumulators and stores them or adds them to C.
func (g *gen) thinStore(mr int) {
	g.load("c", "DI", "ldc", "SI", "acc", "R8")
	g.p("\tSHLQ $2, SI\n\tVBROADCASTSS %s, Y0\n\tTESTQ R8, R8\n\tJNZ add", g.arg("alpha"))
	for _, add := range []bool{false, true} {
		if add {
			g.p("add:")
		}
		for i := range mr {
			for h := range 2 {
				y := 8 + 2*i + h
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

// thinStep adds step k of the eight columns in register b to every row.
func (g *gen) thinStep(mr, group, b, k int) {
	for i := range mr {
		g.p("\tVBROADCASTSS %d(AX)%s, Y%d", 4*k, []string{"", "(R11*1)", "(R11*2)"}[i], 4+i&1)
		g.p("\tVFMADD231PS Y%d, Y%d, Y%d", b, 4+i&1, 8+2*i+group)
	}
}
