// Package meft fine-tunes Llama-family language models with adapters that are
// far larger than the accelerator's memory. It is the library's front door: a
// Config describes a run, Plan tells what it will take, Train does it, and a
// Session answers and scores with what came out. The package prints nothing and
// never exits; cmd/meft does.
package meft

// Version is the version of the program and of the files it writes.
const Version = "0.1.0"
