package tensor

import (
	"strings"
	"testing"
)

// memory is a Buffer on the Go heap.
type memory []byte

func (m memory) Bytes() int64 { return int64(len(m)) }
func (m memory) Host() []byte { return m }

// mustPanic wants f to panic with a message that holds every part.
func mustPanic(t *testing.T, f func(), parts ...string) {
	t.Helper()
	defer func() {
		t.Helper()
		v := recover()
		if v == nil {
			t.Errorf("no panic, wants one with %q", parts)
			return
		}
		message, _ := v.(string)
		for _, p := range parts {
			if !strings.Contains(message, p) {
				t.Errorf("panic says %q, wants %q in it", v, p)
			}
		}
	}()
	f()
}

func shaped(d DType, dims ...int) Tensor {
	x := Tensor{DType: d}
	x.setDims(dims)
	x.Buf = make(memory, max(64, x.Bytes()))
	return x
}

func TestSizesFollowFromDims(t *testing.T) {
	for _, c := range []struct {
		x          Tensor
		len, width int
		bytes      int64
		text       string
	}{
		{Tensor{}, 0, 1, 0, "none"},
		{shaped(F32, 5), 5, 1, 20, "f32[5]"},
		{shaped(BF16, 3, 4), 12, 4, 24, "bf16[3 4]"},
		{shaped(I32, 2, 3, 4, 5), 120, 60, 480, "i32[2 3 4 5]"},
		{shaped(F32, 0, 7), 0, 7, 0, "f32[0 7]"},
	} {
		if c.x.Len() != c.len || c.x.Width() != c.width || c.x.Bytes() != c.bytes || c.x.String() != c.text {
			t.Errorf("%v has %d elements, width %d, %d bytes, text %q; wants %+v", c.x.Dims, c.x.Len(), c.x.Width(), c.x.Bytes(), c.x, c)
		}
	}
	x := shaped(F32, 2, 3, 4)
	if x.Dim(0) != 2 || x.Dim(-1) != 4 || x.Dim(-3) != 2 {
		t.Errorf("dims of %v are %d, %d, %d", x, x.Dim(0), x.Dim(-1), x.Dim(-3))
	}
	mustPanic(t, func() { x.Dim(3) }, "dimension 3", "f32[2 3 4]")
	mustPanic(t, func() { x.Dim(-4) }, "f32[2 3 4]")
	mustPanic(t, func() { shaped(F32, 1, 1, 1, 1, 1) }, "5 dimensions")
}

func TestRowsAndViewsShareMemory(t *testing.T) {
	x := shaped(F32, 4, 3)
	for i := range 12 {
		x.Float32()[i] = float32(i)
	}
	mid := x.Rows(1, 3)
	if !mid.Is(F32, 2, 3) || mid.Float32()[0] != 3 || len(mid.Float32()) != 6 {
		t.Errorf("rows 1 to 3 are %v: %v", mid, mid.Float32())
	}
	mid.Rows(1, 2).View(3).Float32()[2] = 100
	if x.Float32()[8] != 100 {
		t.Errorf("writing to a view of a view left %v", x.Float32())
	}
	if flat := x.View(2, 2, 3); !flat.Is(F32, 2, 2, 3) || flat.SameShape(x) || !flat.SameShape(x.View(2, 2, 3)) {
		t.Errorf("view is %v", flat)
	}
	if n := len(x.Rows(2, 2).Float32()); n != 0 {
		t.Errorf("no rows have %d elements", n)
	}
	mustPanic(t, func() { x.Rows(2, 5) }, "rows [2, 5)", "f32[4 3]")
	mustPanic(t, func() { x.View(5, 2) }, "12 elements", "10")
	mustPanic(t, func() { x.Int32() }, "i32")
	mustPanic(t, func() { (Tensor{DType: F32, Rank: 1, Dims: [MaxRank]int{1}}).Float32() }, "f32[1]")
}

func TestElementsKeepTheirType(t *testing.T) {
	h := shaped(BF16, 8).Rows(3, 5)
	copy(Bytes(h.BFloat16()), []byte{1, 2, 3, 4})
	if v := h.BFloat16(); v[0] != 0x0201 || v[1] != 0x0403 || h.Buf.Host()[6] != 1 {
		t.Errorf("bfloats %x lie at %x", v, h.Buf.Host())
	}
	if b := Bytes([]int32{-2}); len(b) != 4 || b[0] != 0xfe || Bytes([]float32{}) != nil {
		t.Errorf("bytes of -2 are %x", b)
	}
	if F32.Size() != 4 || BF16.Size() != 2 || I32.Size() != 4 || DType(9).String() != "dtype(9)" {
		t.Error("sizes or names of types are wrong")
	}
}

// TestChecksReturnSizesAndNameShapes covers what devicetest cannot: the sizes
// that devices get, and what a user of a wrong call reads.
func TestChecksReturnSizesAndNameShapes(t *testing.T) {
	m, n, k := CheckMatMul(shaped(F32, 3, 5), shaped(F32, 3, 2, 2), shaped(BF16, 5, 4), MatMulOpts{TransB: true})
	if m != 3 || n != 5 || k != 4 {
		t.Errorf("matmul has sizes %d %d %d", m, n, k)
	}
	m, n, k = CheckMatMul(shaped(F32, 3, 5), shaped(F32, 4, 3), shaped(F32, 4, 5), MatMulOpts{TransA: true})
	if m != 3 || n != 5 || k != 4 {
		t.Errorf("matmul of aᵀ has sizes %d %d %d", m, n, k)
	}
	mustPanic(t, func() { CheckMatMul(shaped(F32, 3, 5), shaped(F32, 3, 4), shaped(F32, 6, 4), MatMulOpts{TransB: true}) },
		"matmul", "f32[3 5]", "f32[3 4]", "f32[6 4]")
	mask := Mask{Start: shaped(I32, 3), End: shaped(I32, 3)}
	q, kv := shaped(F32, 3, 4, 8), shaped(F32, 9, 2, 8)
	if s := CheckAttention(q, shaped(F32, 3, 4), q, kv, kv, mask); s != (AttentionSizes{N: 3, Rows: 9, H: 4, HKV: 2, HD: 8}) {
		t.Errorf("attention has sizes %+v", s)
	}
	mustPanic(t, func() { CheckSame("add", shaped(F32, 3), shaped(F32, 4)) }, "add", "f32[3]", "f32[4]")
	mustPanic(t, func() { CheckSame("add", Tensor{}, Tensor{}) }, "none")
	mustPanic(t, func() { CheckCopy(shaped(F32, 3), nil) }, "12 bytes", "host side 0")
	mustPanic(t, func() { CheckRows(shaped(F32, 3, 2), shaped(F32, 3, 4), shaped(F32, 9, 5), shaped(I32, 3, 2)) }, "f32[9 5]")
}
