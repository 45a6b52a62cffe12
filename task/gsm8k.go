package task

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// gsm8k is grade school mathematics; MetaMathQA is read for training.
func gsm8k() Task {
	return Task{
		Name:    "gsm8k",
		Summary: "GSM8K, and MetaMathQA for training",
		Source:  "Cobbe et al. 2021, https://arxiv.org/abs/2110.14168; Yu et al. 2023, https://arxiv.org/abs/2309.12284",
		Variants: []Variant{
			{"marked", "solutions as they are, with the calculator's marks <<48/2=24>>"},
			{"plain", "solutions without the calculator's marks"},
			{"metamath", "solutions without marks that end as MetaMathQA's do: #### 24, and on a line of its own: The answer is: 24"},
		},
		Marks: []Marker{
			{Paper, "metamath", "a number, a new line and \"The answer is: X\"; X is split at commas, so 1,000 is [1 0], in the reference too; a negative number is not found", paperNumber},
			{Standard, "strict_match", "the number behind ####", yesNo(StrictNumber)},
			{Standard, "flexible_extract", "the last number", yesNo(FlexibleNumber)},
		},
		Stops: []string{"Question:", "</s>", "<|im_end|>"},
		forms: func(variant string) []form {
			solution := func(s string) string { return s }
			switch variant {
			case "plain":
				solution = withoutMarks
			case "metamath":
				solution = asMetaMath
			}
			return []form{
				{"gsm8k", []string{"question", "answer"}, nil, nil, func(r Row, p prompter) ([]Example, error) { return fromSolution(r, p, "question", "answer", solution) }},
				{"metamath", []string{"query", "response"}, nil, []string{"type", "original_question"}, func(r Row, p prompter) ([]Example, error) {
					return fromSolution(r, p, "query", "response", func(s string) string { return s })
				}},
			}
		},
	}
}

var calculator = regexp.MustCompile(`<<[^<>]*>>`)

// withoutMarks drops what the calculator of GSM8K wrote between << and >>.
func withoutMarks(s string) string { return calculator.ReplaceAllString(s, "") }

// asMetaMath gives a solution the end that those of MetaMathQA have.
func asMetaMath(s string) string {
	s = withoutMarks(s)
	if _, number, ok := strings.Cut(s, "#### "); ok {
		s += "\nThe answer is: " + strings.TrimSpace(number)
	}
	return s
}

// fromSolution reads a problem with a worked solution, from whose end the
// reference comes.
func fromSolution(r Row, p prompter, ask, answer string, solution func(string) string) ([]Example, error) {
	s, err := r.Text(answer)
	if err != nil {
		return nil, err
	}
	gold, ok := goldNumber(s)
	if !ok {
		return nil, fmt.Errorf("%s: field %q ends neither in \"#### X\" nor in \"The answer is: X\": it has no answer to mark with", r.Where(), answer)
	}
	return fromAsk(r, p, ask, solution(s), []string{gold})
}

// goldNumber is what a solution ends in: behind the last "The answer is: ", else
// behind the last "#### ", else behind "A: " (as in the published solutions of
// GSM8K's own models).
func goldNumber(s string) (string, bool) {
	for _, mark := range []string{"The answer is: ", "#### ", "\nA: "} {
		if i := strings.LastIndex(s, mark); i >= 0 {
			gold, _, _ := strings.Cut(s[i+len(mark):], "\n")
			gold = strings.TrimSpace(gold)
			return gold, gold != ""
		}
	}
	return "", false
}

var (
	strictNumber   = regexp.MustCompile(`#### (-?[0-9.,]+)`)
	flexibleNumber = regexp.MustCompile(`(-?[$0-9.,]{2,})|(-?[0-9]+)`)
	metamathEnd    = regexp.MustCompile(`[0-9.,]+\nThe answer is: ([0-9.,]+)`)
)

// StrictNumber tells whether the first number behind "#### " is a reference, as
// strict-match of lm-evaluation-harness.
func StrictNumber(answer string, refs []string) bool {
	m := strictNumber.FindStringSubmatch(answer)
	return m != nil && equalNumber(m[1], refs)
}

// FlexibleNumber tells whether the last number is a reference, as
// flexible-extract of lm-evaluation-harness.
func FlexibleNumber(answer string, refs []string) bool {
	all := flexibleNumber.FindAllString(answer, -1)
	return len(all) > 0 && equalNumber(all[len(all)-1], refs)
}

// equalNumber compares texts as lm-evaluation-harness does: without commas and
// dollars, without a full stop at the end, letters of either case. So 18 and
// 18.00 are two answers.
func equalNumber(x string, refs []string) bool {
	x = plainNumber(x)
	return slices.ContainsFunc(refs, func(r string) bool { return plainNumber(r) == x })
}

func plainNumber(s string) string {
	if i := strings.LastIndex(s, "#### "); i >= 0 {
		s = s[i+len("#### "):]
	}
	s = strings.NewReplacer(",", "", "$", "").Replace(strings.ToLower(s))
	return strings.TrimSuffix(strings.TrimSpace(s), ".")
}

// paperNumber marks as the paper's code: see the quirk of its Marker.
func paperNumber(answer string, refs []string) float64 {
	m := metamathEnd.FindStringSubmatch(answer)
	if m == nil {
		return 0
	}
	got, ok := commaFloats(m[1])
	if !ok {
		return 0
	}
	for _, r := range refs {
		want, ok := commaFloats(r)
		if ok && len(want) == len(got) && !slices.ContainsFunc(indices(got), func(i int) bool { return math.Abs(got[i]-want[i]) > 1e-6 }) {
			return 1
		}
	}
	return 0
}

func indices(x []float64) []int {
	out := make([]int, len(x))
	for i := range out {
		out[i] = i
	}
	return out
}

// commaFloats reads numbers between commas.
func commaFloats(s string) ([]float64, bool) {
	var out []float64
	for part := range strings.SplitSeq(strings.TrimSuffix(s, "."), ",") {
		v, err := strconv.ParseFloat(strings.TrimSpace(part), 64)
		if err != nil {
			return nil, false
		}
		out = append(out, v)
	}
	return out, true
}
