package devicetest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"path"
	"testing"

	"meft/quant"
	"meft/tensor"
)

// The three places a call is made.
const (
	onDevice = iota // the device under test
	onRef           // the truth
	onAbs           // the reference on absolute values: the size of the terms
	places
)

// canary is what lies around every tensor: as a float it is NaN, as an index
// far out of range.
const (
	canary32 = 0x7fc0dead
	canary16 = 0x7fc1
)

// call is one kernel call in three places.
type call struct {
	*suite
	t    *testing.T
	name string
	rng  *rand.Rand
	ops  []*operand
	bufs [places][]tensor.Buffer
}

// operand is one tensor of a call.
type operand struct {
	at    [places]tensor.Tensor
	whole tensor.Tensor // on the device, with the canaries
	first []byte        // what whole held before the call
	got   []byte        // what it held afterwards
	skip  int           // bytes of canary on each side
	out   bool          // the kernel may change it
}

// call runs f with a fresh call and frees what it used.
func (s *suite) call(t *testing.T, f func(c *call), name string, args ...any) {
	t.Helper()
	name = fmt.Sprintf(name, args...)
	c := &call{suite: s, t: t, name: path.Base(t.Name()) + " " + name, rng: seeded(name)}
	defer func() {
		for i, list := range c.bufs {
			for _, b := range list {
				c.place(i).Free(b)
			}
		}
	}()
	f(c)
}

func (c *call) place(i int) tensor.Device {
	if i == onDevice {
		return c.dev
	}
	return c.ref
}

// add makes an operand from its bytes in its stated type. Half of the operands
// start at a multiple of 64 bytes, half do not.
func (c *call) add(d tensor.DType, data []byte, dims []int) *operand {
	c.t.Helper()
	guard := 32 + 3*c.rng.IntN(2)
	size := int(d.Size())
	o := &operand{skip: guard * size}
	o.first = guarded(d, data, guard)
	for i := range places {
		buf, err := c.place(i).Alloc(int64(len(o.first)), tensor.OnDevice)
		if err != nil {
			c.t.Fatalf("%s: alloc: %v", c.name, err)
		}
		c.bufs[i] = append(c.bufs[i], buf)
		whole := tensor.Tensor{Buf: buf, DType: d, Rank: 1, Dims: [tensor.MaxRank]int{len(o.first) / size}}
		image := o.first
		if i == onAbs {
			image = guarded(d, absolute(d, data), guard)
		}
		c.upload(i, whole, image)
		x := tensor.Tensor{Buf: buf, Off: int64(guard), DType: d, Rank: len(dims)}
		copy(x.Dims[:], dims)
		o.at[i] = x
		if i == onDevice {
			o.whole = whole
		}
	}
	c.ops = append(c.ops, o)
	return o
}

func (c *call) upload(i int, x tensor.Tensor, b []byte) {
	d := c.place(i)
	ticket := d.Upload(x, b)
	d.After(ticket)
	d.Await(ticket)
}

// guarded is data between two runs of guard canaries.
func guarded(d tensor.DType, data []byte, guard int) []byte {
	var edge []byte
	for range guard {
		if d == tensor.BF16 {
			edge = binary.LittleEndian.AppendUint16(edge, canary16)
		} else {
			edge = binary.LittleEndian.AppendUint32(edge, canary32)
		}
	}
	return append(append(append([]byte(nil), edge...), data...), edge...)
}

// absolute clears the signs of floats.
func absolute(d tensor.DType, data []byte) []byte {
	out := bytes.Clone(data)
	if d == tensor.I32 {
		return out
	}
	for i := int(d.Size()) - 1; i < len(out); i += int(d.Size()) {
		out[i] &= 0x7f
	}
	return out
}

func size(dims []int) int {
	n := 1
	for _, d := range dims {
		n *= d
	}
	return n
}

// values is an input of the given numbers.
func (c *call) values(v []float64, dims ...int) *operand {
	c.t.Helper()
	f := make([]float32, len(v))
	for i := range v {
		f[i] = float32(v[i])
	}
	return c.add(tensor.F32, tensor.Bytes(f), dims)
}

// in is an input of normal numbers.
func (c *call) in(dims ...int) *operand {
	c.t.Helper()
	v := make([]float64, size(dims))
	for i := range v {
		v[i] = c.rng.NormFloat64()
	}
	return c.values(v, dims...)
}

// in16 is in for BF16.
func (c *call) in16(dims ...int) *operand {
	c.t.Helper()
	v := make([]uint16, size(dims))
	for i := range v {
		v[i] = uint16(math.Float32bits(float32(c.rng.NormFloat64())) >> 16)
	}
	return c.add(tensor.BF16, tensor.Bytes(v), dims)
}

// weight is an input of one type or the other.
func (c *call) weight(bf16 bool, dims ...int) *operand {
	if bf16 {
		return c.in16(dims...)
	}
	return c.in(dims...)
}

// quantised is an input of normal numbers in a quantised type. It has no
// canaries, since its scales lie behind its codes; the absolute values are F32.
func (c *call) quantised(d tensor.DType, rows, cols int) *operand {
	c.t.Helper()
	x := make([]float32, rows*cols)
	for i := range x {
		x[i] = float32(c.rng.NormFloat64())
	}
	size := d.Bytes(rows, cols)
	data := tensor.Bytes(make([]uint32, (size+3)/4))[:size]
	m := quant.Of(d, data, rows, cols)
	e := quant.NewEncoder(m)
	e.Encode(x, 0)
	e.Finish()
	m.Decode(x, 0)
	for i, v := range x {
		x[i] = float32(math.Abs(float64(v)))
	}
	o := &operand{first: data}
	for i, image := range [places][]byte{data, data, tensor.Bytes(x)} {
		y := tensor.Tensor{DType: d, Rank: 2, Dims: [tensor.MaxRank]int{rows, cols}, Whole: rows}
		if i == onAbs {
			y.DType, y.Whole = tensor.F32, 0
		}
		buf, err := c.place(i).Alloc(max(1, int64(len(image))), tensor.OnDevice)
		if err != nil {
			c.t.Fatalf("%s: alloc: %v", c.name, err)
		}
		c.bufs[i] = append(c.bufs[i], buf)
		y.Buf = buf
		c.upload(i, y, image)
		o.at[i] = y
	}
	o.whole = o.at[onDevice]
	c.ops = append(c.ops, o)
	return o
}

// rows are rows [i, j) of an operand.
func (o *operand) rows(i, j int) *operand {
	part := *o
	for p := range part.at {
		part.at[p] = o.at[p].Rows(i, j)
	}
	return &part
}

// out is an output that the kernel overwrites.
func (c *call) out(dims ...int) *operand {
	c.t.Helper()
	v := make([]float64, size(dims))
	for i := range v {
		v[i] = math.NaN()
	}
	return c.values(v, dims...).inout()
}

// inout marks an operand as one that the kernel changes.
func (o *operand) inout() *operand { o.out = true; return o }

// none is an operand that is left out.
func none() *operand { return &operand{} }

// ids is an input of integers.
func (c *call) ids(v []int, dims ...int) *operand {
	c.t.Helper()
	n := make([]int32, len(v))
	for i := range v {
		n[i] = int32(v[i])
	}
	return c.add(tensor.I32, tensor.Bytes(n), dims)
}

// run makes the call in all places, on the device twice, and checks everything
// but the outputs' values.
func (c *call) run(kernel func(k tensor.Kernels, i int)) {
	c.t.Helper()
	kernel(c.ref, onRef)
	kernel(c.ref, onAbs)
	kernel(c.dev, onDevice)
	sum := fnv.New64a()
	for i, o := range c.ops {
		o.got = c.download(o)
		if o.out {
			sum.Write(o.got[o.skip : len(o.got)-o.skip])
			o.checkEdges(c, i)
		} else if !bytes.Equal(o.got, o.first) {
			c.t.Errorf("%s: operand %d is an input and was changed", c.name, i)
		}
		c.upload(onDevice, o.whole, o.first)
	}
	if _, twice := c.bits[c.name]; twice {
		c.t.Errorf("two cases are called %s", c.name)
	}
	c.bits[c.name] = sum.Sum64()
	kernel(c.dev, onDevice)
	for i, o := range c.ops {
		if !bytes.Equal(c.download(o), o.got) {
			c.t.Errorf("%s: operand %d has other bits at the second run", c.name, i)
		}
	}
}

func (c *call) download(o *operand) []byte {
	b := make([]byte, len(o.first))
	c.dev.Await(c.dev.Download(b, o.whole))
	return b
}

func (o *operand) checkEdges(c *call, i int) {
	c.t.Helper()
	n := len(o.got)
	if !bytes.Equal(o.got[:o.skip], o.first[:o.skip]) {
		c.t.Errorf("%s: wrote before operand %d", c.name, i)
	}
	if !bytes.Equal(o.got[n-o.skip:], o.first[n-o.skip:]) {
		c.t.Errorf("%s: wrote behind operand %d", c.name, i)
	}
}

// want are the true values of an operand, terms the sizes of what was summed.
func (c *call) want(o *operand) []float64  { return c.ref.Read(o.at[onRef]) }
func (c *call) terms(o *operand) []float64 { return c.ref.Read(o.at[onAbs]) }

// near compares an output with the reference; bound is the largest error of
// element i.
func (c *call) near(what string, o *operand, bound func(i int) float64) {
	c.t.Helper()
	got := o.got[o.skip : len(o.got)-o.skip]
	bad := 0
	for i, want := range c.want(o) {
		v := float64(math.Float32frombits(binary.LittleEndian.Uint32(got[4*i:])))
		if d := math.Abs(v - want); !(d <= bound(i)+tiny) {
			if bad++; bad <= 3 {
				c.t.Errorf("%s: %s[%d] of %v is %v, wants %v within %.3g, errs by %.3g", c.name, what, i, o.at[onDevice], v, want, bound(i), d)
			}
		}
	}
	if bad > 3 {
		c.t.Errorf("%s: %s has %d more such elements", c.name, what, bad-3)
	}
}

// nearTerms is near for sums of products with the given number of roundings.
func (c *call) nearTerms(what string, o *operand, roundings int) {
	c.t.Helper()
	terms := c.terms(o)
	c.near(what, o, func(i int) float64 { return float64(roundings) * unit * terms[i] })
}

// exact is near without any error.
func (c *call) exact(what string, o *operand) {
	c.t.Helper()
	c.near(what, o, func(int) float64 { return -tiny })
}
