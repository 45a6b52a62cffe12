package token

import (
	"fmt"
	"unicode/utf8"

	"github.com/dlclark/regexp2/v2"
)

// newRegex compiles a split or replace pattern that has no hand-written
// scanner. Patterns use look-ahead, so package regexp will not do. Should the
// engine give up inside a text, the rest of it stays in one part.
func newRegex(expr string) (matcher, error) {
	re, err := regexp2.Compile(expr)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", expr, err)
	}
	return func(s string, f func(string, bool)) {
		spans, err := re.FindAllRunesIndex([]rune(s), -1)
		if err != nil {
			spans = nil
		}
		at, runeAt := 0, 0 // the same place in bytes and in runes
		advance := func(to int) int {
			for ; runeAt < to; runeAt++ {
				_, n := utf8.DecodeRuneInString(s[at:])
				at += n
			}
			return at
		}
		from := 0
		for _, sp := range spans {
			if sp[0] == sp[1] {
				continue // an empty match cuts nothing
			}
			i := advance(sp[0])
			if from < i {
				f(s[from:i], false)
			}
			from = advance(sp[1])
			f(s[i:from], true)
		}
		if from < len(s) {
			f(s[from:], false)
		}
	}, nil
}
