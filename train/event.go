package train

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"

	"meft/task"
	"meft/tensor"
)

// An Event is something that happened in a run, and one line of events.jsonl.
// The types in this file are all there are: Memory, Dataset, Step, Eval, Saved,
// Note and Done.
type Event interface {
	kind() string // the value of "type" in JSON
	at() int      // the step it belongs to; -1 for the beginning of the run
}

// Memory is the account of a run's memory, in bytes by pool.
type Memory struct {
	Groups       []MemoryGroup `json:"groups"`
	Device       int64         `json:"device"`
	Pinned       int64         `json:"pinned"`
	Host         int64         `json:"host"`
	Disk         int64         `json:"disk,omitempty"`          // of host tables in a file
	DeviceBudget int64         `json:"device_budget,omitempty"` // 0 for none
	HostBudget   int64         `json:"host_budget,omitempty"`   // of pinned and host together; 0 for none
}

// MemoryGroup is a part of Memory: Count tensors of one kind.
type MemoryGroup struct {
	Name  string `json:"name"`
	Pool  string `json:"pool"`
	Count int    `json:"count"`
	Bytes int64  `json:"bytes"`
}

// NewMemory is the account of l, its entries grouped by key.
func NewMemory(l *tensor.Ledger, key func(tensor.Entry) string) Memory {
	m := Memory{Device: l.Used(tensor.OnDevice), Pinned: l.Used(tensor.Pinned), Host: l.Used(tensor.OnHost), Disk: l.Used(tensor.OnDisk)}
	for _, g := range l.Groups(key) {
		m.Groups = append(m.Groups, MemoryGroup{g.Name, g.Pool.String(), g.Count, g.Bytes})
	}
	return m
}

// Dataset tells what the data came to.
type Dataset struct {
	Split      string       `json:"split"` // "train" or "validation"
	Examples   int          `json:"examples"`
	Bins       int          `json:"bins,omitempty"` // with packing
	Tokens     int64        `json:"tokens"`
	Supervised int64        `json:"supervised_tokens"`
	Longest    int          `json:"longest"`
	Steps      int          `json:"steps_per_epoch,omitempty"`
	Report     *task.Report `json:"report,omitempty"` // what was cut or dropped while reading
}

// NewDataset is the account of the data behind b; report may be nil.
func NewDataset(split string, b *Batches, report *task.Report) Dataset {
	d := Dataset{Split: split, Examples: b.data.Len(), Tokens: b.data.Tokens(), Supervised: b.data.Supervised(),
		Longest: b.data.Longest(), Steps: b.StepsPerEpoch(), Report: report}
	if b.o.Packing {
		d.Bins = b.units
	}
	return d
}

// Step is one optimizer step.
type Step struct {
	Step                      int     `json:"step"`  // from 1
	Steps                     int     `json:"steps"` // of the whole run
	Epoch                     float64 `json:"epoch"`
	Loss                      float64 `json:"loss"`          // mean over supervised tokens, nats
	LearningRate              float64 `json:"learning_rate"` // of this step
	GradNorm                  float64 `json:"grad_norm"`     // before clipping
	Tokens                    int     `json:"tokens"`
	SupervisedTokens          int     `json:"supervised_tokens"`
	TokensPerSecond           float64 `json:"tokens_per_second"`
	SupervisedTokensPerSecond float64 `json:"supervised_tokens_per_second"`
	RowsTouched               int64   `json:"rows_touched,omitempty"`    // rows of host tables that got a gradient, summed over blocks
	UnionShare                float64 `json:"union_share,omitempty"`     // of a block's rows that a micro-batch brought in, mean
	DeadNeurons               int64   `json:"dead_neurons,omitempty"`    // rows that no token has picked since the program started, summed over blocks
	LoadMax                   float64 `json:"load_max,omitempty"`        // tokens of the fullest expert in shares of the mean, mean of the blocks
	LoadEntropy               float64 `json:"load_entropy,omitempty"`    // of the experts' shares of the tokens, in shares of its highest value
	DroppedTokens             int64   `json:"dropped_tokens,omitempty"`  // that found their expert full, summed over blocks
	AuxiliaryLoss             float64 `json:"auxiliary_loss,omitempty"`  // of the router, summed over blocks; no part of Loss
	BytesToDevice             int64   `json:"bytes_to_device,omitempty"` // copied by the method, the optimizer and offloaded blocks
	BytesToHost               int64   `json:"bytes_to_host,omitempty"`
	DeviceBytes               int64   `json:"device_bytes"` // allocated
	HostBytes                 int64   `json:"host_bytes"`   // allocated, pinned memory included
	Seconds                   float64 `json:"seconds"`      // since the start of the run, earlier sessions included
}

// Eval is one evaluation. What was not measured is left out.
type Eval struct {
	Step             int      `json:"step"` // made so far
	Epoch            float64  `json:"epoch"`
	Loss             *float64 `json:"loss,omitempty"` // mean over the supervised tokens of the validation data
	Perplexity       *float64 `json:"perplexity,omitempty"`
	SupervisedTokens int64    `json:"supervised_tokens,omitempty"`
	Examples         int      `json:"examples,omitempty"` // answered
	ExactMatch       *float64 `json:"exact_match,omitempty"`
	Contains         *float64 `json:"contains,omitempty"`
	F1               *float64 `json:"f1,omitempty"`
	Best             bool     `json:"best"`     // better than all before by the metric that counts
	Duration         float64  `json:"duration"` // of the evaluation, seconds
	Seconds          float64  `json:"seconds"`  // since the start of the run
}

// Saved tells that a checkpoint is complete on disk.
type Saved struct {
	Step    int      `json:"step"`
	Dir     string   `json:"dir"` // its name in the run directory
	Bytes   int64    `json:"bytes"`
	Removed []string `json:"removed,omitempty"` // checkpoints that made room
	Seconds float64  `json:"seconds"`           // since the start of the run
}

// Note is a message for people.
type Note struct {
	Step int    `json:"step"`
	Text string `json:"text"`
}

// Done is the end of a run.
type Done struct {
	Step     int     `json:"step"`
	Epoch    float64 `json:"epoch"`
	Reason   string  `json:"reason"` // see Result
	Loss     float64 `json:"loss"`   // mean over all steps
	Tokens   int64   `json:"tokens"`
	Best     *Best   `json:"best,omitempty"`
	Restored bool    `json:"restored,omitempty"` // the weights are those of Best
	Seconds  float64 `json:"seconds"`
}

func (Memory) kind() string  { return "memory" }
func (Dataset) kind() string { return "data" }
func (Step) kind() string    { return "step" }
func (Eval) kind() string    { return "eval" }
func (Saved) kind() string   { return "saved" }
func (Note) kind() string    { return "note" }
func (Done) kind() string    { return "done" }

func (Memory) at() int  { return -1 }
func (Dataset) at() int { return -1 }
func (e Step) at() int  { return e.Step }
func (e Eval) at() int  { return e.Step }
func (e Saved) at() int { return e.Step }
func (e Note) at() int  { return e.Step }
func (e Done) at() int  { return e.Step }

// kinds are a zero value of every event type.
func kinds() []Event {
	return []Event{Memory{}, Dataset{}, Step{}, Eval{}, Saved{}, Note{}, Done{}}
}

// EncodeEvent is the line of an event, without the line end: a JSON object whose
// first key is "type". It fails on numbers that are not finite.
func EncodeEvent(e Event) ([]byte, error) {
	body, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("event %q: %w", e.kind(), err)
	}
	line := fmt.Appendf(nil, `{"type":%q`, e.kind())
	if len(body) > 2 {
		line = append(line, ',')
	}
	return append(line, body[1:]...), nil
}

// DecodeEvent reads a line that EncodeEvent made. Keys it does not know are
// passed over, so that a reader goes on working when events grow.
func DecodeEvent(line []byte) (Event, error) {
	var head struct {
		Type *string `json:"type"`
	}
	if err := json.Unmarshal(line, &head); err != nil {
		return nil, err
	}
	if head.Type == nil {
		return nil, fmt.Errorf(`no "type" in %q`, clip(line))
	}
	for _, zero := range kinds() {
		if zero.kind() != *head.Type {
			continue
		}
		e := reflect.New(reflect.TypeOf(zero))
		if err := json.Unmarshal(line, e.Interface()); err != nil {
			return nil, fmt.Errorf("event %q: %w", *head.Type, err)
		}
		return e.Elem().Interface().(Event), nil
	}
	return nil, fmt.Errorf("event type %q is not known", *head.Type)
}

func clip(line []byte) []byte {
	const most = 80
	if len(line) > most {
		return append(bytes.Clone(line[:most]), "..."...)
	}
	return line
}

// Tee passes every event to all observers in order; nil ones are left out.
func Tee(observers ...func(Event)) func(Event) {
	return func(e Event) {
		for _, o := range observers {
			if o != nil {
				o(e)
			}
		}
	}
}
