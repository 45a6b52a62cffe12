package main

import "fmt"

// thinCodes writes the kernels of few rows for codes of 4 bits, which are decoded
// in registers and used at once. 256 bits wide for both levels.
func (g *gen) thinCodes() {
	for mr := 1; mr <= 8; mr++ {
		g.thinCodesKernel(mr)
	}
}

// thinCodesKernel is thinKernel for rows of B of codes as decode4 has them, ldb
// bytes apart, and kc a multiple of 32: 16 bytes of a row are used at a time.
// scales has the scale of each row for every such part, [kc/32][8v]. A sum has
// the bits that it has with B decoded before: table[code]·scale is rounded, then
// added as thinKernel does.
func (g *gen) thinCodesKernel(mr int) {
	v := thinVectors(mr)
	g.fn(fmt.Sprintf("thin%dCodes", mr), "", "kc int", "a *float32", "b *byte", "ldb int", "ahead int", "scales *float32", "table *float32", "c *float32", "ldc int", "acc int", "alpha float32")
	g.load("kc", "CX", "a", "AX", "b", "SI", "ldb", "BX", "ahead", "R11", "scales", "R13", "table", "R12")
	g.p("\tLEAQ (BX)(BX*2), DX\n\tLEAQ (SI)(BX*4), R8")
	if v == 2 {
		g.p("\tLEAQ (R8)(BX*4), R9\n\tLEAQ (R9)(BX*4), R10")
	}
	for i := range v * mr {
		g.p("\tVXORPS Y%d, Y%d, Y%d", 8+i, 8+i, 8+i)
	}
	// The table stays in registers where sums leave two.
	table := [2]string{"(R12)", "32(R12)"}
	if v*mr <= 6 {
		table = [2]string{"Y14", "Y15"}
		g.p("\tVMOVUPS (R12), Y14\n\tVMOVUPS 32(R12), Y15")
	}
	g.p("\tPCALIGN $32\nloop:")
	for group := range v {
		g.thinCodesGroup(mr, group, table)
	}
	for _, r := range []string{"SI", "R8", "R9", "R10"}[:2*v] {
		g.p("\tLEAQ (%s)(R11*1), DI\n\tPREFETCHT1 (DI)\n\tPREFETCHT1 (DI)(BX*1)\n\tPREFETCHT1 (DI)(BX*2)\n\tPREFETCHT1 (DI)(DX*1)\n\tADDQ $16, %s", r, r)
	}
	g.p("\tADDQ $%d, R13\n\tADDQ $%d, AX\n\tSUBQ $32, CX\n\tJNZ loop", 32*v, 4*mr*32)
	g.thinStore(mr)
}

// thinCodesGroup multiplies 32 codes of each of eight rows of B: transposed four
// bytes at a time, a register has eight codes of every row.
func (g *gen) thinCodesGroup(mr, group int, table [2]string) {
	for i := range 4 {
		r := 8*group + i
		g.p("\tVMOVUPS %s, X%d\n\tVINSERTF128 $1, %s, Y%d, Y%d", thinB(r, 0), i, thinB(r+4, 0), i, i)
	}
	g.p("\tVUNPCKLPS Y1, Y0, Y4\n\tVUNPCKHPS Y1, Y0, Y5\n\tVUNPCKLPS Y3, Y2, Y6\n\tVUNPCKHPS Y3, Y2, Y7")
	g.p("\tVUNPCKLPD Y6, Y4, Y0\n\tVUNPCKHPD Y6, Y4, Y1\n\tVUNPCKLPD Y7, Y5, Y2\n\tVUNPCKHPD Y7, Y5, Y3")
	for k := range 32 {
		c, low, top := k/8, k/8, k/8
		at := k%8/2*8 + 4*(1-k&1) // lowest bit of the code
		if at > 0 {
			low = 4
			g.p("\tVPSRLD $%d, Y%d, Y4", at, c)
		}
		if at < 28 {
			top = 5
			g.p("\tVPSLLD $%d, Y%d, Y5", 28-at, c)
		}
		g.p("\tVPERMPS %s, Y%d, Y6\n\tVPERMPS %s, Y%d, Y7\n\tVBLENDVPS Y%d, Y7, Y6, Y6", table[0], low, table[1], low, top)
		g.p("\tVMULPS %d(R13), Y6, Y6", 32*group)
		g.thinStep(mr, group, 6, k)
	}
}
