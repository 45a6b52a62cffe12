package train

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// stopAfter returns a context that ends when the run has made so many steps.
func stopAfter(r *run, steps int) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	observe := r.Observe
	r.Observe = func(e Event) {
		observe(e)
		if s, ok := e.(Step); ok && s.Step == steps {
			cancel()
		}
	}
	return ctx
}

// resumed builds a recipe afresh and brings it to its newest checkpoint.
func resumed(t *testing.T, r recipe) *run {
	t.Helper()
	c, err := Newest(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	b := r.build(t)
	if err := b.Resume(c); err != nil {
		t.Fatal(err)
	}
	return b
}

// A run that was interrupted after any step and goes on in fresh objects ends
// with the same bits, and has seen the same losses, as one that was not.
func TestResumedRunEqualsTheUninterruptedOne(t *testing.T) {
	packed := BatchOptions{Size: 1, Accumulation: 3, MaxLength: 24, Packing: true, Seed: 11}
	plain := BatchOptions{Size: 2, Accumulation: 2, MaxLength: 16, Seed: 7}
	rows := func(idle, more string) string {
		return fmt.Sprintf(`{"meft_neurons":40,"meft_top_k":3,"meft_experts":8,"meft_probe":2,"meft_idle":%q%s}`, idle, more)
	}
	for _, c := range []struct {
		name, method, settings string
		batch                  BatchOptions
		at                     []int // steps to stop after; nil for 1, 4, 6 and 10
	}{
		{"full", "full", "", plain, nil},
		{"full packed", "full", "", packed, nil},
		{"parallel", "parallel", `{"parallel_bottleneck":6}`, plain, nil},
		{"lora", "lora", `{"lora_r":3,"lora_dropout":0.2}`, plain, nil},
		{"lazy rows", "meft", rows("lazy", ""), plain, nil},
		{"lazy rows packed", "meft", rows("lazy", ""), packed, nil},
		{"replayed rows", "meft", rows("replay", `,"meft_frozen_keys":true`), packed, nil},
		// See Trainer.flush: with trained keys only where the run saves anyway.
		{"replayed rows, trained keys", "meft", rows("replay", ""), packed, []int{5, 10}},
		{"moving rows", "meft", rows("dense", ""), plain, nil},
	} {
		for _, threads := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s, %d threads", c.name, threads), func(t *testing.T) {
				r := recipe{method: c.method, settings: c.settings, threads: threads, batch: c.batch, steps: 11, when: When{Steps: 4}, save: When{Steps: 5}}
				whole := r.build(t)
				whole.Dir = t.TempDir()
				if _, err := whole.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				at := c.at
				if at == nil {
					at = []int{1, 4, 6, 10}
				}
				if threads > 1 {
					at = at[len(at)-1:]
				}
				for _, k := range at {
					stopAndGoOn(t, r, whole, k)
				}
			})
		}
	}
}

func stopAndGoOn(t *testing.T, r recipe, whole *run, k int) {
	t.Helper()
	r.dir = t.TempDir()
	first := r.build(t)
	_, err := first.Run(stopAfter(first, k))
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), fmt.Sprintf("checkpoint-%d", k)) {
		t.Fatalf("stopped after step %d: %v", k, err)
	}
	first.close()
	second := resumed(t, r)
	if _, err := second.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustEqual(t, fmt.Sprintf("stopped after step %d", k), second.weights(t), whole.weights(t))
	losses := first.losses()
	for step, loss := range second.losses() {
		if _, twice := losses[step]; twice {
			t.Errorf("step %d was made twice", step)
		}
		losses[step] = loss
	}
	if !reflect.DeepEqual(losses, whole.losses()) {
		t.Errorf("stopped after step %d: losses %v, wanted %v", k, losses, whole.losses())
	}
	if a, b := comparable(second), comparable(whole); !reflect.DeepEqual(a, b) {
		t.Errorf("stopped after step %d: state %+v, wanted %+v", k, a, b)
	}
	if a, b := logOf(second), logOf(whole); !reflect.DeepEqual(a, b) {
		t.Errorf("stopped after step %d: log %v, wanted %v", k, a, b)
	}
}

// comparable is the state without what depends on the clock.
func comparable(r *run) State {
	s := r.state
	s.Seconds = 0
	return s
}

// logOf is log_history without what depends on the clock.
func logOf(r *run) []LogEntry {
	var out []LogEntry
	for _, e := range r.LogHistory() {
		c := LogEntry{}
		for k, v := range e {
			if !strings.HasSuffix(k, "runtime") && !strings.HasSuffix(k, "per_second") {
				c[k] = v
			}
		}
		out = append(out, c)
	}
	return out
}

// The number of threads changes nothing, so a run may go on with another one.
func TestResumeWithOtherThreads(t *testing.T) {
	r := recipe{method: "meft", settings: `{"meft_neurons":40,"meft_top_k":3,"meft_experts":8,"meft_idle":"replay","meft_frozen_keys":true}`, threads: 1, steps: 9}
	whole := r.build(t)
	if _, err := whole.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.dir = filepath.Join(t.TempDir(), "run")
	first := r.build(t)
	if _, err := first.Run(stopAfter(first, 4)); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	r.threads = 2
	second := resumed(t, r)
	if _, err := second.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustEqual(t, "1 and 2 threads", second.weights(t), whole.weights(t))
}
