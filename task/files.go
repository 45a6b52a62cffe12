package task

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// splits are the parts of a data set with the file names they go by.
func splits() map[string][]string {
	return map[string][]string{
		"train":      {"train", "training"},
		"validation": {"validation", "valid", "val", "dev", "eval"},
		"test":       {"test"},
	}
}

// ErrNoSplit is what Files wraps when a folder lacks the part asked for.
var ErrNoSplit = errors.New("no such part of the data set")

// Files returns the data files that path stands for: path itself for a file;
// for a folder the files of one split ("train", "validation", "test"; "" is
// train), in the folder or its folder data, by their names: train.jsonl,
// valid.csv, validation.parquet, train-00000-of-00002.parquet. Several files of
// one split are read in the order of their names and must have one format. A
// folder's only data file is its train split whatever its name. The error wraps
// ErrNoSplit when the folder lacks the split, and lists what was found.
func Files(path, split string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		if split != "" && split != "train" {
			return nil, fmt.Errorf("%s: a file, not a folder with a %s split: %w", path, split, ErrNoSplit)
		}
		return []string{path}, nil
	}
	if split == "" {
		split = "train"
	}
	names, ok := splits()[split]
	if !ok {
		return nil, fmt.Errorf("split %q is not known; known: train, validation, test", split)
	}
	all, err := dataFiles(path)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, name := range names {
		if files = ofSplit(all, name); files != nil {
			break // valid.jsonl beside val.jsonl: the first name counts, not both
		}
	}
	if files == nil && split == "train" && len(all) == 1 {
		files = all
	}
	if files == nil {
		return nil, fmt.Errorf("%s: %w: no file named %s.*; found: %s", path, ErrNoSplit, strings.Join(names, ".*, "), list(all))
	}
	for _, f := range files {
		if formatOf(f) != formatOf(files[0]) {
			return nil, fmt.Errorf("%s: the %s split is there in two formats, %s and %s; name the file", path, split, filepath.Base(files[0]), filepath.Base(f))
		}
	}
	return files, nil
}

// dataFiles returns the files with a known format in dir and in its folder
// data, sorted.
func dataFiles(dir string) ([]string, error) {
	var all []string
	for _, d := range []string{dir, filepath.Join(dir, "data")} {
		entries, err := os.ReadDir(d)
		if err != nil && !(d != dir && errors.Is(err, fs.ErrNotExist)) {
			return nil, err
		}
		for _, e := range entries {
			if !e.IsDir() && formatOf(e.Name()) != "" && !strings.HasPrefix(e.Name(), ".") {
				all = append(all, filepath.Join(d, e.Name()))
			}
		}
	}
	slices.Sort(all)
	return all, nil
}

// ofSplit returns the files named name, or name and a shard's number.
func ofSplit(files []string, name string) []string {
	var of []string
	for _, f := range files {
		base, _, _ := strings.Cut(strings.ToLower(filepath.Base(f)), ".")
		if rest, ok := strings.CutPrefix(base, name); ok && (rest == "" || strings.HasPrefix(rest, "-") || strings.HasPrefix(rest, "_")) {
			of = append(of, f)
		}
	}
	return of
}

func list(files []string) string {
	if len(files) == 0 {
		return "no data files"
	}
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = filepath.Base(f)
	}
	if len(names) > 8 {
		names = append(names[:8], fmt.Sprintf("and %d more", len(names)-8))
	}
	return strings.Join(names, ", ")
}
