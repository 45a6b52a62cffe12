package jinja

import (
	"math"
	"math/big"
	"strconv"
	"strings"
)

// filterInt is int(v), with the default where Python raises.
func filterInt(in *interp, v Value, a *args) Value {
	p := a.bind("int", 0, "default", "base")
	def := p[0]
	if def == absent {
		def = int64(0)
	}
	switch x := v.(type) {
	case *undefined:
		fail("%s", x.message)
	case float64:
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return def
		}
		return truncated(x)
	case string, markup:
		s, _ := text(v)
		if i, ok := parseInt(s, intArg(p[1], "int", 10)); ok {
			return i
		}
		if f, ok := parseFloat(s); ok && !math.IsNaN(f) && !math.IsInf(f, 0) {
			return truncated(f)
		}
		return def
	}
	if isInt(v) {
		return intArith("+", int64(0), v)
	}
	return def
}

func filterFloat(in *interp, v Value, a *args) Value {
	p := a.bind("float", 0, "default")
	if u, ok := v.(*undefined); ok {
		fail("%s", u.message)
	}
	if f, ok := toFloat(v); ok {
		return f
	}
	if s, ok := text(v); ok {
		if f, ok := parseFloat(s); ok {
			return f
		}
	}
	if p[0] == absent {
		return 0.0
	}
	return p[0]
}

// parseInt reads what Python's int(s, base) does: white space around, a sign,
// single underscores between digits and the prefix of the base.
func parseInt(s string, base int) (Value, bool) {
	s = strings.TrimFunc(s, isSpace)
	sign := ""
	if s != "" && (s[0] == '-' || s[0] == '+') {
		sign, s = s[:1], s[1:]
	}
	if base != 0 && (base < 2 || base > 36) || len(s) > maxDigits {
		return nil, false
	}
	if len(s) > 2 && s[0] == '0' {
		b := map[byte]int{'x': 16, 'o': 8, 'b': 2}[s[1]|0x20]
		if b != 0 && (base == b || base == 0) {
			base, s = b, strings.TrimPrefix(s[2:], "_")
		}
	}
	if base == 0 {
		base = 10
	}
	if !underscoresFit(s) {
		return nil, false
	}
	b, ok := new(big.Int).SetString(sign+strings.ReplaceAll(s, "_", ""), base)
	if !ok || strings.ContainsAny(s, "+-") {
		return nil, false
	}
	return normal(b), true
}

// underscoresFit reports whether each underscore is single and between others.
func underscoresFit(s string) bool {
	return s != "" && s[0] != '_' && s[len(s)-1] != '_' && !strings.Contains(s, "__")
}

// parseFloat reads what Python's float(s) does.
func parseFloat(s string) (float64, bool) {
	s = strings.TrimFunc(s, isSpace)
	if !underscoresFit(s) || strings.ContainsAny(s, "xXpP") {
		return 0, false
	}
	for i := range len(s) {
		if s[i] == '_' && (!isDigit(s[i-1]) || !isDigit(s[i+1])) {
			return 0, false
		}
	}
	f, err := strconv.ParseFloat(strings.ReplaceAll(s, "_", ""), 64)
	return f, err == nil || math.IsInf(f, 0)
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
