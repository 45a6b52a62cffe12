package meft

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"meft/train"
)

// TestTablesOnDiskGiveTheSameBits: a run with host_store disk writes the files of
// a run in memory, takes no host memory for keys, values and moments, and leaves
// nothing in the folder of the file, not even while it runs.
func TestTablesOnDiskGiveTheSameBits(t *testing.T) {
	c := newRun(t, "meft")
	c.Settings["meft_moments"] = "8bit"
	files := func(c Config, observe func(train.Event)) map[string]string {
		if _, err := Train(t.Context(), c, observe); err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for _, name := range names(t, c.OutputDir) {
			if strings.HasSuffix(name, ".safetensors") {
				out[name] = string(get(t, filepath.Join(c.OutputDir, name)))
			}
		}
		return out
	}
	plan := mustPlan(t, c)
	want := files(c, nil)
	c.OutputDir += "-on-disk"
	c.HostStore, c.HostStoreDir = "disk", filepath.Join(t.TempDir(), "store")
	onDisk := mustPlan(t, c)
	if onDisk.Disk == 0 || onDisk.Host+onDisk.Disk != plan.Host || onDisk.Device != plan.Device {
		t.Errorf("planned are %d bytes on the host and %d on the disk, in memory %d", onDisk.Host, onDisk.Disk, plan.Host)
	}
	got := files(c, func(e train.Event) {
		switch e := e.(type) {
		case train.Memory:
			if e.Disk != onDisk.Disk {
				t.Errorf("%d bytes on the disk, planned were %d", e.Disk, onDisk.Disk)
			}
		case train.Step:
			if e.HostBytes != onDisk.Pinned+onDisk.Host {
				t.Errorf("step %d: %d bytes on the host, planned were %d", e.Step, e.HostBytes, onDisk.Pinned+onDisk.Host)
			}
			if left := names(t, c.HostStoreDir); len(left) > 0 {
				t.Errorf("step %d: %s holds %q", e.Step, c.HostStoreDir, left)
			}
		}
	})
	if len(got) != len(want) || len(want) == 0 {
		t.Errorf("%d files, wants %d", len(got), len(want))
	}
	for name, data := range want {
		if got[name] != data {
			t.Errorf("%s differs", name)
		}
	}
}

func mustPlan(t *testing.T, c Config) *Plan {
	t.Helper()
	p, err := MakePlan(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestInterruptedRunGivesTheDiskBack, and goes on in memory.
func TestInterruptedRunGivesTheDiskBack(t *testing.T) {
	c := newRun(t, "meft")
	c.HostStore, c.HostStoreDir = "disk", disk(t, 4<<20)
	before, _ := freeDisk(c.HostStoreDir)
	ctx, stop := context.WithCancel(t.Context())
	during := before
	_, err := Train(ctx, c, func(e train.Event) {
		if s, ok := e.(train.Step); ok && s.Step == 2 {
			during, _ = freeDisk(c.HostStoreDir)
			stop()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("the run ended with %v", err)
	}
	if plan := mustPlan(t, c); before-during < plan.Disk {
		t.Errorf("%d bytes of the disk were taken, planned were %d", before-during, plan.Disk)
	}
	if after, _ := freeDisk(c.HostStoreDir); after != before {
		t.Errorf("%d bytes of the disk are still taken", before-after)
	}
	c.HostStore, c.HostStoreDir, c.Resume = "memory", "", "true"
	mustTrain(t, c)
}

func TestTablesThatDoNotFitTheDiskAreRefused(t *testing.T) {
	c := newRun(t, "meft")
	c.HostStore, c.HostStoreDir = "disk", disk(t, 16<<10)
	_, err := Train(t.Context(), c, nil)
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the run ended with %v", err)
	}
	for _, part := range []string{c.HostStoreDir, "bytes of a disk with", "free"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q lacks %q", err, part)
		}
	}
	// In output_dir the file is part of what the run needs room for.
	c.OutputDir, c.HostStoreDir, c.SaveStrategy = filepath.Join(disk(t, 64<<10), "run"), "", "no"
	refused(t, c, c.OutputDir, "host tables", "missing")
	if entries, err := os.ReadDir(filepath.Dir(c.OutputDir)); err != nil || len(entries) > 0 {
		t.Errorf("a refused run left %d entries, %v", len(entries), err)
	}
}

func TestHostStoreIsForMethodsThatHaveHostTables(t *testing.T) {
	c := newRun(t, "parallel")
	c.HostStore = "disk"
	refused(t, c, "host_store", "parallel")
	c = newRun(t, "meft")
	c.HostStoreDir = "somewhere"
	refused(t, c, "host_store_dir", "host_store disk")
}
