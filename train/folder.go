package train

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// leftover begins the names of folders that are being written or removed. What
// is left of a killed process is removed at the start of the next run.
const leftover = ".tmp-"

const prefix = "checkpoint-"

// name is the folder of a step's checkpoint.
func name(step int) string { return prefix + strconv.Itoa(step) }

// Checkpoints are the steps of the checkpoints in a run folder, good or not, in
// order. A folder that does not exist has none.
func Checkpoints(dir string) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var steps []int
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), prefix)
		step, err := strconv.Atoi(digits)
		if ok && err == nil && e.IsDir() && e.Name() == name(step) {
			steps = append(steps, step)
		}
	}
	slices.Sort(steps)
	return steps, nil
}

// RemoveCheckpoints removes all checkpoints of a run folder, and nothing else:
// what a user asks for with overwrite_output_dir.
func RemoveCheckpoints(dir string) error {
	steps, err := Checkpoints(dir)
	if err != nil {
		return err
	}
	for _, step := range steps {
		if err := removeCheckpoint(dir, step); err != nil {
			return err
		}
	}
	return removeLeftovers(dir)
}

// removeLeftovers removes what killed writes and removals left.
func removeLeftovers(dir string) error {
	entries, err := os.ReadDir(dir)
	if missing(err) {
		return nil
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), leftover+prefix) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// SyncTree makes every file and folder below dir survive a power cut.
func SyncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return syncFolder(path)
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}

// seal syncs every file and folder below dir to disk and returns the files'
// hashes, by path with forward slashes, and their size in bytes.
func seal(dir string) (hashes map[string]string, bytes int64, err error) {
	hashes = map[string]string{}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return syncFolder(path)
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		sum, n, err := syncAndHash(path)
		hashes[filepath.ToSlash(rel)] = sum
		bytes += n
		return err
	})
	return hashes, bytes, err
}

// syncAndHash makes a file survive a power cut, and is then hashFile.
func syncAndHash(path string) (sum string, n int64, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", 0, err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return "", 0, err
	}
	return hashFile(path)
}

// hashFile returns a file's SHA-256 in hexadecimal and its size.
func hashFile(path string) (sum string, n int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	if n, err = io.Copy(h, f); err != nil {
		return "", 0, err
	}
	return hex.EncodeToString(h.Sum(nil)), n, nil
}

// verify compares the files below dir with their hashes and reports everything
// that is missing or different.
func verify(dir string, hashes map[string]string) error {
	var problems []string
	for _, file := range sortedKeys(hashes) {
		if !filepath.IsLocal(file) {
			problems = append(problems, fmt.Sprintf("%q is no path inside the folder", file))
			continue
		}
		sum, _, err := hashFile(filepath.Join(dir, filepath.FromSlash(file)))
		switch {
		case missing(err):
			problems = append(problems, file+" is missing")
		case err != nil:
			problems = append(problems, err.Error())
		case sum != hashes[file]:
			problems = append(problems, fmt.Sprintf("%s has hash %.12s, was written with %.12s", file, sum, hashes[file]))
		}
	}
	if problems == nil {
		return nil
	}
	return errors.New(strings.Join(problems, "; "))
}

func writeSynced(path string, data []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncFolder makes renames in dir survive a power cut. Systems and file systems
// that cannot sync a folder are let be: there is nothing more to be done.
func syncFolder(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrInvalid) {
		err = nil
	}
	return errors.Join(err, d.Close())
}
