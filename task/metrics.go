package task

import (
	"slices"
	"strings"
	"unicode"
)

// Exact tells whether answer equals one of the references after SQuAD's
// normalisation (Rajpurkar et al. 2016, the official evaluation of v1.1).
func Exact(answer string, references []string) bool {
	a := Normalize(answer)
	return slices.ContainsFunc(references, func(r string) bool { return Normalize(r) == a })
}

// Strict tells whether answer equals one of the references but for white space
// around either.
func Strict(answer string, references []string) bool {
	a := strings.TrimSpace(answer)
	return slices.ContainsFunc(references, func(r string) bool { return strings.TrimSpace(r) == a })
}

// Contains tells whether one of the references, trimmed of white space, occurs
// in answer: the score of the MEFT paper for questions. Empty references occur
// in nothing.
func Contains(answer string, references []string) bool {
	return slices.ContainsFunc(references, func(r string) bool {
		r = strings.TrimSpace(r)
		return r != "" && strings.Contains(answer, r)
	})
}

// ContainsFold is Contains with both sides in lower case.
func ContainsFold(answer string, references []string) bool {
	low := make([]string, len(references))
	for i, r := range references {
		low[i] = lower(r)
	}
	return Contains(lower(answer), low)
}

// F1 returns the best harmonic mean of precision and recall of answer's words
// against one reference, as bags and after SQuAD's normalisation. Range 0 to 1;
// as in the official evaluation of v1.1 an empty side scores 0.
func F1(answer string, references []string) float64 {
	best := 0.0
	a := strings.Fields(Normalize(answer))
	for _, r := range references {
		best = max(best, f1(a, strings.Fields(Normalize(r))))
	}
	return best
}

func f1(a, r []string) float64 {
	count := map[string]int{}
	for _, w := range r {
		count[w]++
	}
	same := 0
	for _, w := range a {
		if count[w] > 0 {
			count[w]--
			same++
		}
	}
	if same == 0 {
		return 0
	}
	precision, recall := float64(same)/float64(len(a)), float64(same)/float64(len(r))
	return 2 * precision * recall / (precision + recall)
}

// Normalize is normalize_answer of SQuAD's official evaluation: lower case,
// without ASCII punctuation, without the words a, an and the, words joined by
// single blanks. Letters, blanks and word ends are Python's, so that scores are
// equal to the digit.
func Normalize(s string) string {
	var b strings.Builder
	for _, r := range lower(s) {
		if r > 0x7f || !(unicode.IsPunct(r) || unicode.IsSymbol(r)) {
			b.WriteRune(r)
		}
	}
	return strings.Join(strings.FieldsFunc(dropArticles(b.String()), blank), " ")
}

// dropArticles writes a blank for every a, an and the that stands as a word.
func dropArticles(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		n := strings.IndexFunc(s, func(r rune) bool { return !wordRune(r) })
		if n < 0 {
			n = len(s)
		}
		switch s[:n] {
		case "a", "an", "the":
			b.WriteByte(' ')
		default:
			b.WriteString(s[:n])
		}
		s = s[n:]
		n = strings.IndexFunc(s, wordRune)
		if n < 0 {
			n = len(s)
		}
		b.WriteString(s[:n])
		s = s[n:]
	}
	return b.String()
}

// wordRune is \w of Python's re.
func wordRune(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r) }

// blank is str.isspace of Python, which counts four control characters that
// unicode.IsSpace does not.
func blank(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// lower is str.lower of Python: unlike strings.ToLower it writes the sigma at
// the end of a word as such and keeps the dot of İ.
func lower(s string) string {
	if !strings.ContainsAny(s, "Σİ") {
		return strings.ToLower(s)
	}
	in := []rune(s)
	out := make([]rune, 0, len(in))
	for i, r := range in {
		switch {
		case r == 'İ':
			out = append(out, 'i', '\u0307')
		case r == 'Σ' && finalSigma(in, i):
			out = append(out, 'ς')
		default:
			out = append(out, unicode.ToLower(r))
		}
	}
	return string(out)
}

// finalSigma is Unicode's condition Final_Sigma: a cased letter before, none
// after, marks and apostrophes between not counted.
func finalSigma(s []rune, i int) bool {
	j := i - 1
	for j >= 0 && caseIgnorable(s[j]) {
		j--
	}
	if j < 0 || !cased(s[j]) {
		return false
	}
	j = i + 1
	for j < len(s) && caseIgnorable(s[j]) {
		j++
	}
	return j == len(s) || !cased(s[j])
}

func cased(r rune) bool { return unicode.IsUpper(r) || unicode.IsLower(r) || unicode.IsTitle(r) }

func caseIgnorable(r rune) bool {
	return unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf, unicode.Lm, unicode.Sk) || strings.ContainsRune("'.:·’‘․", r)
}
