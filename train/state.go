package train

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// stateFormat is the version of meft_state.json.
const stateFormat = 1

// State is what a run knows besides its parameters and moments: all of
// meft_state.json.
type State struct {
	Format    int               `json:"format"`     // of this file
	Step      int               `json:"step"`       // steps made
	Evaluated int               `json:"evaluated"`  // step of the last evaluation, 0 for none
	Best      *Best             `json:"best"`       // null before the first evaluation
	Misses    int               `json:"misses"`     // evaluations in a row that did not improve
	LossSum   float64           `json:"loss_sum"`   // of the losses of all steps
	LogSum    float64           `json:"log_sum"`    // of the losses since the last entry of the log
	LogSteps  int               `json:"log_steps"`  // how many those are
	Tokens    int64             `json:"tokens"`     // fed so far
	Learned   int64             `json:"supervised"` // of those
	Seconds   float64           `json:"seconds"`    // of running, all sessions
	Data      string            `json:"data"`       // fingerprint
	Settings  map[string]string `json:"settings"`   // that have to be the same to go on
	Files     map[string]string `json:"files"`      // SHA-256 of every other file, by its path in the folder
}

// Best is the best evaluation so far.
type Best struct {
	Metric string  `json:"metric"` // loss, exact_match, contains or f1
	Value  float64 `json:"value"`
	Step   int     `json:"step"`
}

// identity is what has to be the same for a run to go on.
func (t *Trainer) identity() map[string]string {
	o := t.Batches.o
	id := map[string]string{
		"seed":                        strconv.FormatUint(o.Seed, 10),
		"per_device_train_batch_size": strconv.Itoa(o.Size),
		"gradient_accumulation_steps": strconv.Itoa(o.Accumulation),
		"max_length":                  strconv.Itoa(o.MaxLength),
		"packing":                     strconv.FormatBool(o.Packing),
	}
	maps.Copy(id, t.Settings)
	return id
}

// mismatch compares a checkpoint with what the run is now and reports every
// difference.
func (s State) mismatch(settings map[string]string, data string) error {
	var problems []string
	names := map[string]bool{}
	for k := range s.Settings {
		names[k] = true
	}
	for k := range settings {
		names[k] = true
	}
	for _, k := range slices.Sorted(maps.Keys(names)) {
		was, had := s.Settings[k]
		is, has := settings[k]
		switch {
		case !has:
			problems = append(problems, fmt.Sprintf("%s was %s, is not set", k, was))
		case !had:
			problems = append(problems, fmt.Sprintf("%s is %s, was not set", k, is))
		case was != is:
			problems = append(problems, fmt.Sprintf("%s was %s, is %s", k, was, is))
		}
	}
	if s.Data != data {
		problems = append(problems, fmt.Sprintf("the training data was %.12s, is %.12s: other rows, another tokenizer or prompt", s.Data, data))
	}
	if problems == nil {
		return nil
	}
	return fmt.Errorf("the run cannot go on with other settings:\n  %s\nput them back, or start anew in another folder", strings.Join(problems, "\n  "))
}
