// Package task reads training and test data in the forms people have them,
// turns rows into token ids with a mask of the ids to learn, and marks answers.
//
// Read gives the rows of a file or folder as they are, Examples gives them a
// meaning (alpaca, chat messages, questions and answers, plain text), an
// Encoder makes token ids of an Example, a Report adds up what that cost, and
// Scores marks answers against references. The package never downloads, never
// guesses between two readings of a file, and never drops, cuts or masks
// anything without counting it.
package task
