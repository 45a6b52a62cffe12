package meft

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"meft/train"
)

// runDir is the folder of a run.
type runDir struct{ dir string }

// check looks at what the folder holds before anything is done, and takes over
// from a run that is resumed what belongs to the run. It writes nothing.
func (d runDir) check(c *Config) error {
	if d.dir == "" {
		return &UsageError{fmt.Errorf("no output_dir: give --output_dir FOLDER")}
	}
	if c.Resume == "false" {
		c.Resume = ""
	}
	if c.Resume != "" && c.Resume != "true" {
		return &UsageError{fmt.Errorf("resume is %q, wanted true: the newest good checkpoint of output_dir is taken", c.Resume)}
	}
	if !exists(configPath(d.dir)) {
		if c.Resume != "" {
			return fmt.Errorf("%s: no config.yaml there, so no run to resume; leave --resume out to begin one", d.dir)
		}
		if c.ChatDate == "" {
			c.ChatDate = today()
		}
		return d.empty()
	}
	if c.Overwrite && c.Resume == "" {
		if c.ChatDate == "" {
			c.ChatDate = today()
		}
		return nil
	}
	old := Defaults()
	if err := old.SetFile(configPath(d.dir)); err != nil {
		return err
	}
	if c.ChatDate == "" {
		c.ChatDate = old.ChatDate
	}
	if diff := c.Differences(old); len(diff) > 0 {
		return fmt.Errorf("%s: holds a run of another configuration:\n  %s\nchoose another --output_dir, or --overwrite_output_dir to delete that run", d.dir, strings.Join(diff, "\n  "))
	}
	if c.Resume == "" {
		return fmt.Errorf("%s: holds a run of this configuration; --resume goes on with it, --overwrite_output_dir deletes it", d.dir)
	}
	return nil
}

// empty refuses a folder with files that are not a run's. What a run left that
// was killed while it wrote its configuration is no file of the user's.
func (d runDir) empty() error {
	entries, err := os.ReadDir(d.dir)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), halfWritten("config.yaml")) {
			continue
		}
		return fmt.Errorf("%s: is not empty and holds no run (no config.yaml); choose another --output_dir", d.dir)
	}
	return nil
}

// begin makes a claimed folder that of a new run, after removing an old one's
// files. The old configuration goes last, when the new one takes its place, so
// that the folder is a run's at every moment.
func (d runDir) begin(c Config) error {
	if c.Overwrite && exists(configPath(d.dir)) {
		if err := train.RemoveCheckpoints(d.dir); err != nil {
			return err
		}
		for _, name := range []string{"events.jsonl", "adapter", "model"} {
			if err := os.RemoveAll(filepath.Join(d.dir, name)); err != nil {
				return err
			}
		}
	}
	if err := d.sweep(); err != nil {
		return err
	}
	return writeFile(configPath(d.dir), c.YAML())
}

// errLocked says that another process works in a folder.
var errLocked = errors.New("another process is training there; wait for it or stop it, or choose another --output_dir")

// claim makes the folder and keeps other processes from training in it until
// release is called.
func (d runDir) claim() (release func(), err error) {
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return nil, err
	}
	release, err = lockFolder(d.dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.dir, err)
	}
	return release, nil
}

// sweep removes what a killed run left half written, but for checkpoints, which
// the trainer looks after.
func (d runDir) sweep() error {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		for _, name := range []string{"config.yaml", "adapter", "model"} {
			if strings.HasPrefix(e.Name(), halfWritten(name)) {
				if err := os.RemoveAll(filepath.Join(d.dir, e.Name())); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// halfWritten begins the names under which a file or folder is written before
// it is put in its place.
func halfWritten(name string) string { return ".tmp-" + name + "-" }

// needs is how many bytes a run will write, and what: the result and two
// checkpoints, the one being written and the one before. A run that is resumed
// has the one before. Values are written as float32 whatever their form is.
func (d runDir) needs(p *Plan, j *job) (bytes int64, what string) {
	result, trained := 4*p.Trained, int64(0)
	if p.Projected > 0 {
		result, trained = 4*p.Projected, result
	}
	checkpoints, what := int64(2), "its result and two checkpoints"
	if j.config.Resume != "" {
		checkpoints, what = 1, "its result and a checkpoint"
	}
	if j.config.SaveStrategy == "no" {
		checkpoints, what = 0, "its result"
	}
	bytes = result + checkpoints*(result+trained+p.moments())
	if j.config.storeDir() == d.dir && p.Disk > 0 {
		bytes += p.Disk
		what += ", host tables"
	}
	return bytes, what
}

// room checks that the disk holds what the run needs.
func (d runDir) room(p *Plan, j *job) error {
	need, what := d.needs(p, j)
	free, ok := freeAt(d.dir)
	if ok && free < need {
		return fmt.Errorf("%s: the disk has %v free, this run writes %v (%s): %v missing; free some, or choose an --output_dir on another disk", d.dir, Size(free), Size(need), what, Size(need-free))
	}
	return nil
}

// freeAt is the room on the disk that a path is on, or will be on when its
// folders are made, and whether it is known.
func freeAt(path string) (int64, bool) {
	for !exists(path) && filepath.Dir(path) != path {
		path = filepath.Dir(path)
	}
	return freeDisk(path)
}

// writeFile puts data into a file atomically.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), halfWritten(filepath.Base(path))+"*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // it is gone after the rename
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Chmod(f.Name(), 0o644)
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
