package main

import (
	"encoding/json"
	"strings"
	"testing"

	"meft"
)

// brief are the arguments of a measurement that takes a moment.
func brief(t *testing.T, args ...string) []string {
	return append(append([]string{"bench"}, args...), "--model", stories(t), "--repeats", "1", "--seconds", "1e-9", "--prompt-tokens", "5", "--new-tokens", "2",
		"--sequences", "1,2", "--per-device-train-batch-size", "2", "--max-length", "16", "--meft-neurons", "64", "--meft-top-k", "8")
}

// lines are the objects of a --json output.
func lines(t *testing.T, out string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all = append(all, v)
	}
	return all
}

func TestBenchMeasuresEveryCombination(t *testing.T) {
	got := lines(t, must(t, brief(t, "train", "--method", "meft,full", "--threads", "1", "threads=2", "--base-dtype", "bf16", "--json")...).out)
	var seen []string
	for _, v := range got {
		seen = append(seen, strings.Join([]string{v["method"].(string), v["base_dtype"].(string), v["device"].(string)[:len("cpu, 1")]}, " "))
		// What scripts that run other programs beside ours rely on.
		for _, key := range []string{"tok_s", "threads", "shape", "method", "seq", "gflops", "rss_mib"} {
			if v[key] == nil {
				t.Errorf("no %s in %v", key, v)
			}
		}
	}
	if want := "meft bf16 cpu, 2;meft bf16 cpu, 1;full bf16 cpu, 2;full bf16 cpu, 1"; strings.Join(seen, ";") != want {
		t.Errorf("measured %q, want %q", strings.Join(seen, ";"), want)
	}
}

func TestBenchMeasuresAllKindsUnlessTold(t *testing.T) {
	var kinds []string
	for _, v := range lines(t, must(t, brief(t, "--json")...).out) {
		kinds = append(kinds, v["type"].(string)+" "+v["base_dtype"].(string))
	}
	if got, want := strings.Join(kinds, ";"), "kernels f32;train f32;generate f32;generate bf16"; got != want {
		t.Errorf("measured %s, want %s", got, want)
	}
}

func TestGenerationIsMeasuredWithTheAdaptersThatAreNamed(t *testing.T) {
	var methods []string
	for _, v := range lines(t, must(t, brief(t, "generate", "--method", "lora,full", "--base-dtype", "f32", "--json")...).out) {
		name, _ := v["method"].(string)
		methods = append(methods, name)
	}
	if got := strings.Join(methods, ","); got != "lora," {
		t.Errorf("measured with adapters of %q, want LoRA and none", got)
	}
}

func TestBenchTablesNameWhatWasMeasured(t *testing.T) {
	o := must(t, brief(t, "train", "generate", "kernels", "--threads", "1")...)
	for _, want := range []string{"train: ", "; meft, 2 rows of 16 tokens", " tokens/s (", "of the peak of", "matmul nn", "choose neurons", "memory: device ", "% of a layer's neurons",
		"generate: ", "prompts of 5 tokens, 2 generated", "generated tokens/s", "kernels: ", "cross entropy", "row outer", "tn  "} {
		if !strings.Contains(o.out, want) {
			t.Errorf("the tables lack %q:\n%s", want, o.out)
		}
	}
	if strings.Index(o.out, "train: ") > strings.Index(o.out, "kernels: ") {
		t.Error("the order of the arguments is not kept")
	}
}

func TestBenchRefusesWhatIsWrong(t *testing.T) {
	refused(t, 2, []string{"threads", "x"}, "bench", "--threads", "1,x")
	refused(t, 2, []string{"meftt", "unknown"}, "bench", "train", "--method", "meftt")
	refused(t, 1, []string{"unknown shape", "llama-16m"}, "bench", "train", "--shape", "llama-16m")
	refused(t, 2, []string{"base_dtype", "f8"}, "bench", "base_dtype=f8")
	refused(t, 2, []string{"repeats"}, "bench", "kernels", "--repeats", "-1")
	refused(t, 2, []string{"trian"}, "bench", "trian")
	refused(t, 2, []string{"meft-neurons"}, "bench", "--meft-neurns", "3")
}

func TestSettingsOfOtherMethodsAreLeftToThem(t *testing.T) {
	c := meft.Defaults()
	for name, value := range map[string]string{"meft_neurons": "64", "parallel_bottleneck": "8"} {
		if err := c.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	for method, want := range map[string]string{"meft": "meft_neurons", "parallel": "parallel_bottleneck", "full": ""} {
		c.Method = method
		own := ownSettings(c).Settings
		if n := len(own); want == "" && n > 0 || want != "" && (n != 1 || own[want] == "") {
			t.Errorf("%s is left %v", method, own)
		}
	}
	if len(c.Settings) != 2 {
		t.Error("the settings of the list were changed")
	}
}

func TestFiguresHaveThreeDigits(t *testing.T) {
	for v, want := range map[float64]string{0: "", 0.123: "0.12", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 12345.6: "12346"} {
		if got := figure(v); got != want {
			t.Errorf("%v is written %q, want %q", v, got, want)
		}
	}
}
