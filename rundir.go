package meft

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// runDir is the folder of a run.
type runDir struct{ dir string }

// check looks at what the folder holds before anything is done, and takes over
// from a run that is resumed what belongs to the run. It writes nothing.
func (d runDir) check(c *Config) error {
	if d.dir == "" {
		return &UsageError{fmt.Errorf("no output_dir: give --output_dir FOLDER")}
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
	old := Defaults()
	if err := old.SetFile(configPath(d.dir)); err != nil {
		return err
	}
	if c.ChatDate == "" {
		c.ChatDate = old.ChatDate
	}
	if c.Overwrite && c.Resume == "" {
		return nil
	}
	if diff := c.Differences(old); len(diff) > 0 {
		return fmt.Errorf("%s: holds a run of another configuration:\n  %s\nchoose another --output_dir, or --overwrite_output_dir to delete that run", d.dir, strings.Join(diff, "\n  "))
	}
	if c.Resume == "" {
		return fmt.Errorf("%s: holds a run of this configuration; --resume goes on with it, --overwrite_output_dir deletes it", d.dir)
	}
	return nil
}

// empty refuses a folder with files that are not a run's.
func (d runDir) empty() error {
	entries, err := os.ReadDir(d.dir)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s: is not empty and holds no run (no config.yaml); choose another --output_dir", d.dir)
	}
	return nil
}

// begin makes the folder of a new run, after removing an old one's files.
func (d runDir) begin(c Config) error {
	if c.Overwrite && exists(configPath(d.dir)) {
		old, err := filepath.Glob(filepath.Join(d.dir, "*checkpoint-*"))
		if err != nil {
			return err
		}
		for _, name := range []string{"config.yaml", "events.jsonl", "adapter", "model"} {
			old = append(old, filepath.Join(d.dir, name))
		}
		for _, path := range old {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return err
	}
	return writeFile(configPath(d.dir), c.YAML())
}

// room checks that the disk holds the result and two checkpoints, the one being
// written and the one before.
func (d runDir) room(p *Plan, j *job) error {
	result := 4 * p.Trained
	need := result
	if j.config.SaveStrategy != "no" {
		need += 2 * 3 * result // weights and two moments
	}
	at := d.dir
	for !exists(at) && filepath.Dir(at) != at {
		at = filepath.Dir(at)
	}
	free, ok := freeDisk(at)
	if ok && free < need {
		return fmt.Errorf("%s: the disk has %v free, this run writes %v (its result and two checkpoints): %v missing", d.dir, Size(free), Size(need), Size(need-free))
	}
	return nil
}

// writeFile puts data into a file atomically.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-"+filepath.Base(path)+"-*")
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
