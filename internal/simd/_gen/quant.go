package main

// quantised writes the routines that decode quantised weights. They are 256 bits
// wide for both levels, as the packers.
func (g *gen) quantised() {
	g.decode4()
	g.decode8()
}

// decode4 decodes blocks of 64 codes of 4 bits, element 2i in the upper half of
// byte i: the element is table[code]·scale, and the table is multiplied once a
// block. Elements 16j to 16j+15 of a block go to dst + oj, o0 being 0; dst moves
// on by ds and codes by cs from block to block. Offsets and steps in bytes.
//
// A lookup permutes the lower and the upper 8 values of the table by the lowest
// three bits and takes one or the other by the fourth.
func (g *gen) decode4() {
	g.fn("decode4", "", "blocks int", "dst *float32", "o1 int", "o2 int", "o3 int", "ds int", "codes *byte", "cs int", "scales *float32", "table *float32")
	g.load("blocks", "CX", "dst", "DI", "o1", "R8", "o2", "R9", "o3", "R10", "ds", "R11", "codes", "SI", "cs", "R12", "scales", "R13", "table", "DX")
	g.p("\tVMOVUPS (DX), Y14\n\tVMOVUPS 32(DX), Y15\n\tVMOVUPS nibbles<>+0(SB), Y13\nloop:")
	g.p("\tVBROADCASTSS (R13), Y0\n\tVMULPS Y14, Y0, Y10\n\tVMULPS Y15, Y0, Y11")
	for i := range 8 {
		r := 1 + i&1*4 // two chains of registers
		g.p("\tVPBROADCASTD %d(SI), Y%d\n\tVPSRLVD Y13, Y%d, Y%d\n\tVPSLLD $28, Y%d, Y%d", 4*i, r, r, r, r, r+1)
		g.p("\tVPERMPS Y10, Y%d, Y%d\n\tVPERMPS Y11, Y%d, Y%d\n\tVBLENDVPS Y%d, Y%d, Y%d, Y%d", r, r+2, r, r+3, r+1, r+3, r+2, r+2)
		g.p("\tVMOVUPS Y%d, %d(DI)%s", r+2, i&1*32, []string{"", "(R8*1)", "(R9*1)", "(R10*1)"}[i/2])
	}
	g.p("\tADDQ $4, R13\n\tADDQ R11, DI\n\tADDQ R12, SI\n\tDECQ CX\n\tJNZ loop\n\tVZEROUPPER\n\tRET")
}

// decode8 decodes n codes of 8 bits, a multiple of 8, with one scale.
func (g *gen) decode8() {
	g.fn("decode8", "", "n int", "dst *float32", "codes *byte", "scale float32")
	g.load("n", "CX", "dst", "DI", "codes", "SI")
	g.p("\tVBROADCASTSS %s, Y8\nloop:", g.arg("scale"))
	g.p("\tVPMOVSXBD (SI), Y0\n\tVCVTDQ2PS Y0, Y0\n\tVMULPS Y8, Y0, Y0\n\tVMOVUPS Y0, (DI)")
	g.p("\tADDQ $8, SI\n\tADDQ $32, DI\n\tSUBQ $8, CX\n\tJNZ loop\n\tVZEROUPPER\n\tRET")
}

// nibbleShifts writes how far the codes of 8 elements, 4 bytes, are shifted down.
func (g *gen) nibbleShifts() {
	for i, s := range [][2]int{{4, 0}, {12, 8}, {20, 16}, {28, 24}} {
		g.p("DATA nibbles<>+%d(SB)/8, $0x%016x", 8*i, uint64(s[1])<<32|uint64(s[0]))
	}
	g.p("GLOBL nibbles<>(SB), RODATA|NOPTR, $32\n")
}
