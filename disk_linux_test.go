package meft

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"meft/train"
)

// disk is a file system of so many bytes in memory.
func disk(t *testing.T, bytes int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		t.Skipf("mount: %v; this needs root", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill writes until the disk is full and returns the file that does it.
func fill(t *testing.T, dir string) string {
	path := filepath.Join(dir, "filler")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	return path
}

func TestRunThatDoesNotFitTheDiskIsRefused(t *testing.T) {
	c := newRun(t, "meft")
	c.OutputDir = filepath.Join(disk(t, 64<<10), "runs", "one")
	refused(t, c, c.OutputDir, "disk", "free", "missing")
	if exists(filepath.Dir(c.OutputDir)) {
		t.Error("a refused run made its folder")
	}
	c.SaveStrategy = "no" // only the result
	mustTrain(t, c)
}

// A disk that fills up while a run writes costs the checkpoint being written,
// not the one before, and the run goes on from that when there is room.
func TestFullDiskLeavesTheLastCheckpoint(t *testing.T) {
	c := newRun(t, "meft")
	want := wanted(t, c)
	mount := disk(t, 1<<20)
	c.OutputDir = filepath.Join(mount, "run")
	var filler string
	_, err := Train(t.Context(), c, func(e train.Event) {
		if s, ok := e.(train.Step); ok && s.Step == 5 {
			filler = fill(t, mount)
		}
	})
	mustSay(t, err, "checkpoint-6", "no space left", "checkpoint-3 is as it was", "--resume")
	if left := glob(t, c, ".tmp-*"); len(left) > 0 {
		t.Errorf("the failed checkpoint left %v and takes the room that is needed", left)
	}
	if made := glob(t, c, "checkpoint-*"); len(made) != 1 || !strings.HasSuffix(made[0], "checkpoint-3") {
		t.Errorf("checkpoints %v, wanted checkpoint-3", made)
	}
	c.Resume = "true"
	refused(t, c, "disk", "missing") // still full
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	mustTrain(t, c)
	if !bytes.Equal(result(t, c), want) {
		t.Error("the result has other bytes")
	}
	mustHaveEveryStepOnce(t, c)
}

// A disk that is full when the result is written costs nothing either: the last
// checkpoint has everything.
func TestFullDiskAtTheEndLeavesTheLastCheckpoint(t *testing.T) {
	c := newRun(t, "meft")
	want := wanted(t, c)
	mount := disk(t, 1<<20)
	c.OutputDir = filepath.Join(mount, "run")
	var filler string
	_, err := Train(t.Context(), c, func(e train.Event) {
		if s, ok := e.(train.Saved); ok && s.Step == c.MaxSteps {
			filler = fill(t, mount)
		}
	})
	mustSay(t, err, "no space left")
	if left := glob(t, c, ".tmp-*"); len(left) > 0 {
		t.Errorf("the failed result left %v", left)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	c.Resume = "true"
	mustTrain(t, c)
	if !bytes.Equal(result(t, c), want) {
		t.Error("the result has other bytes")
	}
}
