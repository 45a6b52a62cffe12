package token

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
)

// sum is Hash: pieces by id, added tokens by id, rules in order of use.
// Strings are quoted, so that no spelling can look like a line break.
func (t *Tokenizer) sum() string {
	h := sha256.New()
	var line []byte
	num := func(v int32) { line = append(strconv.AppendInt(line, int64(v), 10), ' ') }
	end := func() {
		h.Write(append(line, '\n')) // a hash never refuses a write
		line = line[:0]
	}
	for _, r := range byID(t.bpe.vocab) {
		line = append(line, "piece "...)
		num(r.id)
		line = strconv.AppendQuote(line, r.text)
		end()
	}
	for _, a := range t.rows {
		line = append(line, "added "...)
		num(a.ID)
		line = append(strconv.AppendQuote(line, a.Content), " special "...)
		line = strconv.AppendBool(line, a.Special)
		end()
	}
	for _, m := range t.bpe.pairs.list() {
		line = append(line, "merge "...)
		num(m.left)
		num(m.right)
		num(m.id)
		end()
	}
	return hex.EncodeToString(h.Sum(nil))
}
