package main

import (
	"io"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"meft"
)

// parse is the configuration that arguments of train make, and what was said.
func parse(args ...string) (meft.Config, string, error) {
	var said locked
	a := &app{in: strings.NewReader(""), out: io.Discard, err: &said, env: quiet()}
	var s settings
	var c meft.Config
	cmd := &cobra.Command{Use: "try", SilenceErrors: true, SilenceUsage: true, RunE: func(_ *cobra.Command, args []string) (err error) {
		c, err = s.config(a, args)
		return err
	}}
	cmd.SetGlobalNormalizationFunc(hyphens)
	s.addFlags(cmd)
	cmd.SetArgs(joinValues(append([]string{"train"}, args...))[1:])
	err := cmd.Execute()
	return c, said.String(), err
}

// example is a value other than the default.
func example(o meft.Option) string {
	switch {
	case o.Bool && o.Default == "true":
		return "false"
	case o.Bare != "":
		return "true"
	case o.For != "": // in words of its own
		return map[string]string{"bnb_4bit_quant_type": "fp4", "quantization_bit": "8"}[o.Name]
	}
	for _, c := range o.Choices {
		if c != o.Default {
			return c
		}
	}
	if o.Default == "0.5" {
		return "0.25"
	}
	for _, v := range []string{"3", "0.5"} {
		if v != o.Default {
			return v
		}
	}
	panic(o.Name)
}

func TestEveryOptionIsAFlagAndAKeyUnderAllItsNames(t *testing.T) {
	options := meft.Options()
	if len(options) < 40 {
		t.Fatalf("only %d options", len(options))
	}
	for _, o := range options {
		if len(o.Choices) == 1 {
			continue // nothing else to set
		}
		value := example(o)
		want := meft.Defaults()
		if err := want.Set(o.Name, value); err != nil {
			t.Errorf("%s=%s: %v", o.Name, value, err)
			continue
		}
		if reflect.DeepEqual(want, meft.Defaults()) {
			t.Errorf("%s=%s changes nothing: the test sees nothing", o.Name, value)
		}
		for _, name := range append([]string{o.Name}, o.Aliases...) {
			hyphens := strings.ReplaceAll(name, "_", "-")
			for _, args := range [][]string{{"--" + hyphens + "=" + value}, {"--" + name + "=" + value}, {"--" + hyphens, value}, {name + "=" + value}, {hyphens + "=" + value}} {
				got, _, err := parse(args...)
				if o.Bare != "" && !o.Bool && value != "true" && len(args) == 2 {
					continue
				}
				if err != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("%q: %v\n got %+v\nwant %+v", args, err, got, want)
				}
			}
		}
		if o.Bare != "" {
			got, _, err := parse("--" + o.Name)
			want := meft.Defaults()
			if e := want.Set(o.Name, o.Bare); e != nil || err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("--%s alone: %v", o.Name, err)
			}
		}
	}
}

func TestFlagsGoBeforeFileAndFileBeforeDefaults(t *testing.T) {
	path := file(t, "run.yaml", "learning_rate: 3e-4", "max_steps: 7", "cutoff_len: 99")
	for _, args := range [][]string{{path, "--max-steps", "9"}, {"--max-steps", "9", path}, {path, "max_steps=9"}, {"max_steps=9", path}} {
		c, _, err := parse(args...)
		if err != nil || c.LearningRate != 3e-4 || c.MaxSteps != 9 || c.MaxLength != 99 || c.Batch != meft.Defaults().Batch {
			t.Errorf("%q: %v, learning rate %v, steps %d, length %d", args, err, c.LearningRate, c.MaxSteps, c.MaxLength)
		}
	}
}

func TestAliasesAreToldOnce(t *testing.T) {
	_, said, err := parse("--cutoff-len", "64", "lr=1e-3", "--cutoff_len", "65", "--max-steps", "2")
	if err != nil {
		t.Fatal(err)
	}
	if want := "cutoff_len is called max_length here\nlr is called learning_rate here\n"; said != want {
		t.Errorf("said %q, want %q", said, want)
	}
}

func TestEverythingWrongIsReportedAtOnce(t *testing.T) {
	path := file(t, "run.yaml", "max_stepz: 7", "seed: few")
	_, _, err := parse(path, "--learning-rate", "fast", "no_such_thing=1", "second.yaml")
	for _, want := range []string{":1:", "max_steps", ":2:", "seed", "learning_rate", "no_such_thing", "second.yaml"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the message lacks %q: %v", want, err)
		}
	}
	refused(t, 2, []string{"max_stepz", "max_steps"}, "train", path)
	refused(t, 2, []string{"max_stepz", "max_steps"}, "plan", path)
}

func TestFlagAndArgumentMustNotContradict(t *testing.T) {
	if _, _, err := parse("--lr", "1", "learning_rate=2"); err == nil || !strings.Contains(err.Error(), "--lr 1 and learning_rate=2") {
		t.Errorf("got %v", err)
	}
	if _, _, err := parse("--lr", "1", "learning_rate=1"); err != nil {
		t.Errorf("equal values: %v", err)
	}
}

func TestPathWithEqualsSignIsAFile(t *testing.T) {
	dir := t.TempDir() + "/a=b"
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/run.yaml", []byte("max_steps: 5\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if c, _, err := parse(dir + "/run.yaml"); err != nil || c.MaxSteps != 5 {
		t.Errorf("steps %d, %v", c.MaxSteps, err)
	}
}

func TestMissingConfigurationFileNamesTheFix(t *testing.T) {
	refused(t, 2, []string{"nowhere.yaml", "no such configuration file", "--packing=false"}, "train", "nowhere.yaml")
	refused(t, 2, []string{"is a folder", "config.yaml"}, "train", t.TempDir())
}

func TestHelpShowsDefaultsByMethod(t *testing.T) {
	out := must(t, "train", "--help").out
	help := strings.Join(strings.Fields(out), " ")
	for _, want := range []string{" Options: ", "Options of --method meft:", "Options of --method parallel:", "--num-train-epochs", "(default 3)", "(also --epochs, --num-epochs)"} {
		if !strings.Contains(help, want) {
			t.Errorf("the help lacks %q", want)
		}
	}
	if strings.Contains(out, "\n      --cutoff-len") {
		t.Error("an alias is listed as an option of its own")
	}
	for _, line := range strings.Split(out, "\n") {
		if len(line) > helpWidth {
			t.Errorf("line of %d bytes: %s", len(line), line)
		}
	}
}
