package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"meft"
	"meft/train"
)

// colours are questions that a small model learns in a few steps.
func colours(t *testing.T) string {
	t.Helper()
	var lines []string
	for name, colour := range map[string]string{"Tom": "red", "Lily": "blue", "Ben": "green", "Sue": "pink"} {
		lines = append(lines, fmt.Sprintf(`{"question":"What color is the ball of %s?","answer":[%q]}`, name, colour))
	}
	slices.Sort(lines)
	return file(t, "qa.jsonl", lines...)
}

// smallRun are the arguments of a run of a second.
func smallRun(t *testing.T, dir string, more ...string) []string {
	return append([]string{"train", "--model", stories(t), "--data", colours(t), "--output-dir", dir, "--method", "meft", "--meft-neurons", "64",
		"--meft-top-k", "8", "--learning-rate", "1e-3", "--max-steps", "6", "--per-device-train-batch-size", "4"}, more...)
}

func TestTrainingGivesAnAdapterThatOtherCommandsTake(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	o := must(t, smallRun(t, dir, "--save-strategy", "no")...)
	if o.out != "" {
		t.Errorf("standard output: %q", o.out)
	}
	adapter := filepath.Join(dir, "adapter")
	for _, want := range []string{"memory: device ", "train data: 4 rows", "step 1/6  loss ", "step 6/6  loss ", " lr ", " tok/s", "device ", "host ",
		"adapter: " + adapter, "meft generate --model " + stories(t) + " --adapter " + adapter} {
		if !strings.Contains(o.err, want) {
			t.Errorf("standard error lacks %q:\n%s", want, o.err)
		}
	}
	text := file(t, "text.jsonl", `{"text":"Question: What color is the ball of Tom?"}`)
	with := decode[scored](t, must(t, "score", "--model", stories(t), "--adapter", adapter, "--input", text).out)
	without := decode[scored](t, must(t, "score", "--model", stories(t), "--input", text).out)
	if with.NLL == without.NLL {
		t.Error("the adapter changes nothing: the flag is not seen")
	}
	must(t, "generate", "--model", stories(t), "--adapter", dir, "--prompt", "Tom", "--max-new-tokens", "2")
}

func TestTrainPrintsEventsAsJSON(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	o := must(t, smallRun(t, dir, "--json", "--eval-strategy", "steps", "--eval-steps", "3", "--validation-data", colours(t))...)
	lines := strings.Split(strings.TrimSpace(o.out), "\n")
	kinds := map[string]int{}
	for _, line := range lines {
		if _, err := train.DecodeEvent([]byte(line)); err != nil {
			t.Fatal(err)
		}
		kinds[decode[struct{ Type string }](t, line).Type]++
	}
	if kinds["memory"] != 1 || kinds["data"] != 2 || kinds["step"] != 6 || kinds["eval"] != 2 || kinds["done"] != 1 {
		t.Errorf("events %v", kinds)
	}
	written, err := os.ReadFile(filepath.Join(dir, "events.jsonl"))
	if err != nil || string(written) != o.out {
		t.Errorf("%v: standard output is not what events.jsonl holds", err)
	}
	if strings.Contains(o.err, "step 1/6") {
		t.Errorf("progress besides the events:\n%s", o.err)
	}
}

// interrupting is the standard output of a run that Ctrl-C stops: the signal
// comes when a certain event is printed.
type interrupting struct {
	locked
	at     string
	signal chan<- os.Signal
}

func (w *interrupting) Write(p []byte) (int, error) {
	if w.signal != nil && strings.Contains(string(p), w.at) {
		w.signal <- os.Interrupt
		w.signal = nil
	}
	return w.locked.Write(p)
}

func TestInterruptedRunWritesACheckpointAndGoesOn(t *testing.T) {
	whole, part := filepath.Join(t.TempDir(), "whole"), filepath.Join(t.TempDir(), "part")
	data := colours(t)
	args := func(dir string, more ...string) []string {
		return append(smallRun(t, dir, append([]string{"--max-steps", "100", "--json"}, more...)...), "--data", data)
	}
	must(t, args(whole)...)

	given := make(chan struct{}, 2)
	out := &interrupting{at: `"type":"step","step":3,`}
	e := quiet()
	e.notify = func(c chan<- os.Signal) func() {
		out.signal = c
		return func() { given <- struct{}{} }
	}
	var said locked
	code := run(args(part), strings.NewReader(""), out, &said, e)
	if code != 1 || !strings.Contains(said.String(), "--resume") || !strings.Contains(said.String(), "writing a checkpoint") || strings.Contains(said.String(), "context canceled") {
		t.Fatalf("exit code %d\n%s", code, said.String())
	}
	if len(given) == 0 {
		t.Error("signals were not given back: a second Ctrl-C would do nothing")
	}
	if strings.Contains(out.String(), `"step":100,`) {
		t.Fatal("the run was over before the signal")
	}
	must(t, args(part, "--resume")...)
	a, errA := os.ReadFile(filepath.Join(whole, "adapter", "adapter_model.safetensors"))
	b, errB := os.ReadFile(filepath.Join(part, "adapter", "adapter_model.safetensors"))
	if errA != nil || errB != nil || string(a) != string(b) {
		t.Errorf("the resumed run ended with another adapter (%v, %v)", errA, errB)
	}
}

// full is a standard output that takes nothing.
type full struct{ calls int }

func (f *full) Write([]byte) (int, error) {
	f.calls++
	return 0, errors.New("no space left")
}

func TestRunStopsWhenNobodyCanReadItsEvents(t *testing.T) {
	var out full
	var said locked
	args := smallRun(t, filepath.Join(t.TempDir(), "run"), "--json", "--max-steps", "100000")
	if code := run(args, strings.NewReader(""), &out, &said, quiet()); code != 1 || strings.Count(said.String(), "no space left") != 1 || out.calls != 1 {
		t.Errorf("exit code %d, %d writes\n%s", code, out.calls, said.String())
	}
}

func TestFullOutputIsAFailure(t *testing.T) {
	in := file(t, "in.jsonl", `{"text":"a b"}`)
	prompts := file(t, "p.jsonl", `{"prompt":"a"}`)
	for _, args := range [][]string{
		{"tokenize", "--model", stories(t), "--text", "a"}, {"tokenize", "--model", stories(t), "--input", in}, {"score", "--model", stories(t), "--input", in},
		{"generate", "--model", stories(t), "--prompts-file", prompts, "--max-new-tokens", "1", "--json"}, {"version"}, {"version", "--json"},
		{"inspect", in}, {"plan", "--model", stories(t)},
	} {
		var said locked
		if code := run(args, strings.NewReader(""), &full{}, &said, quiet()); code != 1 || !strings.Contains(said.String(), "no space left") {
			t.Errorf("%v: exit code %d, said %q", args, code, said.String())
		}
	}
}

func TestTrainRefusesWhatIsWrong(t *testing.T) {
	refused(t, 2, []string{"learning_rate", "fast"}, "train", "--learning-rate", "fast")
	refused(t, 2, []string{"eval_strategy", "sometimes", "epoch"}, "train", "eval_strategy=sometimes")
	dir := filepath.Join(t.TempDir(), "run")
	refused(t, 2, []string{"per_device_train_batch_size"}, smallRun(t, dir, "--batch-size", "0")...)
	refused(t, 1, []string{"device memory", "missing"}, smallRun(t, dir, "--device-memory", "10kB")...)
	if _, err := os.Stat(dir); err == nil {
		t.Error("a refused run left its folder")
	}
	refused(t, 1, []string{"no-such.jsonl"}, smallRun(t, dir, "--data", "no-such.jsonl")...)
}

func TestLoggingStepsThinTheLines(t *testing.T) {
	o := must(t, smallRun(t, filepath.Join(t.TempDir(), "run"), "--logging-steps", "3", "--save-strategy", "no")...)
	for step, want := range map[int]bool{1: true, 2: false, 3: true, 4: false, 5: false, 6: true} {
		if got := strings.Contains(o.err, fmt.Sprintf("step %d/6", step)); got != want {
			t.Errorf("step %d shown: %v, want %v\n%s", step, got, want, o.err)
		}
	}
}

func TestPlanIsWhatTrainingTakes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	args := smallRun(t, dir, "--save-strategy", "no")
	plan := decode[planned](t, must(t, append(append([]string{"plan"}, args[1:]...), "--json")...).out)
	if _, err := os.Stat(dir); err == nil {
		t.Error("plan made the run's folder")
	}
	var sum, device int64
	for _, g := range plan.Memory {
		sum += g.Bytes
		if g.Pool == "device" {
			device += g.Bytes
		}
	}
	if sum != plan.Device+plan.Pinned+plan.Host || device != plan.Device || plan.Device == 0 {
		t.Errorf("the parts do not add up: %+v", plan)
	}
	if plan.Method != "meft" || plan.Steps != 6 || plan.Tokens == 0 || plan.Parameters != 260032 || plan.Trained == 0 || plan.Program == 0 || plan.Data == nil || plan.Problems == nil {
		t.Errorf("%+v", plan)
	}
	var step train.Step
	for _, line := range strings.Split(must(t, append(args, "--json")...).out, "\n") {
		if strings.HasPrefix(line, `{"type":"step"`) {
			if err := json.Unmarshal([]byte(line), &step); err != nil {
				t.Fatal(err)
			}
		}
	}
	if step.DeviceBytes != plan.Device || step.HostBytes != plan.Host+plan.Pinned {
		t.Errorf("planned device %d, host %d; taken %d, %d", plan.Device, plan.Host+plan.Pinned, step.DeviceBytes, step.HostBytes)
	}
}

func TestPlanForPeople(t *testing.T) {
	o := must(t, "plan", "--model", stories(t), "--data", colours(t), "--device-memory", "1GB", "--max-steps", "5")
	for _, want := range []string{"260,032 parameters", "model weights", "activations", "the program itself", "device ", "1 GB", "none", "a step is", "5 steps", "train data: 4 rows"} {
		if !strings.Contains(o.out, want) {
			t.Errorf("the plan lacks %q:\n%s", want, o.out)
		}
	}
	shape := must(t, "plan", "--shape", "llama-2-7b", "--method", "parallel")
	if !strings.Contains(shape.out, "6,738,415,616 parameters") {
		t.Errorf("shape:\n%s", shape.out)
	}
}

func TestBrokenBudgetIsAFailureWithThePlan(t *testing.T) {
	for _, flag := range []string{"--device-memory", "--host-memory"} {
		o := invoke("plan", "--model", stories(t), "--data", colours(t), flag, "50kB")
		if o.code != 1 || !strings.Contains(o.out, "model weights") || !strings.Contains(o.err, "missing") || !strings.Contains(o.err, "50 kB") {
			t.Errorf("%s: exit code %d\n%s\n%s", flag, o.code, o.out, o.err)
		}
		o = invoke("plan", "--model", stories(t), "--data", colours(t), flag, "50kB", "--json")
		if p := decode[planned](t, o.out); o.code != 1 || len(p.Problems) == 0 || p.DeviceBudget+p.HostBudget != 50000 {
			t.Errorf("%s: exit code %d, %+v", flag, o.code, p)
		}
	}
}

func TestEventsForPeople(t *testing.T) {
	loss, em := 1.25, 0.5
	var said locked
	v := &trainView{show: &lineProgress{w: &said, unit: "step"}, every: 1}
	for _, e := range []train.Event{
		train.Memory{Device: 1e9, Pinned: 1e6, Host: 2e6, DeviceBudget: 2e9},
		train.Dataset{Split: "train", Examples: 3, Tokens: 30, Supervised: 9, Longest: 12},
		train.Eval{Step: 4, Loss: &loss, ExactMatch: &em, Best: true},
		train.Saved{Step: 4, Dir: "checkpoint-4", Bytes: 1e6},
		train.Note{Text: "note"},
		train.Done{Step: 4, Reason: "done", Tokens: 1234, Seconds: 65, Loss: 2, Restored: true, Best: &train.Best{}},
	} {
		v.observe(e)
	}
	want := `memory: device 1 GB, host 3 MB; budgets: device 2 GB, host none
train data: 3 examples, 30 tokens, 9 of them supervised, longest 12
evaluation at step 4:  loss 1.25  exact match 50 %  (best)
checkpoint checkpoint-4 (1 MB)
note
done after 4 steps, 1,234 tokens, 1m05s: mean loss 2.0000; the weights are those of the best evaluation
`
	if said.String() != want {
		t.Errorf("got\n%s\nwant\n%s", said.String(), want)
	}
}

func TestUseLineOfAFullRunNamesTheModel(t *testing.T) {
	var said locked
	a := &app{err: &said}
	a.tellResult(meft.Config{Method: "full", Model: "base"}, &meft.Result{Output: "r/model"})
	if want := "model: r/model\nuse it: meft generate --model r/model --prompt TEXT\n"; said.String() != want {
		t.Errorf("%q, want %q", said.String(), want)
	}
}
