package task

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func readAll(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestRealDataReads reads published data sets: the number of rows, or the words
// of a helpful error.
func TestRealDataReads(t *testing.T) {
	for _, c := range []struct {
		file string
		o    ReadOptions
		form string
		rows int
		err  string
	}{
		{file: "gsm8k/train.jsonl", form: "question", rows: 7473},
		{file: "gsm8k/test.jsonl", form: "question", rows: 999},
		{file: "gsm8k", form: "question", rows: 7473},
		{file: "gsm8k/model_solutions.jsonl", err: "question"},
		{file: "gsm8k/model_solutions.jsonl", o: ReadOptions{Columns: map[string]string{"answer": "ground_truth"}}, form: "question", rows: 300},
		{file: "nq_open/dev.jsonl", form: "question", rows: 3211},
		{file: "nq_open/efficientqa_test.jsonl", form: "question", rows: 1769},
		{file: "metamath_backward/gsm8k_backward.jsonl", form: "question", rows: 966},
		{file: "squad/dev-v1.1.json", form: "squad", rows: 10069},
		{file: "squad/train-v1.1-subset.json", form: "squad", rows: 4000},
		{file: "toolbench/conversations.jsonl", o: ReadOptions{Columns: map[string]string{"tools": "function"}}, form: "messages", rows: 13},
		{file: "toolbench/conversations.jsonl", form: "messages", rows: 13},
		{file: "toolbench/test_queries.jsonl", err: "called, final_answer, id, query"},
		{file: "toolbench/test_queries.jsonl", o: ReadOptions{Columns: map[string]string{"prompt": "query", "completion": "final_answer"}}, form: "prompt", rows: 490},
		{file: "toolbench/instructions.jsonl", err: "relevant_apis"},
		{file: "toolalpaca/eval_real.json", err: "Golden_Answers"},
		{file: "apibench/torchhub_train.jsonl", err: "api_call"},
		{file: "bfcl/simple_python.jsonl", err: "function"},
		{file: "text/tinyshakespeare.txt", form: "text", rows: 32777},
		{file: "text/war-and-peace.txt.gz", form: "text"},
	} {
		t.Run(strings.ReplaceAll(c.file, "/", " "), func(t *testing.T) {
			all, err := Load(shared(t, c.file), c.o, 0)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), filepath.Base(c.file)) {
					t.Fatalf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.rows > 0 && len(all) != c.rows || len(all) == 0 {
				t.Errorf("%d rows, want %d", len(all), c.rows)
			}
			answered := 0
			for _, e := range all {
				if e.Form() != c.form || e.ID == "" {
					t.Fatalf("%s: form %q, want %q; id %q", e.Where(), e.Form(), c.form, e.ID)
				}
				if len(e.Answers) > 0 || e.Text != "" {
					answered++
				}
			}
			// ToolBench has empty answers and conversations that end in a call.
			if answered < len(all) && !strings.HasPrefix(c.file, "toolbench/") {
				t.Errorf("%d of %d rows have no reference", len(all)-answered, len(all))
			}
		})
	}
}
