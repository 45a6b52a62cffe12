package safetensors

import (
	"encoding/binary"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// half16 is the value of a half, from the definition of the format.
func half16(h uint16) float64 {
	sign, exp, frac := 1-2*float64(h>>15), int(h>>10&31), float64(h&1023)
	switch exp {
	case 0:
		return sign * math.Ldexp(frac, -24)
	case 31:
		if frac != 0 {
			return math.NaN()
		}
		return math.Inf(int(sign))
	}
	return sign * math.Ldexp(1024+frac, exp-25)
}

func TestEveryHalfIsWidenedExactly(t *testing.T) {
	src, dst := make([]uint16, 1<<16), make([]float32, 1<<16)
	// An odd stride visits every half once. With 1 neighbours are of one kind and
	// groups of four take the short way, with the other every mixture comes by.
	for _, stride := range []int{1, 0x6487} {
		for i := range src {
			src[i] = uint16(i * stride)
		}
		F32FromF16(dst, src)
		for i, got := range dst {
			want := half16(src[i])
			if math.IsNaN(want) != math.IsNaN(float64(got)) || !math.IsNaN(want) && float64(got) != want {
				t.Fatalf("half %#04x is %v, wanted %v", src[i], got, want)
			}
			if math.Signbit(float64(got)) != (src[i]>>15 == 1) {
				t.Fatalf("half %#04x has lost its sign", src[i])
			}
		}
	}
}

func TestEveryBF16SurvivesWideningAndRounding(t *testing.T) {
	src, wide, back := make([]uint16, 1<<16), make([]float32, 1<<16), make([]uint16, 1<<16)
	for i := range src {
		src[i] = uint16(i)
	}
	F32FromBF16(wide, src)
	BF16FromF32(back, wide)
	for i, v := range wide {
		if math.Float32bits(v) != uint32(i)<<16 {
			t.Fatalf("bfloat16 %#04x is %v", i, v)
		}
		if v != v {
			if back[i]&0x7f80 != 0x7f80 || back[i]&0x7f == 0 {
				t.Fatalf("NaN %#04x became %#04x", i, back[i])
			}
		} else if back[i] != src[i] {
			t.Fatalf("%#04x came back as %#04x", i, back[i])
		}
	}
}

// nearestBF16 rounds v with arbitrary precision: of the bfloat16 at or below
// |v| and the next one, the nearer, on a tie the even one.
func nearestBF16(v float64) uint16 {
	sign := uint16(0)
	if math.Signbit(v) {
		sign, v = 0x8000, -v
	}
	value := func(b uint16) float64 { // exact; what Inf stands for in rounding is 2¹²⁸
		if b == 0x7f80 {
			return 0x1p128
		}
		return float64(math.Float32frombits(uint32(b) << 16))
	}
	lo := uint16(0)
	for step := uint16(0x4000); step > 0; step >>= 1 {
		if lo+step < 0x7f80 && value(lo+step) <= v {
			lo += step
		}
	}
	if math.IsInf(v, 0) {
		return sign | 0x7f80
	}
	below := new(big.Float).Sub(big.NewFloat(v), big.NewFloat(value(lo)))
	above := new(big.Float).Sub(big.NewFloat(value(lo+1)), big.NewFloat(v))
	if c := below.Cmp(above); c > 0 || c == 0 && lo&1 == 1 {
		lo++
	}
	return sign | lo
}

func TestRoundingToBF16IsNearestEven(t *testing.T) {
	const seed = 7
	rng := rand.New(rand.NewPCG(seed, 0))
	values := []float64{
		0, math.Copysign(0, -1), 1, 1 + 0x1p-8, 1 + 3*0x1p-8, 1 + 0x1p-8 + 0x1p-23, // ties and just above
		1 + 0x1p-8 + 0x1p-40, 1 + 3*0x1p-8 - 0x1p-40, // ties only after rounding to float32
		math.MaxFloat32, 0x1.ffp127, 0x1.feffffp127, math.MaxFloat64, math.Inf(1), math.Inf(-1),
		0x1p-133, 0x1p-134, 0x1.8p-134, 0x1p-149, 0x1p-150, 0x1p-300, 0x1.fffffep-127,
	}
	for range 20000 {
		v := math.Float32frombits(rng.Uint32())
		if v == v {
			values = append(values, float64(v), float64(math.Float32frombits(math.Float32bits(v)&^0xffff|0x8000)))
			values = append(values, math.Ldexp(rng.Float64()-0.5, rng.IntN(300)-160))
		}
	}
	all, rounded := make([]float32, len(values)), make([]uint16, len(values))
	for i, v := range values {
		all[i] = float32(v)
	}
	BF16FromF32(rounded, all)
	for i, v := range values {
		want, got := nearestBF16(v), make([]uint16, 1)
		narrowF64(got, binary.LittleEndian.AppendUint64(nil, math.Float64bits(v)))
		if got[0] != want {
			t.Fatalf("seed %d: float64 %x became %#04x, wanted %#04x", seed, v, got[0], want)
		}
		f := all[i]
		BF16FromF32(got, all[i:i+1])
		if want := nearestBF16(float64(f)); got[0] != want || rounded[i] != want {
			t.Fatalf("seed %d: float32 %x became %#04x alone and %#04x in a slice, wanted %#04x", seed, f, got[0], rounded[i], want)
		}
	}
}

func TestNaNStaysNaNInEveryConversion(t *testing.T) {
	// A NaN or Inf beside an ordinary value must not disturb it.
	pair := make([]uint16, 2)
	for _, bits := range []uint32{0x7f800001, 0xffffffff, 0x7f800000, 0xff800000} {
		for at := range 2 {
			in := []float32{1, 1}
			in[at] = math.Float32frombits(bits)
			BF16FromF32(pair, in)
			v := math.Float32frombits(uint32(pair[at]) << 16)
			if (v != v) != (in[at] != in[at]) || v == v && v != in[at] || pair[1-at] != 0x3f80 {
				t.Errorf("%v became %#04x", in, pair)
			}
		}
	}
	quiet, low := math.Float32frombits(0xffc00000), math.Float32frombits(0x7f800001) // the low half of one is all its payload
	got := make([]uint16, 2)
	BF16FromF32(got, []float32{quiet, low})
	var f [2]float32
	F32FromBF16(f[:], got)
	if f[0] == f[0] || f[1] == f[1] || got[0]>>15 != 1 {
		t.Errorf("float32 NaNs became %#04x", got)
	}
	narrowF64(got[:1], binary.LittleEndian.AppendUint64(nil, 0x7ff0000000000001))
	narrowF16(got[1:], []byte{0x01, 0x7c})
	F32FromBF16(f[:], got)
	if f[0] == f[0] || f[1] == f[1] {
		t.Errorf("float64 and half NaNs became %#04x", got)
	}
}

func TestConvertersRefuseUnequalLengths(t *testing.T) {
	for name, f := range map[string]func(){
		"F32FromBF16": func() { F32FromBF16(make([]float32, 2), make([]uint16, 3)) },
		"F32FromF16":  func() { F32FromF16(make([]float32, 3), make([]uint16, 2)) },
		"BF16FromF32": func() { BF16FromF32(make([]uint16, 3), make([]float32, 2)) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s took slices of different lengths", name)
				}
			}()
			f()
		}()
	}
}

// ragged lengths run through the whole blocks of a loop and its rest.
var ragged = []int{0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 200}

func TestFirstNonFiniteIsFoundAnywhere(t *testing.T) {
	// The largest finite values must not be taken for Inf, nor carry into their
	// neighbour.
	bad := []uint32{0x7f800000, 0xff800000, 0x7fc00000, 0xffffffff, 0x7f810000}
	for _, n := range ragged {
		f, h := make([]float32, n), make([]uint16, n)
		for i := range f {
			f[i] = []float32{math.MaxFloat32, -math.MaxFloat32, 0, 1}[i%4]
			h[i] = []uint16{0x7f7f, 0xff7f, 0x8000, 0}[i%4]
		}
		if err := CheckFinite("w", f); err != nil {
			t.Fatalf("n = %d: %v", n, err)
		}
		if err := CheckFiniteBF16("w", h); err != nil {
			t.Fatalf("n = %d: %v", n, err)
		}
		for i := range n {
			for _, b := range bad {
				oldF, oldH := f[i], h[i]
				f[i], h[i] = math.Float32frombits(b), uint16(b>>16)
				if got := firstNonFinite32(view(f)); got != i {
					t.Fatalf("n = %d: %#x at %d found at %d", n, b, i, got)
				}
				if got := firstNonFinite16(view(h)); got != i {
					t.Fatalf("n = %d: %#x at %d found at %d", n, b>>16, i, got)
				}
				f[i], h[i] = oldF, oldH
			}
		}
	}
	wantMessage(t, CheckFinite("w", []float32{0, math.Float32frombits(0xff800000)}), `tensor "w" has -Inf at index 1 of 2`)
	wantMessage(t, CheckFiniteBF16("w", []uint16{0x7fc0}), `tensor "w" has NaN at index 0 of 1`)
}

// The bytes per second of a benchmark are those read from the file.

func benchmarkRead(b *testing.B, d DType) {
	const n = 1 << 20
	data := make([]byte, n*d.Size())
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range n { // ordinary weights, no specials
		f := float32(rng.NormFloat64() * 0.02)
		switch d {
		case "BF16":
			binary.LittleEndian.PutUint16(data[2*i:], roundBF16(math.Float32bits(f)))
		case "F16":
			binary.LittleEndian.PutUint16(data[2*i:], 0x2400|uint16(rng.Uint32()&0x83ff))
		case "F32":
			binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(f))
		}
	}
	s := parsed(b, Tensor{Name: "w", DType: d, Shape: []int{n}, Data: data})
	f, h := make([]float32, n), make([]uint16, n)
	b.Run("F32", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if err := s.ReadF32(f, "w"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("BF16", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if err := s.ReadBF16(h, "w"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkReadFromBF16(b *testing.B) { benchmarkRead(b, "BF16") }
func BenchmarkReadFromF16(b *testing.B)  { benchmarkRead(b, "F16") }
func BenchmarkReadFromF32(b *testing.B)  { benchmarkRead(b, "F32") }

func BenchmarkCheckFinite(b *testing.B) {
	f, h := make([]float32, 1<<20), make([]uint16, 1<<20)
	b.Run("F32", func(b *testing.B) {
		b.SetBytes(4 << 20)
		for b.Loop() {
			if err := CheckFinite("w", f); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("BF16", func(b *testing.B) {
		b.SetBytes(2 << 20)
		for b.Loop() {
			if err := CheckFiniteBF16("w", h); err != nil {
				b.Fatal(err)
			}
		}
	})
}
