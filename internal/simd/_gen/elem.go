package main

import (
	"fmt"
	"math"
)

var f32ptrs = []string{"DI", "SI", "R8", "R9", "R10"}

// arrays starts an element-wise routine over n elements of the named arrays
// with float32 scalars broadcast from register 8 on.
func (v vec) arrays(name, ret string, names []string, scalars ...string) []string {
	args := []string{"n int"}
	for _, a := range names {
		args = append(args, a+" *float32")
	}
	for _, s := range scalars {
		args = append(args, s+" float32")
	}
	v.fn(name, ret, args...)
	v.load("n", "CX")
	for i, a := range names {
		v.load(a, f32ptrs[i])
	}
	for i, s := range scalars {
		v.op("VBROADCASTSS", v.arg(s), 8+i)
	}
	return f32ptrs[:len(names)]
}

// elem writes a whole element-wise routine.
func (v vec) elem(name string, names, scalars []string, body func(a access)) {
	v.each(v.arrays(name, "", names, scalars...), body)
	v.end()
}

func (v vec) elementwise() {
	v.elem("axpy", []string{"y", "x"}, []string{"a"}, func(a access) {
		a.ld(0, 0)
		a.ld(1, 1)
		v.op("VFMADD231PS", 1, 8, 0)
		a.st(0, 0)
	})
	v.elem("scale", []string{"x"}, []string{"a"}, func(a access) {
		a.ld(0, 0)
		v.op("VMULPS", 8, 0, 0)
		a.st(0, 0)
	})
	v.elem("add", []string{"z", "x", "y"}, nil, func(a access) {
		a.ld(1, 0)
		a.ld(2, 1)
		v.op("VADDPS", 1, 0, 0)
		a.st(0, 0)
	})
	v.elem("mul", []string{"z", "x", "y"}, nil, func(a access) {
		a.ld(1, 0)
		a.ld(2, 1)
		v.op("VMULPS", 1, 0, 0)
		a.st(0, 0)
	})
	v.elem("mulAdd", []string{"z", "x", "y"}, nil, func(a access) {
		a.ld(0, 2)
		a.ld(1, 0)
		a.ld(2, 1)
		v.op("VFMADD231PS", 1, 0, 2)
		a.st(2, 0)
	})
	v.elem("mulScaled", []string{"z", "x", "y"}, []string{"a"}, func(a access) {
		a.ld(1, 0)
		a.ld(2, 1)
		v.op("VMULPS", 8, 0, 0)
		v.op("VMULPS", 1, 0, 0)
		a.st(0, 0)
	})
	v.rotate()
	v.relu()
	v.exponentials()
	v.tangents()
	v.adamw()
}

func (v vec) rotate() {
	v.elem("rotate", []string{"x1", "x2", "c", "s"}, []string{"sign"}, func(a access) {
		a.ld(0, 0)
		a.ld(1, 1)
		a.ld(2, 2)
		a.ld(3, 3)
		v.op("VMULPS", 8, 3, 3)
		v.op("VMULPS", 2, 0, 4) // x1·c
		v.op("VFNMADD231PS", 3, 1, 4)
		v.op("VMULPS", 3, 0, 5) // x1·s
		v.op("VFMADD231PS", 2, 1, 5)
		a.st(4, 0)
		a.st(5, 1)
	})
}

func (v vec) relu() {
	v.elem("relu", []string{"y", "x"}, nil, func(a access) {
		a.ld(1, 0)
		v.zero(1)
		v.op("VMAXPS", 0, 1, 0) // a NaN is the operand that is returned
		a.st(0, 0)
	})
	v.elem("reluBackward", []string{"dx", "x", "dy"}, nil, func(a access) {
		a.ld(1, 0)
		a.ld(2, 1)
		v.zero(2)
		if v.wide {
			v.p("\tVCMPPS $1, Z0, Z2, K2") // 0 < x
			v.op("VMOVAPS.Z", 1, "K2", 0)
		} else {
			v.op("VCMPPS", "$1", 0, 2, 0)
			v.and(1, 0, 0)
		}
		a.st(0, 0)
	})
}

// exp replaces register x by its exponential; t, t+1 and t+2 are lost.
// x = n·ln2 + r with |r| <= ln2/2; e^r is its Taylor polynomial of degree 7
// (remainder below 2^-27); 2^n is applied in two halves, so that results reach
// the subnormals, 0 and infinity by rounding. A NaN stays one.
func (v vec) exp(x, t int) {
	n, p := t, t+1
	v.op("VMOVUPS", v.f32(-104), p)
	v.op("VMAXPS", x, p, x)
	v.op("VMOVUPS", v.f32(89), p)
	v.op("VMINPS", x, p, x)
	v.op("VMULPS", v.f32(math.Log2E), x, n)
	v.op("VCVTPS2DQ", n, n)
	v.op("VCVTDQ2PS", n, p)
	v.op("VFNMADD231PS", v.f32(0.693359375), p, x) // ln2 in two parts, the first of 9 bits
	v.op("VFNMADD231PS", v.f32(math.Ln2-0.693359375), p, x)
	v.op("VMOVUPS", v.f32(1.0/5040), p)
	for _, c := range []float64{1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1, 1} {
		v.op("VFMADD213PS", v.f32(c), x, p)
	}
	v.op("VPSRAD", "$1", n, x)
	v.op("VPSUBD", x, n, n)
	for _, h := range []int{x, n} {
		v.op("VPADDD", v.u32(127), h, h)
		v.op("VPSLLD", "$23", h, h)
	}
	v.op("VMULPS", x, p, p)
	v.op("VMULPS", n, p, x)
}

// sigmoid writes 1/(1+e^-x) of register x to s; t and t+1 are lost, x stays.
func (v vec) sigmoid(x, s, t int) {
	v.op("VMULPS", v.f32(-1), x, s)
	v.exp(s, t)
	v.op("VADDPS", v.f32(1), s, s)
	v.op("VMOVUPS", v.f32(1), t)
	v.op("VDIVPS", s, t, s)
}

// slope turns s = sigmoid(x) into the derivative of x·sigmoid(x),
// s·(1 + x·(1-s)); t is lost.
func (v vec) slope(x, s, t int) {
	v.op("VMOVUPS", v.f32(1), t)
	v.op("VSUBPS", s, t, t)
	v.op("VFMADD213PS", v.f32(1), x, t)
	v.op("VMULPS", t, s, s)
}

func (v vec) exponentials() {
	ptrs := v.arrays("exp", "float64", []string{"y", "x"}, "shift")
	v.zero(9)
	v.zero(10)
	v.each(ptrs, func(a access) {
		a.ld(1, 0)
		v.op("VSUBPS", 8, 0, 0)
		v.exp(0, 1)
		a.st(0, 0)
		a.clear(0)
		v.widen(0, 1, 2)
		v.op("VADDPD", 1, 9, 9)
		v.op("VADDPD", 2, 10, 10)
	})
	v.op("VADDPD", 10, 9, 0)
	v.fold("VADDPD")
	v.end()

	v.elem("sigmoid", []string{"y", "x"}, nil, func(a access) {
		a.ld(1, 0)
		v.sigmoid(0, 1, 2)
		a.st(1, 0)
	})
	v.elem("silu", []string{"y", "x"}, nil, func(a access) {
		a.ld(1, 0)
		v.sigmoid(0, 1, 2)
		v.op("VMULPS", 1, 0, 0)
		a.st(0, 0)
	})
	v.elem("siluBackward", []string{"dx", "x", "dy"}, nil, func(a access) {
		a.ld(1, 0)
		v.sigmoid(0, 1, 2)
		v.slope(0, 1, 2)
		a.ld(2, 2)
		v.op("VMULPS", 2, 1, 1)
		a.st(1, 0)
	})
	v.elem("swiglu", []string{"y", "gate", "up"}, nil, func(a access) {
		a.ld(1, 0)
		v.sigmoid(0, 1, 2)
		v.op("VMULPS", 1, 0, 0)
		a.ld(2, 2)
		v.op("VMULPS", 2, 0, 0)
		a.st(0, 0)
	})
	v.elem("swigluBackward", []string{"dgate", "dup", "gate", "up", "dy"}, nil, func(a access) {
		a.ld(2, 0)
		v.sigmoid(0, 1, 2)
		v.op("VMULPS", 1, 0, 2) // silu
		v.slope(0, 1, 3)
		a.ld(3, 4)
		a.ld(4, 5)
		v.op("VMULPS", 5, 2, 2)
		v.op("VMULPS", 5, 4, 4)
		v.op("VMULPS", 4, 1, 1)
		a.st(1, 0)
		a.st(2, 1)
	})
}

// tanh writes m/(m+2), m = e^(2x)-1, of register x to y; t and t+1 are lost, x
// stays. m is 2^n·r·p + 2^n-1, with p the polynomial of exp less its 1, over r.
func (v vec) tanh(x, y, t int) {
	n, p := t, t+1
	v.op("VADDPS", x, x, y)
	v.op("VMOVUPS", v.f32(-20), p)
	v.op("VMAXPS", y, p, y)
	v.op("VMOVUPS", v.f32(20), p)
	v.op("VMINPS", y, p, y)
	v.op("VMULPS", v.f32(math.Log2E), y, n)
	v.op("VCVTPS2DQ", n, n)
	v.op("VCVTDQ2PS", n, p)
	v.op("VFNMADD231PS", v.f32(0.693359375), p, y)
	v.op("VFNMADD231PS", v.f32(math.Ln2-0.693359375), p, y)
	v.op("VMOVUPS", v.f32(1.0/5040), p)
	for _, c := range []float64{1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1} {
		v.op("VFMADD213PS", v.f32(c), y, p)
	}
	v.op("VMULPS", p, y, y)
	v.op("VPADDD", v.u32(127), n, n)
	v.op("VPSLLD", "$23", n, n)
	v.op("VMOVUPS", v.f32(1), p)
	v.op("VSUBPS", p, n, p)
	v.op("VFMADD213PS", p, n, y)
	v.op("VADDPS", v.f32(2), y, p)
	v.op("VDIVPS", p, y, y)
}

// The two numbers of GELU's gate, sigmoid(2·√(2/π)·(x + 0.044715·x³)).
const (
	geluScale = 2 * 0.7978845608028654
	geluCube  = 0.044715
)

// geluGate limits register x, squares it into square and writes the gate to g;
// t, t+1 and t+2 are lost.
func (v vec) geluGate(x, square, g, t int) {
	v.op("VMOVUPS", v.f32(-100), t) // beyond, g or 1-g is 0 and must not meet an infinity
	v.op("VMAXPS", x, t, x)
	v.op("VMOVUPS", v.f32(100), t)
	v.op("VMINPS", x, t, x)
	v.op("VMULPS", x, x, square)
	v.op("VMOVUPS", v.f32(geluScale*geluCube), t+2)
	v.op("VFMADD213PS", v.f32(geluScale), square, t+2)
	v.op("VMULPS", x, t+2, t+2)
	v.sigmoid(t+2, g, t)
}

func (v vec) tangents() {
	v.elem("tanh", []string{"y", "x"}, nil, func(a access) {
		a.ld(1, 0)
		v.tanh(0, 1, 2)
		a.st(1, 0)
	})
	v.elem("tanhBackward", []string{"dx", "x", "dy"}, nil, func(a access) {
		a.ld(1, 0)
		v.tanh(0, 1, 2)
		v.op("VMOVUPS", v.f32(1), 2)
		v.op("VSUBPS", 1, 2, 3)
		v.op("VADDPS", 1, 2, 2)
		a.ld(2, 0)
		v.op("VMULPS", 3, 0, 0)
		v.op("VMULPS", 2, 0, 0)
		a.st(0, 0)
	})
	v.elem("gelu", []string{"y", "x"}, nil, func(a access) {
		a.ld(1, 0)
		a.ld(1, 6)
		v.geluGate(0, 1, 2, 3)
		v.op("VMULPS", 6, 2, 2)
		a.st(2, 0)
	})
	v.elem("geluBackward", []string{"dx", "x", "dy"}, nil, func(a access) {
		a.ld(1, 0)
		v.geluGate(0, 1, 2, 3)
		v.op("VMOVUPS", v.f32(3*geluScale*geluCube), 3)
		v.op("VFMADD213PS", v.f32(geluScale), 1, 3) // the slope of the exponent
		v.op("VMOVUPS", v.f32(1), 4)
		v.op("VSUBPS", 2, 4, 4)
		v.op("VMULPS", 2, 4, 4)
		v.op("VMULPS", 0, 4, 4)
		v.op("VFMADD231PS", 4, 3, 2)
		a.ld(2, 0)
		v.op("VMULPS", 2, 0, 0)
		a.st(0, 0)
	})
}

// adamw is one step over a row; params points to the fields of simd.AdamW.
func (v vec) adamw() {
	const gradScale, decay, beta1, rest1, beta2, rest2, step, eps, unbias = 6, 7, 8, 9, 10, 11, 12, 13, 14
	v.fn("adamw", "", "n int", "w *float32", "grad *float32", "m *float32", "v *float32", "params *float32")
	v.load("n", "CX", "w", "DI", "grad", "SI", "m", "R8", "v", "R9", "params", "R10")
	for r := gradScale; r <= unbias; r++ {
		v.op("VBROADCASTSS", fmt.Sprintf("%d(R10)", 4*(r-gradScale)), r)
	}
	v.each([]string{"DI", "SI", "R8", "R9"}, func(a access) {
		a.ld(1, 0)
		a.ld(2, 1)
		a.ld(3, 2)
		v.op("VMULPS", gradScale, 0, 0)
		v.op("VMULPS", rest1, 0, 3)
		v.op("VFMADD213PS", 3, beta1, 1) // m = beta1·m + rest1·g
		a.st(1, 2)
		v.op("VMULPS", 0, 0, 3)
		v.op("VMULPS", rest2, 3, 3)
		v.op("VFMADD213PS", 3, beta2, 2) // v = beta2·v + rest2·g²
		a.st(2, 3)
		v.op("VSQRTPS", 2, 2)
		v.op("VFMADD213PS", eps, unbias, 2)
		v.op("VMULPS", step, 1, 1)
		v.op("VDIVPS", 2, 1, 1)
		a.ld(0, 0)
		v.op("VFMSUB213PS", 1, decay, 0) // w = decay·w - step·m/(...)
		a.st(0, 0)
	})
	v.end()
}

// bf16 writes the conversions; both need a multiple of the lane count.
func (v vec) bf16() {
	w := v.lanes()
	v.fn("fromBF16", "", "n int", "dst *float32", "src *uint16")
	v.load("n", "CX", "dst", "DI", "src", "SI")
	v.p("loop:")
	v.op("VPMOVZXWD", "(SI)", 0)
	v.op("VPSLLD", "$16", 0, 0)
	v.op("VMOVUPS", 0, "(DI)")
	v.p("\tADDQ $%d, SI\n\tADDQ $%d, DI\n\tSUBQ $%d, CX\n\tJNZ loop", 2*w, 4*w, w)
	v.end()

	// Round to nearest even: add 0x7fff and the lowest bit that stays. A NaN is
	// cut instead, with its quiet bit set, so that it cannot carry to infinity.
	v.fn("toBF16", "", "n int", "dst *uint16", "src *float32")
	v.load("n", "CX", "dst", "DI", "src", "SI")
	v.op("VMOVUPS", v.u32(1), 4)
	v.op("VMOVUPS", v.u32(0x7fff), 5)
	v.op("VMOVUPS", v.u32(0x40), 6)
	v.p("loop:")
	v.op("VMOVUPS", "(SI)", 0)
	v.op("VPSRLD", "$16", 0, 1)
	v.and(4, 1, 2)
	v.op("VPADDD", 5, 2, 2)
	v.op("VPADDD", 0, 2, 2)
	v.op("VPSRLD", "$16", 2, 2)
	v.op(v.pick("VPOR", "VPORD"), 6, 1, 1)
	if v.wide {
		v.p("\tVCMPPS $3, Z0, Z0, K2\n\tVMOVAPS Z1, K2, Z2\n\tVPMOVDW Z2, Y2\n\tVMOVDQU Y2, (DI)")
	} else {
		v.p("\tVCMPPS $3, Y0, Y0, Y3\n\tVBLENDVPS Y3, Y1, Y2, Y2")
		v.p("\tVEXTRACTF128 $1, Y2, X3\n\tVPACKUSDW X3, X2, X2\n\tVMOVDQU X2, (DI)")
	}
	v.p("\tADDQ $%d, SI\n\tADDQ $%d, DI\n\tSUBQ $%d, CX\n\tJNZ loop", 4*w, 2*w, w)
	v.end()
}
