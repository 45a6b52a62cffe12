package train

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"meft/safetensors"
)

var small = recipe{method: "meft", settings: `{"meft_neurons":24,"meft_top_k":3}`, threads: 1, steps: 8, save: When{Steps: 2}}

// finished runs small to its end in a folder of its own.
func finished(t *testing.T) (recipe, *run) {
	t.Helper()
	r := small
	r.dir = t.TempDir()
	done := r.build(t)
	if _, err := done.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r, done
}

// Whichever file of the newest checkpoints is damaged or gone, the run goes on
// from the one before and ends with the same bits.
func TestDamagedCheckpointIsPassedOver(t *testing.T) {
	flip := func(path string) error {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		data[len(data)/2] ^= 1
		return os.WriteFile(path, data, 0o666)
	}
	half := func(path string) error {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		return os.Truncate(path, info.Size()/2)
	}
	for _, c := range []struct {
		file   string
		damage func(string) error
		want   string
	}{
		{"adapter_model.safetensors", flip, "has hash"},
		{optimizerFile, flip, "has hash"},
		{optimizerFile, half, "has hash"},
		{optimizerFile, os.Remove, "is missing"},
		{trainerFile, half, "has hash"},
		{stateFile, half, "unexpected end of JSON"},
		{stateFile, os.Remove, "no such file"},
	} {
		r, done := finished(t)
		for _, step := range []int{6, 8} {
			if err := c.damage(filepath.Join(r.dir, name(step), c.file)); err != nil {
				t.Fatal(err)
			}
		}
		newest, err := Newest(r.dir)
		if err != nil || newest.State.Step != 4 || len(newest.Damaged) != 2 || !strings.Contains(newest.Damaged[0], c.want) || !strings.Contains(newest.Damaged[1], name(6)) {
			t.Fatalf("%s: %s, passed over %q: %v", c.file, newest.Dir, newest.Damaged, err)
		}
		next := resumed(t, r)
		if _, err := next.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustEqual(t, c.file, next.weights(t), done.weights(t))
		if found, _ := Checkpoints(r.dir); !slices.Equal(found, []int{2, 4, 6, 8}) {
			t.Errorf("%s: checkpoints %v", c.file, found)
		}
		if c, err := Newest(r.dir); err != nil || c.State.Step != 8 {
			t.Errorf("the rewritten checkpoint: %v", err)
		}
	}
}

func TestNoGoodCheckpointNamesThemAll(t *testing.T) {
	if _, err := Newest(filepath.Join(t.TempDir(), "none")); !missing(err) {
		t.Errorf("no folder: %v", err)
	}
	r, _ := finished(t)
	for _, step := range []int{2, 4, 6, 8} {
		if err := os.Truncate(filepath.Join(r.dir, name(step), optimizerFile), 0); err != nil {
			t.Fatal(err)
		}
	}
	_, err := Newest(r.dir)
	if err == nil || strings.Count(err.Error(), "is damaged") != 4 {
		t.Fatal(err)
	}
}

// A file list that points outside the folder, as no checkpoint of ours has it,
// is not followed.
func TestFileListStaysInsideTheFolder(t *testing.T) {
	r, _ := finished(t)
	path := filepath.Join(r.dir, name(8), stateFile)
	var s State
	readJSON(t, &s, path)
	s.Files["../../secret"] = strings.Repeat("0", 64)
	text, _ := json.Marshal(s)
	if err := os.WriteFile(path, text, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCheckpoint(filepath.Dir(path)); err == nil || !strings.Contains(err.Error(), "no path inside the folder") {
		t.Error(err)
	}
}

func TestEveryDifferenceToTheRunIsNamed(t *testing.T) {
	r, _ := finished(t)
	c, err := Newest(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	r.rate, r.examples = 0.5, 12
	r.batch = BatchOptions{Size: 1, Accumulation: 2, MaxLength: 16, Seed: 8}
	other := r.build(t)
	other.Settings["meft_top_k"] = "4"
	before := other.weights(t)
	err = other.Resume(c)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"rate was 0.01, is 0.5", "seed was 7, is 8", "per_device_train_batch_size was 2, is 1", "meft_top_k is 4, was not set", "training data", name(8)} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "packing") {
		t.Errorf("%q names a setting that is the same", err)
	}
	mustEqual(t, "refused", other.weights(t), before)
}

func TestArraysThatDoNotFitAreAllNamed(t *testing.T) {
	r, done := finished(t)
	r.settings = `{"meft_neurons":30,"meft_top_k":3}`
	other := r.build(t)
	before := other.weights(t)
	err := ReadBlobs(filepath.Join(r.dir, name(8), optimizerFile), other.Params.Moments())
	if err == nil || strings.Count(err.Error(), "wanted F32 [30 16]") != 8 || !strings.Contains(err.Error(), "wanted I32 [30]") {
		t.Fatal(err)
	}
	mustEqual(t, "refused", other.weights(t), before)
	err = ReadBlobs(filepath.Join(r.dir, name(8), optimizerFile), done.Params.Weights())
	if err == nil || !strings.Contains(err.Error(), "is missing") || !strings.Contains(err.Error(), "is not wanted") {
		t.Fatal(err)
	}
}

// Every array is in the file, under its name, type and shape, bit by bit.
func TestBlobsAreAPlainSafetensorsFile(t *testing.T) {
	_, done := finished(t)
	path := filepath.Join(t.TempDir(), "moments.safetensors")
	blobs := done.Params.Moments()
	if err := WriteBlobs(path, blobs, map[string]string{"format": "meft"}); err != nil {
		t.Fatal(err)
	}
	s, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if len(s.Names()) != len(blobs) || s.Metadata()["format"] != "meft" {
		t.Errorf("the file has %v and %v", s.Names(), s.Metadata())
	}
	for _, b := range blobs {
		got, err := s.Bytes(b.Name)
		info, _ := s.Info(b.Name)
		if err != nil || !slices.Equal(info.Shape, b.Dims) || string(info.DType) != strings.ToUpper(b.DType.String()) {
			t.Fatalf("%s is %+v: %v", b.Name, info, err)
		}
		mustEqual(t, b.Name, got, read(t, b))
	}
}

func TestLeftoversOfKilledWritesAreRemoved(t *testing.T) {
	r, _ := finished(t)
	for _, n := range []string{".tmp-checkpoint-10-123", ".tmp-checkpoint-2-removed"} {
		if err := os.MkdirAll(filepath.Join(r.dir, n, "deep"), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	keep := filepath.Join(r.dir, ".tmp-of-the-user")
	if err := os.Mkdir(keep, 0o777); err != nil {
		t.Fatal(err)
	}
	resumed(t, r)
	if left, _ := filepath.Glob(filepath.Join(r.dir, ".tmp-checkpoint*")); left != nil {
		t.Errorf("left: %v", left)
	}
	if _, err := os.Stat(keep); err != nil {
		t.Error(err)
	}
}

// A disk that fills up in the middle of a save leaves the checkpoint before it.
func TestFailedSaveLeavesTheLastGoodCheckpoint(t *testing.T) {
	r := small
	r.dir = t.TempDir()
	b := r.build(t)
	save, saves := b.Save, 0
	b.Save = func(dir string) error {
		if saves++; saves == 3 {
			return errors.Join(os.WriteFile(filepath.Join(dir, "half"), nil, 0o666), syscall.ENOSPC)
		}
		return save(dir)
	}
	_, err := b.Run(t.Context())
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "checkpoint-6") || !strings.Contains(err.Error(), "checkpoint-4 is as it was") {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(r.dir, ".tmp*")); left != nil {
		t.Errorf("left: %v", left)
	}
	if c, err := Newest(r.dir); err != nil || c.State.Step != 4 {
		t.Errorf("newest good checkpoint %s: %v", c.Dir, err)
	}
}

func TestFreshRunLeavesCheckpointsOfAnotherAlone(t *testing.T) {
	r, _ := finished(t)
	if _, err := r.build(t).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "checkpoint-8 is there from another run") {
		t.Fatal(err)
	}
	if err := RemoveCheckpoints(r.dir); err != nil {
		t.Fatal(err)
	}
	if _, err := r.build(t).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestSaveLimitKeepsTheNewestAndTheBest(t *testing.T) {
	for _, c := range []struct {
		limit, best int
		want        []int
	}{
		{0, 0, []int{2, 4, 6, 8}}, {1, 0, []int{8}}, {3, 0, []int{4, 6, 8}},
		{1, 4, []int{4, 8}}, {2, 2, []int{2, 8}}, {3, 2, []int{2, 6, 8}}, {2, 8, []int{6, 8}},
	} {
		r := small
		r.dir, r.limit = t.TempDir(), c.limit
		b := r.build(t)
		observe := b.Observe
		b.Observe = func(e Event) {
			if s, ok := e.(Step); ok && s.Step == c.best {
				b.state.Best = &Best{"loss", 1, c.best}
			}
			observe(e)
		}
		if _, err := b.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if found, _ := Checkpoints(r.dir); !slices.Equal(found, c.want) {
			t.Errorf("limit %d, best %d: %v is left, wanted %v", c.limit, c.best, found, c.want)
		}
		var removed []string
		for _, e := range b.events {
			if s, ok := e.(Saved); ok {
				removed = append(removed, s.Removed...)
			}
		}
		if len(removed) != 4-len(c.want) {
			t.Errorf("limit %d, best %d: told of %v", c.limit, c.best, removed)
		}
	}
}

// The keys are those of transformers.TrainerState, as its JSON has them.
func TestTrainerStateIsHuggingFaces(t *testing.T) {
	r := small
	r.dir, r.when = t.TempDir(), When{Steps: 4}
	b := r.build(t)
	if _, err := b.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.WriteTrainerState(r.dir); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	readJSON(t, &got, r.dir, trainerFile)
	want := strings.Fields(`best_global_step best_metric best_model_checkpoint epoch eval_steps global_step is_hyper_param_search
		is_local_process_zero is_world_process_zero log_history logging_steps max_steps num_input_tokens_seen num_train_epochs
		save_steps stateful_callbacks total_flos train_batch_size trial_name trial_params`)
	if keys := slices.Sorted(maps.Keys(got)); !slices.Equal(keys, want) {
		t.Errorf("keys are %v", keys)
	}
	entries := map[string]int{}
	for _, e := range got["log_history"].([]any) {
		entries[strings.Join(slices.Sorted(maps.Keys(e.(map[string]any))), " ")]++
	}
	for keys, n := range map[string]int{
		"epoch grad_norm learning_rate loss step":                                                        2,
		"epoch eval_loss eval_runtime eval_samples_per_second eval_steps_per_second step":                2,
		"epoch step total_flos train_loss train_runtime train_samples_per_second train_steps_per_second": 1,
	} {
		if entries[keys] != n {
			t.Errorf("%d entries of %s, wanted %d; all: %v", entries[keys], keys, n, entries)
		}
	}
	if got["global_step"] != 8. || got["num_train_epochs"] != 2. || got["train_batch_size"] != 2. {
		t.Errorf("%v", got)
	}
}
