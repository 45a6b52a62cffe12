package train

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Checkpoint is a checkpoint folder that was read and found complete.
type Checkpoint struct {
	Dir     string // path of the folder
	State   State
	Damaged []string // what is wrong with newer ones that were passed over

	log []LogEntry
}

// Newest finds the newest checkpoint of a run folder of which every file is as
// it was written. The error is fs.ErrNotExist if there are no checkpoints, and
// tells what is wrong with each of them if none is good.
func Newest(dir string) (Checkpoint, error) {
	steps, err := Checkpoints(dir)
	if err != nil {
		return Checkpoint{}, err
	}
	if len(steps) == 0 {
		return Checkpoint{}, fmt.Errorf("%s: no checkpoint to resume from: %w", dir, fs.ErrNotExist)
	}
	var damaged []string
	for _, step := range slices.Backward(steps) {
		c, err := OpenCheckpoint(filepath.Join(dir, name(step)))
		if err == nil {
			c.Damaged = damaged
			return c, nil
		}
		damaged = append(damaged, err.Error())
	}
	return Checkpoint{}, fmt.Errorf("%s: no checkpoint is good:\n  %s", dir, strings.Join(damaged, "\n  "))
}

// OpenCheckpoint reads and checks one checkpoint folder. The error lists every
// file that is missing or differs from what was written.
func OpenCheckpoint(dir string) (Checkpoint, error) {
	c := Checkpoint{Dir: dir}
	text, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(text, &c.State); err != nil {
		return c, fmt.Errorf("%s: %w", filepath.Join(dir, stateFile), err)
	}
	s := c.State
	switch {
	case s.Format != stateFormat:
		return c, fmt.Errorf("%s: format %d, wanted %d: it is from another version of the program", filepath.Join(dir, stateFile), s.Format, stateFormat)
	case filepath.Base(dir) != name(s.Step) || s.Step < 1:
		return c, fmt.Errorf("%s: is of step %d, wanted the step its folder is named after", filepath.Join(dir, stateFile), s.Step)
	case s.Files[optimizerFile] == "" || s.Files[trainerFile] == "":
		return c, fmt.Errorf("%s: lists no %s or no %s", filepath.Join(dir, stateFile), optimizerFile, trainerFile)
	}
	if err := verify(dir, s.Files); err != nil {
		return c, fmt.Errorf("%s is damaged: %w", dir, err)
	}
	c.log, err = readLog(filepath.Join(dir, trainerFile))
	return c, err
}

// Resume makes t go on from a checkpoint of its own run: parameters, moments,
// row steps, and all of State become what they were. t is otherwise fresh; tell
// the user of c.Damaged. The error lists every setting that differs, or every
// array that does not fit.
func (t *Trainer) Resume(c Checkpoint) error {
	if err := t.check(); err != nil {
		return err
	}
	t.identify()
	if err := c.State.mismatch(t.state.Settings, t.state.Data); err != nil {
		return fmt.Errorf("%s: %w", c.Dir, err)
	}
	if err := removeLeftovers(t.Dir); err != nil {
		return err
	}
	if err := t.Load(c.Dir); err != nil {
		return err
	}
	if err := ReadBlobs(filepath.Join(c.Dir, optimizerFile), t.Params.Moments()); err != nil {
		return err
	}
	t.state, t.log = c.State, c.log
	t.state.Files = nil
	t.resumed, t.saved = true, c.State.Step
	return nil
}

// restoreBest gives the model the weights of the checkpoint of a step.
func (t *Trainer) restoreBest(step int) error {
	c, err := OpenCheckpoint(filepath.Join(t.Dir, name(step)))
	if err != nil {
		return fmt.Errorf("load_best_model_at_end: %w", err)
	}
	t.flush() // or steps put off would be made on the restored rows
	if err := t.Load(c.Dir); err != nil {
		return fmt.Errorf("load_best_model_at_end: %w", err)
	}
	return nil
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
