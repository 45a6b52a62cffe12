// Package jinja renders the chat templates that models on Hugging Face carry,
// to the byte as Jinja2 does in the setting the transformers library uses:
// trim_blocks and lstrip_blocks on, autoescape off, the immutable sandbox,
// break and continue, {% generation %}, raise_exception, strftime_now and
// tojson as json.dumps without ASCII escapes.
//
// It covers the expression language, the statements for, if, set, macro, call,
// filter, with, raw and generation, and nearly all built-in filters and tests.
// It never loads another template (include, import, extends), never changes
// the values it is given and bounds the work and memory of a rendering, so a
// template from an unknown source can be run.
//
// Reference: https://jinja.palletsprojects.com/en/stable/templates/.
package jinja

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Limits of one rendering when Env leaves them zero, and of every parse.
const (
	// DefaultMaxOutput is the most bytes a rendering may print.
	DefaultMaxOutput = 64 << 20
	// DefaultMaxSteps is the most steps a rendering may take: evaluated nodes,
	// loop iterations, visited items and blocks of 64 scanned bytes. It is some
	// seconds of one core, thousands of times what real templates take.
	DefaultMaxSteps = 50_000_000

	maxAlloc      = 1 << 30 // bytes of all strings and lists a rendering makes
	maxSource     = 4 << 20 // bytes of template source
	maxParseDepth = 300     // nesting of expressions and statements in the source
	maxEvalDepth  = 10_000  // nesting of evaluated nodes, macro calls included
	maxDataDepth  = 500     // nesting of values in repr, tojson, == and JSON input
	maxRange      = 100_000 // items of range(), as in Jinja2's sandbox
)

// Template is a parsed template. It is immutable, so any number of goroutines
// may render it at once.
type Template struct {
	name string
	body []stmt
}

// Env is what a rendering may use of the world outside. The zero value works.
type Env struct {
	// Now is the clock of strftime_now; nil means time.Now.
	Now func() time.Time
	// MaxOutput bounds the printed bytes; 0 means DefaultMaxOutput.
	MaxOutput int
	// MaxSteps bounds the work; 0 means DefaultMaxSteps.
	MaxSteps int
}

// Error is a fault in a template, found while parsing or rendering.
type Error struct {
	Template string // name given to Parse
	Line     int    // line in the source, from 1
	Message  string // what is wrong, worded as Jinja2 or Python does where they have a text
}

// Error returns "name:line: message".
func (e *Error) Error() string {
	return fmt.Sprintf("%s:%d: %s", e.Template, e.Line, e.Message)
}

// RaisedError reports that the template called raise_exception: it refuses the
// conversation, which is not a fault of the template.
type RaisedError struct {
	Template string // name given to Parse
	Line     int    // line of the statement that raised
	Message  string // the text the template gave
}

// Error returns "name:line: the template refuses the input: message".
func (e *RaisedError) Error() string {
	return fmt.Sprintf("%s:%d: the template refuses the input: %s", e.Template, e.Line, e.Message)
}

// LimitError reports that a rendering was stopped because it needed more than
// Env or the package allows.
type LimitError struct {
	Template string // name given to Parse
	Line     int    // line of the statement that was running
	Message  string // which limit
}

// Error returns "name:line: message".
func (e *LimitError) Error() string {
	return fmt.Sprintf("%s:%d: %s", e.Template, e.Line, e.Message)
}

// Parse reads a template. The name appears in errors only; a syntax error is an
// *Error with its line.
func Parse(name, src string) (t *Template, err error) {
	if len(src) > maxSource {
		return nil, &Error{name, 1, fmt.Sprintf("template has %d bytes, at most %d are accepted", len(src), maxSource)}
	}
	defer func() {
		switch f := recover().(type) {
		case nil:
		case syntaxFault:
			t, err = nil, &Error{name, f.line, f.msg}
		default:
			panic(f)
		}
	}()
	p := &parser{tokens: lex(src)}
	return &Template{name: name, body: p.parseTemplate()}, nil
}

// Render prints the template with data as its variables. Errors are *Error,
// *RaisedError or *LimitError. data is only read; nil means no variables.
func (t *Template) Render(data *Dict, env Env) (out string, err error) {
	if env.Now == nil {
		env.Now = time.Now
	}
	if env.MaxOutput <= 0 {
		env.MaxOutput = DefaultMaxOutput
	}
	if env.MaxSteps <= 0 {
		env.MaxSteps = DefaultMaxSteps
	}
	in := &interp{env: env, out: new(strings.Builder), line: 1, context: data}
	in.scope = &scope{}
	defer func() {
		switch f := recover().(type) {
		case nil:
		case runFault:
			out, err = "", t.describe(in.line, f.err)
		default:
			panic(f)
		}
	}()
	in.execAll(t.body)
	return in.out.String(), nil
}

// describe adds the place to an error that evaluation threw.
func (t *Template) describe(line int, err error) error {
	var raised *RaisedError
	var limit *LimitError
	switch {
	case errors.As(err, &raised):
		return &RaisedError{t.name, line, raised.Message}
	case errors.As(err, &limit):
		return &LimitError{t.name, line, limit.Message}
	}
	return &Error{t.name, line, err.Error()}
}

// runFault carries an error from deep inside an evaluation to Render, the only
// place that recovers it. Threading an error through every operator would
// triple the evaluator and add nothing: no template can catch one.
type runFault struct{ err error }

// syntaxFault does the same from the lexer and parser to Parse.
type syntaxFault struct {
	line int
	msg  string
}

func fail(format string, args ...any) {
	panic(runFault{fmt.Errorf(format, args...)})
}

func failSyntax(line int, format string, args ...any) {
	panic(syntaxFault{line, fmt.Sprintf(format, args...)})
}
