package task

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// examplesOf reads a text as a file of rows of a task.
func examplesOf(t *testing.T, name, text string, o ReadOptions) ([]Example, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return Load(path, o, 0)
}

func TestTaskRowsAskAndLearn(t *testing.T) {
	const triple = `{"query":"q","relevant_apis":[["Cat","Tool","Api"],["C","T","B"]]}`
	const pair = `[{"query":"q","query_id":7,"api_list":[{"category_name":"Cat","tool_name":"Tool","api_name":"Api"}],"relevant APIs":[["Tool","Api"]]}]`
	const article = `{"data":[{"paragraphs":[{"context":"Red sky.","qas":[{"id":"x","question":"Colour?","answers":[{"text":"Red","answer_start":0}]},{"id":"y","question":"Who?","is_impossible":true,"answers":[]}]}]}]}`
	var report Report
	for _, c := range []struct {
		task, variant, file, row string
		ask, learn               string // the prompt holds it; the completion is it
		answers                  []string
		n                        int
	}{
		{"nq", "", "a.jsonl", `{"question":"who","answer":["Bob","Ann"]}`, "### Instruction:\nwho\n", "Bob", []string{"Bob", "Ann"}, 1},
		{"nq", "long", "a.jsonl", `{"question":"who","short_answers":["Bob"],"long_answers":["It was Bob.","Yes."]}`, "who", "It was Bob. Yes.", []string{"Bob"}, 1},
		{"squad", "", "a.json", article, "### Instruction:\nColour?\n\n### Response:", "Red", []string{"Red"}, 1},
		{"squad", "open-book", "a.json", article, "### Input:\nRed sky.", "Red", []string{"Red"}, 2},
		{"squad", "open-book", "a.jsonl", `{"id":"z","question":"Colour?","context":"Red sky.","answers":{"text":["Red"],"answer_start":[0]}}`, "Red sky.", "Red", []string{"Red"}, 1},
		{"toolbench", "", "a.jsonl", triple, "q", "Cat, Tool, Api\n\nC, T, B", []string{"Cat, Tool, Api\n\nC, T, B"}, 1},
		{"toolbench", "", "a.json", pair, "q", "Cat, Tool, Api", []string{"Cat, Tool, Api"}, 1},
		{"toolbench", "", "a.jsonl", `{"query":"q","tools":[],"called":["b","a","b"]}`, "q", "b\n\na", []string{"b\n\na"}, 1},
		{"toolbench", "", "a.jsonl", `{"query":"q","called":[]}`, "", "", nil, 0},
		{"gsm8k", "", "a.jsonl", `{"question":"2*2?","answer":"<<2*2=4>>4\n#### 4"}`, "2*2?", "<<2*2=4>>4\n#### 4", []string{"4"}, 1},
		{"gsm8k", "plain", "a.jsonl", `{"question":"2*2?","answer":"<<2*2=4>>4\n#### 4"}`, "2*2?", "4\n#### 4", []string{"4"}, 1},
		{"gsm8k", "metamath", "a.jsonl", `{"question":"2*2?","answer":"<<2*2=4>>4\n#### 4"}`, "2*2?", "4\n#### 4\nThe answer is: 4", []string{"4"}, 1},
		{"gsm8k", "plain", "a.json", `[{"query":"2*2?","response":"So 4.\n#### 4\nThe answer is: 4","type":"GSM_AnsAug"}]`, "2*2?", "So 4.\n#### 4\nThe answer is: 4", []string{"4"}, 1},
	} {
		got, err := examplesOf(t, c.file, c.row, ReadOptions{Task: c.task, Variant: c.variant, Unasked: report.LeaveOut})
		if err != nil && c.n > 0 || len(got) != c.n {
			t.Errorf("%s %s: %d examples, %v; wants %d", c.task, c.variant, len(got), err, c.n)
			continue
		}
		if c.n == 0 {
			continue
		}
		e := got[0]
		if !strings.Contains(e.Prompt, c.ask) || e.Completion != c.learn || strings.Join(e.Answers, "|") != strings.Join(c.answers, "|") {
			t.Errorf("%s %s: prompt %q, completion %q, answers %q", c.task, c.variant, e.Prompt, e.Completion, e.Answers)
		}
	}
	// Question y of the article, closed book, and the row without calls.
	if lines := strings.Join(report.Lines(), "\n"); report.Unasked != 2 || !strings.Contains(lines, "2 rows ask nothing") || !strings.Contains(lines, "a.json:1: without its passage") {
		t.Errorf("%d rows ask nothing: %s", report.Unasked, lines)
	}
}

func TestTaskRowsThatCannotBeAreNamed(t *testing.T) {
	for _, c := range []struct {
		o    ReadOptions
		row  string
		want []string
	}{
		{ReadOptions{Task: "nq"}, `{"question":"who","answer":[]}`, []string{"a.jsonl:1", "answer", "without answers"}},
		{ReadOptions{Task: "nq"}, `{"question":"who","answer":[" "]}`, []string{"a.jsonl:1", "answer 1 is empty"}},
		{ReadOptions{Task: "nq"}, `{"question":"2*2?","answer":"4\n#### 4"}`, []string{"a.jsonl:1", "####", "gsm8k"}},
		{ReadOptions{Task: "nq"}, `{"query":"x","response":"y"}`, []string{"a.jsonl:1", "query, response", "no form of task nq", "question"}},
		{ReadOptions{Task: "nq", Variant: "long"}, `{"question":"who","answer":["Bob"]}`, []string{"a.jsonl:1", "long_answers"}},
		{ReadOptions{Task: "nq", Variant: "longest"}, `{}`, []string{`"longest"`, "short or long"}},
		{ReadOptions{Task: "cooking"}, `{}`, []string{`"cooking"`, "nq, squad, toolbench, gsm8k"}},
		{ReadOptions{Variant: "long"}, `{}`, []string{`"long"`, "name the task"}},
		{ReadOptions{Task: "gsm8k"}, `{"question":"1+1","answer":"two"}`, []string{"a.jsonl:1", "####", "The answer is"}},
		{ReadOptions{Task: "toolbench"}, `{"query":"q","relevant_apis":[]}`, []string{"a.jsonl:1", "without APIs"}},
		{ReadOptions{Task: "toolbench"}, `{"query":"q","relevant_apis":[["Tool","Api"]]}`, []string{"a.jsonl:1", "item 1", "api_list"}},
		{ReadOptions{Task: "squad"}, `{"paragraphs":[{"context":"c","qas":[{"id":"x","question":"q","answers":[]}]}]}`, []string{"a.jsonl:1", "paragraph 1, question 1", "is_impossible"}},
		{ReadOptions{Task: "squad", Form: "alpaca"}, `{}`, []string{"alpaca", "forms of its own"}},
	} {
		_, err := examplesOf(t, "a.jsonl", c.row, c.o)
		if err == nil {
			t.Errorf("%+v: %s is accepted", c.o, c.row)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s lacks %q", err, w)
			}
		}
	}
}

// The released models' solutions end in "A: NUMBER" and carry the graders'
// verdict.
func TestNumbersAreFoundAsTheGradersFoundThem(t *testing.T) {
	text := readAll(t, shared(t, "gsm8k/model_solutions.jsonl"))
	n := 0
	for line := range strings.Lines(text) {
		var row map[string]json.RawMessage
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		var truth string
		json.Unmarshal(row["ground_truth"], &truth)
		gold, ok := goldNumber(truth)
		if !ok {
			t.Fatalf("no number in %q", truth)
		}
		for _, by := range []string{"6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"} {
			var s struct {
				Solution string
				Correct  bool `json:"is_correct"`
			}
			if err := json.Unmarshal(row[by], &s); err != nil {
				t.Fatal(err)
			}
			n++
			strict := StrictNumber(strings.Replace(s.Solution, "\nA: ", "\n#### ", 1), []string{gold})
			flexible := FlexibleNumber(s.Solution, []string{gold})
			if strict != s.Correct || flexible != s.Correct {
				t.Errorf("%s of %q: strict %v, flexible %v, graded %v; ends in %q", by, gold, strict, flexible, s.Correct, s.Solution[max(0, len(s.Solution)-30):])
			}
		}
	}
	if n != 1200 {
		t.Errorf("%d solutions", n)
	}
}

func TestNumberMarksAndTheirQuirks(t *testing.T) {
	for _, c := range []struct {
		answer, gold            string
		paper, strict, flexible float64
	}{
		{"So 18.\n#### 18\nThe answer is: 18", "18", 1, 1, 1},
		{"So 18.\n#### 18", "18", 0, 1, 1},                     // paper: wants MetaMath's ending
		{"#### 1,000\nThe answer is: 1,000", "1,000", 1, 1, 1}, // quirk: [1 0] in both
		{"#### 1,000\nThe answer is: 1,000", "1000", 0, 1, 1},  // quirk: [1 0] is not [1000]
		{"#### -3\nThe answer is: -3", "-3", 0, 1, 1},          // quirk: no negative numbers
		{"#### 2\nThe answer is: 2.0000001", "2", 1, 1, 0},     // quirk: to 1e-6; flexible takes the last
		{"It is $18.", "18", 0, 0, 1},
		{"18 apples, no, 17", "18", 0, 0, 0},
		{"#### 18.00", "18", 0, 0, 0}, // of lm-evaluation-harness: texts are compared
		{"none", "18", 0, 0, 0},
	} {
		tk := gsm8k()
		got := tk.Mark(c.answer, []string{c.gold})
		if got[0] != c.paper || got[1] != c.strict || got[2] != c.flexible {
			t.Errorf("%q for %q: %v, wants %v %v %v", c.answer, c.gold, got, c.paper, c.strict, c.flexible)
		}
	}
}

func TestIntersectionOverUnionByHand(t *testing.T) {
	tk := toolbench()
	const ref = "Cat, Tool, Api\n\nCat, Tool, Other"
	for _, c := range []struct {
		answer              string
		paper, lines, exact float64
	}{
		{ref, 1, 1, 1},
		{"Cat, Tool, Other\n\ncat, tool, api", 1, 1, 1},
		{"API MAIN INFO: Cat, Tool, Api", 0.5, 0.5, 0},
		{"Cat, Tool, Api, get, x\n\nCat, Tool, Other", 1, 1. / 3, 0},       // quirk: fields behind the third are not read
		{"Cat, Tool, Api\nCat, Tool, Other", 0, 1, 1},                      // quirk: one paragraph is one API
		{"Cat,Tool,Api\n\nCat,Tool,Other", 0, 1, 1},                        // quirk: blanks count
		{"Cat, Tool, Api\n\nCat, Tool, Api\n\nX, Y, Z", 1. / 3, 1. / 3, 0}, // duplicates are one
		{"", 0, 0, 0},
	} {
		got := tk.Mark(c.answer, []string{ref})
		if math.Abs(got[0]-c.paper) > 1e-15 || math.Abs(got[1]-c.lines) > 1e-15 || got[2] != c.exact {
			t.Errorf("%q: %v, wants %v %v %v", c.answer, got, c.paper, c.lines, c.exact)
		}
	}
}

func TestPaperMarksOfQuestions(t *testing.T) {
	q, s := nq(), squad()
	if got := q.Mark("It was bob.", []string{"Bob"}); got[0] != 0 {
		t.Errorf("nq: %v: the case counts there", got)
	}
	if got := s.Mark("It was bob.", []string{"Bob"}); got[0] != 1 {
		t.Errorf("squad: %v: the case does not count there", got)
	}
	if got := s.Mark(" ", nil); got[1] != 1 || got[2] != 1 {
		t.Errorf("nothing for an unanswerable question: %v", got)
	}
	if got := s.Mark("red", nil); got[1] != 0 || got[2] != 0 {
		t.Errorf("something for an unanswerable question: %v", got)
	}
}

// The standard marks of squad are the official ones: TestSquadScoresAreTheOfficialOnes
// in the form of the task.
func TestTaskScoresAreTheOfficialOnes(t *testing.T) {
	dir := shared(t, "squad")
	p, err := ReadPredictions(filepath.Join(dir, "predictions", "bert_ensemble.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"closed-book", "open-book"} {
		m, err := ScoreTask(squad(), Examples(filepath.Join(dir, "dev-v1.1.json"), ReadOptions{Task: "squad", Variant: v}), p)
		if err != nil {
			t.Fatal(err)
		}
		got := m.Scores()
		if math.Abs(100*got[1].Value-86.12573244612176) > 1e-9 || math.Abs(100*got[2].Value-92.10211922510821) > 1e-9 || got[1].N != 10069 {
			t.Errorf("%s: %+v", v, got)
		}
		// The bootstrap's own error at 1000 draws is 2.2 %.
		want := math.Sqrt(got[1].Value * (1 - got[1].Value) / 10069)
		if math.Abs(got[1].StdErr/want-1) > 0.1 {
			t.Errorf("standard error %v, of a share %v", got[1].StdErr, want)
		}
	}
}

func TestPredictionsOfAnotherSetAreRefused(t *testing.T) {
	list, err := examplesOf(t, "a.jsonl", `{"id":"1","question":"who","answer":["Bob"]}`+"\n"+`{"id":"1","question":"whom","answer":["Bob"]}`, ReadOptions{Task: "nq"})
	if err != nil {
		t.Fatal(err)
	}
	each := func(n int) func(func(Example, error) bool) {
		return func(yield func(Example, error) bool) {
			for _, e := range list[:n] {
				if !yield(e, nil) {
					return
				}
			}
		}
	}
	if _, err := ScoreTask(nq(), each(1), map[string]string{"2": "x"}); err == nil || !strings.Contains(err.Error(), "another set") {
		t.Errorf("predictions of other ids: %v", err)
	}
	if _, err := ScoreTask(nq(), each(2), map[string]string{"1": "x"}); err == nil || !strings.Contains(err.Error(), "used before") {
		t.Errorf("an id twice: %v", err)
	}
}

func TestIndentedPromptIsThePapers(t *testing.T) {
	got, err := examplesOf(t, "a.jsonl", `{"question":"who","answer":["Bob"]}`, ReadOptions{Task: "nq", Template: "alpaca-indented"})
	if err != nil {
		t.Fatal(err)
	}
	const gap = "\n                "
	want := alpacaHead + "  " + gap + gap + "### Instruction:" + gap + "who" + gap + gap + "### Response:" + gap
	if got[0].Prompt != want || got[0].Completion != "Bob" {
		t.Errorf("%q, wants %q", got[0].Prompt, want)
	}
}
