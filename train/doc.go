// Package train is the loop that fine-tunes: it cuts tokenised data into
// batches (Data, Batches), makes optimizer steps (Trainer), measures
// (Evaluator), tells what happens as events that go to a file (Event, Writer),
// and writes checkpoints from which a run goes on bit for bit (Checkpoint).
//
// It knows a method only as a param.Set and a model only by its passes: what
// kind of adapter is trained, and in which files it is kept, is the caller's
// affair. It prints nothing and asks nothing of the environment.
package train
