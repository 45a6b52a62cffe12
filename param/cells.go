package param

import (
	"fmt"
	"math"

	"meft/internal/simd"
	"meft/tensor"
)

// Master says how a Table keeps its values.
type Master string

// The forms of values.
const (
	// WholeMaster is float32, which is what goes to the device.
	WholeMaster Master = "f32"
	// SplitMaster is float32 in two halves: the nearest bfloat16, which is what
	// goes to the device, and the 16 bits that are left, which stay. Steps work
	// on the whole, which is exact; it takes no more memory and half the transfer.
	SplitMaster Master = "split"
)

// Valid reports whether m is one of the forms.
func (m Master) Valid() bool { return m == WholeMaster || m == SplitMaster }

// Moments says how a Table keeps the moments of AdamW.
type Moments string

// The forms of moments.
const (
	// WholeMoments are float32.
	WholeMoments Moments = "f32"
	// HalfMoments are bfloat16, rounded up or down at random so that the mean is
	// right: a second moment changes by 0.1 % a step, which the nearest bfloat16,
	// 0.4 % apart, would not show. The random bits are a function of the row, the
	// column and the step.
	HalfMoments Moments = "bf16"
	// ByteMoments are one byte each and a scale for every 256 columns of a row;
	// see code. They are rounded to nearest, as by Dettmers et al. 2022,
	// https://arxiv.org/abs/2110.02861: with steps as wide as these, random ones
	// would add more noise than they take bias away.
	ByteMoments Moments = "8bit"
)

// Valid reports whether m is one of the forms.
func (m Moments) Valid() bool {
	return m == WholeMoments || m == HalfMoments || m == ByteMoments
}

// block is how many columns of a row share a scale, and are worked on at a time
// where the numbers are not float32.
const block = 256

// cells is a matrix [rows, dim] of float32 in one of the forms: f32 alone, high
// and low (a split master), high alone (a half moment), or codes and scales (a
// byte moment).
type cells struct {
	dim       int
	f32       []float32
	high, low []uint16
	codes     []byte
	scales    []float32 // [rows, blocks of a row]
	code      *code
	level     simd.Level
}

// allocator makes the memory of a table's cells.
type allocator struct {
	*tensor.Arena
	pool      tensor.Pool
	rows, dim int
	level     simd.Level
}

func (a allocator) master(name string, form Master) cells {
	n := a.rows * a.dim
	if form == WholeMaster {
		return cells{dim: a.dim, f32: a.Float32(name, a.pool, n)}
	}
	return cells{dim: a.dim, level: a.level, high: a.BFloat16(name+".high", a.pool, n), low: a.BFloat16(name+".low", a.pool, n)}
}

func (a allocator) moment(name string, form Moments, of *code) cells {
	n := a.rows * a.dim
	switch form {
	case WholeMoments:
		return cells{dim: a.dim, f32: a.Float32(name, a.pool, n)}
	case HalfMoments:
		return cells{dim: a.dim, level: a.level, high: a.BFloat16(name, a.pool, n)}
	}
	return cells{dim: a.dim, level: a.level, code: of,
		codes: a.Uint8(name, a.pool, n), scales: a.Float32(name+".scale", a.pool, a.rows*blocks(a.dim))}
}

// blocks is the number of scales of a row.
func blocks(dim int) int { return (dim + block - 1) / block }

// at is the float32s of row i from column from on, as many as room has, but for
// codes at most to the end of a block: the cells themselves or, in another form,
// a copy in room, that put writes back.
func (c *cells) at(room []float32, i int32, from int) []float32 {
	a := int(i)*c.dim + from
	b := a + len(room)
	switch {
	case c.f32 != nil:
		return c.f32[a:b]
	case c.low != nil:
		join(room, c.high[a:b], c.low[a:b])
	case c.high != nil:
		c.level.FromBF16(room, c.high[a:b])
	default:
		c.code.decode(c.level, room, c.codes[a:b], c.scales[int(i)*blocks(c.dim)+from/block])
	}
	return room
}

// put writes back what at gave. seed is of the random bits.
func (c *cells) put(x []float32, i int32, from int, seed uint64) {
	a := int(i)*c.dim + from
	b := a + len(x)
	switch {
	case c.f32 != nil:
	case c.low != nil:
		split(c.high[a:b], c.low[a:b], x)
	case c.high != nil:
		roundAtRandom(c.high[a:b], x, seed+uint64(from))
	default:
		c.scales[int(i)*blocks(c.dim)+from/block] = c.code.encode(c.level, c.codes[a:b], x)
	}
}

// zero reports whether row i is all zeros.
func (c *cells) zero(i int32) bool {
	a, b := int(i)*c.dim, (int(i)+1)*c.dim
	switch {
	case c.f32 != nil:
		return zero(c.f32[a:b])
	case c.high != nil:
		return zero(c.high[a:b])
	}
	n := blocks(c.dim)
	return zero(c.scales[int(i)*n : (int(i)+1)*n])
}

// row copies row i to dst as float32.
func (c *cells) row(dst []float32, i int32) {
	for from := 0; from < c.dim; from += block {
		part := dst[from:min(from+block, c.dim)]
		copy(part, c.at(part, i, from))
	}
}

// set makes row i what src is.
func (c *cells) set(i int32, src []float32) {
	if c.f32 != nil {
		copy(c.f32[int(i)*c.dim:], src[:c.dim])
		return
	}
	c.put(src[:c.dim], i, 0, 0)
}

// split cuts numbers into the nearest bfloat16 (ties away from zero) and their
// lower 16 bits.
func split(high, low []uint16, x []float32) {
	low = low[:len(high)]
	x = x[:len(high)]
	for i := range high {
		b := math.Float32bits(x[i])
		high[i], low[i] = uint16((b+0x8000)>>16), uint16(b)
	}
}

// join is the way back: where the lower bits are the upper half of their range,
// high was rounded up.
func join(x []float32, high, low []uint16) {
	low = low[:len(high)]
	x = x[:len(high)]
	for i, h := range high {
		x[i] = math.Float32frombits(uint32(h)<<16 + uint32(int32(int16(low[i]))))
	}
}

// roundAtRandom rounds to one of the two nearest bfloat16s, to the upper one
// with a probability that is the share of the way to it.
func roundAtRandom(dst []uint16, x []float32, seed uint64) {
	x = x[:len(dst)]
	for ; len(dst) >= 4; dst, x = dst[4:], x[4:] {
		z := mix(seed) // 16 random bits for each of four numbers
		seed++
		y, d := (*[4]float32)(x), (*[4]uint16)(dst)
		d[0] = uint16((math.Float32bits(y[0]) + uint32(uint16(z))) >> 16)
		d[1] = uint16((math.Float32bits(y[1]) + uint32(uint16(z>>16))) >> 16)
		d[2] = uint16((math.Float32bits(y[2]) + uint32(uint16(z>>32))) >> 16)
		d[3] = uint16((math.Float32bits(y[3]) + uint32(z>>48)) >> 16)
	}
	z := mix(seed)
	for i := range dst {
		dst[i] = uint16((math.Float32bits(x[i]) + uint32(uint16(z))) >> 16)
		z >>= 16
	}
}

// mix is SplitMix64 (Steele et al. 2014): random bits that are a function of z.
func mix(z uint64) uint64 {
	z *= 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Rows are rows of a table as the device takes them, row-major: F32, or BF16
// with SplitMaster; the other is nil.
type Rows struct {
	F32  []float32
	BF16 []uint16
}

// NewRows takes memory for n numbers of tables with that master.
func NewRows(a *tensor.Arena, name string, p tensor.Pool, m Master, n int) Rows {
	if m == SplitMaster {
		return Rows{BF16: a.BFloat16(name, p, n)}
	}
	return Rows{F32: a.Float32(name, p, n)}
}

func (r Rows) len() int { return max(len(r.F32), len(r.BF16)) }

// First is the first n numbers.
func (r Rows) First(n int) Rows {
	if r.BF16 != nil {
		return Rows{BF16: r.BF16[:n]}
	}
	return Rows{F32: r.F32[:n]}
}

// Bytes is the memory of the rows.
func (r Rows) Bytes() []byte {
	if r.BF16 != nil {
		return tensor.Bytes(r.BF16)
	}
	return tensor.Bytes(r.F32)
}

// copyRow copies row id of a master to place j.
func (r Rows) copyRow(j int, c *cells, id int32) {
	to, from := j*c.dim, int(id)*c.dim
	switch {
	case r.F32 != nil && c.f32 != nil:
		copy(r.F32[to:to+c.dim], c.f32[from:])
	case r.BF16 != nil && c.low != nil:
		copy(r.BF16[to:to+c.dim], c.high[from:])
	default:
		panic(fmt.Sprintf("param: rows of %d f32 and %d bf16 for a master in another form", len(r.F32), len(r.BF16)))
	}
}
