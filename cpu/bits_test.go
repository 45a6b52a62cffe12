package cpu

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"meft/internal/simd"
	"meft/tensor"
)

// bench is a device and what tests allocate on it.
type bench struct {
	*Device
	t     testing.TB
	arena *tensor.Arena
	rng   *rand.Rand
}

func newBench(t testing.TB, threads int, level simd.Level) *bench {
	d := NewLevel(threads, level)
	b := &bench{Device: d, t: t, arena: tensor.NewArena(d, &tensor.Ledger{}, &tensor.Ledger{}), rng: rand.New(rand.NewPCG(3, 4))}
	t.Cleanup(func() {
		b.arena.Close()
		for p := tensor.Pool(0); p < tensor.Pools; p++ {
			if d.Allocated(p) != 0 {
				t.Errorf("%d bytes of %v memory left", d.Allocated(p), p)
			}
		}
		d.Close()
	})
	return b
}

func (b *bench) zeros(d tensor.DType, dims ...int) tensor.Tensor {
	b.t.Helper()
	x := b.arena.New("x", d, dims...)
	if err := b.arena.Err(); err != nil {
		b.t.Fatal(err)
	}
	return x
}

func (b *bench) random(dims ...int) tensor.Tensor {
	x := b.zeros(tensor.F32, dims...)
	for i, v := 0, x.Float32(); i < len(v); i++ {
		v[i] = float32(b.rng.NormFloat64())
	}
	return x
}

func (b *bench) half(dims ...int) tensor.Tensor {
	x := b.zeros(tensor.BF16, dims...)
	b.Convert(x, b.random(dims...))
	return x
}

func (b *bench) ids(v []int32, dims ...int) tensor.Tensor {
	x := b.zeros(tensor.I32, dims...)
	copy(x.Int32(), v)
	return x
}

// packed is the causal mask of sequences of these lengths, with a window.
func (b *bench) packed(scale float32, window int, lengths ...int) tensor.Mask {
	var start, end []int32
	at := 0
	for _, n := range lengths {
		for i := range n {
			start = append(start, int32(at+max(0, i+1-window)))
			end = append(end, int32(at+i+1))
		}
		at += n
	}
	return tensor.Mask{Start: b.ids(start, at), End: b.ids(end, at), Scale: scale}
}

const far = math.MaxInt32

// TestDecodingGivesTheBitsOfTheWholePass: a query row alone, against keys that
// lie elsewhere in a longer cache, has the bits it has in a packed batch.
func TestDecodingGivesTheBitsOfTheWholePass(t *testing.T) {
	const h, hkv, hd = 4, 2, 24
	for _, level := range simd.Levels() {
		for _, window := range []int{far, 50} {
			b := newBench(t, 2, level)
			lengths := []int{3, 200, 1, 140}
			n := 344
			q, k, v := b.random(n, h, hd), b.random(n, hkv, hd), b.random(n, hkv, hd)
			o, lse := b.zeros(tensor.F32, n, h, hd), b.zeros(tensor.F32, n, h)
			b.Attention(o, lse, q, k, v, b.packed(0.2, window, lengths...))

			begin := 203
			cacheK, cacheV := b.random(777, hkv, hd), b.random(777, hkv, hd)
			const at = 301 // where the last two sequences lie in the cache
			b.Convert(cacheK.Rows(at, at+141), k.Rows(begin, n))
			b.Convert(cacheV.Rows(at, at+141), v.Rows(begin, n))
			for _, r := range []int{203, 204, 205, 250, 331, 332, 343} {
				first := 204
				if r == 203 {
					first = 203
				}
				first = max(first, r+1-window)
				m := tensor.Mask{Start: b.ids([]int32{int32(first - begin + at)}, 1), End: b.ids([]int32{int32(r + 1 - begin + at)}, 1), Scale: 0.2}
				one, l := b.zeros(tensor.F32, 1, h, hd), b.zeros(tensor.F32, 1, h)
				b.Attention(one, l, q.Rows(r, r+1), cacheK, cacheV, m)
				if !slices.Equal(one.Float32(), o.Rows(r, r+1).Float32()) || !slices.Equal(l.Float32(), lse.Rows(r, r+1).Float32()) {
					t.Errorf("%v, window %d: row %d alone differs", level, window, r)
				}
			}
		}
	}
}

// TestRowsDoNotSeeTheirNeighbours: the kernels by row give a row the same bits
// alone and in a batch.
func TestRowsDoNotSeeTheirNeighbours(t *testing.T) {
	for _, level := range simd.Levels() {
		b := newBench(t, 2, level)
		const n, d, out = 37, 203, 90
		x, w, w16, norm := b.random(n, d), b.random(out, d), b.half(out, d), b.random(d)
		rows, gate, up := b.random(50, d), b.random(n, d), b.random(n, d)
		id := make([]int32, n*5)
		for i := range id {
			id[i] = int32(b.rng.IntN(51) - 1)
		}
		ids, z := b.ids(id, n, 5), b.random(n, 5)
		targets := b.ids(id[:n], n)
		cat := func(lo, hi int) []float32 {
			var all []float32
			keep := func(ys ...tensor.Tensor) {
				for r := range hi - lo {
					for _, y := range ys {
						all = append(all, y.Rows(r, r+1).Float32()...)
					}
				}
			}
			m := hi - lo
			y, y16, s := b.zeros(tensor.F32, m, out), b.zeros(tensor.F32, m, out), b.zeros(tensor.F32, m, 5)
			b.MatMul(y, x.Rows(lo, hi), w, tensor.MatMulOpts{TransB: true})
			b.MatMul(y16, x.Rows(lo, hi), w16, tensor.MatMulOpts{TransB: true})
			normed, rstd, soft, act := b.zeros(tensor.F32, m, d), b.zeros(tensor.F32, m), b.zeros(tensor.F32, m, d), b.zeros(tensor.F32, m, d)
			b.RMSNorm(normed, rstd, x.Rows(lo, hi), norm, 1e-5)
			b.Softmax(soft, x.Rows(lo, hi))
			b.SwiGLU(act, gate.Rows(lo, hi), up.Rows(lo, hi))
			b.RowDots(s, x.Rows(lo, hi), rows, ids.Rows(lo, hi))
			sum, loss, logits := b.zeros(tensor.F32, m, d), b.zeros(tensor.F32, m), b.zeros(tensor.F32, m, d)
			b.RowAdd(sum, z.Rows(lo, hi), rows, ids.Rows(lo, hi))
			b.Convert(logits, x.Rows(lo, hi))
			b.CrossEntropy(loss, logits, targets.Rows(lo, hi), 0.5)
			dx := b.zeros(tensor.F32, m, d)
			b.RMSNormGrad(dx, tensor.Tensor{}, gate.Rows(lo, hi), x.Rows(lo, hi), norm, rstd)
			keep(y, y16, normed, rstd, soft, act, s, sum, loss, logits, dx)
			return all
		}
		whole, parts := cat(0, n), []float32(nil)
		for _, cut := range [][2]int{{0, 1}, {1, 2}, {2, 9}, {9, 36}, {36, 37}} {
			parts = append(parts, cat(cut[0], cut[1])...)
		}
		if !slices.Equal(whole, parts) {
			t.Errorf("%v: rows in parts differ from rows in one batch", level)
		}
	}
}

// TestBothWaysOfAttentionGradAgree compares the bits of one pass by sequence
// and of two passes, which the survey chooses between.
func TestBothWaysOfAttentionGradAgree(t *testing.T) {
	const h, hkv, hd = 4, 1, 16
	for _, window := range []int{far, 33} {
		for _, lengths := range [][]int{{400}, {3, 1, 390, 6}, {300, 100}, {30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 15}} {
			grads := func(threads int) (out []float32, onePass bool) {
				b := newBench(t, threads, simd.Best())
				q, k, v, do := b.random(400, h, hd), b.random(400, hkv, hd), b.random(400, hkv, hd), b.random(400, h, hd)
				o, lse := b.zeros(tensor.F32, 400, h, hd), b.zeros(tensor.F32, 400, h)
				dq, dk, dv := b.zeros(tensor.F32, 400, h, hd), b.zeros(tensor.F32, 400, hkv, hd), b.zeros(tensor.F32, 400, hkv, hd)
				m := b.packed(0.25, window, lengths...)
				b.Attention(o, lse, q, k, v, m)
				b.AttentionGrad(dq, dk, dv, do, o, lse, q, k, v, m)
				s := tensor.CheckAttention(o, lse, q, k, v, m)
				onePass = b.attention(s, o, lse, q, k, v, m).survey()
				return slices.Concat(dq.Float32(), dk.Float32(), dv.Float32()), onePass
			}
			one, first := grads(1)
			two, second := grads(8) // 8 threads and one key head: too few sequences
			if !first || second {
				t.Fatalf("%v: both ways are not used: %v %v", lengths, first, second)
			}
			if !slices.Equal(one, two) {
				t.Errorf("%v, window %d: gradients differ", lengths, window)
			}
		}
	}
}

// TestNaNStaysInItsSequence: neither pass of attention carries a NaN to rows
// that share no key with its own.
func TestNaNStaysInItsSequence(t *testing.T) {
	const h, hkv, hd, n = 4, 2, 16, 40
	for _, level := range simd.Levels() {
		for _, threads := range []int{1, 8} { // one pass and two
			b := newBench(t, threads, level)
			q, k, v, do := b.random(n, h, hd), b.random(n, hkv, hd), b.random(n, hkv, hd), b.random(n, h, hd)
			o, lse := b.zeros(tensor.F32, n, h, hd), b.zeros(tensor.F32, n, h)
			dq, dk, dv := b.zeros(tensor.F32, n, h, hd), b.zeros(tensor.F32, n, hkv, hd), b.zeros(tensor.F32, n, hkv, hd)
			for _, x := range []tensor.Tensor{q, k, v, do} {
				b.Fill(x.Rows(15, 18), float32(math.NaN()))
			}
			m := b.packed(0.25, far, 15, 3, 22)
			b.Attention(o, lse, q, k, v, m)
			b.AttentionGrad(dq, dk, dv, do, o, lse, q, k, v, m)
			for name, x := range map[string]tensor.Tensor{"o": o, "lse": lse, "dq": dq, "dk": dk, "dv": dv} {
				for r := range n {
					for _, y := range x.Rows(r, r+1).Float32() {
						if inside := r >= 15 && r < 18; (y != y) != inside {
							t.Fatalf("%v, %d threads: row %d of %s holds %v", level, threads, r, name, y)
						}
					}
				}
			}
		}
	}
}

// TestKernelsAllocateNothing calls every kernel.
func TestKernelsAllocateNothing(t *testing.T) {
	b := newBench(t, 2, simd.Best())
	const n, d, h, k = 64, 256, 4, 8
	x, y, z, w := b.random(n, d), b.random(n, d), b.random(n, d), b.random(d)
	w16, table16, square := b.half(d), b.half(n, d), b.random(d, d)
	v1, idn := b.random(n), make([]int32, n*k)
	for i := range idn {
		idn[i] = int32(i % n)
	}
	ids, idk, scores := b.ids(idn[:n], n), b.ids(idn, n, k), b.random(n, k)
	q, kk, v, o := b.random(n, h, d/h), b.random(n, h, d/h), b.random(n, h, d/h), b.random(n, h, d/h)
	lse, m := b.random(n, h), b.packed(0.1, far, 10, 30, 24)
	angles := b.random(n, d/h)
	none := tensor.Tensor{}
	host := make([]byte, x.Bytes())
	for name, f := range map[string]func(){
		"matmul":        func() { b.MatMul(y, x, square, tensor.MatMulOpts{TransB: true}) },
		"gather":        func() { b.Gather(y, table16, ids) },
		"scatter":       func() { b.Scatter(y, x, ids); b.ScatterAdd(y, x, ids) },
		"bias":          func() { b.AddBias(y, w16); b.BiasGrad(w, x) },
		"rmsnorm":       func() { b.RMSNorm(y, v1, x, w16, 1e-5); b.RMSNormGrad(y, w, z, x, w16, v1) },
		"rope":          func() { b.RoPE(q, ids, angles, false) },
		"attention":     func() { b.Attention(o, lse, q, kk, v, m) },
		"attentiongrad": func() { b.AttentionGrad(q, kk, v, o, o, lse, o, o, o, m) },
		"swiglu":        func() { b.SwiGLU(y, x, z); b.SwiGLUGrad(y, z, y, x, x) },
		"act":           func() { b.Act(y, x, tensor.SiLU); b.ActGrad(y, z, x, tensor.ReLU) },
		"rows":          func() { b.RowDots(scores, x, y, idk); b.RowAdd(y, scores, x, idk); b.RowOuter(y, scores, x, idk) },
		"gatedrelu":     func() { b.GatedReLU(y, x, z); b.GatedReLUGrad(y, none, z, x, none) },
		"softmax":       func() { b.Softmax(y, x); b.SoftmaxGrad(z, y, x) },
		"pick":          func() { b.Pick(scores, x, idk); b.PickGrad(x, scores, idk) },
		"crossentropy":  func() { b.CrossEntropy(v1, y, ids, 0.5) },
		"elements": func() {
			b.Add(y, x, z)
			b.Mul(z, y, x)
			b.Axpy(y, 2, x)
			b.Fill(y, 1)
			b.MaskZeros(y, x)
			b.SumSquares(v1, x)
		},
		"convert": func() { b.Convert(table16, x); b.Convert(x, table16) },
		"adamw":   func() { b.AdamW(y, x, z, x, tensor.AdamWOpts{Rate: 1, Correct1: 1, Correct2: 1, Eps: 1}) },
		"copies":  func() { b.Await(b.Upload(x, host)); b.Await(b.Download(host, x)) },
	} {
		if n := testing.AllocsPerRun(5, f); n != 0 {
			t.Errorf("%s: %v allocations a call", name, n)
		}
	}
}

// TestWideRowsAreCutInChunks covers rows wider than the room of a worker.
func TestWideRowsAreCutInChunks(t *testing.T) {
	b := newBench(t, 2, simd.Best())
	const d = 2*chunk + 5
	x, w, dy, y, rstd, dx, dw := b.random(2, d), b.half(d), b.random(2, d), b.zeros(tensor.F32, 2, d), b.zeros(tensor.F32, 2), b.zeros(tensor.F32, 2, d), b.zeros(tensor.F32, d)
	b.RMSNorm(y, rstd, x, w, 0)
	b.RMSNormGrad(dx, dw, dy, x, w, rstd)
	wide := b.zeros(tensor.F32, d)
	b.Convert(wide, w)
	// y·(row of dy) by both formulas: dw·w sums what dx·x leaves. Without eps,
	// y does not change with the length of x, so dx is at right angles to it.
	for r := range 2 {
		right, size := 0.0, 0.0
		for i, v := range x.Rows(r, r+1).Float32() {
			right += float64(v) * float64(dx.Rows(r, r+1).Float32()[i])
			size += math.Abs(float64(v) * float64(dx.Rows(r, r+1).Float32()[i]))
		}
		if math.Abs(right) > 1e-5*size {
			t.Errorf("row %d: dx·x is %v of %v, wants 0", r, right, size)
		}
	}
	var byRow, byColumn float64
	for i, v := range y.Float32() {
		byRow += float64(v) * float64(dy.Float32()[i])
	}
	for i, v := range dw.Float32() {
		byColumn += float64(v) * float64(wide.Float32()[i])
	}
	if math.Abs(byRow-byColumn) > 1e-3*math.Sqrt(2*d) {
		t.Errorf("Σ y·dy is %v, Σ dw·w is %v: they are equal", byRow, byColumn)
	}
}

func TestNameSaysThreadsAndLevel(t *testing.T) {
	d := NewLevel(3, simd.Portable)
	defer d.Close()
	if want := "cpu, 3 threads, portable"; d.Name() != want {
		t.Errorf("name is %q, wants %q", d.Name(), want)
	}
	if want := d.Pool().Bytes() + 3*int64(unsafe.Sizeof(space{})); d.WorkspaceBytes() != want {
		t.Errorf("workspace of %d bytes, wants %d", d.WorkspaceBytes(), want)
	}
}
