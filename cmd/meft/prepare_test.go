package main

import (
	"path/filepath"
	"strings"
	"testing"

	"meft"
)

func TestPrepareShowsWhatIsAskedAndLearned(t *testing.T) {
	data := file(t, "nq.jsonl", `{"question":"who?","answer":["Tom","Ann"]}`, `{"question":"where?","answer":["home"]}`)
	o := must(t, "prepare", "nq", "--data", data, "--model", stories(t), "--limit", "1")
	for _, want := range []string{"nq.jsonl:1  id 1", "| who?", "learned  | Tom", "| Ann", "that are learned", "[</s>]"} {
		if !strings.Contains(o.out, want) {
			t.Errorf("%q is not in\n%s", want, o.out)
		}
	}
	if strings.Contains(o.out, "where?") || !strings.Contains(o.err, "1 rows") {
		t.Errorf("--limit 1:\n%s\n%s", o.out, o.err)
	}
	row := decode[meft.PreparedRow](t, must(t, "prepare", "nq", "--data", data, "--limit", "1", "--json", "--prompt-template", "plain").out)
	if row.Prompt != "who?" || row.Completion != "Tom" || len(row.Answers) != 2 || row.IDs != nil {
		t.Errorf("%+v", row)
	}
	// The file that is written is data itself.
	out := filepath.Join(t.TempDir(), "rows.jsonl")
	must(t, "prepare", "nq", "--data", data, "--output", out)
	again := decodeLines[meft.PreparedRow](t, must(t, "prepare", "qa", "--data", out, "--json").out)
	if len(again) != 2 || again[1].Completion != "home" || !strings.Contains(again[1].Prompt, "where?") {
		t.Errorf("prepared again: %+v", again)
	}
}

func TestPrepareRefusesWhatCannotBe(t *testing.T) {
	data := file(t, "nq.jsonl", `{"question":"who?","answer":["Tom"]}`)
	for _, c := range []struct {
		code int
		args []string
		want string
	}{
		{2, []string{"prepare", "cooking", "--data", data}, "nq, squad, toolbench, gsm8k"},
		{2, []string{"prepare", "nq"}, "--data"},
		{2, []string{"prepare", "nq", "--data", data, "--max-length", "9"}, "without --model"},
		{2, []string{"prepare", "nq", "--data", data, "--task-variant", "middle"}, "short or long"},
		{1, []string{"prepare", "gsm8k", "--data", data}, "wanted a string"},
	} {
		refused(t, c.code, []string{c.want}, c.args...)
	}
}
