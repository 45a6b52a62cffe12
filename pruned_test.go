package meft

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"meft/train"
)

// newPruned is a made-up model without half of the weights of its linear layers.
func newPruned(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pruned")
	_, err := Prune(t.Context(), PruneOptions{Model: newModel(t, shape{dim: 16, layers: 4, heads: 2, kv: 1, hidden: 24, context: 64}),
		Output: dir, Method: "magnitude", Sparsity: 0.5, Data: newRows(t), Limit: 8}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// forget takes the record of how it was pruned from a model.
func forget(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, "config.json")
	data, err := changeConfig(get(t, path), "float32", map[string]any{sparsityKey: nil})
	if err != nil {
		t.Fatal(err)
	}
	put(t, path, string(data))
}

// zeros counts the elements of linear layers of blocks that are 0 in one model,
// those that have the same bits in another, and those that are not 0 and changed.
func zeros(t *testing.T, before, after string) (all, same, moved int) {
	t.Helper()
	a, b := opened(t, before), opened(t, after)
	for _, name := range a.Names() {
		if !strings.Contains(name, "_proj.weight") {
			continue
		}
		x, err1 := a.Bytes(name)
		y, err2 := b.Bytes(name)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(x); i += 4 {
			u, v := binary.LittleEndian.Uint32(x[i:]), binary.LittleEndian.Uint32(y[i:])
			switch {
			case u<<1 == 0:
				all++
				if u == v {
					same++
				}
			case u != v:
				moved++
			}
		}
	}
	return all, same, moved
}

// fullRun is a run of method full on a model, with decay.
func fullRun(t *testing.T, dir string) Config {
	c := newRun(t, "full")
	c.Model, c.Accumulation, c.WeightDecay = dir, 2, 0.1
	return c
}

// firstNorm trains and returns the gradient norm of step 1 and the notes.
func firstNorm(t *testing.T, ctx context.Context, c Config, each func(train.Step)) (norm float64, notes string, err error) {
	t.Helper()
	_, err = Train(ctx, c, func(e train.Event) {
		switch e := e.(type) {
		case train.Note:
			notes += e.Text + "\n"
		case train.Step:
			if e.Step == 1 {
				norm = e.GradNorm
			}
			each(e)
		}
	})
	return norm, notes, err
}

// TestZerosOfAPrunedModelStay: method full leaves them what they are, in every way
// to train, and all ways write the same bytes.
func TestZerosOfAPrunedModelStay(t *testing.T) {
	dir := newPruned(t)
	c := fullRun(t, dir)
	mustTrain(t, c)
	want := result(t, c)
	ways := offloads()
	ways["rebuild"] = func(c *Config) { c.Rebuild = true }
	for name, change := range ways {
		way := copied(c)
		way.OutputDir = filepath.Join(t.TempDir(), "way")
		change(&way)
		ctx, stop := context.WithCancel(t.Context())
		_, notes, err := firstNorm(t, ctx, way, func(s train.Step) {
			if s.Step == 5 {
				stop()
			}
		})
		if !errors.Is(err, context.Canceled) || !strings.Contains(notes, "pruned (0.5)") {
			t.Fatalf("%s broken off: %v; notes %q", name, err, notes)
		}
		way.Resume = "true"
		mustTrain(t, way)
		if !bytes.Equal(result(t, way), want) {
			t.Errorf("%s: other bytes", name)
		}
	}
	trained := filepath.Join(c.OutputDir, "model")
	if all, same, moved := zeros(t, dir, trained); all == 0 || same != all || moved < all/2 {
		t.Errorf("%d of %d zeros are left; %d others moved", same, all, moved)
	}
	if p, err := readSparsity(trained); p != "0.5" || err != nil {
		t.Errorf("the model saved is pruned by %q, %v", p, err)
	}
	if p := mustPlan(t, c); p.KeepsZeros != "0.5" {
		t.Errorf("the plan keeps the zeros of %q", p.KeepsZeros)
	}
}

// TestZerosWithoutARecordAreTrained: then they also count in the norm.
func TestZerosWithoutARecordAreTrained(t *testing.T) {
	dir := newPruned(t)
	c := fullRun(t, dir)
	c.MaxSteps = 2
	kept, _, err := firstNorm(t, t.Context(), c, func(train.Step) {})
	if err != nil {
		t.Fatal(err)
	}
	away := copied(c)
	away.OutputDir, away.OffloadWeights = filepath.Join(t.TempDir(), "away"), true
	if n, _, err := firstNorm(t, t.Context(), away, func(train.Step) {}); n != kept || err != nil {
		t.Errorf("with weights on the host the norm is %v, without %v; %v", n, kept, err)
	}
	forget(t, dir)
	c.OutputDir = filepath.Join(t.TempDir(), "all")
	whole, notes, err := firstNorm(t, t.Context(), c, func(train.Step) {})
	if err != nil || !(kept < whole) || strings.Contains(notes, "pruned") {
		t.Errorf("norm %v, without the zeros %v; notes %q; %v", whole, kept, notes, err)
	}
	if all, same, _ := zeros(t, dir, filepath.Join(c.OutputDir, "model")); same > all/10 {
		t.Errorf("%d of %d zeros are left", same, all)
	}
}

func TestMergeSaysThatItFillsZeros(t *testing.T) {
	dir := newPruned(t)
	c := newRun(t, "lora")
	c.Model = dir
	mustTrain(t, c)
	out := filepath.Join(t.TempDir(), "merged")
	r, err := Merge(t.Context(), MergeOptions{Model: dir, Adapter: c.OutputDir, Output: out})
	if err != nil || r.Filled != "0.5" {
		t.Fatalf("%+v, %v", r, err)
	}
	if p, err := readSparsity(out); p != "" || err != nil {
		t.Errorf("the result is pruned by %q, %v", p, err)
	}
	full := fullRun(t, dir)
	mustTrain(t, full)
	out = filepath.Join(t.TempDir(), "copied")
	if r, err = Merge(t.Context(), MergeOptions{Model: dir, Adapter: full.OutputDir, Output: out}); err != nil || r.Filled != "" {
		t.Fatalf("%+v, %v", r, err)
	}
	if p, err := readSparsity(out); p != "0.5" || err != nil {
		t.Errorf("a copy is pruned by %q, %v", p, err)
	}
}

func TestASparsityRecordThatSaysNothingIsRefused(t *testing.T) {
	for _, record := range []any{"half", map[string]any{"method": "magnitude"}} {
		c := fullRun(t, newModel(t, small()))
		path := filepath.Join(c.Model, "config.json")
		var config map[string]any
		if err := json.Unmarshal(get(t, path), &config); err != nil {
			t.Fatal(err)
		}
		config[sparsityKey] = record
		data, err := json.Marshal(config)
		if err != nil {
			t.Fatal(err)
		}
		put(t, path, string(data))
		if _, err := MakePlan(c); err == nil || !strings.Contains(err.Error(), sparsityKey) || !strings.Contains(err.Error(), path) {
			t.Errorf("%v: %v", record, err)
		}
	}
}
