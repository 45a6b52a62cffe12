package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
)

// The comments that the written part of the page lies between.
const (
	begin = "<!-- peers:begin (written by docs/_peers) -->"
	end   = "<!-- peers:end -->"
)

// splice puts text between the two comments of a page.
func splice(page, text string) (string, error) {
	i, j := strings.Index(page, begin), strings.Index(page, end)
	if i < 0 || j < i {
		return "", fmt.Errorf("the comments %q and %q are not there", begin, end)
	}
	return page[:i+len(begin)] + "\n\n" + strings.TrimSpace(text) + "\n\n" + page[j:], nil
}

// readRecords reads a file of runs.
func readRecords(path string) ([]record, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []record
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for n := 1; s.Scan(); n++ {
		var r record
		if err := json.Unmarshal(s.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", path, n, err)
		}
		out = append(out, r)
	}
	return out, s.Err()
}

// row is a comparison with one other program by one measure.
type row struct {
	title, metric, program string
	threads                int
	ours, theirs           []float64 // of all rounds
	ratios                 []float64 // of the rounds in which both ran
	rss, rssTheirs         float64
}

// section is the text of the page that records make.
func section(records []record) string {
	var b strings.Builder
	for i := len(records) - 1; i >= 0; i-- {
		if records[i].Type == "machine" {
			for _, l := range records[i].Machine {
				fmt.Fprintf(&b, "- %s\n", l)
			}
			break
		}
	}
	b.WriteString("\nMedians of the rounds, least and most in brackets; the ratio is the median of the rounds' own ratios, meft over the other program, so above 1 meft is faster. Memory is the largest resident size in MiB, meft and the other.\n")
	for _, table := range []string{tableProducts, tableTraining, tableFinetune, tableGenerate} {
		rows := rowsOf(records, table)
		if len(rows) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n### %s\n\n| | threads | measure | meft | other program | its | ratio | rounds | MiB |\n|---|---|---|---|---|---|---|---|---|\n", table)
		for _, r := range rows {
			fmt.Fprintf(&b, "| %s | %d | %s | %s | %s | %s | **%s** | %d | %s |\n", r.title, r.threads, r.measure(), ranged(r.ours), r.program, ranged(r.theirs), ranged(r.ratios), len(r.ratios), r.memory())
		}
		b.WriteString(commands(records, table))
	}
	b.WriteString(failures(records))
	return b.String()
}

// measure is the name of the metric with its unit.
func (r row) measure() string {
	if r.metric == "nt" || r.metric == "nn" || r.metric == "tn" {
		return r.metric + " GFLOP/s"
	}
	return r.metric
}

func (r row) memory() string {
	if r.rss == 0 || r.rssTheirs == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f, %.0f", r.rss, r.rssTheirs)
}

// rowsOf pairs the runs of a table: a run of ours with that of another program
// in the same round of the same session.
func rowsOf(records []record, table string) []row {
	type round struct {
		name, session string
		round         int
	}
	ours := map[round]record{}
	mine := map[string][]record{}
	for _, r := range records {
		if r.Type == "run" && r.Table == table && r.Ours && r.Error == "" {
			ours[round{r.Case, r.Session, r.Round}] = r
			mine[r.Case] = append(mine[r.Case], r)
		}
	}
	var out []*row
	at := map[[3]string]*row{}
	for _, r := range records {
		if r.Type != "run" || r.Table != table || r.Ours || r.Error != "" {
			continue
		}
		mate, both := ours[round{r.Case, r.Session, r.Round}]
		if !both {
			continue
		}
		for _, m := range r.Metrics {
			a, b := mate.Values[m], r.Values[m]
			if a == 0 || b == 0 {
				continue // the other program does not do this
			}
			key := [3]string{r.Case, m, r.Program}
			x := at[key]
			if x == nil {
				x = &row{title: r.Title, metric: m, program: r.Program, threads: r.Threads}
				at[key], out = x, append(out, x)
				var sizes []float64
				for _, o := range mine[r.Case] {
					x.ours, sizes = append(x.ours, o.Values[m]), append(sizes, o.Values["rss"])
				}
				x.rss = median(sizes)
			}
			x.theirs, x.ratios = append(x.theirs, b), append(x.ratios, a/b)
			x.rssTheirs = max(x.rssTheirs, r.Values["rss"])
		}
	}
	rows := make([]row, len(out))
	for i, x := range out {
		rows[i] = *x
	}
	return rows
}

// commands are those of a table's runs with the least threads, each once.
func commands(records []record, table string) string {
	var lines []string
	least := math.MaxInt
	for _, r := range records {
		if r.Table == table && r.Type == "run" {
			least = min(least, r.Threads)
		}
	}
	for _, r := range records {
		if line := r.Command; r.Table == table && r.Error == "" && r.Threads == least && line != "" && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	for i, l := range lines {
		if at := strings.Index(l, `"# Times OpenBLAS`); at >= 0 {
			l = l[:at] + "docs/_peers/sgemm.py ..." // its text, and the sizes of the products
		}
		lines[i] = l
	}
	return fmt.Sprintf("\n<details><summary>commands</summary>\n\n```\n%s\n```\n\n</details>\n", strings.Join(lines, "\n"))
}

// failures are programs that ran and gave no result.
func failures(records []record) string {
	times, why := map[string]int{}, map[string]string{}
	var names []string
	for _, r := range records {
		if r.Type == "run" && r.Error != "" {
			name := r.Program + ", " + r.Case
			if times[name]++; times[name] == 1 {
				names = append(names, name)
			}
			why[name] = r.Error
		}
	}
	if names == nil {
		return ""
	}
	slices.Sort(names)
	var b strings.Builder
	b.WriteString("\nRuns without a result:\n\n")
	for _, n := range names {
		fmt.Fprintf(&b, "- %s, %d times: `%.120s`\n", n, times[n], strings.ReplaceAll(why[n], "`", "'"))
	}
	return b.String()
}

// ranged is a median with least and most.
func ranged(v []float64) string {
	if len(v) == 0 {
		return ""
	}
	if len(v) == 1 {
		return figure(v[0])
	}
	return fmt.Sprintf("%s (%s, %s)", figure(median(v)), figure(slices.Min(v)), figure(slices.Max(v)))
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// geometric is the mean for speeds and ratios.
func geometric(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += math.Log(x)
	}
	return math.Exp(sum / float64(len(v)))
}

// figure writes three digits, or all before the point.
func figure(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
