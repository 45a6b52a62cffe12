package jinja

import (
	"math/big"
	"strconv"
)

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
