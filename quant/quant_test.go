package quant

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"meft/tensor"
)

var types = []tensor.DType{tensor.NF4, tensor.NF4DQ, tensor.FP4, tensor.FP4DQ, tensor.INT8}

// quantile is the inverse of the normal distribution function, by bisection.
func quantile(p float64) float64 {
	lo, hi := -40.0, 40.0
	for range 200 {
		mid := (lo + hi) / 2
		if math.Erfc(-mid/math.Sqrt2)/2 < p {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// spaced is number i of n at equal distances from offset to 1/2, as PyTorch's
// linspace computes it in float32, from the nearer end.
func spaced(offset float32, i, n int) float64 {
	step := (0.5 - offset) / float32(n-1)
	if i < n/2 {
		return float64(offset + float32(step*float32(i)))
	}
	return float64(0.5 - float32(step*float32(n-1-i)))
}

// The published construction (create_normal_map of bitsandbytes): 8 quantiles at
// equal distances from offset down to 1/2, 1/2 itself left out, 7 likewise below,
// and 0, divided by the largest.
func TestNF4IsThePublishedConstruction(t *testing.T) {
	const offset = 0.9677083
	want := []float64{0}
	for i := range 8 {
		want = append(want, quantile(spaced(offset, i, 9)))
	}
	for i := range 7 {
		want = append(want, -quantile(spaced(offset, i, 8)))
	}
	slices.Sort(want)
	for i, v := range want {
		if got := float64(Values(tensor.NF4)[i]); math.Abs(got-v/want[15]) > 1e-7 {
			t.Errorf("code %d stands for %v, the construction gives %v", i, got, v/want[15])
		}
	}
}

// FP4 has two exponent bits and one of fraction; its magnitudes are these through
// 12, the smallest apart.
func TestFP4IsThePublishedTable(t *testing.T) {
	twelfths := []float64{0, 0.0625, 8, 12, 4, 6, 2, 3}
	for i, v := range Values(tensor.FP4DQ) {
		want := twelfths[i&7] / 12
		if i&8 != 0 {
			want = -want
		}
		if math.Abs(float64(v)-want) > 1e-7 {
			t.Errorf("code %d stands for %v, wants %v", i, v, want)
		}
	}
}

// create_dynamic_map(signed=True) of bitsandbytes, with 7 exponent bits and 8 in
// all: means of the neighbours of 2^i+1 equally spaced numbers from 0.1 to 1.
func TestScaleCodeIsThePublishedMap(t *testing.T) {
	want := []float64{0, 1}
	for i := range 7 {
		items := 1<<i + 1
		at := func(j int) float64 { return 0.1 + 0.9*float64(j)/float64(items-1) }
		for j := range items - 1 {
			v := math.Pow(10, float64(i-6)) * (at(j) + at(j+1)) / 2
			want = append(want, v, -v)
		}
	}
	slices.Sort(want)
	if len(want) != 256 {
		t.Fatalf("the map has %d values", len(want))
	}
	for i, v := range want {
		if got := float64(ScaleValues()[i]); math.Abs(got-v) > 1e-7 {
			t.Errorf("code %d stands for %v, the map has %v", i, got, v)
		}
	}
}

// encoded is x as a matrix of a type, coded in pieces from the last to the first.
func encoded(d tensor.DType, x []float32, rows, width int) Matrix {
	m := Of(d, memory(d, rows, width), rows, width)
	e := NewEncoder(m)
	step := 3 * e.Unit()
	for i := (len(x) - 1) / step * step; i >= 0; i -= step {
		e.Encode(x[i:min(i+step, len(x))], i)
	}
	e.Finish()
	return m
}

func memory(d tensor.DType, rows, width int) []byte {
	size := d.Bytes(rows, width)
	return tensor.Bytes(make([]float32, (size+3)/4))[:size]
}

func normals(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

// Every number gets the code of the nearest value, found here by looking at all.
func TestCodesAreTheNearest(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	for _, d := range []tensor.DType{tensor.NF4, tensor.FP4} {
		values := Values(d)
		var probes []float32
		for _, a := range values {
			for _, b := range values {
				edge := (a + b) / 2
				probes = append(probes, a, edge, math.Nextafter32(edge, 2), math.Nextafter32(edge, -2))
			}
		}
		for range 10000 {
			probes = append(probes, 2*rng.Float32()-1)
		}
		probes = slices.DeleteFunc(probes, func(x float32) bool { return x > 1 || x < -1 })
		for i := 0; i < len(probes); i += 63 {
			block := make([]float32, 64)
			block[0] = 1 // the scale
			copy(block[1:], probes[i:min(i+63, len(probes))])
			m := encoded(d, block, 1, 64)
			got := make([]float32, 64)
			m.Decode(got, 0)
			for j, x := range block {
				best := math.Inf(1)
				for _, v := range values {
					best = min(best, math.Abs(float64(v)-float64(x)))
				}
				if d := math.Abs(float64(got[j]) - float64(x)); d > best+1e-7 { // the edges are rounded
					t.Fatalf("%v: %v becomes %v, %g away, the nearest is %g away", d, x, got[j], d, best)
				}
			}
		}
	}
	for range 20000 {
		x := 2*rng.Float32() - 1
		best := math.Inf(1)
		for _, v := range ScaleValues() {
			best = min(best, math.Abs(float64(v)-float64(x)))
		}
		if d := math.Abs(float64(ScaleValues()[scales.nearest(x)]) - float64(x)); d > best+1e-7 {
			t.Fatalf("scale %v is coded %g away, the nearest is %g away", x, d, best)
		}
	}
}

// expected is the mean square error of a block of 64 normal numbers with code
// points values, by integration: over the largest magnitude m of the block, whose
// density is 64·f(m)·F(m)^63 with the half-normal f and F, the largest has no
// error and the other 63 that of a normal number cut at m.
func expected(values []float64) float64 {
	density := func(x float64) float64 { return math.Exp(-x*x/2) / math.Sqrt(2*math.Pi) }
	slices.Sort(values)
	total := 0.0
	const top, steps = 7.0, 700
	for i := range steps {
		m := (float64(i) + 0.5) * top / steps
		inside := math.Erf(m / math.Sqrt2)
		weight := 64 * 2 * density(m) * math.Pow(inside, 63) * top / steps
		if weight < 1e-12 {
			continue
		}
		sum := 0.0
		const cells = 4000
		for j := range cells {
			x := -m + (float64(j)+0.5)*2*m/cells
			at, _ := slices.BinarySearch(values, x/m)
			near := math.Inf(1)
			for _, k := range []int{at - 1, at} {
				if k >= 0 && k < len(values) {
					near = min(near, math.Abs(x-m*values[k]))
				}
			}
			sum += near * near * density(x) * 2 * m / cells
		}
		total += weight * 63 / 64 * sum / inside
	}
	return total
}

func TestErrorOfNormalNumbersIsTheTheoretical(t *testing.T) {
	const rows, width = 512, 1024
	x := normals(rand.New(rand.NewPCG(2, 0)), rows*width)
	for _, d := range []tensor.DType{tensor.NF4, tensor.NF4DQ, tensor.FP4, tensor.FP4DQ} {
		var values []float64
		for _, v := range Values(d) {
			values = append(values, float64(v))
		}
		want := expected(values)
		got := meanSquare(encoded(d, x, rows, width), x)
		t.Logf("%v: mean square error %.6f, theory %.6f", d, got, want)
		// 2^19 errors, each within 0.3 of a scale of about 2.5, have a mean that
		// strays by well below 1 %. Scales of 8 bits add the square of their own
		// error: what they stray from the mean is a tenth of it, coded within 1 %.
		if math.Abs(got/want-1) > 0.01 {
			t.Errorf("%v: mean square error %v, theory says %v", d, got, want)
		}
	}
	// Whole numbers from -127 to 127 of a row's largest magnitude m err evenly
	// within half a step: m²/127²/12.
	want := 0.0
	for r := range rows {
		m := float64(largest(x[r*width : (r+1)*width]))
		want += m * m / 127 / 127 / 12 / rows
	}
	if got := meanSquare(encoded(tensor.INT8, x, rows, width), x); math.Abs(got/want-1) > 0.01 {
		t.Errorf("int8: mean square error %v, theory says %v", got, want)
	}
}

func meanSquare(m Matrix, x []float32) float64 {
	y := make([]float32, len(x))
	m.Decode(y, 0)
	sum := 0.0
	for i, v := range y {
		d := float64(v) - float64(x[i])
		sum += d * d / float64(len(x))
	}
	return sum
}

// Double scales err by half a step of their code at most, beside the mean.
func TestDoubleScalesAreNearTheScales(t *testing.T) {
	x := normals(rand.New(rand.NewPCG(3, 0)), 64*700)
	plain, double := encoded(tensor.NF4, x, 700, 64), encoded(tensor.NF4DQ, x, 700, 64)
	if !slices.Equal(plain.Codes, double.Codes) {
		t.Error("codes depend on how scales are kept")
	}
	mean := 0.0
	for _, s := range plain.Scales {
		mean += float64(s) / float64(len(plain.Scales))
	}
	if math.Abs(mean-float64(double.Mean[0])) > 1e-6 {
		t.Errorf("mean of the scales is %v, wants %v", double.Mean[0], mean)
	}
	for g := range double.Scales {
		top := 0.0
		for _, s := range plain.Scales[g*256 : min((g+1)*256, 700)] {
			top = max(top, math.Abs(float64(s)-mean))
		}
		if math.Abs(top-float64(double.Scales[g])) > 1e-6 {
			t.Errorf("second scale of group %d is %v, wants %v", g, double.Scales[g], top)
		}
	}
	for i := range plain.Scales {
		// The widest step of the code is 0.9/64, of a second scale.
		if d := math.Abs(float64(double.Scale(i) - plain.Scales[i])); d > 0.9/64/2*float64(double.Scales[i/256])+1e-6 {
			t.Errorf("scale %d is %v, coded %v", i, plain.Scales[i], double.Scale(i))
		}
	}
}

// Zeros stay zeros, and blocks beside them what they are.
func TestZerosAndTinyNumbers(t *testing.T) {
	for _, d := range types {
		x := make([]float32, 256)
		x[70], x[200] = -2, 1e-40
		m := encoded(d, x, 4, 64)
		got := make([]float32, len(x))
		m.Decode(got, 0)
		for i, v := range got {
			// A scale of 8 bits is off by up to a hundredth.
			if want := float64(x[i]); math.Abs(float64(v)-want) > 0.02*math.Abs(want)+1e-30 {
				t.Errorf("%v: element %d is %v, wants %v", d, i, v, want)
			}
		}
	}
}

func TestBytesOfShapes(t *testing.T) {
	for _, c := range []struct {
		d           tensor.DType
		rows, width int
		want        int64
	}{
		{tensor.NF4, 4096, 4096, 1<<23 + 1<<20},
		{tensor.NF4DQ, 4096, 4096, 1<<23 + 1<<18 + 4<<10 + 4},
		{tensor.FP4, 1, 64, 36},
		{tensor.FP4DQ, 1, 64, 32 + 1 + 4 + 4},
		{tensor.FP4DQ, 257, 64, 257*33 + 8 + 4},
		{tensor.INT8, 3, 5, 16 + 12},
		{tensor.INT8, 4096, 4096, 1<<24 + 4<<12},
	} {
		if got := c.d.Bytes(c.rows, c.width); got != c.want {
			t.Errorf("%v[%d %d] takes %d bytes, wants %d", c.d, c.rows, c.width, got, c.want)
		}
		m := Of(c.d, memory(c.d, c.rows, c.width), c.rows, c.width)
		used := len(m.Codes) + 4*len(m.Scales) + len(m.Codes8) + 4*len(m.Mean)
		if c.d == tensor.INT8 {
			used += -len(m.Codes) & 3
		}
		if int64(used) != c.want {
			t.Errorf("%v[%d %d]: the parts have %d bytes of %d", c.d, c.rows, c.width, used, c.want)
		}
	}
	defer func() {
		if fmt.Sprint(recover()) != "tensor: nf4[3 5] has 15 elements, no multiple of 64" {
			t.Error("a tensor of broken blocks has a size")
		}
	}()
	tensor.NF4.Bytes(3, 5)
}
