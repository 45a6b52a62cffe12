package main

import "math"

// codes writes the conversions between float32 and the 8-bit numbers of
// codes.go, for whole vectors. Everything is multiplied and added in two steps,
// as the Go loops do.
func (v vec) codes() {
	v.decodeSigned()
	v.decodeRoots()
	v.encodeSigned()
	v.encodeRoots()
	v.largest()
}

// signs shifts right by 31: all ones where the sign bit is set.
func (v vec) signs(x, dst int) { v.op("VPSRAD", "$31", x, dst) }

// wholePowers leaves of the floats in x the power of two below, with the sign.
func (v vec) wholePowers(x, dst int) { v.and(v.u32(0xff800000), x, dst) }

// magnitude turns the code number in register x, as an integer, into its
// magnitude: 2^i+k becomes k·A[i]+B[i], with A and B in registers 10 and 11 by
// the lowest bits of the exponent of 2^i as a float. 1 to 4 are lost.
func (v vec) magnitude(x int) {
	v.op("VCVTDQ2PS", x, 1)
	v.wholePowers(1, 2)
	v.op("VSUBPS", 2, 1, 1)
	v.op("VPSRLD", "$23", 2, 2)
	v.op("VPERMPS", 10, 2, 3)
	v.op("VPERMPS", 11, 2, 4)
	v.op("VMULPS", 3, 1, 1)
	v.op("VADDPS", 4, 1, x)
}

// startCodes starts a conversion of n numbers: x in DI, codes in SI, and the
// factor in register 8.
func (v vec) startCodes(name string, args ...string) {
	v.fn(name, "", append([]string{"n int", "x *float32", "codes *byte", "factor float32"}, args...)...)
	v.load("n", "CX", "x", "DI", "codes", "SI")
	v.op("VBROADCASTSS", v.arg("factor"), 8)
	v.zero(9)
	if len(args) > 0 {
		v.load("parts", "R8")
		v.op("VMOVUPS", "(R8)", 10)
		v.op("VMOVUPS", "64(R8)", 11)
	}
	v.p("loop:")
}

func (v vec) endCodes() {
	v.p("\tADDQ $%d, DI\n\tADDQ $%d, SI\n\tSUBQ $%d, CX\n\tJNZ loop", 4*v.lanes(), v.lanes(), v.lanes())
	v.end()
}

func (v vec) decodeSigned() {
	v.startCodes("decodeSigned", "parts *float32")
	v.op("VPMOVZXBD", "(SI)", 0)
	v.and(v.u32(0x80), 0, 5)
	v.op("VPSLLD", "$24", 5, 5)
	v.and(v.u32(0x7f), 0, 0)
	v.op("VPSUBD", 0, 9, 6)
	v.signs(6, 6)
	v.magnitude(0)
	v.and(6, 0, 0) // code 0 is 0
	v.op("VMULPS", 8, 0, 0)
	v.op(v.pick("VPOR", "VPORD"), 5, 0, 0)
	v.op("VMOVUPS", 0, "(DI)")
	v.endCodes()
}

func (v vec) decodeRoots() {
	v.startCodes("decodeRoots", "parts *float32")
	v.op("VPMOVZXBD", "(SI)", 0)
	v.op("VPSUBD", 0, 9, 6)
	v.signs(6, 6)
	v.op("VPADDD", v.u32(1), 0, 0)
	v.magnitude(0)
	v.and(6, 0, 0)
	v.op("VMULPS", 8, 0, 0)
	v.op("VMULPS", 0, 0, 0)
	v.op("VMOVUPS", 0, "(DI)")
	v.endCodes()
}

// place makes the magnitude in register 0 its place t among the codes, in
// register 1: the least of seven lines. Register 2 is lost. See codeLines.
func (v vec) place(root float64) {
	for i := range 7 {
		parts := math.Ldexp(root, i)
		to := 2
		if i == 0 {
			to = 1
		}
		v.op("VMULPS", v.f32(parts*math.Pow10(7-i)/9), 0, to)
		v.op("VADDPS", v.f32(parts*8/9), to, to)
		if i > 0 {
			v.op("VMINPS", 2, 1, 1)
		}
	}
}

// number rounds the place in register 1 to the integer of the nearest code in
// register 2, at least 1; less is subtracted from all. 3 is lost.
func (v vec) number(less uint32) {
	v.op("VCVTTPS2DQ", 1, 2)
	v.wholePowers(1, 3)
	v.op("VSUBPS", 3, 1, 3)
	v.op("VSUBPS", v.f32(0.2), 3, 3)
	v.signs(3, 3)
	v.op("VPADDD", 3, 2, 2)
	if less > 0 {
		v.op("VPSUBD", v.u32(less), 2, 2)
	}
	v.op("VPMAXSD", v.u32(1), 2, 2)
}

// storeCodes writes the integers of register 2, which are below 256, as bytes.
func (v vec) storeCodes() {
	if v.wide {
		v.p("\tVPMOVDB Z2, X2\n\tVMOVDQU X2, (SI)")
		return
	}
	v.p("\tVEXTRACTF128 $1, Y2, X3\n\tVPACKUSDW X3, X2, X2\n\tVPACKUSWB X2, X2, X2\n\tVMOVQ X2, (SI)")
}

func (v vec) encodeSigned() {
	v.startCodes("encodeSigned")
	v.op("VMOVUPS", "(DI)", 4)
	v.and(v.u32(1<<31-1), 4, 0)
	v.op("VMULPS", 8, 0, 0)
	v.place(1)
	v.number(0)
	v.op("VSUBPS", v.f32(lowestEdge), 0, 0)
	v.signs(0, 0)
	v.op(v.pick("VPANDN", "VPANDND"), 2, 0, 2) // below the first edge it is 0
	v.op("VPSRLD", "$31", 4, 4)
	v.op("VPSLLD", "$7", 4, 4)
	v.op(v.pick("VPOR", "VPORD"), 4, 2, 2)
	v.storeCodes()
	v.endCodes()
}

// lowestEdge is halfway from 0 to the first magnitude, 5.5e-7.
const lowestEdge = 2.75e-7

func (v vec) encodeRoots() {
	v.startCodes("encodeRoots")
	v.op("VMOVUPS", "(DI)", 4)
	v.op("VSQRTPS", 4, 0)
	v.op("VMULPS", 8, 0, 0)
	v.place(2)
	v.number(1)
	// Halfway from the last magnitude but one to 1 is a quarter before 256.
	v.op("VMOVUPS", v.f32(255.75), 3)
	v.op("VSUBPS", 1, 3, 3)
	v.signs(3, 3)
	v.and(v.u32(255), 3, 3)
	v.op("VPMAXSD", 3, 2, 2)
	v.op("VPSUBD", 4, 9, 4)
	v.signs(4, 4)
	v.and(4, 2, 2) // only 0 is 0
	v.storeCodes()
	v.endCodes()
}

// largest is the largest magnitude of n numbers, a multiple of the lanes. As
// integers NaNs are larger than all.
func (v vec) largest() {
	v.fn("largest", "float32", "n int", "x *float32")
	v.load("n", "CX", "x", "DI")
	v.zero(0)
	v.p("loop:")
	v.op("VMOVUPS", "(DI)", 1)
	v.and(v.u32(1<<31-1), 1, 1)
	v.op("VPMAXSD", 1, 0, 0)
	v.p("\tADDQ $%d, DI\n\tSUBQ $%d, CX\n\tJNZ loop", 4*v.lanes(), v.lanes())
	v.fold("VPMAXSD")
	v.end()
}
