package main

import (
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 1e-9*math.Abs(want) {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

// What programs print, as recorded.
func TestRecordedOutputsAreRead(t *testing.T) {
	v, err := readLine(output{text: "warming up\n" + `{"peer": "torch", "tok_s": 835.4, "gflops": 78.4, "rss_mib": 1160, "prof": {}}` + "\n"})
	if err != nil || v["tok/s"] != 835.4 || v["GFLOP/s"] != 78.4 || v["rss"] != 1160 {
		t.Errorf("training: %v, %v", v, err)
	}
	v, err = readGeneration(output{text: `{"type":"generate","rss_mib":100,"rows":[{"sequences":1,"prompt_tok_s":8315,"decode_tok_s":132}]}`})
	if err != nil || v["prompt tok/s"] != 8315 || v["generated tok/s"] != 132 || v["rss"] != 100 {
		t.Errorf("generation: %v, %v", v, err)
	}
	v, err = readLlamaBench(output{text: `[{"n_prompt": 255, "n_gen": 0, "samples_ts": [3, 1, 2]}, {"n_prompt": 0, "n_gen": 64, "samples_ts": [10, 30]}]`})
	if err != nil || v["prompt tok/s"] != 2 || v["generated tok/s"] != 20 {
		t.Errorf("llama-bench: %v, %v", v, err)
	}
	v, list, err := readKernels(output{text: `{"kernels":[{"op":"matmul nt","sizes":"1024x288x768","gflops":2},{"op":"matmul nt","sizes":"1024x288x288","gflops":8},{"op":"matmul nt","sizes":"1x288x288","gbs":7},{"op":"attention","sizes":"4 rows of 256, 6 heads of 48","gflops":20}]}`})
	if err != nil || len(v) != 1 || math.Abs(v["nt"]-4) > 1e-9 || len(list) != 2 || list[0] != (product{"nt", 1024, 288, 768}) {
		t.Errorf("kernels: %v, %v, %v", v, list, err)
	}
	v, err = readSgemm(output{text: `[{"Op": "nt", "GFlops": 2}, {"Op": "nt", "GFlops": 8}, {"Op": "tn", "GFlops": 5}]`})
	if err != nil || math.Abs(v["nt"]-4) > 1e-9 || math.Abs(v["tn"]-5) > 1e-9 {
		t.Errorf("sgemm: %v, %v", v, err)
	}
	start := time.Now()
	var marks []stamped
	for _, s := range []float64{0, 9, 10, 12, 13} { // two warm-up marks, then steps of 1, 2 and 1 seconds
		marks = append(marks, stamped{at: start.Add(time.Duration(s * float64(time.Second)))})
	}
	v, err = readSteps(256, 2)(output{stamps: marks})
	if err != nil || v["tok/s"] != 256 {
		t.Errorf("steps: %v, %v", v, err)
	}
	v, err = readLLMC(output{stamps: []stamped{{match: []string{"", "9", "s", ""}}, {match: []string{"", "2", "s", ""}}, {match: []string{"", "2000", "ms", ""}}}})
	if err != nil || v["tok/s"] != 128 {
		t.Errorf("llm.c: %v, %v", v, err)
	}
}

func TestOutputsWithoutAResultSayWhatWasSaid(t *testing.T) {
	said := output{all: "usage\nmethod \"lora\" is unknown\n"}
	for name, read := range map[string]func(output) (values, error){"line": readLine, "generation": readGeneration, "llama-bench": readLlamaBench, "sgemm": readSgemm,
		"steps": readSteps(1, 1), "llm.c": readLLMC, "kernels": func(o output) (values, error) { v, _, err := readKernels(o); return v, err }} {
		if _, err := read(said); err == nil || !strings.Contains(firstLine(err.Error()), "lora") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// runs are rounds of our program and another.
func runs() []record {
	r := func(program, session string, round int, tokS float64) record {
		return record{Type: "run", Case: "train-x-t1", Table: tableTraining, Title: "x, full, f32, 4 x 256", Metrics: []string{"tok/s"}, Program: program, Ours: program == "meft",
			Threads: 1, Session: session, Round: round, Values: values{"tok/s": tokS, "rss": 100}, Command: program + " --go"}
	}
	failed := r("GoMLX", "a", 0, 0)
	failed.Error = "ended after 4m0s"
	return []record{{Type: "machine", Machine: []string{"a machine of last year"}}, {Type: "machine", Machine: []string{"2 cores"}},
		r("meft", "a", 0, 100), r("PyTorch", "a", 0, 50), failed, r("meft", "a", 1, 300), r("PyTorch", "a", 1, 100), r("meft", "b", 0, 80), r("PyTorch", "b", 0, 80), r("meft", "b", 1, 90)}
}

func TestRatiosAreThoseOfTheSameRound(t *testing.T) {
	rows := rowsOf(runs(), tableTraining)
	if len(rows) != 1 {
		t.Fatalf("%d rows: %+v", len(rows), rows)
	}
	// 100/50, 300/100, 80/80; the last round of ours has no mate.
	near(t, "ratio", median(rows[0].ratios), 2)
	near(t, "ours", median(rows[0].ours), 95)
	near(t, "theirs", median(rows[0].theirs), 80)
	if len(rows[0].ratios) != 3 || len(rows[0].ours) != 4 {
		t.Errorf("row %+v", rows[0])
	}
}

func TestTablesHaveMediansRatiosCommandsAndFailures(t *testing.T) {
	text := section(runs())
	for _, want := range []string{"- 2 cores\n", "### Training\n", "| x, full, f32, 4 x 256 | 1 | tok/s | 95.0 (80.0, 300) | PyTorch | 80.0 (50.0, 100) | **2.00 (1.00, 3.00)** | 3 | 100, 100 |\n",
		"meft --go\nPyTorch --go\n", "- GoMLX, train-x-t1, 1 times: `ended after 4m0s`\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	for _, not := range []string{"last year", "### Products", "GoMLX --go"} {
		if strings.Contains(text, not) {
			t.Errorf("%q is in\n%s", not, text)
		}
	}
}

func TestOnlyTheMarkedSectionOfThePageChanges(t *testing.T) {
	page := "before\n" + begin + "\nold\n" + end + "\nafter\n"
	out, err := splice(page, "new\n")
	if err != nil || out != "before\n"+begin+"\n\nnew\n\n"+end+"\nafter\n" {
		t.Errorf("%q, %v", out, err)
	}
	if again, _ := splice(out, "new\n"); again != out {
		t.Errorf("written twice: %q", again)
	}
	if _, err := splice("no comments", "new"); err == nil {
		t.Error("a page without the comments was written")
	}
	real, err := os.ReadFile("../benchmarks.md")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := splice(string(real), ""); err != nil {
		t.Errorf("docs/benchmarks.md: %v", err)
	}
}

// A whole session with programs that only print.
func TestSessionWritesTheRoundsInTurns(t *testing.T) {
	dir := t.TempDir()
	raw := filepath.Join(dir, "raw.jsonl")
	b := &bench{options: &options{rounds: 2, raw: raw, noise: 1e9, tries: 1, data: dir, bin: "/nowhere"}, session: "s"}
	say := func(program, text string) side {
		return side{program: program, cmd: plain(command{args: []string{"sh", "-c", "echo '" + text + "'"}}), read: readLine}
	}
	c := &comparison{name: "x", table: tableTraining, title: "x", threads: 1, metrics: []string{"tok/s"}, sides: []side{
		say("meft", `{"tok_s": 6}`), say("other", `{"tok_s": 2}`), say("broken", `no result`), {program: "absent", need: []string{"/nowhere/x"}}}}
	if err := b.compare(c); err != nil {
		t.Fatal(err)
	}
	records, err := readRecords(raw)
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, r := range records {
		order = append(order, r.Program)
	}
	if got := strings.Join(order, " "); got != "meft other broken meft other broken" {
		t.Errorf("ran %s", got)
	}
	rows := rowsOf(records, tableTraining)
	if len(rows) != 1 || len(rows[0].ratios) != 2 || rows[0].ratios[0] != 3 {
		t.Errorf("rows %+v", rows)
	}
}

func TestMarksOfStepsAreStampedAndEndTheProgram(t *testing.T) {
	c := command{args: []string{"sh", "-c", "for i in 1 2 3; do echo step $i; sleep 0.01; done; exec sleep 100"}, stamp: regexp.MustCompile(`step (\d)`), stamps: 3, limit: time.Minute}
	out, s := c.run(1e9)
	if len(out.stamps) != 3 || out.stamps[2].match[1] != "3" || s.wall > 50 || s.aborted {
		t.Errorf("stamps %+v in %v s", out.stamps, s.wall)
	}
	c = command{args: []string{"sh", "-c", "exec sleep 100"}, limit: 50 * time.Millisecond}
	if out, _ := c.run(1e9); !strings.Contains(out.all, "ended after 50ms") {
		t.Errorf("a program over its limit said %q", out.all)
	}
}

func TestEveryComparisonBeginsWithOursAndHasItsOwnName(t *testing.T) {
	o, err := parse([]string{"-threads", "1,2", "-only", "^train"})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, c := range (&bench{options: o}).comparisons() {
		if seen[c.name] || c.sides[0].program != "meft" || len(c.sides) < 2 || len(c.metrics) == 0 {
			t.Errorf("comparison %s: %v, %v", c.name, c.programs(), c.metrics)
		}
		seen[c.name] = true
	}
	for _, name := range []string{"products-110m-t2", "train-15m-full-f32-t1", "train-1.1b-meft-routed-bf16-t2", "finetune-110m-lora-t1", "generate-1.1b-bf16-t2", "llmc-124m-full-t2"} {
		if !seen[name] {
			t.Errorf("%s is missing", name)
		}
	}
	if seen["train-1.1b-full-f32-t1"] {
		t.Error("all weights of 1.1 billion do not fit the machine")
	}
	for _, bad := range [][]string{{"-only", "("}, {"-threads", "0"}, {"-threads", "a"}} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}

// A peer that is held back would make a ratio worthless.
func TestPeersGetTheBestSettingsOfTheMachine(t *testing.T) {
	for flags, want := range map[string]string{"avx2 fma": "avx2", "avx2 avx512f avx512bw": "avx512"} {
		b := &bench{options: &options{threads: []int{2}, python: "python3"}, machine: machine{flags: strings.Fields(flags)}, core: "Some"}
		for _, c := range b.comparisons() {
			for _, s := range c.sides {
				if s.program != "PyTorch" {
					continue
				}
				cmd, err := s.cmd()
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range []string{"ATEN_CPU_CAPABILITY=" + want, "OPENBLAS_CORETYPE=Some", "OMP_NUM_THREADS=2"} {
					if !slices.Contains(cmd.env, e) {
						t.Errorf("%s on %s: %s is not in %v", c.name, flags, e, cmd.env)
					}
				}
			}
		}
	}
	if m := lookAround(); m.cores < 1 || m.memory < 1 {
		t.Errorf("this machine is %+v", m)
	}
}
