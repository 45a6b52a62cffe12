package safetensors

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// resident returns the kilobytes of a file's mappings that are in memory.
func resident(t *testing.T, path string) int {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Skip("no /proc/self/smaps: ", err)
	}
	defer f.Close()
	total, ours, found := 0, false, false
	for sc := bufio.NewScanner(f); sc.Scan(); {
		line := sc.Text()
		if !strings.Contains(strings.SplitN(line, " ", 2)[0], ":") { // "from-to flags ..." begins a mapping
			ours = strings.HasSuffix(line, path)
			found = found || ours
		}
		if n := 0; ours && strings.HasPrefix(line, "Rss:") {
			if _, err := fmt.Sscanf(line, "Rss: %d kB", &n); err != nil {
				t.Fatal(err)
			}
			total += n
		}
	}
	if !found {
		t.Fatalf("%s is not mapped", path)
	}
	return total
}

func TestReleaseGivesTheMemoryBack(t *testing.T) {
	const n = 1 << 20 // 4 MB, many pages beside which two shared ones vanish
	path := filepath.Join(t.TempDir(), "big.safetensors")
	v := make([]float32, n)
	v[n-1] = 7
	if err := Write(path, []Tensor{F32("a", v, n), F32("b", v, n)}, nil); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, path)
	for _, name := range s.Names() {
		if err := s.ReadF32(v, name); err != nil {
			t.Fatal(err)
		}
	}
	full := resident(t, path)
	s.Release("a")
	half := resident(t, path)
	s.Release("b")
	s.Release("none")
	rest := resident(t, path)
	if full < 8<<10 || half > full-4000 || rest > 100 {
		t.Errorf("%d kB resident after reading, %d and %d after releasing", full, half, rest)
	}
	clear(v)
	if err := s.ReadF32(v, "b"); err != nil || v[n-1] != 7 {
		t.Errorf("released tensor reads %v, %v", v[n-1], err)
	}
}

func TestFullDiskLeavesTheOldFileAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=128k"); err != nil {
		t.Skip("a small file system cannot be mounted here: ", err)
	}
	defer func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	path := filepath.Join(dir, "w.safetensors")
	if err := Write(path, []Tensor{F32("a", []float32{5}, 1)}, nil); err != nil {
		t.Fatal(err)
	}
	err := Write(path, []Tensor{F32("a", make([]float32, 1<<20), 1<<20)}, nil)
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("error is %v, wanted %v", err, unix.ENOSPC)
	}
	wantFiles(t, dir, "w.safetensors")
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() // before the unmount
	got := make([]float32, 1)
	if err := s.ReadF32(got, "a"); err != nil || got[0] != 5 {
		t.Errorf("old file reads %v, %v", got, err)
	}
}

func TestWrittenFilesFollowTheUmask(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w")
	old := unix.Umask(0o027)
	err := Write(path, nil, nil)
	unix.Umask(old)
	if err != nil {
		t.Fatal(err)
	}
	stat, err := os.Stat(path)
	if err != nil || stat.Mode().Perm() != 0o640 {
		t.Errorf("mode is %v, %v, wanted 0640", stat.Mode(), err)
	}
}

func TestPipesAreRefusedWithoutWaiting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.safetensors")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Skip("no pipes here: ", err)
	}
	_, err := Open(path)
	wantMessage(t, err, path, "wanted a regular file")
}
