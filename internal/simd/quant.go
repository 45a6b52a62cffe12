package simd

// Quant is a matrix of codes with scales, row by row without gaps. An element is
// float32(value·scale) with the value of its code: of 4 bits the one in Table,
// of 8 bits the code itself, in two's complement. With 4 bits a block of 64
// elements has a scale, with 8 bits a row of Row elements has one.
type Quant struct {
	Bits   int          // of a code: 4, two to a byte with the upper half first, or 8
	Codes  []byte       //
	Table  *[16]float32 // values of codes of 4 bits
	Scales []float32    // of blocks or rows; with Codes8 of groups of 256 blocks
	Codes8 []byte       // of blocks: codes of scales, nil for scales as they are
	Values *[256]float32
	Mean   float32 // scale i is then float32(Values[Codes8[i]]·Scales[i/256]) + Mean
	Row    int     // elements of a row of 8 bits
	First  int     // element that the matrix begins with
}

const (
	quantBlock = 64
	quantGroup = 256
)

func (q *Quant) len() int { return len(q.Codes)*8/q.Bits - q.First }

// scale is that of block i or row i.
func (q *Quant) scale(i int) float32 {
	if q.Codes8 == nil {
		return q.Scales[i]
	}
	return float32(q.Values[q.Codes8[i]]*q.Scales[i/quantGroup]) + q.Mean
}

// Decode writes elements [i, i+len(dst)) of q.
func (l Level) Decode(dst []float32, q *Quant, i int) {
	var scale [32]float32
	for len(dst) > 0 {
		n := min(len(dst), len(scale)*quantBlock)
		q.run(dst[:n], i, l != Portable, scale[:])
		dst, i = dst[n:], i+n
	}
}

// run decodes elements [i, i+len(dst)), with room for the scales of its blocks
// and asm as of a worker.
func (q *Quant) run(dst []float32, i int, asm bool, scale []float32) {
	i += q.First
	if q.Bits == 8 {
		q.run8(dst, i, asm)
		return
	}
	if head := min(-i&(quantBlock-1), len(dst)); head > 0 {
		q.part(dst[:head], i, asm)
		dst, i = dst[head:], i+head
	}
	if blocks := len(dst) / quantBlock; blocks > 0 {
		at, n := i/quantBlock, blocks*quantBlock
		for b := range blocks {
			scale[b] = q.scale(at + b)
		}
		q.blocks(dst, q.Codes[i/2:], blocks, asm, scale)
		dst, i = dst[n:], i+n
	}
	if len(dst) > 0 {
		q.part(dst, i, asm)
	}
}

// blocks decodes whole blocks.
func (q *Quant) blocks(dst []float32, codes []byte, blocks int, asm bool, scale []float32) {
	if asm {
		_, _, _ = dst[blocks*quantBlock-1], codes[blocks*quantBlock/2-1], scale[blocks-1]
		decode4(blocks, &dst[0], 64, 128, 192, 4*quantBlock, &codes[0], quantBlock/2, &scale[0], &q.Table[0])
		return
	}
	for b, s := range scale[:blocks] {
		x, c := dst[b*quantBlock:(b+1)*quantBlock], codes[b*quantBlock/2:(b+1)*quantBlock/2]
		for j, code := range c {
			x[2*j], x[2*j+1] = q.Table[code>>4]*s, q.Table[code&15]*s
		}
	}
}

// part decodes elements of one block.
func (q *Quant) part(dst []float32, i int, asm bool) {
	var whole [quantBlock]float32
	first := i &^ (quantBlock - 1)
	scale := [1]float32{q.scale(first / quantBlock)}
	q.blocks(whole[:], q.Codes[first/2:], 1, asm, scale[:])
	copy(dst, whole[i-first:])
}

// run8 is run for codes of 8 bits; i counts from the first of all.
func (q *Quant) run8(dst []float32, i int, asm bool) {
	for len(dst) > 0 {
		row := i / q.Row
		n := min((row+1)*q.Row-i, len(dst))
		scale, codes, whole := q.Scales[row], q.Codes[i:i+n], 0
		if whole = n &^ 7; asm && whole > 0 {
			decode8(whole, &dst[0], &codes[0], scale)
		} else {
			whole = 0
		}
		for j := whole; j < n; j++ {
			dst[j] = float32(int8(codes[j])) * scale
		}
		dst, i = dst[n:], i+n
	}
}

// decodeRows decodes rows [j, j+rows) of b, elements [p, p+kc), to w.wide, where
// they are kc apart.
func (w *worker) decodeRows(b Mat, j, rows, p, kc int) {
	for r := range rows {
		b.Quant.run(w.wide[r*kc:(r+1)*kc], (j+r)*b.Stride+p, w.asm, w.scale)
	}
}

// packBQuant is packB for codes. A sliver of columns is decoded by rows of B and
// packed as float32; in the other orientation a row is cut among the slivers.
func (w *worker) packBQuant(op Op, b Mat, j, cols, p, kc int) {
	nr := w.shape.nr
	if op == NT {
		for c := 0; c < cols; c += nr {
			wide := min(nr, cols-c)
			w.decodeRows(b, j+c, wide, p, kc)
			w.packBT(w.b[c*kc:(c+nr)*kc], w.wide, kc, wide, kc)
		}
		return
	}
	if w.asm && b.Quant.blocksAt(b.Stride) && b.Quant.blocksAt(j) && cols%quantBlock == 0 {
		w.packBBlocks(b, j, cols, p, kc)
		return
	}
	for k := range kc {
		row := w.wide[:cols]
		b.Quant.run(row, (p+k)*b.Stride+j, w.asm, w.scale)
		for c := 0; c < cols; c += nr {
			copy(w.b[c*kc+k*nr:][:min(nr, cols-c)], row[c:])
		}
	}
}

// blocksAt reports whether element n of the matrix begins a block of 4 bits.
func (q *Quant) blocksAt(n int) bool {
	return q.Bits == 4 && q.First%quantBlock == 0 && n%quantBlock == 0
}

// packBBlocks packs whole blocks of rows [p, p+kc), columns [j, j+cols).
func (w *worker) packBBlocks(b Mat, j, cols, p, kc int) {
	q, nr := b.Quant, w.shape.nr
	for c := 0; c < cols; c += quantBlock {
		first := q.First + p*b.Stride + j + c
		for k := range kc {
			w.scale[k] = q.scale((first + k*b.Stride) / quantBlock)
		}
		// Where sixteen columns of the block go: slivers are 4·kc·nr bytes apart.
		var at [4]int
		for i := range at {
			at[i] = 4 * (16*i/nr*kc*nr + 16*i%nr)
		}
		codes := q.Codes[first/2:]
		_, _ = codes[((kc-1)*b.Stride+quantBlock)/2-1], w.b[(c+quantBlock)*kc-1]
		decode4(kc, &w.b[c*kc], at[1], at[2], at[3], 4*nr, &codes[0], b.Stride/2, &w.scale[0], &q.Table[0])
	}
}
