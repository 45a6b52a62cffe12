package param

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"meft/internal/simd"
	"meft/tensor"
)

func TestSplitMasterIsExactAndItsHighHalfTheNearest(t *testing.T) {
	r := newRand(t)
	x := randoms(r, 4000)
	for i := range x[:2000] {
		x[i] = math.Float32frombits(r.Uint32() &^ (1 << 30)) // all bits, finite
	}
	copy(x, []float32{0, float32(math.Copysign(0, -1)), 1, -1, 1 + 0x1p-8, 1 + 0x1p-9, math.SmallestNonzeroFloat32})
	high, low, back := make([]uint16, len(x)), make([]uint16, len(x)), make([]float32, len(x))
	split(high, low, x)
	join(back, high, low)
	same(t, "joined", back, x)
	for i, h := range high {
		v, got := float64(x[i]), float64(math.Float32frombits(uint32(h)<<16))
		ulp := math.Float32frombits(uint32(h|1)<<16) - math.Float32frombits(uint32(h&^1)<<16)
		if math.Abs(got-v) > math.Abs(float64(ulp))/2 {
			t.Fatalf("the high half of %v is %v, which is not the nearest", v, got)
		}
	}
}

func TestRandomRoundingHasTheRightMeanAndOnlyNeighbours(t *testing.T) {
	const n = 1 << 16
	x, dst := make([]float32, n), make([]uint16, n)
	for _, v := range []float32{1 + 0x1p-9, -3.14159, 1e-12, 0, 0.99921} {
		fill(x, v)
		roundAtRandom(dst, x, 7)
		below := math.Float32bits(v) >> 16
		sum := 0.0
		for _, h := range dst {
			if uint32(h) != below && uint32(h) != below+1 {
				t.Fatalf("%v became %v", v, math.Float32frombits(uint32(h)<<16))
			}
			sum += float64(math.Float32frombits(uint32(h) << 16))
		}
		// The standard error of the mean of n is at most half a gap over sqrt(n):
		// five of them are never exceeded in practice, and the bits are fixed.
		gap := math.Abs(float64(math.Float32frombits((below+1)<<16) - math.Float32frombits(below<<16)))
		if diff := math.Abs(sum/n - float64(v)); diff > 5*gap/2/256 {
			t.Errorf("the mean of %v is off by %v, the gap is %v", v, diff, gap)
		}
	}
	again := make([]uint16, n)
	roundAtRandom(again, x, 7)
	if !slices.Equal(again, dst) {
		t.Error("the same seed gives other bits")
	}
	if roundAtRandom(again, x, 8); slices.Equal(again, dst) {
		t.Error("another seed gives the same bits")
	}
}

// TestCodedBlocksStayClose: the largest number is kept, numbers within a factor
// of ten of it move by 4.5 %, within a hundred by 9 % (half the widest part of a
// decade over its lower end; 7 bits of magnitude), roots by half as much.
func TestCodedBlocksStayClose(t *testing.T) {
	r := newRand(t)
	level := simd.Best()
	for _, c := range []*code{signedCode, rootCode} {
		for _, size := range []float32{1, 1e-12, 1e20} {
			x := randoms(r, 1+r.IntN(block))
			largest := float32(0)
			for i := range x {
				x[i] *= size
				if c.root {
					x[i] *= x[i] / size
				}
				largest = max(largest, float32(math.Abs(float64(x[i]))))
			}
			codes, back := make([]byte, len(x)), make([]float32, len(x))
			c.decode(level, back, codes, c.encode(level, codes, x))
			for i, v := range x {
				a, b, l := float64(v), float64(back[i]), float64(largest)
				share := 9.0 / 64 / 2
				if c.root {
					a, b, l, share = math.Sqrt(a), math.Sqrt(b), math.Sqrt(l), share/2
				}
				for low := l / 10; math.Abs(a) < low; low /= 10 {
					share *= 2
				}
				if math.Abs(a-b) > share*math.Abs(a)*1.001+1e-6*l {
					t.Fatalf("root %v: %v of at most %v comes back as %v", c.root, a, l, b)
				}
				if math.Abs(a) == l && math.Abs(a-b) > 1e-6*l {
					t.Fatalf("root %v: the largest, %v, comes back as %v", c.root, a, b)
				}
				if a != 0 && c.root && b == 0 {
					t.Fatalf("a root of %v became 0", a)
				}
			}
			// What was decoded is coded without a loss.
			twice := make([]byte, len(x))
			again := make([]float32, len(x))
			c.decode(level, again, twice, c.encode(level, twice, back))
			if !slices.Equal(codes, twice) {
				t.Fatalf("root %v: codes change when coded again", c.root)
			}
		}
	}
	codes := []byte{1, 2, 3}
	if s := signedCode.encode(simd.Portable, codes, []float32{0, 0, 0}); s != 0 || !slices.Equal(codes, []byte{0, 0, 0}) {
		t.Errorf("zeros are coded as %v times %v", codes, s)
	}
}

// TestFormsFollowTheFloat32Trajectory trains alike in every form on the same
// gradients, Gaussian around a mean of the size of their deviation as in
// training. A split master is the same to the bit. The others may be away from
// it by a share of the way they went: bfloat16 moments have 2⁻⁸ of noise a step
// that averages out, bytes are off by up to a few percent a number.
func TestFormsFollowTheFloat32Trajectory(t *testing.T) {
	r := newRand(t)
	const rows, dim, steps = 20, 2*block + 9, 200
	for _, idle := range []Idle{Lazy, Moving, Replay} {
		forms := []TableOptions{{}, {Master: SplitMaster}, {Moments: HalfMoments}, {Moments: ByteMoments}, {Master: SplitMaster, Moments: ByteMoments}}
		tables := make([]*Table, len(forms))
		for i, o := range forms {
			o.Idle = idle
			tables[i] = newTable(t, rows, dim, o)
		}
		start, mean := randoms(r, rows*dim), randoms(r, rows*dim)
		for _, tab := range tables {
			for id := range rows {
				tab.SetRow(Key, id, start[id*dim:])
			}
		}
		for step := range steps {
			ids := some(r, rows, 0.5)
			g := randoms(r, len(ids)*dim)
			for j, id := range ids {
				for c := range dim {
					g[j*dim+c] += mean[int(id)*dim+c]
				}
			}
			for _, tab := range tables {
				tab.ZeroGrad()
				tab.ScatterAdd(ids, [Parts][]float32{g, g})
				tab.Step(step, testAdamW(), testRate, 1)
			}
		}
		truth := keys(tables[0])
		for i, tab := range tables[1:] {
			o := forms[i+1]
			got := keys(tab)
			if o.Moments == "" {
				same(t, "split master", got, truth)
				continue
			}
			way, off := 0.0, 0.0
			for j := range got {
				way += math.Pow(float64(truth[j]-start[j]), 2)
				off += math.Pow(float64(got[j]-truth[j]), 2)
			}
			share := math.Sqrt(off / way)
			t.Logf("%s %+v: off by %.4f of the way", idle, o, share)
			if most := map[Moments]float64{HalfMoments: 0.02, ByteMoments: 0.1}[o.Moments]; !(share < most) {
				t.Errorf("%s, master %q, moments %q: away from float32 by %.3f of the way it went, wants below %v", idle, o.Master, o.Moments, share, most)
			}
		}
	}
}

// keys are the keys of a table as the files have them.
func keys(tab *Table) []float32 {
	x := make([]float32, tab.Rows*tab.Dim)
	b := (&Set{Tables: []*Table{tab}}).Weights()[0]
	if err := b.Read(tensor.Bytes(x)); err != nil {
		panic(err)
	}
	return x
}

// TestFormsTakeTheBytesTheySay: of a number, gradients left out.
func TestFormsTakeTheBytesTheySay(t *testing.T) {
	const rows, dim = 64, 512
	for _, c := range []struct {
		o    TableOptions
		want float64
	}{
		{TableOptions{}, 12}, {TableOptions{Master: SplitMaster}, 12}, {TableOptions{Moments: HalfMoments}, 8},
		{TableOptions{Moments: ByteMoments}, 6 + 2*4.0/block}, {TableOptions{Fixed: true, Moments: ByteMoments}, 4},
	} {
		var l tensor.Ledger
		NewTable(tensor.NewPlan(&l), "t", rows, dim, c.o)
		bytes := int64(0)
		for _, e := range l.Entries() {
			for _, part := range []string{"key", "value"} {
				for _, end := range []string{"", ".high", ".low", ".m", ".v", ".m.scale", ".v.scale"} {
					if e.Name == "t."+part+end {
						bytes += e.Bytes
					}
				}
			}
		}
		if got := float64(bytes) / (2 * rows * dim); got != c.want {
			t.Errorf("%+v: %v bytes a number, wants %v", c.o, got, c.want)
		}
	}
}

// TestFormsSurviveFiles: all forms come back bit for bit, in pieces too.
func TestFormsSurviveFiles(t *testing.T) {
	r := newRand(t)
	const rows, dim = 11, block + 5
	for _, o := range []TableOptions{{Master: SplitMaster}, {Moments: HalfMoments}, {Moments: ByteMoments}} {
		one, two := newTable(t, rows, dim, o), newTable(t, rows, dim, o)
		g := randoms(r, rows*dim)
		step := func(tab *Table, n int) {
			tab.ZeroGrad()
			tab.ScatterAdd(all(rows), [Parts][]float32{g, g})
			tab.Step(n, testAdamW(), testRate, 1)
		}
		step(one, 0)
		a, b := Set{Tables: []*Table{one}}, Set{Tables: []*Table{two}}
		from, to := append(a.Weights(), a.Moments()...), append(b.Weights(), b.Moments()...)
		for i, blob := range from {
			data := make([]byte, blob.Bytes())
			for at := 0; at < len(data); at += 1000 {
				blob.Part(data[at:min(at+1000, len(data))], int64(at))
			}
			whole := make([]byte, len(data))
			if err := blob.Read(whole); err != nil || !slices.Equal(whole, data) {
				t.Errorf("%s: pieces and the whole differ (%v)", blob.Name, err)
			}
			if err := to[i].Write(data); err != nil {
				t.Fatal(err)
			}
		}
		step(one, 1)
		step(two, 1)
		same(t, fmt.Sprintf("%+v", o), keys(two), keys(one))
	}
}
