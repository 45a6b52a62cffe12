package simd

import (
	"encoding/binary"
	"math"
	"strings"
)

type f32 = float32

func bits(v float32) uint32  { return math.Float32bits(v) }
func float(b uint32) float32 { return math.Float32frombits(b) }

// fma32 is x·y+z rounded once: in float64 the product is exact, the sum is
// rounded to odd, which a second rounding to float32 cannot spoil.
func fma32(x, y, z float32) float32 {
	p := float64(x) * float64(y)
	s := p + float64(z)
	if math.IsNaN(s) || math.IsInf(s, 0) {
		return float32(s)
	}
	v := s - p
	err := (p - (s - v)) + (float64(z) - v)
	if err != 0 && math.Float64bits(s)&1 == 0 {
		s = math.Nextafter(s, math.Copysign(math.Inf(1), err))
	}
	return float32(s)
}

// lanes32 are element-wise instructions on two sources: f(b, c) for the text
// "OP c, b, dst".
var lanes32 = map[string]func(b, c uint32) uint32{
	"VADDPS":   func(b, c uint32) uint32 { return bits(float(b) + float(c)) },
	"VSUBPS":   func(b, c uint32) uint32 { return bits(float(b) - float(c)) },
	"VMULPS":   func(b, c uint32) uint32 { return bits(float(b) * float(c)) },
	"VDIVPS":   func(b, c uint32) uint32 { return bits(float(b) / float(c)) },
	"VMAXPS":   func(b, c uint32) uint32 { return choose(float(b) > float(c), b, c) },
	"VMINPS":   func(b, c uint32) uint32 { return choose(float(b) < float(c), b, c) },
	"VXORPS":   func(b, c uint32) uint32 { return b ^ c },
	"VPXORD":   func(b, c uint32) uint32 { return b ^ c },
	"VPAND":    func(b, c uint32) uint32 { return b & c },
	"VPANDD":   func(b, c uint32) uint32 { return b & c },
	"VPANDN":   func(b, c uint32) uint32 { return ^b & c },
	"VPANDND":  func(b, c uint32) uint32 { return ^b & c },
	"VPOR":     func(b, c uint32) uint32 { return b | c },
	"VPORD":    func(b, c uint32) uint32 { return b | c },
	"VPADDD":   func(b, c uint32) uint32 { return b + c },
	"VPMAXSD":  func(b, c uint32) uint32 { return uint32(max(int32(b), int32(c))) },
	"VPSUBD":   func(b, c uint32) uint32 { return b - c },
	"VPCMPEQD": func(b, c uint32) uint32 { return choose(b == c, math.MaxUint32, 0) },
	"VPSLLD":   func(b, c uint32) uint32 { return b << c },
	"VPSRLD":   func(b, c uint32) uint32 { return b >> c },
	"VPSRLVD":  func(b, c uint32) uint32 { return b >> c },
	"VPSRAD":   func(b, c uint32) uint32 { return uint32(int32(b) >> c) },
}

func choose(c bool, a, b uint32) uint32 {
	if c {
		return a
	}
	return b
}

// lanes3 are the fused ones: f(dst, b, c).
var lanes3 = map[string]func(a, b, c f32) f32{
	"VFMADD231PS":  func(a, b, c f32) f32 { return fma32(b, c, a) },
	"VFNMADD231PS": func(a, b, c f32) f32 { return fma32(-b, c, a) },
	"VFMADD213PS":  func(a, b, c f32) f32 { return fma32(b, a, c) },
	"VFMSUB213PS":  func(a, b, c f32) f32 { return fma32(b, a, -c) },
}

// dotPair is a lane of VDPBF16PS: two fused multiply-adds, the second of the
// pair first. Whatever the control register says, it rounds to nearest even,
// takes subnormal inputs for 0 and gives 0 instead of subnormal results.
func dotPair(a float32, b, c uint32) float32 {
	flush := func(v float32) float32 {
		if v > -0x1p-126 && v < 0x1p-126 {
			return float32(math.Copysign(0, float64(v)))
		}
		return v
	}
	for _, shift := range []int{0, 16} {
		x, y := float(b<<shift&0xffff0000), float(c<<shift&0xffff0000)
		a = flush(fma32(flush(x), flush(y), flush(a)))
	}
	return a
}

// source is the n bytes of a vector register or of memory.
func (m *machine) source(o *operand, n int) (v [64]byte) {
	switch o.kind {
	case 'v':
		copy(v[:n], m.vec[o.n][:])
	case 'm':
		copy(v[:n], m.mem(m.address(o), n))
	case 'i':
		for i := 0; i < n; i += 4 {
			binary.LittleEndian.PutUint32(v[i:], uint32(o.imm))
		}
	default:
		panic("bad vector operand")
	}
	return v
}

func get32(v *[64]byte, i int) uint32    { return binary.LittleEndian.Uint32(v[4*i:]) }
func put32(v *[64]byte, i int, x uint32) { binary.LittleEndian.PutUint32(v[4*i:], x) }
func get64(v *[64]byte, i int) float64 {
	return math.Float64frombits(binary.LittleEndian.Uint64(v[8*i:]))
}
func put64(v *[64]byte, i int, x float64) {
	binary.LittleEndian.PutUint64(v[8*i:], math.Float64bits(x))
}

// vector executes an instruction on vectors. Writing a register clears what
// lies above the width of the instruction.
func (m *machine) vector(in *instruction) {
	op, a := in.op, in.args
	if op == "VZEROUPPER" {
		for i := range 16 {
			clear(m.vec[i][16:])
		}
		return
	}
	if strings.HasPrefix(op, "VMOVUPS") || strings.HasPrefix(op, "VMOVAPS") || op == "VMOVDQU" || op == "VMASKMOVPS" {
		m.move(in)
		return
	}
	dst := &a[len(a)-1]
	if dst.kind == 'm' {
		n := map[string]int{"VMOVSS": 4, "VMOVSD": 8, "VMOVQ": 8}[op]
		copy(m.mem(m.address(dst), n), m.vec[a[0].n][:n])
		return
	}
	if op == "VCMPPS" {
		m.compare(a)
		return
	}
	var out [64]byte
	w := dst.width
	if f := lanes32[op]; f != nil {
		b, c := m.source(&a[1], w), m.source(&a[0], w)
		for i := range w / 4 {
			put32(&out, i, f(get32(&b, i), get32(&c, i)))
		}
	} else if f := lanes3[op]; f != nil {
		b, c := m.source(&a[1], w), m.source(&a[0], w)
		for i := range w / 4 {
			put32(&out, i, bits(f(float(get32(&m.vec[dst.n], i)), float(get32(&b, i)), float(get32(&c, i)))))
		}
	} else if op == "VDPBF16PS" {
		b, c := m.source(&a[1], w), m.source(&a[0], w)
		for i := range w / 4 {
			put32(&out, i, bits(dotPair(float(get32(&m.vec[dst.n], i)), get32(&b, i), get32(&c, i))))
		}
	} else if !m.float64s(op, a, w, &out) && !m.convert(op, a, w, &out) && !m.shuffle(op, a, w, &out) {
		panic("unknown instruction")
	}
	m.vec[dst.n] = out
}

// move copies whole or masked vectors; excluded lanes of memory are not
// touched.
func (m *machine) move(in *instruction) {
	a := in.args
	src, dst := &a[0], &a[len(a)-1]
	w := max(src.width, dst.width)
	active := func(int) bool { return true }
	if len(a) == 3 && a[1].kind == 'k' {
		k := m.k[a[1].n]
		active = func(i int) bool { return k>>i&1 != 0 }
	} else if len(a) == 3 {
		k := m.vec[a[1].n]
		active = func(i int) bool { return get32(&k, i)>>31 != 0 }
	}
	var out [64]byte
	if len(a) == 3 && a[1].kind == 'k' && dst.kind == 'v' && !strings.HasSuffix(in.op, ".Z") {
		copy(out[:w], m.vec[dst.n][:])
	}
	for i := range w / 4 {
		if !active(i) {
			continue
		}
		var v []byte
		if src.kind == 'm' {
			v = m.mem(m.address(src)+uint64(4*i), 4)
		} else {
			v = m.vec[src.n][4*i:]
		}
		if dst.kind == 'm' {
			copy(m.mem(m.address(dst)+uint64(4*i), 4), v[:4])
		} else {
			copy(out[4*i:], v[:4])
		}
	}
	if dst.kind == 'v' {
		m.vec[dst.n] = out
	}
}

// compare is VCMPPS $predicate, c, b, dst.
func (m *machine) compare(a []operand) {
	w := a[1].width
	b, c := m.source(&a[2], w), m.source(&a[1], w)
	var out [64]byte
	mask := uint64(0)
	for i := range w / 4 {
		x, y := float(get32(&b, i)), float(get32(&c, i))
		var is bool
		switch a[0].imm {
		case 1:
			is = x < y
		case 3:
			is = x != x || y != y
		default:
			panic("unknown predicate")
		}
		if is {
			mask |= 1 << i
			put32(&out, i, math.MaxUint32)
		}
	}
	if a[3].kind == 'k' {
		m.k[a[3].n] = mask
	} else {
		m.vec[a[3].n] = out
	}
}

func (m *machine) float64s(op string, a []operand, w int, out *[64]byte) bool {
	switch op {
	case "VADDPD", "VFMADD231PD":
		b, c := m.source(&a[1], w), m.source(&a[0], w)
		for i := range w / 8 {
			if op == "VADDPD" {
				put64(out, i, get64(&b, i)+get64(&c, i))
			} else {
				put64(out, i, math.FMA(get64(&b, i), get64(&c, i), get64(&m.vec[a[2].n], i)))
			}
		}
	case "VADDSD", "VADDSS":
		b, c := m.source(&a[1], 16), m.source(&a[0], 16)
		*out = b
		if op == "VADDSD" {
			put64(out, 0, get64(&b, 0)+get64(&c, 0))
		} else {
			put32(out, 0, bits(float(get32(&b, 0))+float(get32(&c, 0))))
		}
	default:
		return false
	}
	return true
}

func (m *machine) convert(op string, a []operand, w int, out *[64]byte) bool {
	switch op {
	case "VBROADCASTSS", "VPBROADCASTD":
		v := m.source(&a[0], 4)
		for i := range w / 4 {
			put32(out, i, get32(&v, 0))
		}
	case "VSQRTPS", "VCVTPS2DQ", "VCVTTPS2DQ", "VCVTDQ2PS":
		v := m.source(&a[0], w)
		for i := range w / 4 {
			x := float(get32(&v, i))
			switch op {
			case "VSQRTPS":
				put32(out, i, bits(float32(math.Sqrt(float64(x)))))
			case "VCVTDQ2PS":
				put32(out, i, bits(float32(int32(get32(&v, i)))))
			default:
				r := math.RoundToEven(float64(x))
				if op == "VCVTTPS2DQ" {
					r = math.Trunc(float64(x))
				}
				if r >= math.MinInt32 && r <= math.MaxInt32 {
					put32(out, i, uint32(int32(r)))
				} else {
					put32(out, i, 1<<31)
				}
			}
		}
	case "VCVTPS2PD":
		v := m.source(&a[0], w/2)
		for i := range w / 8 {
			put64(out, i, float64(float(get32(&v, i))))
		}
	case "VPMOVZXWD":
		v := m.source(&a[0], w/2)
		for i := range w / 4 {
			put32(out, i, uint32(binary.LittleEndian.Uint16(v[2*i:])))
		}
	case "VPMOVSXBD":
		v := m.source(&a[0], w/4)
		for i := range w / 4 {
			put32(out, i, uint32(int32(int8(v[i]))))
		}
	case "VPMOVZXBD":
		v := m.source(&a[0], w/4)
		for i := range w / 4 {
			put32(out, i, uint32(v[i]))
		}
	case "VPMOVDB":
		v := m.source(&a[0], 4*w)
		for i := range w {
			out[i] = byte(get32(&v, i))
		}
	case "VPMOVDW":
		v := m.source(&a[0], 2*w)
		for i := range w / 2 {
			binary.LittleEndian.PutUint16(out[2*i:], uint16(get32(&v, i)))
		}
	case "VPACKUSDW":
		for h, o := range []*operand{&a[1], &a[0]} {
			v := m.source(o, 16)
			for i := range 4 {
				binary.LittleEndian.PutUint16(out[8*h+2*i:], uint16(min(max(int32(get32(&v, i)), 0), 0xffff)))
			}
		}
	case "VPACKUSWB":
		for h, o := range []*operand{&a[1], &a[0]} {
			v := m.source(o, 16)
			for i := range 8 {
				out[8*h+i] = byte(min(max(int16(binary.LittleEndian.Uint16(v[2*i:])), 0), 0xff))
			}
		}
	default:
		return false
	}
	return true
}

func (m *machine) shuffle(op string, a []operand, w int, out *[64]byte) bool {
	switch op {
	case "VUNPCKLPS", "VUNPCKHPS", "VUNPCKLPD", "VUNPCKHPD":
		size := 4
		if strings.HasSuffix(op, "D") {
			size = 8
		}
		from := 0
		if op[6] == 'H' {
			from = 8
		}
		b, c := m.source(&a[1], w), m.source(&a[0], w)
		for lane := 0; lane < w; lane += 16 {
			for i := 0; i < 8; i += size {
				copy(out[lane+2*i:][:size], b[lane+from+i:])
				copy(out[lane+2*i+size:][:size], c[lane+from+i:])
			}
		}
	case "VINSERTF128":
		v := m.source(&a[1], 16)
		*out = m.source(&a[2], 32)
		copy(out[16*a[0].imm:][:16], v[:])
	case "VEXTRACTF128", "VEXTRACTF64X4":
		copy(out[:w], m.vec[a[1].n][int(a[0].imm)*w:])
	case "VMOVHLPS":
		copy(out[:8], m.vec[a[0].n][8:])
		copy(out[8:16], m.vec[a[1].n][8:])
	case "VMOVSHDUP":
		v := m.source(&a[0], w)
		for i := range w / 4 {
			put32(out, i, get32(&v, i|1))
		}
	case "VPERMPS":
		v, index := m.source(&a[0], w), m.source(&a[1], w)
		for i := range w / 4 {
			put32(out, i, get32(&v, int(get32(&index, i))%(w/4)))
		}
	case "VBLENDVPS":
		k, c, b := m.source(&a[0], w), m.source(&a[1], w), m.source(&a[2], w)
		for i := range w / 4 {
			put32(out, i, choose(get32(&k, i)>>31 != 0, get32(&c, i), get32(&b, i)))
		}
	default:
		return false
	}
	return true
}
