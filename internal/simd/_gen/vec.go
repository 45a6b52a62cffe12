package main

import "fmt"

// vec writes routines for one vector width: AVX2 (8 lanes of float32) or
// AVX-512 (16 lanes).
type vec struct {
	*gen
	wide bool
}

func (v vec) lanes() int {
	if v.wide {
		return 16
	}
	return 8
}

// r is vector register i.
func (v vec) r(i int) string {
	if v.wide {
		return fmt.Sprintf("Z%d", i)
	}
	return fmt.Sprintf("Y%d", i)
}

func (v vec) name(base string) string {
	if v.wide {
		return base + "AVX512"
	}
	return base + "AVX2"
}

// fn starts the routine base for this width.
func (v vec) fn(base, ret string, args ...string) { v.gen.fn(v.name(base), ret, args...) }

// op writes an instruction whose operands are given as register numbers or
// as text (memory operands and immediates).
func (v vec) op(mnemonic string, operands ...any) {
	s := ""
	for i, o := range operands {
		if i > 0 {
			s += ", "
		}
		if n, ok := o.(int); ok {
			s += v.r(n)
		} else {
			s += o.(string)
		}
	}
	v.p("\t%s %s", mnemonic, s)
}

// pick chooses the mnemonic: bitwise instructions are named differently in the
// part of AVX-512 that every such machine has.
func (v vec) pick(avx2, avx512 string) string {
	if v.wide {
		return avx512
	}
	return avx2
}

func (v vec) zero(i int) { v.op(v.pick("VXORPS", "VPXORD"), i, i, i) }

func (v vec) and(a any, b, dst int) { v.op(v.pick("VPAND", "VPANDD"), a, b, dst) }

// maskReg is the vector register that holds the lane mask of the tail (AVX2);
// the wide form keeps it in K1.
const maskReg = 15

// tailMask sets the mask of the low CX lanes; CX and BX are lost.
func (v vec) tailMask() {
	if v.wide {
		v.p("\tMOVQ $1, BX\n\tSHLQ CX, BX\n\tDECQ BX\n\tKMOVW BX, K1")
		return
	}
	v.p("\tNEGQ CX\n\tLEAQ tailmask<>+32(SB), BX\n\tVMOVDQU (BX)(CX*4), Y%d", maskReg)
}

// access reads and writes vectors of the arrays of a loop, whole or masked.
// Lanes that the mask excludes are neither read nor written; they load as 0.
type access struct {
	v      vec
	masked bool
	ptrs   []string
}

func (a access) mem(p int) string { return "(" + a.ptrs[p] + ")(AX*1)" }

func (a access) ld(p, reg int) {
	switch {
	case !a.masked:
		a.v.op("VMOVUPS", a.mem(p), reg)
	case a.v.wide:
		a.v.op("VMOVUPS.Z", a.mem(p), "K1", reg)
	default:
		a.v.op("VMASKMOVPS", a.mem(p), maskReg, reg)
	}
}

func (a access) st(reg, p int) {
	switch {
	case !a.masked:
		a.v.op("VMOVUPS", reg, a.mem(p))
	case a.v.wide:
		a.v.op("VMOVUPS", reg, "K1", a.mem(p))
	default:
		a.v.op("VMASKMOVPS", reg, maskReg, a.mem(p))
	}
}

// clear sets the excluded lanes of a register to 0.
func (a access) clear(reg int) {
	switch {
	case !a.masked:
	case a.v.wide:
		a.v.op("VMOVAPS.Z", reg, "K1", reg)
	default:
		a.v.and(maskReg, reg, reg)
	}
}

// each loops over CX elements of the arrays behind ptrs: whole vectors, then
// one masked vector, so that an element's value never depends on its place.
// AX is the byte index; BX, CX and DX are lost.
func (v vec) each(ptrs []string, body func(a access)) {
	w := v.lanes()
	v.p("\tXORQ AX, AX\n\tMOVQ CX, DX\n\tANDQ $-%d, DX\n\tSHLQ $2, DX\n\tJZ tail\n\tPCALIGN $32\nloop:", w)
	body(access{v, false, ptrs})
	v.p("\tADDQ $%d, AX\n\tCMPQ AX, DX\n\tJLT loop\ntail:\n\tANDQ $%d, CX\n\tJZ done", 4*w, w-1)
	v.tailMask()
	body(access{v, true, ptrs})
	v.p("done:")
}

// end leaves the routine.
func (v vec) end() { v.p("\tVZEROUPPER\n\tRET") }

// fold adds (or takes the maximum of) the lanes of register 0 pairwise, in a
// fixed order, and stores the result; register 1 is lost.
func (v vec) fold(instr string) {
	if v.wide {
		v.p("\tVEXTRACTF64X4 $1, Z0, Y1\n\t%s Y1, Y0, Y0", instr)
	}
	v.p("\tVEXTRACTF128 $1, Y0, X1\n\t%s X1, X0, X0", instr)
	if instr == "VADDPD" {
		v.p("\tVUNPCKHPD X0, X0, X1\n\tVADDSD X1, X0, X0\n\tVMOVSD X0, %s", v.arg("ret"))
		return
	}
	v.p("\tVMOVHLPS X0, X0, X1\n\t%s X1, X0, X0", instr)
	v.p("\tVMOVSHDUP X0, X1\n\t%s X1, X0, X0\n\tVMOVSS X0, %s", instr, v.arg("ret"))
}
