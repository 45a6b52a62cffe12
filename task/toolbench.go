package task

import (
	"encoding/json"
	"fmt"
	"strings"
)

// toolbench is the paper's form of ToolBench: from a query to the list of the
// APIs that it needs.
func toolbench() Task {
	return Task{
		Name:     "toolbench",
		Summary:  "ToolBench, the MEFT paper's form: a query to the list of APIs it needs",
		Source:   "Qin et al. 2023, https://arxiv.org/abs/2307.16789",
		Variants: []Variant{{"apis", "a paragraph for each API: category, tool, name"}},
		Marks: []Marker{
			{Paper, "iou", "of the first three comma-separated fields of each paragraph, in lower case", paperIoU},
			{Standard, "iou", "of the lines, blanks squeezed, in lower case", lineIoU},
			{Standard, "all_apis", "every API and no other", yesNo(func(a string, refs []string) bool { return lineIoU(a, refs) == 1 })},
		},
		forms: func(string) []form {
			return []form{
				{"toolbench instructions", []string{"query"}, []string{"relevant_apis", "relevant APIs"}, []string{"api_list", "query_id"}, fromInstruction},
				{"toolbench calls", []string{"query", "called"}, nil, []string{"tools"}, fromCalled},
			}
		},
	}
}

// fromInstruction reads a row of ToolBench's instruction files. There the APIs
// are pairs of tool and name, whose category is in api_list; elsewhere they may
// be whole triples.
func fromInstruction(r Row, p prompter) ([]Example, error) {
	column := "relevant_apis"
	if !r.Has(column) {
		column = "relevant APIs"
	}
	var apis [][]string
	if err := json.Unmarshal(r.Raw(column), &apis); err != nil {
		return nil, fmt.Errorf("%s: field %q is %s, wanted a list of [category, tool, API] or [tool, API]", r.Where(), column, kind(r.Raw(column)))
	}
	var offered []struct {
		Category string `json:"category_name"`
		Tool     string `json:"tool_name"`
		Name     string `json:"api_name"`
	}
	if raw := r.Raw("api_list"); raw != nil {
		if err := json.Unmarshal(raw, &offered); err != nil {
			return nil, fmt.Errorf("%s: field \"api_list\": %w", r.Where(), err)
		}
	}
	var lines []string
	for i, api := range apis {
		if len(api) == 2 {
			for _, o := range offered {
				if o.Tool == api[0] && o.Name == api[1] {
					api = []string{o.Category, o.Tool, o.Name}
					break
				}
			}
		}
		if len(api) != 3 {
			return nil, fmt.Errorf("%s: field %q: item %d is %v, wanted [category, tool, API], or [tool, API] with an entry in api_list", r.Where(), column, i+1, api)
		}
		lines = append(lines, strings.Join(api, ", "))
	}
	return fromAPIs(r, p, column, lines)
}

// fromCalled reads the APIs that a model called, each once, in place of those
// that are needed.
func fromCalled(r Row, p prompter) ([]Example, error) {
	called, err := answers(r.Raw("called"))
	if err != nil {
		return nil, fmt.Errorf("%s: field \"called\" is %w", r.Where(), err)
	}
	if len(called) == 0 {
		return []Example{{ID: r.id(), Unasked: "nothing was called"}}, nil
	}
	var lines []string
	seen := map[string]bool{}
	for _, c := range called {
		if !seen[c] {
			seen[c] = true
			lines = append(lines, c)
		}
	}
	return fromAPIs(r, p, "called", lines)
}

// fromAPIs makes the example. Its one reference is the whole list.
func fromAPIs(r Row, p prompter, column string, lines []string) ([]Example, error) {
	if len(lines) == 0 {
		return nil, fmt.Errorf("%s: field %q is a list without APIs", r.Where(), column)
	}
	whole := strings.Join(lines, "\n\n")
	return fromAsk(r, p, "query", whole, []string{whole})
}

const apiPrefix = "API MAIN INFO: "

// paperIoU is intersection over union of two sets of APIs as the paper's code
// reads them.
func paperIoU(answer string, refs []string) float64 {
	return bestIoU(answer, refs, func(s string) map[string]bool {
		set := map[string]bool{}
		for part := range strings.SplitSeq(strings.TrimSpace(s), "\n\n") {
			fields := strings.Split(strings.TrimPrefix(strings.TrimSpace(part), apiPrefix), ",")
			set[strings.ToLower(strings.Join(fields[:min(3, len(fields))], ","))] = true
		}
		return set
	})
}

// lineIoU is intersection over union of two sets of lines.
func lineIoU(answer string, refs []string) float64 {
	return bestIoU(answer, refs, func(s string) map[string]bool {
		set := map[string]bool{}
		for line := range strings.SplitSeq(s, "\n") {
			line = strings.TrimPrefix(strings.TrimSpace(line), apiPrefix)
			fields := strings.Split(strings.ToLower(line), ",")
			for i, f := range fields {
				fields[i] = strings.Join(strings.Fields(f), " ")
			}
			if line != "" {
				set[strings.Join(fields, ",")] = true
			}
		}
		return set
	})
}

// bestIoU is the best over the references.
func bestIoU(answer string, refs []string, read func(string) map[string]bool) float64 {
	a, best := read(answer), 0.0
	for _, r := range refs {
		b := read(r)
		both := 0
		for x := range a {
			if b[x] {
				both++
			}
		}
		if all := len(a) + len(b) - both; all > 0 {
			best = max(best, float64(both)/float64(all))
		}
	}
	return best
}
