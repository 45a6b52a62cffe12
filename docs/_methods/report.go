package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"meft"
)

// The comments that the written part of the page lies between.
const (
	begin = "<!-- methods:begin (written by docs/_methods) -->"
	end   = "<!-- methods:end -->"
)

// record is a run, and a line of the file of runs.
type record struct {
	Base    string  `json:"base"`
	Entry   string  `json:"entry"`
	Steps   int     `json:"steps"`
	Rate    float64 `json:"rate"`
	Trained int64   `json:"trained"`
	Device  int64   `json:"device"`
	Host    int64   `json:"host"`
	Moved   int64   `json:"moved"` // bytes a step
	Speed   float64 `json:"tokens_per_second"`
	Loss    float64 `json:"loss"`
	EM      float64 `json:"exact_match"`
	Command string  `json:"command"`
	Error   string  `json:"error,omitempty"`
}

// key says which run it is.
func (r record) key() string { return fmt.Sprintf("%s/%s/%d/%g", r.Base, r.Entry, r.Steps, r.Rate) }

// String is the run in a line.
func (r record) String() string {
	if r.Error != "" {
		return fmt.Sprintf("%s: %s", r.key(), r.Error)
	}
	return fmt.Sprintf("%s: trained %d, device %v, host %v, %v a step, %.0f tokens/s, loss %.3f, exact match %.1f %%", r.key(), r.Trained,
		meft.Size(r.Device), meft.Size(r.Host), meft.Size(r.Moved), r.Speed, r.Loss, 100*r.EM)
}

// append adds the run to a file.
func (r record) append(path string) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

// readRecords reads a file of runs; none where it is not there.
func readRecords(path string) ([]record, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []record
	s := bufio.NewScanner(f)
	for n := 1; s.Scan(); n++ {
		var r record
		if err := json.Unmarshal(s.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", path, n, err)
		}
		out = append(out, r)
	}
	return out, s.Err()
}

// best are the runs of a base, each entry's with the highest exact match, and
// the lowest loss among equals, in the order of entries.
func best(all []record, base string) []record {
	var out []record
	for _, e := range entries() {
		var top *record
		for _, r := range all {
			if r.Base != base || r.Entry != e.name || r.Error != "" {
				continue
			}
			if top == nil || r.EM > top.EM || r.EM == top.EM && r.Loss <= top.Loss { // of equal ones the last
				top = &r
			}
		}
		if top != nil {
			out = append(out, *top)
		}
	}
	return out
}

// section is the text of the page that the runs make.
func section(all []record) string {
	var b strings.Builder
	for _, base := range []string{"demo", "stories260K"} {
		rows := best(all, base)
		if len(rows) == 0 {
			continue
		}
		fmt.Fprintf(&b, "### %s, %d steps\n\n| method | rate | trained | device | host | moved a step | tokens/s | loss | exact match |\n|---|---|---|---|---|---|---|---|---|\n", base, rows[0].Steps)
		for _, r := range rows {
			moved := ""
			if r.Moved > 0 {
				moved = fmt.Sprint(meft.Size(r.Moved))
			}
			fmt.Fprintf(&b, "| %s | %g | %d | %v | %v | %s | %.0f | %.3f | %.1f %% |\n", r.Entry, r.Rate, r.Trained, meft.Size(r.Device), meft.Size(r.Host), moved, r.Speed, r.Loss, 100*r.EM)
		}
		b.WriteString("\n")
	}
	return b.String() + tried(all)
}

// tried lists what every rate came to, and the runs that failed.
func tried(all []record) string {
	var b strings.Builder
	b.WriteString("Exact match in percent at every rate tried, and the command of each row:\n\n")
	for _, base := range []string{"demo", "stories260K"} {
		for _, r := range best(all, base) {
			var each []string
			var rates []float64
			for _, x := range all {
				if x.Base == base && x.Entry == r.Entry && x.Error == "" && !slices.Contains(rates, x.Rate) {
					rates = append(rates, x.Rate)
					each = append(each, fmt.Sprintf("%g: %.1f", x.Rate, 100*x.EM))
				}
			}
			fmt.Fprintf(&b, "- %s, %s: %s. `%s`\n", base, r.Entry, strings.Join(each, ", "), r.Command)
		}
	}
	for _, r := range all {
		if r.Error != "" {
			fmt.Fprintf(&b, "- failed: %s\n", r)
		}
	}
	return b.String()
}

// splice puts text between the two comments of a page.
func splice(page, text string) (string, error) {
	i, j := strings.Index(page, begin), strings.Index(page, end)
	if i < 0 || j < i {
		return "", fmt.Errorf("the comments %q and %q are not there", begin, end)
	}
	return page[:i+len(begin)] + "\n\n" + strings.TrimSpace(text) + "\n\n" + page[j:], nil
}
