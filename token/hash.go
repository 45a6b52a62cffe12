package token

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
)

// sum is Hash: pieces by id, added tokens by id, rules in order of use.
// Strings are quoted, so that no spelling can look like a line break.
func (t *Tokenizer) sum() string {
	h := sha256.New()
	w := bufio.NewWriter(h)
	vocab := t.bpe.vocab
	names := slices.SortedFunc(maps.Keys(vocab), func(a, b string) int {
		return cmp.Or(cmp.Compare(vocab[a], vocab[b]), cmp.Compare(a, b))
	})
	for _, p := range names {
		fmt.Fprintf(w, "piece %d %q\n", vocab[p], p)
	}
	for _, a := range t.rows {
		fmt.Fprintf(w, "added %d %q special=%t\n", a.ID, a.Content, a.Special)
	}
	for _, m := range t.bpe.pairs.list() {
		fmt.Fprintf(w, "merge %d %d %d\n", m.left, m.right, m.id)
	}
	w.Flush() // a hash never refuses a write
	return hex.EncodeToString(h.Sum(nil))
}
