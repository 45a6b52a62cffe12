package train

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// LogEntry is one entry of log_history, under Hugging Face's keys.
type LogEntry map[string]float64

// trainerState is trainer_state.json as Hugging Face's trainer writes it, keys
// in order.
type trainerState struct {
	BestGlobalStep      *int           `json:"best_global_step"`
	BestMetric          *float64       `json:"best_metric"`
	BestModelCheckpoint *string        `json:"best_model_checkpoint"`
	Epoch               float64        `json:"epoch"`
	EvalSteps           int            `json:"eval_steps"`
	GlobalStep          int            `json:"global_step"`
	HyperParamSearch    bool           `json:"is_hyper_param_search"`
	LocalZero           bool           `json:"is_local_process_zero"`
	WorldZero           bool           `json:"is_world_process_zero"`
	LogHistory          []LogEntry     `json:"log_history"`
	LoggingSteps        int            `json:"logging_steps"`
	MaxSteps            int            `json:"max_steps"`
	TokensSeen          int64          `json:"num_input_tokens_seen"`
	Epochs              int            `json:"num_train_epochs"`
	SaveSteps           int            `json:"save_steps"`
	Callbacks           map[string]any `json:"stateful_callbacks"`
	Flos                float64        `json:"total_flos"`
	BatchSize           int            `json:"train_batch_size"`
	TrialName           *string        `json:"trial_name"`
	TrialParams         *string        `json:"trial_params"`
}

// logStep adds the entry of a step if it is time, with the mean loss since the
// last one.
func (t *Trainer) logStep(norm, rate float64) {
	s := &t.state
	if t.LoggingSteps <= 0 || s.Step%t.LoggingSteps != 0 {
		return
	}
	t.log = append(t.log, LogEntry{
		"epoch": t.Batches.Epoch(s.Step), "step": float64(s.Step),
		"loss": s.LogSum / float64(s.LogSteps), "grad_norm": norm, "learning_rate": rate,
	})
	s.LogSum, s.LogSteps = 0, 0
}

func (t *Trainer) logEvaluation(m Measured) {
	e := LogEntry{"epoch": t.Batches.Epoch(t.state.Step), "step": float64(t.state.Step), "eval_runtime": m.Seconds}
	for _, metric := range metrics() {
		if v, ok := m.Value(metric); ok {
			e["eval_"+metric] = v
		}
	}
	if b := t.Evaluation.Evaluator.Batches; b != nil && m.Seconds > 0 {
		e["eval_samples_per_second"] = float64(b.data.Len()) / m.Seconds
		e["eval_steps_per_second"] = float64(b.MicroPerEpoch()) / m.Seconds
	}
	t.log = append(t.log, e)
}

// LogHistory are the entries of log_history so far. The maps are the trainer's
// own.
func (t *Trainer) LogHistory() []LogEntry { return t.log }

// logResult adds the last entry of a run that is done, Hugging Face's summary.
func (t *Trainer) logResult(r Result) {
	per := func(n float64) float64 { return n / max(r.Seconds, 1e-9) }
	t.log = append(t.log, LogEntry{
		"epoch": r.Epoch, "step": float64(r.Step), "total_flos": t.flos(), "train_loss": r.Loss, "train_runtime": r.Seconds,
		"train_samples_per_second": per(r.Epoch * float64(t.Batches.data.Len())), "train_steps_per_second": per(float64(r.Step)),
	})
}

// WriteTrainerState writes trainer_state.json into a folder.
func (t *Trainer) WriteTrainerState(dir string) error {
	s, b := t.state, t.Batches
	out := trainerState{
		Epoch: b.Epoch(s.Step), EvalSteps: t.Evaluation.When.Steps, GlobalStep: s.Step, LocalZero: true, WorldZero: true,
		LogHistory: t.log, LoggingSteps: t.LoggingSteps, MaxSteps: t.Steps, TokensSeen: s.Tokens,
		Epochs:    int(math.Ceil(float64(t.Steps) / float64(b.StepsPerEpoch()))),
		SaveSteps: t.SaveWhen.Steps, Callbacks: map[string]any{}, Flos: t.flos(), BatchSize: b.o.Size,
	}
	if out.LogHistory == nil {
		out.LogHistory = []LogEntry{}
	}
	if s.Best != nil {
		out.BestGlobalStep, out.BestMetric = &s.Best.Step, &s.Best.Value
		if t.Evaluation.LoadBest {
			path := filepath.ToSlash(filepath.Join(t.Dir, name(s.Best.Step)))
			out.BestModelCheckpoint = &path
		}
	}
	text, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(dir, trainerFile), err)
	}
	return writeSynced(filepath.Join(dir, trainerFile), append(text, '\n'))
}

// flos is the usual estimate of the work done, as Hugging Face makes it: six
// operations a token and weight, the embedding not counted.
func (t *Trainer) flos() float64 {
	n := 0.0
	for _, w := range t.Model.Weights() {
		if !strings.HasPrefix(w.Name, "model.embed_tokens.") {
			n += float64(w.W.Len())
		}
	}
	return 6 * n * float64(t.state.Tokens)
}

// readLog is the log_history of a trainer_state.json.
func readLog(path string) ([]LogEntry, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var s trainerState
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s.LogHistory, nil
}
