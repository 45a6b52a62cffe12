package jinja

import (
	"math/big"
	"strconv"
	"strings"
)

// parser builds the tree by recursive descent, with the grammar and the
// precedences of jinja2/parser.py.
type parser struct {
	tokens []token
	pos    int
	depth  int
	macros []*signature // those whose body is being read, innermost last
	loops  int          // for loops around, within the innermost macro
}

func (p *parser) cur() token { return p.tokens[p.pos] }

func (p *parser) look() token { return p.tokens[min(p.pos+1, len(p.tokens)-1)] }

func (p *parser) next() token {
	t := p.tokens[p.pos]
	if t.kind != tokEOF {
		p.pos++
	}
	return t
}

func (p *parser) isOp(op string) bool {
	t := p.cur()
	return t.kind == tokOp && t.text == op
}

func (p *parser) isName(name string) bool {
	t := p.cur()
	return t.kind == tokName && t.text == name
}

func (p *parser) skipOp(op string) bool {
	if p.isOp(op) {
		p.pos++
		return true
	}
	return false
}

func (p *parser) skipName(name string) bool {
	if p.isName(name) {
		p.pos++
		return true
	}
	return false
}

func (p *parser) expectOp(op string) {
	if !p.skipOp(op) {
		p.unexpected("'" + op + "'")
	}
}

func (p *parser) expectKind(kind tokenKind, want string) token {
	if p.cur().kind != kind {
		p.unexpected(want)
	}
	return p.next()
}

func (p *parser) unexpected(want string) {
	failSyntax(p.cur().line, "expected %s, got %s", want, p.cur().describe())
}

// enter bounds the nesting; the caller defers the returned leave.
func (p *parser) enter() func() {
	if p.depth++; p.depth > maxParseDepth {
		failSyntax(p.cur().line, "more than %d levels of nesting", maxParseDepth)
	}
	return func() { p.depth-- }
}

func (p *parser) expression(withCond bool) expr {
	defer p.enter()()
	if !withCond {
		return p.or()
	}
	x := p.or()
	for p.skipName("if") {
		c := &cond{test: p.or(), yes: x}
		if p.skipName("else") {
			c.no = p.expression(true)
		}
		x = c
	}
	return x
}

func (p *parser) or() expr {
	x := p.and()
	for p.skipName("or") {
		x = &binary{"or", x, p.and()}
	}
	return x
}

func (p *parser) and() expr {
	x := p.not()
	for p.skipName("and") {
		x = &binary{"and", x, p.not()}
	}
	return x
}

func (p *parser) not() expr {
	if p.skipName("not") {
		defer p.enter()()
		return &unary{"not", p.not()}
	}
	return p.comparison()
}

func (p *parser) comparison() expr {
	c := &compare{first: p.sum()}
	for {
		t, op := p.cur(), ""
		switch {
		case t.kind == tokOp && (t.text == "==" || t.text == "!=" || t.text == "<" || t.text == "<=" || t.text == ">" || t.text == ">="):
			op = t.text
		case p.isName("in"):
			op = "in"
		case p.isName("not") && p.look().kind == tokName && p.look().text == "in":
			op = "not in"
			p.next()
		}
		if op == "" {
			break
		}
		p.next()
		c.ops = append(c.ops, op)
		c.rest = append(c.rest, p.sum())
	}
	if len(c.ops) == 0 {
		return c.first
	}
	return c
}

// chain reads operands joined by left-associative operators.
func (p *parser) chain(operand func() expr, ops ...string) expr {
	x := operand()
next:
	for {
		for _, op := range ops {
			if p.skipOp(op) {
				x = &binary{op, x, operand()}
				continue next
			}
		}
		return x
	}
}

func (p *parser) sum() expr { return p.chain(p.tilde, "+", "-") }

func (p *parser) tilde() expr {
	parts := []expr{p.product()}
	for p.skipOp("~") {
		parts = append(parts, p.product())
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return &concat{parts}
}

func (p *parser) product() expr { return p.chain(p.power, "*", "/", "//", "%") }

func (p *parser) power() expr {
	return p.chain(func() expr { return p.unary(true) }, "**")
}

func (p *parser) unary(withFilter bool) expr {
	var x expr
	if p.isOp("-") || p.isOp("+") {
		defer p.enter()()
		op := p.next().text
		x = &unary{op, p.unary(false)}
	} else {
		x = p.primary()
	}
	x = p.postfix(x)
	if withFilter {
		x = p.filtersAndTests(x)
	}
	return x
}

func (p *parser) primary() expr {
	t := p.cur()
	switch t.kind {
	case tokName:
		p.next()
		switch t.text {
		case "true", "True":
			return &constant{true}
		case "false", "False":
			return &constant{false}
		case "none", "None":
			return &constant{nil}
		}
		p.noteName(t.text)
		return &nameRef{t.text}
	case tokString:
		var b strings.Builder
		for p.cur().kind == tokString { // adjacent strings are one
			b.WriteString(p.next().text)
		}
		return &constant{b.String()}
	case tokInteger, tokFloat:
		p.next()
		return &constant{numberLiteral(t)}
	case tokOp:
		switch t.text {
		case "(":
			p.next()
			x := p.tupleOr(p.expression, true, true, "")
			p.expectOp(")")
			return x
		case "[":
			return p.list()
		case "{":
			return p.dict()
		}
	}
	p.unexpected("an expression")
	return nil
}

// noteName remembers that the macros being read use their implicit arguments,
// which decides whether they accept surplus ones. As in Jinja2 a use in an
// inner macro counts for the outer ones too.
func (p *parser) noteName(name string) {
	if name != "varargs" && name != "kwargs" && name != "caller" {
		return
	}
	for _, m := range p.macros {
		m.varargs = m.varargs || name == "varargs"
		m.kwargs = m.kwargs || name == "kwargs"
		m.caller = m.caller || name == "caller"
	}
}

func numberLiteral(t token) Value {
	if t.kind == tokFloat {
		f, _ := strconv.ParseFloat(t.text, 64) // out of range is an infinity
		return f
	}
	if i, err := strconv.ParseInt(t.text, 0, 64); err == nil {
		return i
	}
	b, ok := new(big.Int).SetString(t.text, 0)
	if !ok || len(t.text) > maxDigits {
		failSyntax(t.line, "integer %.20s... cannot be read", t.text)
	}
	return b
}

// tupleOr reads "a, b" as a tuple and "a" as a. stop is a name that ends it
// besides the end of a tag and ")".
func (p *parser) tupleOr(item func(bool) expr, withCond, parens bool, stop string) expr {
	var items []expr
	isTuple := false
	for {
		if isTuple {
			p.expectOp(",")
		}
		t := p.cur()
		if t.kind == tokVarEnd || t.kind == tokBlockEnd || p.isOp(")") || stop != "" && p.isName(stop) {
			break
		}
		items = append(items, item(withCond))
		if !p.isOp(",") {
			break
		}
		isTuple = true
	}
	if !isTuple {
		if len(items) == 1 {
			return items[0]
		}
		if !parens {
			p.unexpected("an expression")
		}
	}
	return &tupleLit{items}
}

func (p *parser) list() expr {
	p.expectOp("[")
	l := &listLit{}
	for !p.isOp("]") {
		if len(l.items) > 0 {
			p.expectOp(",")
			if p.isOp("]") {
				break
			}
		}
		l.items = append(l.items, p.expression(true))
	}
	p.expectOp("]")
	return l
}

func (p *parser) dict() expr {
	p.expectOp("{")
	d := &dictLit{}
	for !p.isOp("}") {
		if len(d.keys) > 0 {
			p.expectOp(",")
			if p.isOp("}") {
				break
			}
		}
		d.keys = append(d.keys, p.expression(true))
		p.expectOp(":")
		d.values = append(d.values, p.expression(true))
	}
	p.expectOp("}")
	return d
}

func (p *parser) postfix(x expr) expr {
	for {
		switch {
		case p.isOp(".") || p.isOp("["):
			x = p.subscript(x)
		case p.isOp("("):
			x = p.call(x)
		default:
			return x
		}
	}
}

func (p *parser) filtersAndTests(x expr) expr {
	for {
		switch {
		case p.isOp("|"):
			x = p.filter(x, false)
		case p.isName("is"):
			x = p.test(x)
		case p.isOp("("):
			x = p.call(x)
		default:
			return x
		}
	}
}

func (p *parser) subscript(x expr) expr {
	if p.skipOp(".") {
		t := p.next()
		switch t.kind {
		case tokName:
			return &attrRef{x, t.text}
		case tokInteger:
			return &itemRef{x, &constant{numberLiteral(t)}}
		}
		p.pos--
		p.unexpected("a name or number")
	}
	p.expectOp("[")
	var keys []expr
	for !p.isOp("]") {
		if len(keys) > 0 {
			p.expectOp(",")
		}
		keys = append(keys, p.subscriptKey())
	}
	p.expectOp("]")
	if len(keys) == 1 {
		return &itemRef{x, keys[0]}
	}
	return &itemRef{x, &tupleLit{keys}}
}

func (p *parser) subscriptKey() expr {
	s := &sliceLit{}
	if !p.isOp(":") {
		s.lo = p.expression(true)
		if !p.isOp(":") {
			return s.lo
		}
	}
	p.expectOp(":")
	if !p.isOp(":") && !p.isOp("]") && !p.isOp(",") {
		s.hi = p.expression(true)
	}
	if p.skipOp(":") && !p.isOp("]") && !p.isOp(",") {
		s.step = p.expression(true)
	}
	return s
}

func (p *parser) call(fn expr) expr {
	line := p.cur().line
	return &call{line: line, fn: fn, args: p.callArgs()}
}

func (p *parser) callArgs() callArgs {
	var a callArgs
	line := p.cur().line
	ensure := func(ok bool) {
		if !ok {
			failSyntax(line, "invalid syntax for function call expression")
		}
	}
	p.expectOp("(")
	for first := true; !p.isOp(")"); first = false {
		if !first {
			p.expectOp(",")
			if p.isOp(")") {
				break
			}
		}
		switch {
		case p.skipOp("*"):
			ensure(a.star == nil && a.dstars == nil)
			a.star = p.expression(true)
		case p.skipOp("**"):
			ensure(a.dstars == nil)
			a.dstars = p.expression(true)
		case p.cur().kind == tokName && p.look().kind == tokOp && p.look().text == "=":
			ensure(a.dstars == nil)
			a.names = append(a.names, p.next().text)
			p.next()
			a.named = append(a.named, p.expression(true))
		default:
			ensure(a.star == nil && a.dstars == nil && len(a.names) == 0)
			a.pos = append(a.pos, p.expression(true))
		}
	}
	p.expectOp(")")
	return a
}

// dotted reads the name of a filter or test.
func (p *parser) dotted(what string) string {
	name := p.expectKind(tokName, what).text
	for p.skipOp(".") {
		name += "." + p.expectKind(tokName, what).text
	}
	return name
}

// filter reads one "|name(args)", or a chain without the first "|" (inline).
func (p *parser) filter(x expr, inline bool) expr {
	for inline || p.skipOp("|") {
		line := p.cur().line
		f := &filter{line: line, x: x, name: p.dotted("the name of a filter")}
		f.fn = filterNamed(f.name)
		if p.isOp("(") {
			f.args = p.callArgs()
		}
		x = f
		inline = false
	}
	return x
}

func (p *parser) test(x expr) expr {
	line := p.next().line // "is"
	negated := p.skipName("not")
	t := &test{line: line, x: x, name: p.dotted("the name of a test")}
	t.fn = testNamed(t.name)
	cur := p.cur()
	switch {
	case p.isOp("("):
		t.args = p.callArgs()
	case p.isName("else") || p.isName("or") || p.isName("and"):
	case p.isName("is"):
		failSyntax(cur.line, "tests cannot be chained with is")
	case cur.kind == tokName || cur.kind == tokString || cur.kind == tokInteger || cur.kind == tokFloat || p.isOp("[") || p.isOp("{"):
		defer p.enter()()
		t.args.pos = []expr{p.postfix(p.primary())}
	}
	if negated {
		return &unary{"not", t}
	}
	return t
}
