// Command meft fine-tunes language models with adapters that are far larger
// than the accelerator's memory, and plans, evaluates, generates and scores
// with them.
//
// Data goes to standard output, everything else to standard error. The exit
// code is 0 if all went well, 1 after a failure, 2 if the command line (or the
// configuration file it names) is wrong. This is the only package that prints,
// exits and reads the environment; all it knows about fine-tuning is the API of
// package meft.
package main

import (
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, system()))
}

// env is what the program asks of its surroundings besides the three streams.
type env struct {
	lookup      func(name string) (string, bool)           // environment variables
	notify      func(c chan<- os.Signal) (giveBack func()) // Ctrl-C and SIGTERM
	outTerminal bool                                       // standard output is a terminal
	errTerminal bool                                       // standard error is one
	width       int                                        // of the terminal in columns, 0 for none
}

// system is the real env.
func system() env {
	e := env{
		lookup:      os.LookupEnv,
		outTerminal: term.IsTerminal(int(os.Stdout.Fd())),
		errTerminal: term.IsTerminal(int(os.Stderr.Fd())),
	}
	e.notify = func(c chan<- os.Signal) func() {
		signal.Notify(c, os.Interrupt, syscall.SIGTERM)
		return func() { signal.Stop(c) }
	}
	if w, _, err := term.GetSize(int(os.Stderr.Fd())); err == nil {
		e.width = w
	}
	return e
}

// run is the whole program but the exit: it returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer, e env) int {
	boundHeap(e)
	a := &app{in: stdin, out: stdout, err: stderr, env: e}
	return a.exitCode(a.execute(args))
}
