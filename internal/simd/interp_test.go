package simd

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"unsafe"
)

// machine executes the text of kern_amd64.s: the instructions that the
// generator uses, on simulated registers and memory. It checks every access
// against the slices it was given, lane by lane, and so shows on any computer
// what the AVX-512 routines do. TestInterpreterEqualsHardware checks it.
type machine struct {
	routines map[string]*routine
	data     map[string][]byte // RODATA symbols

	gpr     [16]uint64
	vec     [32][64]byte
	k       [8]uint64
	zf, lt  bool
	regions [][]byte // index is the upper half of an address, minus 1
	symbol  map[string]uint64
}

type routine struct {
	code   []instruction
	labels map[string]int
	frame  int
	args   []string // types, in order
	ret    string
}

type instruction struct {
	op   string
	args []operand
	text string
}

// operand is an immediate, a register or memory.
type operand struct {
	kind  byte // 'i'mmediate, 'g'eneral, 'v'ector, 'k' mask, 'm'emory, 'l'abel
	n     int  // register number
	width int  // bytes of a vector register
	imm   int64
	base  int // general register of memory, -1 for a symbol
	index int // general register, -1 for none
	scale uint64
	name  string // label or symbol
}

var gprs = map[string]int{"AX": 0, "BX": 1, "CX": 2, "DX": 3, "SI": 4, "DI": 5, "R8": 8, "R9": 9, "R10": 10, "R11": 11, "R12": 12, "R13": 13}

func parseOperand(s string) operand {
	o := operand{base: -1, index: -1}
	number := func(s string) int64 {
		v, err := strconv.ParseInt(s, 0, 64)
		if err != nil {
			panic("bad number " + s)
		}
		return v
	}
	if s[0] == '$' {
		o.kind, o.imm = 'i', number(s[1:])
		return o
	}
	if r, ok := gprs[s]; ok {
		o.kind, o.n = 'g', r
		return o
	}
	if n, err := strconv.Atoi(s[1:]); err == nil && strings.ContainsRune("XYZK", rune(s[0])) {
		o.kind, o.n = 'v', n
		switch s[0] {
		case 'X':
			o.width = 16
		case 'Y':
			o.width = 32
		case 'Z':
			o.width = 64
		default:
			o.kind = 'k'
		}
		return o
	}
	open := strings.IndexByte(s, '(')
	if open < 0 {
		o.kind, o.name = 'l', s
		return o
	}
	o.kind = 'm'
	inner, rest, _ := strings.Cut(s[open+1:], ")")
	switch inner {
	case "FP", "SB":
		name, off, _ := strings.Cut(s[:open], "+")
		o.name, o.imm = strings.TrimSuffix(name, "<>"), number(off)
		if inner == "FP" {
			o.name = "FP"
		}
	default:
		if open > 0 {
			o.imm = number(s[:open])
		}
		o.base = gprs[inner]
	}
	if rest != "" {
		r, sc, _ := strings.Cut(strings.Trim(rest, "()"), "*")
		o.index, o.scale = gprs[r], uint64(number(sc))
	}
	return o
}

// newMachine reads kern_amd64.s.
func newMachine(t testing.TB) *machine {
	text, err := os.ReadFile("kern_amd64.s")
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{routines: map[string]*routine{}, data: map[string][]byte{}}
	var r *routine
	var signature string
	for _, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		op, rest, _ := strings.Cut(line, " ")
		switch {
		case strings.HasPrefix(line, "// func "):
			signature = line
		case line == "" || strings.HasPrefix(line, "//") || line[0] == '#' || op == "GLOBL" || op == "PCALIGN":
		case op == "TEXT":
			name, _, _ := strings.Cut(strings.TrimPrefix(rest, "·"), "(")
			r = &routine{labels: map[string]int{}}
			_, size, _ := strings.Cut(rest, "$0-")
			r.frame, _ = strconv.Atoi(size)
			list, ret, _ := strings.Cut(signature[strings.IndexByte(signature, '(')+1:], ")")
			for _, a := range strings.Split(list, ", ") {
				_, typ, _ := strings.Cut(a, " ")
				r.args = append(r.args, typ)
			}
			r.ret = strings.TrimSpace(ret)
			m.routines[name] = r
		case op == "DATA":
			m.parseData(rest)
		case strings.HasSuffix(line, ":"):
			r.labels[strings.TrimSuffix(line, ":")] = len(r.code)
		case op == "BYTE":
			r.code = append(r.code, decode(line))
		default:
			in := instruction{op: op, text: line}
			if rest != "" {
				for _, a := range strings.Split(rest, ", ") {
					in.args = append(in.args, parseOperand(a))
				}
			}
			r.code = append(r.code, in)
		}
	}
	return m
}

// decode reads an instruction that the text spells in bytes, of which there is
// one: VDPBF16PS on registers, EVEX.512.F3.0F38.W0 52 /r.
func decode(line string) instruction {
	text, _, _ := strings.Cut(line, " //")
	var b [6]int
	parts := strings.Split(text, "; ")
	for i, p := range parts {
		v, err := strconv.ParseUint(strings.TrimPrefix(p, "BYTE $"), 0, 8)
		if err != nil || len(parts) != len(b) {
			panic("bad bytes " + line)
		}
		b[i] = int(v)
	}
	if b[0] != 0x62 || b[1]&15 != 2 || b[2]&0x87 != 6 || b[3]&^8 != 0x40 || b[4] != 0x52 || b[5]>>6 != 3 {
		panic("not VDPBF16PS: " + line)
	}
	bit := func(n, at, to int) int { return (^n >> at & 1) << to } // the prefix has them inverted
	dst := b[5]>>3&7 | bit(b[1], 7, 3) | bit(b[1], 4, 4)
	src1 := ^b[2]>>3&15 | bit(b[3], 3, 4)
	src2 := b[5]&7 | bit(b[1], 5, 3) | bit(b[1], 6, 4)
	in := instruction{op: "VDPBF16PS", text: line}
	for _, n := range []int{src2, src1, dst} {
		in.args = append(in.args, operand{kind: 'v', n: n, width: 64, base: -1, index: -1})
	}
	return in
}

// parseData reads "name<>+off(SB)/8, $0x...".
func (m *machine) parseData(s string) {
	name, rest, _ := strings.Cut(s, "<>+")
	off, _, _ := strings.Cut(rest, "(")
	_, value, _ := strings.Cut(s, "$")
	at, err := strconv.Atoi(off)
	v, err2 := strconv.ParseUint(value, 0, 64)
	if err != nil || err2 != nil || at != len(m.data[name]) {
		panic("bad DATA " + s)
	}
	m.data[name] = binary.LittleEndian.AppendUint64(m.data[name], v)
}

func bytesOf[T any](x []T) []byte {
	var zero T
	if len(x) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), len(x)*int(unsafe.Sizeof(zero)))
}

// call runs a routine on ints, float32s and slices, and returns its result.
func (m *machine) call(name string, args ...any) float64 {
	r := m.routines[name]
	if r == nil {
		panic("no routine " + name)
	}
	if len(args) != len(r.args) {
		panic(fmt.Sprintf("%s takes %v", name, r.args))
	}
	frame := make([]byte, r.frame)
	m.regions, m.symbol = nil, map[string]uint64{}
	add := func(b []byte) uint64 {
		m.regions = append(m.regions, b)
		return uint64(len(m.regions)) << 32
	}
	m.symbol["FP"] = add(frame)
	for n, b := range m.data {
		m.symbol[n] = add(b)
	}
	at := 0
	for i, a := range args {
		size, v := 8, uint64(0)
		switch a := a.(type) {
		case int:
			v = uint64(a)
		case float32:
			size, v = 4, uint64(math.Float32bits(a))
		case []float32:
			v = add(bytesOf(a))
		case []byte:
			v = add(a)
		case []uint16:
			v = add(bytesOf(a))
		case []int32:
			v = add(bytesOf(a))
		}
		if want := map[string]int{"float32": 4}[r.args[i]]; want != size&4 {
			panic(fmt.Sprintf("%s: argument %d is %s", name, i, r.args[i]))
		}
		at = (at + size - 1) &^ (size - 1)
		for j := range size {
			frame[at+j] = byte(v >> (8 * j))
		}
		at += size
	}
	// Nothing may depend on what registers hold at the start.
	for i := range m.vec {
		for j := range m.vec[i] {
			m.vec[i][j] = 0xff
		}
	}
	m.execute(name, r)
	at = (at + 7) &^ 7
	switch r.ret {
	case "float32":
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(frame[at:])))
	case "float64":
		return math.Float64frombits(binary.LittleEndian.Uint64(frame[at:]))
	}
	return 0
}

func (m *machine) execute(name string, r *routine) {
	pc := 0
	defer func() {
		if v := recover(); v != nil {
			panic(fmt.Sprintf("%s: %s: %v", name, r.code[pc].text, v))
		}
	}()
	for steps := 0; ; steps++ {
		in := &r.code[pc]
		if steps > 5_000_000 {
			panic("does not end")
		}
		if in.op == "RET" {
			return
		}
		if in.op[0] == 'J' {
			if m.condition(in.op[1:]) {
				target, ok := r.labels[in.args[0].name]
				if !ok {
					panic("no label")
				}
				pc = target
				continue
			}
		} else if in.op[0] == 'V' {
			m.vector(in)
		} else {
			m.scalar(in)
		}
		pc++
	}
}

func (m *machine) condition(c string) bool {
	switch c {
	case "MP":
		return true
	case "Z":
		return m.zf
	case "NZ":
		return !m.zf
	case "LT":
		return m.lt
	case "GE":
		return !m.lt
	case "LE":
		return m.lt || m.zf
	case "GT":
		return !m.lt && !m.zf
	}
	panic("unknown condition")
}

func (m *machine) address(o *operand) uint64 {
	var a uint64
	if o.base >= 0 {
		a = m.gpr[o.base]
	} else {
		a = m.symbol[o.name]
	}
	a += uint64(o.imm)
	if o.index >= 0 {
		a += m.gpr[o.index] * o.scale
	}
	return a
}

// mem is the n bytes at an address, which must lie inside one slice.
func (m *machine) mem(a uint64, n int) []byte {
	region, off := int(a>>32)-1, a&0xffffffff
	if region < 0 || region >= len(m.regions) || off+uint64(n) > uint64(len(m.regions[region])) {
		panic(fmt.Sprintf("access of %d bytes at %#x is outside the arguments", n, a))
	}
	return m.regions[region][off : off+uint64(n)]
}

func (m *machine) int(o *operand) uint64 {
	switch o.kind {
	case 'i':
		return uint64(o.imm)
	case 'g':
		return m.gpr[o.n]
	case 'm':
		return binary.LittleEndian.Uint64(m.mem(m.address(o), 8))
	}
	panic("bad integer operand")
}

func (m *machine) flags(v uint64) uint64 {
	m.zf, m.lt = v == 0, int64(v) < 0
	return v
}

func (m *machine) scalar(in *instruction) {
	a := in.args
	switch in.op {
	case "PREFETCHT0", "PREFETCHT1":
		return
	case "KMOVW":
		m.k[a[1].n] = m.gpr[a[0].n] & 0xffff
		return
	case "LEAQ":
		m.gpr[a[1].n] = m.address(&a[0])
		return
	case "CMPQ":
		x, y := m.int(&a[0]), m.int(&a[1])
		m.zf, m.lt = x == y, int64(x) < int64(y)
		return
	case "TESTQ":
		m.flags(m.int(&a[0]) & m.int(&a[1]))
		return
	}
	dst := &m.gpr[a[len(a)-1].n]
	switch in.op {
	case "MOVQ":
		*dst = m.int(&a[0])
	case "CMOVQLE", "CMOVQLT", "CMOVQGT":
		if m.condition(in.op[5:]) {
			*dst = m.int(&a[0])
		}
	case "ADDQ":
		*dst = m.flags(*dst + m.int(&a[0]))
	case "SUBQ":
		*dst = m.flags(*dst - m.int(&a[0]))
	case "ANDQ":
		*dst = m.flags(*dst & m.int(&a[0]))
	case "XORQ":
		*dst = m.flags(*dst ^ m.int(&a[0]))
	case "SHLQ":
		*dst = m.flags(*dst << (m.int(&a[0]) & 63))
	case "SHRQ":
		*dst = m.flags(*dst >> (m.int(&a[0]) & 63))
	case "DECQ":
		*dst = m.flags(*dst - 1)
	case "NEGQ":
		*dst = m.flags(-*dst)
	default:
		panic("unknown instruction")
	}
}
