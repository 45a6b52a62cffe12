package meft

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"meft/method"
	"meft/train"
)

// A run that is killed again and again at any moment, also while it writes a
// checkpoint, with another number of threads each time, ends with the bytes of
// the run that was left alone.
func TestKilledAndResumedRunEqualsTheUninterruptedOne(t *testing.T) {
	for _, m := range append(method.Names(), "meft meft_router=stable meft_stable_share=0.5", "prefix prefix_projection=true") {
		t.Run(m, func(t *testing.T) {
			c := newRun(t, m)
			if m == "parallel" {
				c.ValSize, c.EvalStrategy, c.EvalSteps, c.KeepBest, c.SaveLimit = 4, "steps", 2, true, 2
			}
			began := time.Now()
			mustTrain(t, c)
			took := time.Since(began)
			want := result(t, c)

			two := c
			two.OutputDir, two.Threads = filepath.Join(t.TempDir(), "two"), 2
			mustTrain(t, two)
			if !bytes.Equal(result(t, two), want) {
				t.Error("1 thread and 2 threads give different bytes")
			}
			killUntilDone(t, c, took, want)
		})
	}
}

// moments are globs in a run folder; a run dies when they match, so inside the
// writing of the configuration, of checkpoints and of the result.
func moments(output string) []string {
	return []string{
		".tmp-config.yaml-*", "config.yaml", "events.jsonl", ".tmp-checkpoint-*", ".tmp-checkpoint-*/optimizer.safetensors",
		".tmp-checkpoint-*/meft_state.json", "checkpoint-*", ".tmp-*-removed", ".tmp-" + output + "-*", output,
	}
}

// killUntilDone goes through all moments, the random ones last. A run that came
// to its end before is checked, and the next moments are those of a new run.
func killUntilDone(t *testing.T, c Config, took time.Duration, want []byte) {
	t.Helper()
	r := killer(t)
	kills, inside, runs := 0, 0, 0
	output := map[bool]string{false: "adapter", true: "model"}[c.Method == "full"]
	at := append(moments(output), make([]string, 4)...)
	for {
		c.OutputDir = filepath.Join(t.TempDir(), "killed")
		for {
			task := childTask{Config: c}
			task.Config.Threads = 1 + r.IntN(2)
			if exists(configPath(c.OutputDir)) {
				task.Config.Resume = "true"
			}
			if len(at) > 0 {
				task.aim(t, at[0], time.Duration(r.Int64N(int64(took))))
				at = at[1:]
			}
			report, killed := startChild(t, task)
			if report.Error != "" {
				t.Fatalf("after %d kills, %v: %s", kills, names(t, c.OutputDir), report.Error)
			}
			if !killed {
				break
			}
			kills++
			inside += len(glob(t, c, ".tmp-*"))
		}
		if left := glob(t, c, ".tmp-*"); len(left) > 0 {
			t.Errorf("a finished run leaves %v", left)
		}
		if !bytes.Equal(result(t, c), want) {
			t.Fatalf("after %d kills the result has other bytes", kills)
		}
		mustHaveEveryStepOnce(t, c)
		if runs++; len(at) == 0 {
			break
		}
	}
	t.Logf("%d runs killed %d times, %d times something was half written", runs, kills, inside)
	if kills < 5 || inside < 2 {
		t.Errorf("killed %d times, %d times inside of writing: this test has tested too little", kills, inside)
	}
}

// aim makes the child die when the next name matches the glob, or some time
// after its start if there is none.
func (k *childTask) aim(t *testing.T, pattern string, in time.Duration) {
	t.Helper()
	if pattern == "" {
		k.KillIn = 1 + in
		return
	}
	k.KillAt, k.KillOf = pattern, 1+len(glob(t, k.Config, pattern))
}

// glob are the names in a run folder that match.
func glob(t *testing.T, c Config, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(c.OutputDir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// mustHaveEveryStepOnce reads events.jsonl: whatever was cut off and made again,
// every step is listed once and in order.
func mustHaveEveryStepOnce(t *testing.T, c Config) {
	t.Helper()
	events, err := train.ReadEvents(filepath.Join(c.OutputDir, "events.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	want, memory, done := 1, 0, 0
	for _, e := range events {
		switch e := e.(type) {
		case train.Step:
			if e.Step != want {
				t.Fatalf("events.jsonl lists step %d, wanted %d", e.Step, want)
			}
			want++
		case train.Memory:
			memory++
		case train.Done:
			done++
		}
	}
	if want != c.MaxSteps+1 || memory != 1 || done != 1 {
		t.Errorf("events.jsonl has %d steps, %d memory and %d done events; wanted %d, 1 and 1", want-1, memory, done, c.MaxSteps)
	}
}

func TestResumeOfAFinishedRunGivesTheSameResult(t *testing.T) {
	c := newRun(t, "meft")
	mustTrain(t, c)
	want := result(t, c)
	c.Resume = "true"
	if r := mustTrain(t, c); r.Step != c.MaxSteps {
		t.Errorf("resumed at step %d, wanted %d", r.Step, c.MaxSteps)
	}
	if !bytes.Equal(result(t, c), want) {
		t.Error("the result has other bytes")
	}
}

// stoppedRun trains until so many steps are made and then has its context end,
// as Ctrl-C does.
func stoppedRun(t *testing.T, c Config, steps int) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := Train(ctx, c, func(e train.Event) {
		if s, ok := e.(train.Step); ok && s.Step == steps {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("stopped after step %d: %v", steps, err)
	}
	return err
}

// wanted is the result of c uninterrupted, in another folder.
func wanted(t *testing.T, c Config) []byte {
	t.Helper()
	c.OutputDir = filepath.Join(t.TempDir(), "whole")
	mustTrain(t, c)
	return result(t, c)
}

func TestInterruptedRunWritesACheckpointAndGoesOn(t *testing.T) {
	for _, strategy := range []string{"steps", "epoch", "no"} {
		c := newRun(t, "meft")
		c.SaveStrategy, c.Packing = strategy, strategy == "epoch"
		want := wanted(t, c)
		err := stoppedRun(t, c, 4)
		if !strings.Contains(err.Error(), "checkpoint-4") || !strings.Contains(err.Error(), "--resume") {
			t.Errorf("save_strategy %s: the error does not say where the run goes on: %v", strategy, err)
		}
		if exists(filepath.Join(c.OutputDir, "adapter")) {
			t.Errorf("save_strategy %s: an interrupted run wrote a result", strategy)
		}
		c.Resume = "true"
		mustTrain(t, c)
		if !bytes.Equal(result(t, c), want) {
			t.Errorf("save_strategy %s: the result has other bytes", strategy)
		}
	}
}

func TestWithoutCheckpointsTheResultIsTheSame(t *testing.T) {
	c := newRun(t, "parallel")
	want := wanted(t, c)
	c.SaveStrategy = "no"
	mustTrain(t, c)
	if !bytes.Equal(result(t, c), want) {
		t.Error("the result has other bytes")
	}
	if made, _ := train.Checkpoints(c.OutputDir); len(made) > 0 {
		t.Errorf("save_strategy no wrote checkpoints %v", made)
	}
}

// A run that ended before its first checkpoint begins anew on resume.
func TestResumeBeforeTheFirstCheckpoint(t *testing.T) {
	c := newRun(t, "meft")
	want := wanted(t, c)
	if _, killed := startChild(t, childTask{Config: c, KillAt: "events.jsonl"}); !killed {
		t.Fatal("the run was not killed")
	}
	if made, _ := train.Checkpoints(c.OutputDir); len(made) > 0 {
		t.Skipf("the machine was so slow to kill that there is checkpoint %v", made)
	}
	c.Resume = "true"
	mustTrain(t, c)
	if !bytes.Equal(result(t, c), want) {
		t.Error("the result has other bytes")
	}
	mustHaveEveryStepOnce(t, c)
}

// What a run that was killed while it wrote its configuration left is no
// obstacle for the same command given again.
func TestRunKilledBeforeItHadAConfigurationBeginsAgain(t *testing.T) {
	c := newRun(t, "meft")
	if err := os.MkdirAll(c.OutputDir, 0o755); err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(c.OutputDir, ".tmp-config.yaml-123")
	put(t, half, "model: x")
	mustTrain(t, c)
	if exists(half) {
		t.Errorf("%s is still there", half)
	}
}

func TestResumePassesOverDamagedCheckpoints(t *testing.T) {
	damages := map[string]func(t *testing.T, dir string){
		"truncated": func(t *testing.T, dir string) {
			path := filepath.Join(dir, adapterWeightsFile)
			put(t, path, string(get(t, path)[:100]))
		},
		"one bit": func(t *testing.T, dir string) {
			path := filepath.Join(dir, "optimizer.safetensors")
			data := get(t, path)
			data[len(data)-9] ^= 4
			put(t, path, string(data))
		},
		"no state": func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "meft_state.json")); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			c := newRun(t, "meft")
			mustTrain(t, c)
			want := result(t, c)
			damage(t, filepath.Join(c.OutputDir, "checkpoint-12"))
			c.Resume = "true"
			var notes []string
			_, err := Train(t.Context(), c, func(e train.Event) {
				if n, ok := e.(train.Note); ok {
					notes = append(notes, n.Text)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(result(t, c), want) {
				t.Error("the result has other bytes")
			}
			all := strings.Join(notes, "\n")
			if !strings.Contains(all, "checkpoint-12") || !strings.Contains(all, "going on from checkpoint-9") {
				t.Errorf("no note says that a checkpoint was passed over, and why: %q", notes)
			}
		})
	}
}

func TestResumeIsRefusedWhenNoCheckpointIsGood(t *testing.T) {
	c := newRun(t, "meft")
	c.MaxSteps, c.SaveSteps = 2, 1
	mustTrain(t, c)
	for _, name := range []string{"checkpoint-1", "checkpoint-2"} {
		put(t, filepath.Join(c.OutputDir, name, "meft_state.json"), "{")
	}
	before := names(t, c.OutputDir)
	c.Resume = "true"
	refused(t, c, "no checkpoint is good", "checkpoint-1", "checkpoint-2")
	if after := names(t, c.OutputDir); !slices.Equal(before, after) {
		t.Errorf("the folder had %v, has %v", before, after)
	}
}

func TestResumeWithAnotherConfigurationNamesTheOptions(t *testing.T) {
	c := newRun(t, "meft")
	stoppedRun(t, c, 4)
	other := c
	other.Resume, other.LearningRate, other.Seed = "true", 5e-3, 7
	other.Settings = map[string]string{"meft_neurons": "96", "meft_top_k": "4", "meft_experts": "8", "meft_probe": "3", "meft_buffer": "40"}
	refused(t, other, "learning_rate", "0.005", "0.01", "seed", "meft_top_k", "--overwrite_output_dir")
	for _, unchanged := range []string{"meft_probe", "max_steps"} {
		_, err := Train(t.Context(), other, nil)
		if strings.Contains(err.Error(), unchanged) {
			t.Errorf("the message names %s, which is the same: %v", unchanged, err)
		}
	}
}

// Rows that changed since would make another run of it, though the
// configuration names the same file.
func TestResumeWithOtherRowsIsRefused(t *testing.T) {
	c := newRun(t, "meft")
	stoppedRun(t, c, 4)
	put(t, c.Data, string(get(t, c.Data))+`{"prompt": "more ", "completion": "rows"}`+"\n")
	c.Resume = "true"
	refused(t, c, "data")
}

func TestOverwriteBeginsAnew(t *testing.T) {
	c := newRun(t, "meft")
	other := c
	other.LearningRate, other.MaxSteps, other.SaveSteps = 1e-3, 20, 4
	mustTrain(t, other)
	want := wanted(t, c)
	mine := filepath.Join(c.OutputDir, "notes.txt")
	put(t, mine, "kept")
	c.Overwrite = true
	mustTrain(t, c)
	if !bytes.Equal(result(t, c), want) {
		t.Error("the result has other bytes than without the other run before it")
	}
	if made, _ := train.Checkpoints(c.OutputDir); !slices.Equal(made, []int{3, 6, 9, 12}) {
		t.Errorf("checkpoints %v, wanted those of this run only", made)
	}
	if !exists(mine) {
		t.Error("a file that is no run's was deleted")
	}
}

// Two processes in one folder would delete each other's checkpoints.
func TestFolderOfARunningRunIsLeftAlone(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("folders are locked on Linux only")
	}
	c := newRun(t, "meft")
	c.MaxSteps = 3
	want := wanted(t, c)
	tried := false
	_, err := Train(t.Context(), c, func(e train.Event) {
		if s, ok := e.(train.Step); ok && s.Step == 2 {
			again := c
			again.Resume = "true"
			refused(t, again, c.OutputDir, "another process")
			tried = true
		}
	})
	if err != nil || !tried {
		t.Fatalf("tried %v, %v", tried, err)
	}
	if !bytes.Equal(result(t, c), want) {
		t.Error("the result has other bytes")
	}
}
