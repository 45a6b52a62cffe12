package token

import (
	"slices"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// streamSafe is the longest run of non-starters that package norm leaves as it
// is. It puts U+034F into longer ones (UAX 15, stream-safe text), which the
// normalization forms themselves do not.
const streamSafe = 30

// exactForm returns s in the normalization form f without U+034F added.
func exactForm(f norm.Form, s string) string {
	if f.IsNormalString(s) && !longMarks(s) {
		return s
	}
	if !longMarks(s) {
		return f.String(s)
	}
	return formByRune(f, s)
}

// longMarks tells whether s has a run of runes that could overflow package
// norm's buffer. A rune decomposes into at most 18 runes, of which at most 3
// are marks in front or behind (UAX 15), so a third of streamSafe is counted.
func longMarks(s string) bool {
	run := 0
	for i := 0; i < len(s); {
		if s[i] < 0xCC { // below U+0300 nothing combines
			run = 0
			i++
			continue
		}
		p := norm.NFKD.PropertiesString(s[i:])
		n := max(p.Size(), 1)
		if p.LeadCCC() == 0 {
			run = 0
		}
		if p.LeadCCC() != 0 || p.TrailCCC() != 0 {
			run++
		}
		if run > streamSafe/3 {
			return true
		}
		i += n
	}
	return false
}

type mark struct {
	r   rune
	ccc uint8
}

// formByRune does what norm.Form does, with no limit on runs: decompose every
// rune, order marks by combining class, then compose (UAX 15, section 1.3).
func formByRune(f norm.Form, s string) string {
	decompose, compose := norm.NFD, f == norm.NFC || f == norm.NFKC
	if f == norm.NFKC || f == norm.NFKD {
		decompose = norm.NFKD
	}
	var out []byte
	var seq []mark // one starter and the marks behind it
	flush := func() {
		from := 0
		if len(seq) > 0 && seq[0].ccc == 0 {
			from = 1
		}
		slices.SortStableFunc(seq[from:], func(a, b mark) int { return int(a.ccc) - int(b.ccc) })
		if compose {
			seq = composeMarks(seq)
		}
		for _, m := range seq {
			out = utf8.AppendRune(out, m.r)
		}
		seq = seq[:0]
	}
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			flush()
			out = append(out, s[i]) // not UTF-8: kept as it is
			i++
			continue
		}
		for _, d := range decompose.String(s[i : i+n]) {
			m := mark{d, norm.NFD.PropertiesString(string(d)).CCC()}
			if m.ccc == 0 && !(compose && joins(seq, d)) {
				flush()
			}
			seq = append(seq, m)
		}
		i += n
	}
	flush()
	return string(out)
}

// joins tells whether the starter r composes with a starter right before it
// (Hangul syllables and a few Indic vowels).
func joins(seq []mark, r rune) bool {
	if len(seq) == 0 || seq[len(seq)-1].ccc != 0 {
		return false
	}
	all := make([]rune, 0, len(seq)+1)
	for _, m := range seq {
		all = append(all, m.r)
	}
	return utf8.RuneCountInString(norm.NFC.String(string(append(all, r)))) == 1
}

// composeMarks joins the starter with every mark that is not blocked by a mark
// of the same class before it.
func composeMarks(seq []mark) []mark {
	if len(seq) < 2 || seq[0].ccc != 0 {
		return seq
	}
	out := seq[:1]
	for _, m := range seq[1:] {
		last := out[len(out)-1]
		blocked := len(out) > 1 && (last.ccc == 0 || last.ccc >= m.ccc)
		if !blocked {
			pair := []rune(norm.NFC.String(string([]rune{out[0].r, m.r})))
			if len(pair) == 1 {
				out[0].r = pair[0]
				continue
			}
		}
		out = append(out, m)
	}
	return out
}
