package safetensors

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// sink is what replaceFile needs of an *os.File, so that tests can stand in a
// disk that fills up.
type sink interface {
	io.Writer
	Sync() error
	Close() error
}

// Replace puts what fill writes at path, whole or not at all, and synced to disk:
// it is written under a temporary name in the same folder and renamed. On any
// failure an older file at path is as before.
func Replace(path string, fill func(io.Writer) error) error {
	return replaceFile(path, createFile, fill)
}

// replaceFile puts what fill writes at path, whole or not at all. A reader sees
// the old file or the new one; after a power cut, too, since the data is on disk
// before the rename.
func replaceFile(path string, create func(string) (sink, error), fill func(io.Writer) error) error {
	if stat, err := os.Stat(path); err == nil && stat.IsDir() {
		return fmt.Errorf("%s: is a folder, wanted a file name", path)
	}
	dir, base := filepath.Split(path)
	// Random, so that two processes writing the same path do not share it; the
	// leading dot and the ending keep Open and users' globs from taking it for
	// a checkpoint.
	tmp := filepath.Join(dir, "."+base+"."+rand.Text()+".tmp")
	out, err := create(tmp)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	err = fill(out)
	if err == nil {
		err = out.Sync()
	}
	if e := out.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, errors.Join(err, os.Remove(tmp)))
	}
	if dir == "" {
		dir = "."
	}
	if err := syncDir(dir); err != nil {
		return fmt.Errorf("%s: is written, its folder could not be synced: %w", path, err)
	}
	return nil
}
