package jinja

import "strings"

func (p *parser) parseTemplate() []stmt {
	return p.body("")
}

// block reads the rest of a tag and a body up to a tag named in ends, which is
// left current. tag is the tag that opened it.
func (p *parser) block(tag string, ends ...string) []stmt {
	defer p.enter()()
	p.skipOp(":") // allowed for Python's sake
	p.expectKind(tokBlockEnd, "'%}'")
	return p.body(tag, ends...)
}

func (p *parser) body(tag string, ends ...string) []stmt {
	var out []stmt
	for {
		t := p.cur()
		switch t.kind {
		case tokEOF:
			if tag != "" {
				failSyntax(t.line, "{%% %s %%} is not closed, expected {%% %s %%}", tag, strings.Join(ends, " %} or {% "))
			}
			return out
		case tokData:
			p.next()
			out = append(out, &output{at: at(t.line), data: t.text})
		case tokVarBegin:
			p.next()
			x := p.tupleOr(p.expression, true, false, "")
			p.expectKind(tokVarEnd, "'}}'")
			out = append(out, &output{at: at(t.line), x: x})
		default:
			p.next()
			for _, end := range ends {
				if p.isName(end) {
					return out
				}
			}
			out = append(out, p.statement()...)
			p.expectKind(tokBlockEnd, "'%}'")
		}
	}
}

func (p *parser) statement() []stmt {
	t := p.expectKind(tokName, "the name of a tag")
	a := at(t.line)
	switch t.text {
	case "for":
		return []stmt{p.forStmt(a)}
	case "if":
		return []stmt{p.ifStmt(a)}
	case "set":
		return []stmt{p.setStmt(a)}
	case "with":
		return []stmt{p.withStmt(a)}
	case "macro":
		sig := &signature{name: p.expectKind(tokName, "the name of the macro").text}
		p.params(sig)
		p.macroBody(sig, "macro", "endmacro")
		return []stmt{&macroStmt{a, sig}}
	case "call":
		return []stmt{p.callStmt(a)}
	case "filter":
		f := p.filter(nil, true)
		body := p.block("filter", "endfilter")
		p.next()
		return []stmt{&filterStmt{a, f, body}}
	case "generation":
		body := p.block("generation", "endgeneration")
		p.next()
		return []stmt{&scopeStmt{a, body}}
	case "print":
		return p.printStmt(a)
	case "break", "continue":
		if p.loops == 0 {
			failSyntax(t.line, "{%% %s %%} outside of a loop", t.text)
		}
		if t.text == "break" {
			return []stmt{&loopControl{a, flowBreak}}
		}
		return []stmt{&loopControl{a, flowContinue}}
	case "include", "import", "from", "extends", "block":
		failSyntax(t.line, "{%% %s %%} is not supported: a chat template is one file", t.text)
	case "else", "elif", "endif", "endfor", "endset", "endmacro", "endcall", "endfilter", "endwith", "endgeneration", "endraw":
		failSyntax(t.line, "{%% %s %%} closes nothing that is open here", t.text)
	}
	failSyntax(t.line, "unknown tag %q", t.text)
	return nil
}

func (p *parser) printStmt(a at) []stmt {
	var out []stmt
	for p.cur().kind != tokBlockEnd {
		if len(out) > 0 {
			p.expectOp(",")
		}
		out = append(out, &output{at: a, x: p.expression(true)})
	}
	return out
}

func (p *parser) forStmt(a at) stmt {
	f := &forStmt{at: a, to: p.target(false, "in")}
	if !p.skipName("in") {
		p.unexpected("'in'")
	}
	f.iter = p.tupleOr(p.expression, false, false, "recursive")
	if p.skipName("if") {
		f.only = p.expression(true)
	}
	f.recursive = p.skipName("recursive")
	p.loops++
	f.body = p.block("for", "endfor", "else")
	p.loops--
	if p.next().text == "else" {
		f.none = p.block("for", "endfor")
		p.next()
	}
	return f
}

func (p *parser) ifStmt(a at) stmt {
	f := &ifStmt{at: a}
	for {
		f.tests = append(f.tests, p.tupleOr(p.expression, false, false, ""))
		f.bodies = append(f.bodies, p.block("if", "elif", "else", "endif"))
		switch p.next().text {
		case "elif":
			continue
		case "else":
			f.none = p.block("if", "endif")
			p.next()
		}
		return f
	}
}

func (p *parser) setStmt(a at) stmt {
	to := p.target(true, "")
	if p.skipOp("=") {
		return &setStmt{a, to, p.tupleOr(p.expression, true, false, "")}
	}
	f := p.filter(nil, false)
	body := p.block("set", "endset")
	p.next()
	return &setBlock{a, to, f, body}
}

func (p *parser) withStmt(a at) stmt {
	w := &withStmt{at: a}
	for p.cur().kind != tokBlockEnd {
		if len(w.to) > 0 {
			p.expectOp(",")
		}
		w.to = append(w.to, p.target(false, ""))
		p.expectOp("=")
		w.x = append(w.x, p.expression(true))
	}
	w.body = p.block("with", "endwith")
	p.next()
	return w
}

func (p *parser) callStmt(a at) stmt {
	sig := &signature{name: "caller"}
	if p.isOp("(") {
		p.params(sig)
	}
	c, ok := p.expression(true).(*call)
	if !ok {
		failSyntax(int(a), "{%% call %%} wants a call")
	}
	p.macroBody(sig, "call", "endcall")
	return &callStmt{a, c, sig}
}

// params reads "(a, b=1)".
func (p *parser) params(sig *signature) {
	p.expectOp("(")
	for !p.isOp(")") {
		if len(sig.params) > 0 {
			p.expectOp(",")
		}
		t := p.expectKind(tokName, "the name of a parameter")
		sig.params = append(sig.params, t.text)
		if p.skipOp("=") {
			sig.defaults = append(sig.defaults, p.expression(true))
		} else if len(sig.defaults) > 0 {
			failSyntax(t.line, "non-default argument follows default argument")
		}
	}
	p.expectOp(")")
}

func (p *parser) macroBody(sig *signature, tag, end string) {
	loops := p.loops
	p.loops = 0
	p.macros = append(p.macros, sig)
	sig.body = p.block(tag, end)
	p.next()
	p.macros = p.macros[:len(p.macros)-1]
	p.loops = loops
}

// target reads what a set, for or with assigns to.
func (p *parser) target(withNamespace bool, stop string) target {
	line := p.cur().line
	x := p.tupleOr(func(bool) expr {
		if withNamespace && p.cur().kind == tokName && p.look().kind == tokOp && p.look().text == "." {
			ns := p.next()
			p.next()
			return &attrRef{&nameRef{ns.text}, p.expectKind(tokName, "the name of an attribute").text}
		}
		defer p.enter()()
		return p.primary()
	}, false, false, stop)
	return toTarget(x, line)
}

func toTarget(x expr, line int) target {
	switch x := x.(type) {
	case *nameRef:
		return target{name: x.name}
	case *attrRef:
		if ns, ok := x.owner.(*nameRef); ok {
			return target{name: ns.name, attr: x.name}
		}
	case *tupleLit:
		t := target{items: make([]target, len(x.items))}
		for i, item := range x.items {
			t.items[i] = toTarget(item, line)
		}
		return t
	}
	failSyntax(line, "this cannot be assigned to")
	return target{}
}
