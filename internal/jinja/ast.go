package jinja

// expr is a node of an expression. Its eval is called through interp.eval only,
// which counts steps and depth.
type expr interface{ eval(in *interp) Value }

// stmt is a node of a template body. Its exec is called through interp.exec
// only. It says how the body around it goes on.
type stmt interface {
	exec(in *interp) flow
	lineNo() int
}

// at is the line of a node.
type at int

func (a at) lineNo() int { return int(a) }

// flow says how to go on after a statement.
type flow uint8

const (
	flowNext flow = iota
	flowBreak
	flowContinue
)

// Expressions.
type (
	constant struct{ value Value }
	nameRef  struct{ name string }
	tupleLit struct{ items []expr }
	listLit  struct{ items []expr }
	dictLit  struct{ keys, values []expr }
	attrRef  struct {
		owner expr
		name  string
	}
	itemRef  struct{ owner, key expr }
	sliceLit struct{ lo, hi, step expr } // parts may be nil
	unary    struct {
		op string
		x  expr
	}
	binary struct {
		op   string
		x, y expr
	}
	concat  struct{ parts []expr }
	compare struct {
		first expr
		ops   []string
		rest  []expr
	}
	cond struct{ test, yes, no expr } // no may be nil
	call struct {
		line int
		fn   expr
		args callArgs
	}
	filter struct {
		line int
		x    expr // nil: the text of the block the filter is applied to
		name string
		fn   filterFunc // nil if there is no such filter
		args callArgs
	}
	test struct {
		line int
		x    expr
		name string
		fn   testFunc // nil if there is no such test
		args callArgs
	}
)

// callArgs are the arguments of a call as written.
type callArgs struct {
	pos    []expr
	names  []string
	named  []expr
	star   expr // *x
	dstars expr // **x
}

// target is something to assign to: a name, ns.attr or a tuple of targets.
type target struct {
	name  string
	attr  string   // not empty: attribute of the namespace called name
	items []target // tuple
}

// Statements.
type (
	output struct {
		at
		x    expr // nil: data
		data string
	}
	forStmt struct {
		at
		to         target
		iter, only expr // only may be nil
		body, none []stmt
		recursive  bool
	}
	ifStmt struct {
		at
		tests  []expr
		bodies [][]stmt
		none   []stmt
	}
	setStmt struct {
		at
		to target
		x  expr
	}
	setBlock struct {
		at
		to     target
		filter expr // nil or a chain of filters
		body   []stmt
	}
	withStmt struct {
		at
		to   []target
		x    []expr
		body []stmt
	}
	macroStmt struct {
		at
		*signature
	}
	callStmt struct {
		at
		call   *call
		caller *signature
	}
	filterStmt struct {
		at
		filter expr
		body   []stmt
	}
	scopeStmt struct { // {% generation %}: a body with its own scope
		at
		body []stmt
	}
	loopControl struct {
		at
		flow flow
	}
)

// signature is a macro as written: its parameters, of which the last
// len(defaults) have defaults, and its body.
type signature struct {
	name     string
	params   []string
	defaults []expr
	body     []stmt
	varargs  bool // the body uses varargs, so more arguments are allowed
	kwargs   bool // likewise
	caller   bool // likewise
}
