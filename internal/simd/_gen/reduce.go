package main

import "fmt"

// reductions writes dot, dots, dotBF16, sum, sumSquares and max. The order of
// the additions depends on the length only.
func (v vec) reductions() {
	v.dot()
	v.dots()
	v.dotBF16()
	v.sum("sum", func(lane, acc int) { v.op("VADDPD", lane, acc, acc) })
	v.sum("sumSquares", func(lane, acc int) { v.op("VFMADD231PD", lane, lane, acc) })
	v.max()
}

// dotLoop adds the products of the CX elements at SI with those of each array
// in rows to four accumulators a row, from register 0: unrolled four vectors,
// then single vectors and the masked rest into the first accumulator.
func (v vec) dotLoop(rows []string, sfx string) {
	w := v.lanes()
	tx := 4 * len(rows)
	for i := 0; i < tx; i++ {
		v.zero(i)
	}
	v.p("\tXORQ AX, AX\n\tMOVQ CX, DX\n\tSHRQ $%d, DX\n\tJZ ones%s\n\tPCALIGN $32\nloop%s:", log2(4*w), sfx, sfx)
	for u := 0; u < 4; u++ {
		v.op("VMOVUPS", fmt.Sprintf("%d(SI)(AX*1)", u*4*w), tx)
		for r, p := range rows {
			v.op("VFMADD231PS", fmt.Sprintf("%d(%s)(AX*1)", u*4*w, p), tx, 4*r+u)
		}
	}
	v.p("\tADDQ $%d, AX\n\tDECQ DX\n\tJNZ loop%s\nones%s:", 16*w, sfx, sfx)
	v.p("\tMOVQ CX, DX\n\tANDQ $%d, DX\n\tSHRQ $%d, DX\n\tJZ tail%s\none%s:", 4*w-1, log2(w), sfx, sfx)
	v.op("VMOVUPS", "(SI)(AX*1)", tx)
	for r, p := range rows {
		v.op("VFMADD231PS", "("+p+")(AX*1)", tx, 4*r)
	}
	v.p("\tADDQ $%d, AX\n\tDECQ DX\n\tJNZ one%s\ntail%s:\n\tMOVQ CX, R13\n\tANDQ $%d, CX\n\tJZ fold%s", 4*w, sfx, sfx, w-1, sfx)
	v.tailMask()
	a := access{v, true, append([]string{"SI"}, rows...)}
	a.ld(0, tx)
	for r := range rows {
		a.ld(1+r, tx+1)
		v.op("VFMADD231PS", tx+1, tx, 4*r)
	}
	v.p("fold%s:\n\tMOVQ R13, CX", sfx)
}

func log2(n int) int {
	k := 0
	for 1<<k < n {
		k++
	}
	return k
}

// foldRow adds the four accumulators from register 4·row and their lanes into
// lane 0 of register 0; register 1 is lost.
func (v vec) foldRow(row int, to string) {
	b := 4 * row
	v.op("VADDPS", b+1, b, b)
	v.op("VADDPS", b+3, b+2, b+2)
	v.op("VADDPS", b+2, b, b)
	x, y := fmt.Sprintf("X%d", b), fmt.Sprintf("X%d", b+1)
	if v.wide {
		v.p("\tVEXTRACTF64X4 $1, Z%d, Y%d\n\tVADDPS Y%d, Y%d, Y%d", b, b+1, b+1, b, b)
	}
	v.p("\tVEXTRACTF128 $1, Y%d, %s\n\tVADDPS %s, %s, %s", b, y, y, x, x)
	v.p("\tVMOVHLPS %s, %s, %s\n\tVADDPS %s, %s, %s", x, x, y, y, x, x)
	v.p("\tVMOVSHDUP %s, %s\n\tVADDSS %s, %s, %s\n\tVMOVSS %s, %s", x, y, y, x, x, x, to)
}

func (v vec) dot() {
	v.fn("dot", "float32", "n int", "x *float32", "y *float32")
	v.load("n", "CX", "x", "SI", "y", "DI")
	v.dotLoop([]string{"DI"}, "")
	v.foldRow(0, v.arg("ret"))
	v.end()
}

// dots writes dst[i] = dot(x, rows[i·stride:]) for i < m, two rows at a time
// so that x is read half as often; every element has the bits of dot.
func (v vec) dots() {
	v.fn("dots", "", "n int", "x *float32", "m int", "dst *float32", "rows *float32", "stride int")
	v.load("n", "CX", "x", "SI", "m", "R8", "dst", "R9", "rows", "DI", "stride", "R10")
	v.p("\tSHLQ $2, R10\nnext:\n\tCMPQ R8, $2\n\tJLT last\n\tLEAQ (DI)(R10*1), R11")
	v.dotLoop([]string{"DI", "R11"}, "2")
	v.foldRow(0, "(R9)")
	v.foldRow(1, "4(R9)")
	v.p("\tADDQ $8, R9\n\tLEAQ (DI)(R10*2), DI\n\tSUBQ $2, R8\n\tJMP next\nlast:\n\tTESTQ R8, R8\n\tJZ done")
	v.dotLoop([]string{"DI"}, "1")
	v.foldRow(0, "(R9)")
	v.p("done:")
	v.end()
}

// dotBF16 needs a multiple of the lane count.
func (v vec) dotBF16() {
	w := v.lanes()
	v.fn("dotBF16", "float32", "n int", "x *float32", "y *uint16")
	v.load("n", "CX", "x", "SI", "y", "DI")
	for i := 0; i < 4; i++ {
		v.zero(i)
	}
	step := func(u int) {
		v.op("VPMOVZXWD", fmt.Sprintf("%d(DI)", u*2*w), 4+u)
		v.op("VPSLLD", "$16", 4+u, 4+u)
		v.op("VFMADD231PS", fmt.Sprintf("%d(SI)", u*4*w), 4+u, u)
	}
	v.p("\tMOVQ CX, DX\n\tSHRQ $%d, DX\n\tJZ ones\n\tPCALIGN $32\nloop:", log2(4*w))
	for u := 0; u < 4; u++ {
		step(u)
	}
	v.p("\tADDQ $%d, SI\n\tADDQ $%d, DI\n\tDECQ DX\n\tJNZ loop\nones:\n\tANDQ $%d, CX\n\tSHRQ $%d, CX\n\tJZ fold\none:", 16*w, 8*w, 4*w-1, log2(w))
	step(0)
	v.p("\tADDQ $%d, SI\n\tADDQ $%d, DI\n\tDECQ CX\n\tJNZ one\nfold:", 4*w, 2*w)
	v.foldRow(0, v.arg("ret"))
	v.end()
}

// widen splits register src into two registers of float64, low half first.
func (v vec) widen(src, lo, hi int) {
	if v.wide {
		v.p("\tVCVTPS2PD Y%d, Z%d\n\tVEXTRACTF64X4 $1, Z%d, Y%d\n\tVCVTPS2PD Y%d, Z%d", src, lo, src, hi, hi, hi)
		return
	}
	v.p("\tVCVTPS2PD X%d, Y%d\n\tVEXTRACTF128 $1, Y%d, X%d\n\tVCVTPS2PD X%d, Y%d", src, lo, src, hi, hi, hi)
}

func (v vec) sum(name string, add func(lane, acc int)) {
	v.fn(name, "float64", "n int", "x *float32")
	v.load("n", "CX", "x", "SI")
	v.zero(0)
	v.zero(1)
	v.each([]string{"SI"}, func(a access) {
		a.ld(0, 2)
		v.widen(2, 3, 4)
		add(3, 0)
		add(4, 1)
	})
	v.op("VADDPD", 1, 0, 0)
	v.fold("VADDPD")
	v.end()
}

// max needs at least one vector of elements: the last one overlaps its
// neighbour, which does not change a maximum. Four maxima at a time hide the
// latency of an instruction.
func (v vec) max() {
	w := v.lanes()
	v.fn("max", "float32", "n int", "x *float32")
	v.load("n", "CX", "x", "SI")
	v.p("\tLEAQ -%d(SI)(CX*4), DI", 4*w)
	v.op("VMOVUPS", "(DI)", 0)
	for i := 1; i < 4; i++ {
		v.op("VMOVAPS", 0, i)
	}
	v.p("\tLEAQ -%d(DI), DX\nfour:\n\tCMPQ SI, DX\n\tJGT loop", 16*w)
	for i := 0; i < 4; i++ {
		v.op("VMAXPS", fmt.Sprintf("%d(SI)", 4*w*i), i, i)
	}
	v.p("\tADDQ $%d, SI\n\tJMP four", 16*w)
	v.p("loop:\n\tCMPQ SI, DI\n\tJGE done")
	v.op("VMAXPS", "(SI)", 0, 0)
	v.p("\tADDQ $%d, SI\n\tJMP loop\ndone:", 4*w)
	v.op("VMAXPS", 1, 0, 0)
	v.op("VMAXPS", 3, 2, 2)
	v.op("VMAXPS", 2, 0, 0)
	v.fold("VMAXPS")
	v.end()
}
