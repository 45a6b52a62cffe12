package token

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// emitter takes one part of the text; start tells that it begins the text.
type emitter func(part string, start bool)

// splitter is a pre-tokenizer: it cuts (and may rewrite) a part of the text.
type splitter func(s string, start bool, emit emitter)

// matcher cuts s completely into matches and the text between them.
type matcher func(s string, f func(part string, match bool))

// splitters builds the pre-tokenizer chain of tokenizer.json. byteLevel tells
// that the model's symbols are bytes.
func splitters(root *node, bad *unsupported) (fs []splitter, byteLevel bool) {
	for _, n := range flatten(root, func(n *node) []*node { return n.PreTokenizers }, 0, bad) {
		if byteLevel {
			bad.add("pre_tokenizer %q after ByteLevel", n.Type)
			continue
		}
		if n.Type == "ByteLevel" {
			byteLevel = true
			if orTrue(n.AddPrefixSpace) {
				fs = append(fs, prefixSpace)
			}
			if orTrue(n.UseRegex) {
				fs = append(fs, isolated(scanGPT2))
			}
			continue
		}
		if f := newSplitter(n, bad); f != nil {
			fs = append(fs, f)
		}
	}
	return fs, byteLevel
}

func newSplitter(n *node, bad *unsupported) splitter {
	switch n.Type {
	case "Split":
		return patternSplit(n, bad)
	case "Metaspace":
		return metaspace(n, bad)
	case "Digits":
		if n.Individual {
			return behave(runes(isNumber), "Isolated", false, bad)
		}
		return behave(runes(isNumber), "Contiguous", false, bad)
	case "Punctuation":
		b := n.Behavior
		if b == "" {
			b = "Isolated"
		}
		return behave(runes(isPunct), b, false, bad)
	case "WhitespaceSplit":
		return behave(runes(unicode.IsSpace), "Removed", false, bad)
	case "Whitespace": // \w+|[^\w\s]+
		return func(s string, start bool, emit emitter) {
			kind := func(r rune) int {
				switch {
				case isWord(r):
					return 1
				case unicode.IsSpace(r):
					return 0
				}
				return 2
			}
			eachRun(s, kind, func(part string, k, at int) {
				if k != 0 {
					emit(part, start && at == 0)
				}
			})
		}
	}
	bad.add("pre_tokenizer %q", n.Type)
	return nil
}

// eachRun cuts s into runs of equal kind.
func eachRun(s string, kind func(rune) int, f func(part string, kind, at int)) {
	from, last := 0, -1
	for i, r := range s {
		if k := kind(r); k != last {
			if from < i {
				f(s[from:i], last, from)
			}
			from, last = i, k
		}
	}
	if from < len(s) {
		f(s[from:], last, from)
	}
}

func isNumber(r rune) bool { return unicode.Is(unicode.N, r) }

func isPunct(r rune) bool {
	return unicode.IsPunct(r) || r < 128 && unicode.IsSymbol(r)
}

func prefixSpace(s string, start bool, emit emitter) {
	if !strings.HasPrefix(s, " ") {
		s = " " + s
	}
	emit(s, start)
}

// isolated makes every match of scan a part; scan matches everywhere.
func isolated(scan scanner) splitter {
	return func(s string, start bool, emit emitter) {
		for i := 0; i < len(s); {
			end := scan(s, i)
			emit(s[i:end], start && i == 0)
			i = end
		}
	}
}

// patternSplit is the Split pre-tokenizer.
func patternSplit(n *node, bad *unsupported) splitter {
	switch {
	case n.Pattern.String != nil && *n.Pattern.String != "":
		return behave(literal(*n.Pattern.String), n.Behavior, n.Invert, bad)
	case n.Pattern.Regex == nil:
		bad.add("Split without a pattern")
		return nil
	}
	re := *n.Pattern.Regex
	if scan := scannerFor(re); scan != nil {
		// These patterns match all of any text: with Isolated, or inverted and
		// Removed, the parts are the matches.
		if n.Behavior == "Isolated" || n.Behavior == "Removed" && n.Invert {
			return isolated(scan)
		}
	}
	m, err := newRegex(re)
	if err != nil {
		bad.add("Split pattern: %v", err)
		return nil
	}
	return behave(m, n.Behavior, n.Invert, bad)
}

// metaspace writes spaces as "▁" and puts one in front.
func metaspace(n *node, bad *unsupported) splitter {
	sign := n.Replacement
	if sign == "" {
		sign = blank
	}
	scheme := strings.ToLower(n.PrependScheme)
	switch {
	case scheme == "" && orTrue(n.AddPrefixSpace):
		scheme = "always"
	case scheme == "":
		scheme = "never"
	case scheme != "always" && scheme != "first" && scheme != "never":
		bad.add("Metaspace prepend_scheme %q", n.PrependScheme)
		return nil
	}
	write := func(s string, start bool) string {
		s = strings.ReplaceAll(s, " ", sign)
		if (scheme == "always" || scheme == "first" && start) && !strings.HasPrefix(s, sign) {
			s = sign + s
		}
		return s
	}
	if !orTrue(n.Split) {
		return func(s string, start bool, emit emitter) { emit(write(s, start), start) }
	}
	cut := behave(literal(sign), "MergedWithNext", false, bad)
	return func(s string, start bool, emit emitter) { cut(write(s, start), start, emit) }
}

// literal matches one string.
func literal(want string) matcher {
	return func(s string, f func(string, bool)) {
		for {
			i := strings.Index(s, want)
			if i < 0 {
				break
			}
			if i > 0 {
				f(s[:i], false)
			}
			f(s[i:i+len(want)], true)
			s = s[i+len(want):]
		}
		if s != "" {
			f(s, false)
		}
	}
}

// runes matches each single rune of a class.
func runes(is func(rune) bool) matcher {
	return func(s string, f func(string, bool)) {
		from := 0
		for i := 0; i < len(s); {
			r, n := utf8.DecodeRuneInString(s[i:])
			if is(r) {
				if from < i {
					f(s[from:i], false)
				}
				f(s[i:i+n], true)
				from = i + n
			}
			i += n
		}
		if from < len(s) {
			f(s[from:], false)
		}
	}
}

// behave turns matches into parts as the named behaviour of Split says. Parts
// are contiguous in s, so joining two is a longer slice.
func behave(m matcher, behavior string, invert bool, bad *unsupported) splitter {
	type span struct {
		from, to int
		match    bool
	}
	var join func(last, cur span) bool // does cur belong to the part of last?
	switch behavior {
	case "Isolated", "Removed":
		join = func(_, _ span) bool { return false }
	case "Contiguous":
		join = func(last, cur span) bool { return last.match == cur.match }
	case "MergedWithPrevious":
		join = func(last, cur span) bool { return cur.match && !last.match }
	case "MergedWithNext":
		join = func(last, cur span) bool { return last.match && !cur.match }
	default:
		bad.add("split behavior %q", behavior)
		return nil
	}
	return func(s string, start bool, emit emitter) {
		from, at := 0, 0 // of the part under way; of the next span
		var last span
		out := func(to int) {
			if from < to && !(behavior == "Removed" && last.match) {
				emit(s[from:to], start && from == 0)
			}
			from = to
		}
		m(s, func(part string, match bool) {
			cur := span{at, at + len(part), match != invert}
			if at > 0 && !join(last, cur) {
				out(at)
			}
			at, last = cur.to, cur
		})
		out(len(s))
	}
}
