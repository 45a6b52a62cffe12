package ref

import (
	"math"
	"testing"

	"meft/tensor"
)

// TestForwardKernelsByHand pins the kernels that have no gradient to check.
func TestForwardKernelsByHand(t *testing.T) {
	b := newBench(t)
	want := func(name string, x tensor.Tensor, v ...float64) {
		t.Helper()
		for i, got := range b.Read(x) {
			if math.Abs(got-v[i]) > 1e-9 {
				t.Errorf("%s is %v, wants %v", name, b.Read(x), v)
				return
			}
		}
	}
	x := b.zeros(tensor.F32, 2, 2)
	b.Write(x, []float64{1, 2, 3, 4})
	y := b.zeros(tensor.F32, 2, 2)
	b.MatMul(y, x, x, tensor.MatMulOpts{})
	want("x·x", y, 7, 10, 15, 22)
	b.MatMul(y, x, x, tensor.MatMulOpts{Alpha: 2, Accumulate: true})
	want("3x·x", y, 21, 30, 45, 66)
	b.Scatter(y, x, b.ids([]float64{1, 0}, 2))
	want("scatter", y, 3, 4, 1, 2)
	b.Softmax(y, x)
	want("softmax", y, 1/(1+math.E), math.E/(1+math.E), 1/(1+math.E), math.E/(1+math.E))
	sum := b.zeros(tensor.F32, 1)
	b.SumSquares(sum, x)
	want("sum of squares", sum, 30)
	b.Axpy(x, 0.5, x)
	want("axpy", x, 1.5, 3, 4.5, 6)
	b.Fill(x, 3)
	want("fill", x, 3, 3, 3, 3)
}

// TestAdamWByHand follows one weight for two steps of the algorithm as printed.
func TestAdamWByHand(t *testing.T) {
	b := newBench(t)
	w, g, m, v := b.zeros(tensor.F32, 1), b.zeros(tensor.F32, 1), b.zeros(tensor.F32, 1), b.zeros(tensor.F32, 1)
	b.Write(w, []float64{2})
	o := tensor.AdamWOpts{Rate: 0.125, Beta1: 0.5, Beta2: 0.75, Eps: 0, Decay: 0.5, Correct1: 0.5, Correct2: 0.25, Scale: 0.5}
	b.Write(g, []float64{8})
	b.AdamW(w, g, m, v, o) // g 4, m 2, v 4; corrected 4 and 16: a step of rate·1
	if got, want := b.Read(w)[0], 2-0.125*0.5*2-0.125; got != want {
		t.Errorf("first step gives %v, wants %v", got, want)
	}
	b.Write(w, []float64{0})
	b.Write(g, []float64{0})
	o.Correct1, o.Correct2 = 0.75, 0.4375
	b.AdamW(w, g, m, v, o) // m 1, v 3
	if got, want := b.Read(w)[0], -0.125*(1/0.75)/math.Sqrt(3/0.4375); math.Abs(got-want) > 1e-15 {
		t.Errorf("second step gives %v, wants %v", got, want)
	}
}

func TestTensorsOfDifferentTypesShareMemory(t *testing.T) {
	b := newBench(t)
	buf, err := b.Alloc(64, tensor.OnDevice)
	if err != nil {
		t.Fatal(err)
	}
	view := func(d tensor.DType, off int64, n int) tensor.Tensor {
		return tensor.Tensor{Buf: buf, Off: off, DType: d, Rank: 1, Dims: [tensor.MaxRank]int{n}}
	}
	f, i, h := view(tensor.F32, 0, 8), view(tensor.I32, 8, 4), view(tensor.BF16, 24, 8)
	b.Write(f, []float64{1e-300, 2, 3, 4, 5, 6, 7, math.Pi})
	b.Write(i, []float64{-1, 1 << 30, 0, 7})
	b.Write(h, []float64{1, 2, 3, 4, 5, 6, 7, -0.5})
	if v := b.Read(f); v[0] != 1e-300 || v[7] != math.Pi {
		t.Errorf("floats are %v: full width is kept", v)
	}
	if v := b.Read(i); v[0] != -1 || v[1] != 1<<30 || v[3] != 7 {
		t.Errorf("integers are %v", v)
	}
	if v := b.Read(h); v[0] != 1 || v[7] != -0.5 {
		t.Errorf("bfloats are %v", v)
	}
	b.Write(view(tensor.I32, 3, 5), []float64{9, 9, 9, 9, 9})
	if v := b.Read(f); v[2] != 3 {
		t.Errorf("a view from element 3 on touched element 2: %v", v)
	}
}

func TestBF16RoundsToNearestEven(t *testing.T) {
	for _, c := range []struct{ in, want float64 }{
		{1, 1}, {1 + 1.0/256, 1}, {1 + 3.0/256, 1 + 4.0/256}, {1 + 1.01/256, 1 + 2.0/256},
		{-1 - 3.0/256, -1 - 4.0/256}, {3.4e38, math.Inf(1)}, {math.Inf(-1), math.Inf(-1)}, {1e-45, 0},
	} {
		if got := float64(roundBF16(c.in)); got != c.want {
			t.Errorf("%v rounds to %v, wants %v", c.in, got, c.want)
		}
	}
	if v := roundBF16(math.NaN()); v == v {
		t.Error("NaN became a number")
	}
}
