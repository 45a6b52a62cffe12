package simd

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// special values are mixed into random ones.
var special = []float32{0, float32(math.Copysign(0, -1)), float32(math.Inf(1)), float32(math.Inf(-1)), nan, 88.8, -87.4, -103.9, 1e-40, -2e-39, 3e38, 1e-20}

func mixed(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		if x[i] = float32(rng.NormFloat64() * 3); rng.IntN(12) == 0 {
			x[i] = special[rng.IntN(len(special))]
		}
	}
	return x
}

func plain(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

func halves(rng *rand.Rand, n int) []uint16 {
	x := make([]uint16, n)
	for i := range x {
		x[i] = narrow(float32(rng.NormFloat64()))
	}
	return x
}

// pairs are two bfloat16 in every float32, subnormal ones among them.
func pairs(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		v := [2]float32{float32(rng.NormFloat64()), float32(rng.NormFloat64())}
		if rng.IntN(8) == 0 {
			v[rng.IntN(2)] *= 0x1p-128
		}
		x[i] = float(uint32(narrow(v[0])) | uint32(narrow(v[1]))<<16)
	}
	return x
}

// arraysOf is the number of float32 arrays of the element-wise routines.
var arraysOf = map[string]int{"axpy": 2, "scale": 1, "add": 3, "mul": 3, "mulAdd": 3, "mulScaled": 3, "rotate": 4, "relu": 2, "reluBackward": 3,
	"exp": 2, "sigmoid": 2, "silu": 2, "siluBackward": 3, "swiglu": 3, "swigluBackward": 5, "tanh": 2, "tanhBackward": 3, "gelu": 2, "geluBackward": 3}

// scalarOf have a float32 after their arrays.
var scalarOf = map[string]bool{"axpy": true, "scale": true, "mulScaled": true, "rotate": true, "exp": true}

// adamParams are the scalars of the AdamW step as the assembly sees them.
func adamParams() []float32 {
	return []float32{adam.GradScale, adam.Decay, adam.Beta1, adam.Rest1, adam.Beta2, adam.Rest2, adam.Step, adam.Eps, adam.Unbias}
}

// routineArgs are argument lists for a routine around its widths.
func routineArgs(rng *rand.Rand, name string) (all [][]any) {
	base, lanes := strings.TrimSuffix(name, "AVX2"), 8
	if s, ok := strings.CutSuffix(name, "AVX512"); ok {
		base, lanes = s, 16
	}
	if mr, ok := strings.CutPrefix(base, "kern"); ok {
		rows, _ := strconv.Atoi(mr)
		return kernelArgs(rng, rows, lanes, plain)
	}
	if mr, ok := strings.CutPrefix(base, "pair"); ok && mr != "BF16" {
		rows, _ := strconv.Atoi(mr)
		return kernelArgs(rng, rows, lanes, pairs)
	}
	if mr, ok := strings.CutPrefix(base, "thin"); ok {
		if strings.HasSuffix(mr, "Codes") {
			return thinCodesArgs(rng, int(mr[0]-'0'))
		}
		return thinArgs(rng, int(mr[0]-'0'), strings.HasSuffix(mr, "BF16"))
	}
	if mr, ok := strings.CutPrefix(base, "tile"); ok {
		rows, _ := strconv.Atoi(mr)
		return tileArgs(rng, rows, 2*lanes)
	}
	if strings.HasPrefix(base, "lane") {
		return laneArgs(rng, base, lanes)
	}
	if strings.HasPrefix(base, "pack") {
		return packArgs(rng, base)
	}
	if base == "decode4" || base == "decode8" {
		return decodeArgs(rng, base)
	}
	if base == "peak" {
		return [][]any{{1, plain(rng, 14*lanes)}, {5, plain(rng, 14*lanes)}}
	}
	if base == "pairBF16" {
		for _, width := range []int{14, 32} {
			for n := 1; n <= 4; n++ {
				all = append(all, []any{n, mixed(rng, 2*n*width+panelPad), width})
			}
		}
		return all
	}
	for _, n := range ragged[1:] {
		x, y := mixed(rng, n), mixed(rng, n)
		whole := n / lanes * lanes
		switch base {
		case "dot":
			all = append(all, []any{n, plain(rng, n), plain(rng, n)})
		case "dots":
			for _, m := range []int{1, 2, 5} {
				all = append(all, []any{n, plain(rng, n), m, plain(rng, m), plain(rng, m*(n+1)-1), n + 1})
			}
		case "dotBF16":
			all = append(all, []any{whole, plain(rng, whole), halves(rng, whole)})
		case "sum", "sumSquares":
			all = append(all, []any{n, plain(rng, n)})
		case "max":
			if n >= lanes {
				all = append(all, []any{n, plain(rng, n)})
			}
		case "roundBF16":
			if whole > 0 {
				all = append(all, []any{whole, x[:whole]})
			}
		case "fromBF16":
			if whole > 0 {
				all = append(all, []any{whole, x[:whole], halves(rng, whole)})
			}
		case "toBF16":
			if whole > 0 {
				all = append(all, []any{whole, halves(rng, whole), x[:whole]})
			}
		case "largest":
			if whole > 0 {
				all = append(all, []any{whole, x[:whole]})
			}
		case "decodeSigned", "decodeRoots", "encodeSigned", "encodeRoots":
			if whole > 0 {
				all = append(all, codeArgs(rng, base, whole))
			}
		case "adamw":
			v := plain(rng, n)
			for i := range v {
				v[i] *= v[i]
			}
			all = append(all, []any{n, x, y, plain(rng, n), v, adamParams()})
		default:
			args := []any{n}
			for range arraysOf[base] {
				args = append(args, mixed(rng, n))
			}
			if scalarOf[base] {
				args = append(args, float32(0.75))
			}
			all = append(all, args)
		}
	}
	return all
}

// codeArgs have every code or, for coding, magnitudes of all decades up to a
// largest one of 2, and 0.
func codeArgs(rng *rand.Rand, base string, n int) []any {
	x, codes := make([]float32, n), make([]byte, n)
	for i := range x {
		codes[i] = byte(rng.IntN(256))
		x[i] = 2 * float32(math.Exp(-18*rng.Float64()))
		if base == "encodeSigned" && rng.IntN(2) == 0 {
			x[i] = -x[i]
		}
		if rng.IntN(8) == 0 {
			x[i] = 0
		}
	}
	switch base {
	case "decodeSigned":
		return []any{n, x, codes, float32(0.7), parts(&signedParts)}
	case "decodeRoots":
		return []any{n, x, codes, float32(0.7), parts(&rootParts)}
	case "encodeRoots":
		return []any{n, x, codes, float32(math.Sqrt(0.5))}
	}
	return []any{n, x, codes, float32(0.5)}
}

// parts is p as the assembly sees it.
func parts(p *codeParts) []float32 { return append(p.width[:], p.middle[:]...) }

func kernelArgs(rng *rand.Rand, rows, lanes int, draw func(*rand.Rand, int) []float32) (all [][]any) {
	stride, nr := 6, 16
	if lanes == 16 {
		stride, nr = 14, 32
	}
	for _, kc := range []int{1, 3, 4, 5, 17, 24} {
		for acc := range 2 {
			panels, ldc, panel := 1+kc%3, nr+kc%3, kc*stride+4
			all = append(all, []any{panels, kc, draw(rng, (panels-1)*panel+(kc-1)*stride+rows), panel, draw(rng, kc*nr),
				plain(rng, (panels*rows-1)*ldc+nr), ldc, acc, float32(0.7), []byte{1}, 1 + kc%2, 2, 64, kc % 4})
		}
	}
	return all
}

// tileArgs has A by rows and by columns.
func tileArgs(rng *rand.Rand, rows, nr int) (all [][]any) {
	for _, kc := range []int{1, 2, 7} {
		for acc := range 2 {
			slivers, skip, ldc := 1+kc%3, 5, 3*nr+kc
			b, c := plain(rng, slivers*(kc*nr+skip)), plain(rng, (rows-1)*ldc+slivers*nr)
			all = append(all, []any{slivers, kc, plain(rng, (rows-1)*(kc+2)+kc), kc + 2, 1, b, skip, c, ldc, acc},
				[]any{slivers, kc, plain(rng, (kc-1)*(rows+3)+rows), 1, rows + 3, b, skip, append([]float32(nil), c...), ldc, acc})
		}
	}
	return all
}

// laneArgs is a vector of lanes that see different rows of [2, 2+n), the first
// none, with the arguments of both widths: the narrow routines use a half.
func laneArgs(rng *rand.Rand, base string, lanes int) (all [][]any) {
	for _, n := range []int{1, 2, 9} {
		const before, after = 2, 3
		ld := lanes + n
		s, g := plain(rng, (before+n+after-1)*ld+lanes), plain(rng, (before+n+after-1)*ld+lanes)
		for i := range s {
			s[i] *= 40
		}
		s[before*ld+1] = nan
		dist, half, bias := make([]float32, lanes), make([]float32, lanes), make([]int32, lanes)
		for j := range lanes {
			lo := before + rng.IntN(n)
			hi := lo + 1 + rng.IntN(before+n-lo)
			if j == 0 {
				lo, hi = 0, 0
			}
			dist[j], half[j], bias[j] = -0.5*float32(lo+hi-1), 0.5*float32(hi-lo), int32(rng.IntN(100)-127)
		}
		switch base {
		case "laneTop":
			all = append(all, []any{n, s[before*ld:], ld, dist, half, float32(before), plain(rng, lanes)})
		case "laneWeights":
			all = append(all, []any{before, n, after, s, ld, dist, half, float32(before), bias, plain(rng, lanes)})
		case "laneGrads":
			all = append(all, []any{before, n, after, s, g, ld, dist, half, float32(before), plain(rng, lanes), plain(rng, lanes), float32(0.3)})
		}
	}
	return all
}

func thinArgs(rng *rand.Rand, rows int, bf16 bool) (all [][]any) {
	cols := thinCols(rows)
	for _, kc := range []int{32, 64, 96} {
		for acc := range 2 {
			ldb, ldc := kc+3, cols+acc
			var b any = plain(rng, (cols-1)*ldb+kc)
			if bf16 {
				b = halves(rng, (cols-1)*ldb+kc)
			}
			all = append(all, []any{kc, plain(rng, rows*kc), b, ldb, 768, plain(rng, (rows-1)*ldc+cols), ldc, acc, float32(0.7)})
		}
	}
	return all
}

// thinCodesArgs has rows that are further apart than they are long.
func thinCodesArgs(rng *rand.Rand, rows int) (all [][]any) {
	cols := thinCols(rows)
	for _, kc := range []int{32, 96} {
		for acc := range 2 {
			ldb, ldc := kc/2+5, cols+acc
			codes := make([]byte, (cols-1)*ldb+kc/2)
			for i := range codes {
				codes[i] = byte(rng.Uint32())
			}
			all = append(all, []any{kc, plain(rng, rows*kc), codes, ldb, 768, plain(rng, kc/32*cols), plain(rng, 16), plain(rng, (rows-1)*ldc+cols), ldc, acc, float32(0.7)})
		}
	}
	return all
}

// decodeArgs are blocks next to each other and blocks of rows cut into slivers.
func decodeArgs(rng *rand.Rand, base string) (all [][]any) {
	codes := make([]byte, 4*64)
	for i := range codes {
		codes[i] = byte(rng.Uint32())
	}
	for n := 1; n <= 3; n++ {
		if base == "decode8" {
			all = append(all, []any{8 * n, plain(rng, 8*n), codes, float32(0.3)})
			continue
		}
		all = append(all, []any{n, plain(rng, 64*n), 64, 128, 192, 256, codes, 32, mixed(rng, n), mixed(rng, 16)},
			[]any{n, plain(rng, 4*16*n), 4 * 16 * n, 8 * 16 * n, 12 * 16 * n, 64, codes, 48, mixed(rng, n), mixed(rng, 16)})
	}
	return all
}

// packArgs fills dst with one vector of slack past its last row, as panels
// have.
func packArgs(rng *rand.Rand, name string) (all [][]any) {
	for _, ds := range []int{6, 14, 16, 32} {
		for count := 1; count <= 3; count++ {
			ss := 70 + count
			switch name {
			case "packT":
				for rows := 1; rows <= 8; rows++ {
					all = append(all, []any{plain(rng, 8*count*ds+8), ds, plain(rng, (rows-1)*ss+8*count), ss, rows, count})
				}
			case "packTBF16":
				for rows := 1; rows <= 8; rows++ {
					all = append(all, []any{plain(rng, 16*count*ds+8), ds, halves(rng, (rows-1)*ss+16*count), ss, rows, count})
				}
			case "packRows8", "packRows16":
				w := 8
				if name == "packRows16" {
					w = 16
				}
				for cols := 1; cols <= w; cols++ {
					panel, sp := 3*ds+w, cols+count%2
					all = append(all, []any{plain(rng, count*panel), panel, ds, plain(rng, 2*ss+(count-1)*sp+cols), ss, sp, cols, count, 3})
				}
			case "packRows16BF16":
				all = append(all, []any{plain(rng, count*ds+16), ds, halves(rng, (count-1)*ss+16), ss, count})
			}
		}
	}
	return all
}

func copyArgs(args []any) []any {
	out := make([]any, len(args))
	for i, a := range args {
		switch a := a.(type) {
		case []float32:
			out[i] = append([]float32(nil), a...)
		case []uint16:
			out[i] = append([]uint16(nil), a...)
		case []byte:
			out[i] = append([]byte(nil), a...)
		case []int32:
			out[i] = append([]int32(nil), a...)
		default:
			out[i] = a
		}
	}
	return out
}

func same32(a, b float32) bool { return bits(a) == bits(b) || a != a && b != b }

func compareArgs(t *testing.T, name string, got, want float64, a, b []any) {
	t.Helper()
	if math.Float64bits(got) != math.Float64bits(want) && !(got != got && want != want) {
		t.Fatalf("%s(%v) = %g, want %g", name, sizes(a), got, want)
	}
	for i := range a {
		switch x := a[i].(type) {
		case []float32:
			for j, v := range x {
				if w := b[i].([]float32)[j]; !same32(v, w) {
					t.Fatalf("%s(%v): argument %d element %d is %g, want %g", name, sizes(a), i, j, v, w)
				}
			}
		case []uint16:
			for j, v := range x {
				if w := b[i].([]uint16)[j]; v != w {
					t.Fatalf("%s(%v): argument %d element %d is %#x, want %#x", name, sizes(a), i, j, v, w)
				}
			}
		}
	}
}

// sizes shortens arguments for messages.
func sizes(args []any) string {
	var s []string
	for _, a := range args {
		if v := reflect.ValueOf(a); v.Kind() == reflect.Slice {
			s = append(s, fmt.Sprintf("[%d]", v.Len()))
		} else {
			s = append(s, fmt.Sprint(a))
		}
	}
	return strings.Join(s, ", ")
}
