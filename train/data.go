package train

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"meft/task"
	"meft/tensor"
)

// Data is tokenised examples end to end in flat memory. Fill it with Add,
// then Place it in an arena so that its bytes are accounted for. The zero Data is
// empty and ready.
type Data struct {
	ids  []int32 // [tokens]
	mask []int32 // [tokens/32] one bit a token: it is to be learned
	ends []int32 // [examples]  one past the last token
	rows []int32 // [examples]  row in its file, from 1; 0 for unknown

	files      []fileStart
	longest    int
	supervised int64
}

// fileStart says from which example on the rows count in a file.
type fileStart struct {
	example int
	file    string
}

// maxTokens is what the 32 bit offsets reach.
const maxTokens = math.MaxInt32

// Add appends a copy of an example, which came from a row of a file ("" and 0
// for unknown). An example without tokens is refused, and so is one that makes
// more than 2^31-1 tokens in all.
func (d *Data) Add(e task.Encoded, file string, row int) error {
	n := len(e.IDs)
	if len(e.Train) != n {
		panic(fmt.Sprintf("train: example of %d tokens with a mask of %d", n, len(e.Train)))
	}
	if n == 0 {
		return fmt.Errorf("%s: row %d has no tokens; leave the row out", file, row)
	}
	if len(d.ids)+n > maxTokens {
		return fmt.Errorf("%s: row %d: more than %d tokens in all; split the data", file, row, maxTokens)
	}
	if len(d.files) == 0 || d.files[len(d.files)-1].file != file {
		d.files = append(d.files, fileStart{len(d.ends), file})
	}
	at := len(d.ids)
	d.ids = append(d.ids, e.IDs...)
	for len(d.mask) < (len(d.ids)+31)/32 {
		d.mask = append(d.mask, 0)
	}
	for i, learn := range e.Train {
		if learn && i > 0 { // nothing stands before the first token to predict it from
			d.mask[(at+i)/32] |= 1 << ((at + i) % 32)
			d.supervised++
		}
	}
	d.ends = append(d.ends, int32(len(d.ids)))
	d.rows = append(d.rows, int32(row))
	d.longest = max(d.longest, n)
	return nil
}

// Place moves the data into host memory of a, under the name of the arena. With
// a planning arena only the account is made.
func (d *Data) Place(a *tensor.Arena) {
	for _, part := range []struct {
		name string
		at   *[]int32
	}{{"ids", &d.ids}, {"mask", &d.mask}, {"ends", &d.ends}, {"rows", &d.rows}} {
		if to := a.Int32(part.name, tensor.OnHost, len(*part.at)); to != nil {
			copy(to, *part.at)
			*part.at = to
		} else {
			*part.at = slices.Clip(*part.at)
		}
	}
}

// Bytes is the memory the tokens, the mask and the offsets take.
func (d *Data) Bytes() int64 {
	return 4 * int64(len(d.ids)+len(d.mask)+len(d.ends)+len(d.rows))
}

// Len is the number of examples.
func (d *Data) Len() int { return len(d.ends) }

// Tokens is the number of tokens.
func (d *Data) Tokens() int64 { return int64(len(d.ids)) }

// Supervised is the number of tokens that are learned.
func (d *Data) Supervised() int64 { return d.supervised }

// Longest is the number of tokens of the longest example.
func (d *Data) Longest() int { return d.longest }

// span is where the tokens of example i are.
func (d *Data) span(i int) (from, to int) {
	if i > 0 {
		from = int(d.ends[i-1])
	}
	return from, int(d.ends[i])
}

// learned reports whether token t of all tokens is learned.
func (d *Data) learned(t int) bool { return d.mask[t/32]>>(t%32)&1 != 0 }

// supervisedIn is the number of learned tokens of example i.
func (d *Data) supervisedIn(i int) int {
	from, to := d.span(i)
	n := 0
	for w := from / 32; w*32 < to; w++ {
		word := uint32(d.mask[w])
		if lead := from - w*32; lead > 0 {
			word &^= 1<<lead - 1
		}
		if tail := to - w*32; tail < 32 {
			word &= 1<<tail - 1
		}
		n += bits.OnesCount32(word)
	}
	return n
}

// Where names example i, counted from 0, for messages.
func (d *Data) Where(i int) string {
	file := ""
	for _, f := range d.files {
		if f.example > i {
			break
		}
		file = f.file
	}
	if file == "" || d.rows[i] == 0 {
		return fmt.Sprintf("example %d", i+1)
	}
	return fmt.Sprintf("%s: row %d", file, d.rows[i])
}

// Fingerprint is a hash of the tokens, the mask and the bounds of the examples:
// equal for data that trains the same.
func (d *Data) Fingerprint() string {
	h := sha256.New()
	var n [8]byte
	for _, part := range [][]int32{d.ids, d.mask, d.ends} {
		binary.LittleEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write(tensor.Bytes(part))
	}
	return hex.EncodeToString(h.Sum(nil))
}
