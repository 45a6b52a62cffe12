package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// The files of a checkpoint besides those that Trainer.Save writes.
const (
	optimizerFile = "optimizer.safetensors" // all moments and row steps
	trainerFile   = "trainer_state.json"    // Hugging Face's form
	stateFile     = "meft_state.json"       // State; written last
)

// checkpoint writes checkpoint-<step>: into a temporary folder, every file and
// the folder synced, then renamed. What goes wrong before the rename leaves the
// older checkpoints as they are.
func (t *Trainer) checkpoint() error {
	step := t.state.Step
	final := filepath.Join(t.Dir, name(step))
	if err := os.MkdirAll(t.Dir, 0o777); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(t.Dir, leftover+name(step)+"-")
	if err == nil {
		// MkdirTemp makes folders for the owner alone; a checkpoint is as readable
		// as the run folder it is in.
		err = copyMode(tmp, t.Dir)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", final, err)
	}
	bytes, err := t.write(tmp)
	if err == nil {
		err = replaceFolder(tmp, final)
	}
	if err == nil {
		err = syncFolder(t.Dir)
	}
	if err != nil {
		return fmt.Errorf("%s: %w%s", final, errors.Join(err, os.RemoveAll(tmp)), t.lastGood())
	}
	t.saved = step
	removed, err := t.prune()
	t.emit(Saved{Step: step, Dir: name(step), Bytes: bytes, Removed: removed, Seconds: t.seconds()})
	return err
}

func (t *Trainer) lastGood() string {
	if found, err := Checkpoints(t.Dir); err == nil && len(found) > 0 {
		return fmt.Sprintf("; %s is as it was: make room and go on from there with --resume", name(found[len(found)-1]))
	}
	return ""
}

// copyMode gives dir the permissions of like.
func copyMode(dir, like string) error {
	info, err := os.Stat(like)
	if err != nil {
		return err
	}
	return os.Chmod(dir, info.Mode().Perm())
}

// write fills a checkpoint folder and returns its size in bytes.
func (t *Trainer) write(dir string) (int64, error) {
	t.flush()
	if err := t.Save(dir); err != nil {
		return 0, err
	}
	if err := WriteBlobs(filepath.Join(dir, optimizerFile), t.Params.Moments(), map[string]string{"format": "meft", "step": fmt.Sprint(t.state.Step)}); err != nil {
		return 0, err
	}
	if err := t.WriteTrainerState(dir); err != nil {
		return 0, err
	}
	files, bytes, err := seal(dir)
	if err != nil {
		return 0, err
	}
	s := t.state
	s.Seconds, s.Files = t.seconds(), files
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return 0, err
	}
	if err := writeSynced(filepath.Join(dir, stateFile), append(text, '\n')); err != nil {
		return 0, err
	}
	return bytes + int64(len(text)) + 1, syncFolder(dir)
}

// flush makes the steps that idle rows of tables have put off, so that what is
// saved or measured is what training has come to.
//
// With param.Replay and trained keys MEFT scores rows that lag behind as they
// lie, so a flush changes which rows are picked afterwards. Such a run depends
// on when it saves and evaluates, and equals the uninterrupted one bit for bit
// only if it was stopped after a step at which it would have flushed anyway.
// All others are equal wherever they are stopped.
func (t *Trainer) flush() {
	for _, table := range t.Params.Tables {
		table.Flush()
	}
}

// replaceFolder puts tmp at final. A folder that is there already (damaged, or
// of the same step) is moved aside first and removed after.
func replaceFolder(tmp, final string) error {
	aside := tmp + "-replaced"
	switch err := os.Rename(final, aside); {
	case missing(err):
		return os.Rename(tmp, final)
	case err != nil:
		return err
	}
	if err := os.Rename(tmp, final); err != nil {
		return errors.Join(err, os.Rename(aside, final))
	}
	return os.RemoveAll(aside)
}

// prune removes the oldest checkpoints above SaveLimit, but never the newest nor
// that of the best evaluation.
func (t *Trainer) prune() (removed []string, err error) {
	if t.SaveLimit <= 0 {
		return nil, nil
	}
	found, err := Checkpoints(t.Dir)
	if err != nil {
		return nil, err
	}
	keep := []int{t.state.Step}
	if b := t.state.Best; b != nil && slices.Contains(found, b.Step) {
		keep = append(keep, b.Step)
	}
	surplus := len(found) - t.SaveLimit
	for _, step := range found {
		if surplus <= 0 {
			break
		}
		if slices.Contains(keep, step) {
			continue
		}
		if err := removeCheckpoint(t.Dir, step); err != nil {
			return removed, err
		}
		removed = append(removed, name(step))
		surplus--
	}
	return removed, nil
}

// removeCheckpoint renames first, so that a kill in between leaves a leftover
// and not half a checkpoint.
func removeCheckpoint(dir string, step int) error {
	aside := filepath.Join(dir, leftover+name(step)+"-removed")
	if err := os.RemoveAll(aside); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dir, name(step)), aside); err != nil {
		return err
	}
	return os.RemoveAll(aside)
}
