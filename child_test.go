package meft

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"meft/tensor"
	"meft/train"
)

var killSeed = flag.Uint64("killseed", 0, "seed of the moments at which runs are killed; 0 takes the clock")

// childVariable holds the task of a process that a test starts: this test
// binary over again, which then trains and exits instead of testing.
const childVariable = "MEFT_TEST_CHILD"

// childTask is what a child does: train, and die at a moment of the test's
// choice.
type childTask struct {
	Config Config
	KillAt string        // glob in the run folder: dies by SIGKILL when something matches
	KillOf int           // how many different names have to match KillAt; 0 for one
	KillIn time.Duration // or so long after the first event
}

// childReport is what a child that was not killed writes to its output.
type childReport struct {
	Error  string
	Peak   int64 // largest resident memory in bytes
	Ledger int64 // planned bytes of all pools
	Step   int
}

func TestMain(m *testing.M) {
	if text := os.Getenv(childVariable); text != "" {
		os.Exit(child([]byte(text)))
	}
	flag.Parse()
	os.Exit(m.Run())
}

// child does a childTask and returns the exit code.
func child(text []byte) int {
	var task childTask
	if err := json.Unmarshal(text, &task); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if task.KillAt != "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 2) // who watches does not wait for who trains
		go dieAt(filepath.Join(task.Config.OutputDir, task.KillAt), max(task.KillOf, 1))
	}
	first := true
	var report childReport
	r, err := Train(context.Background(), task.Config, func(e train.Event) {
		if first && task.KillIn > 0 {
			time.AfterFunc(task.KillIn, die)
		}
		first = false
	})
	if r != nil {
		report.Ledger, report.Step = r.Device+r.Host, r.Step
	}
	if err != nil {
		report.Error = err.Error()
	}
	report.Peak = peakRSS()
	out, err := json.Marshal(report)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	os.Stdout.Write(out)
	return 0
}

// die ends the process at once, wherever it is, with no chance to clean up.
func die() {
	if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
		panic(err)
	}
}

// dieAt dies when n names have matched the glob.
func dieAt(glob string, n int) {
	runtime.LockOSThread()
	seen := map[string]bool{}
	for {
		found, err := filepath.Glob(glob)
		if err != nil {
			panic(err)
		}
		for _, f := range found {
			seen[f] = true
		}
		if len(seen) >= n {
			die()
		}
	}
}

// startChild runs a childTask in a process of its own and reports whether that
// was killed.
func startChild(t *testing.T, task childTask) (report childReport, killed bool) {
	t.Helper()
	text, err := json.Marshal(task)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return report, true
	}
	if err != nil {
		t.Fatalf("child: %v\n%s%s", err, out.String(), errs.String())
	}
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatalf("child: %v in %q\n%s", err, out.String(), errs.String())
	}
	return report, false
}

// killer draws the moments at which children die, and says from which seed.
func killer(t *testing.T) *rand.Rand {
	t.Helper()
	seed := *killSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("moments drawn with -killseed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// total is the planned memory of all pools.
func (p *Plan) total() int64 {
	return p.Ledger.Used(tensor.OnDevice) + p.Ledger.Used(tensor.Pinned) + p.Ledger.Used(tensor.OnHost)
}
