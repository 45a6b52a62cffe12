package jinja

import (
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
