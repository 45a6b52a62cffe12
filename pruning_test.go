package meft

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"testing"

	"meft/safetensors"
)

// TestPrunedModelHasItsZerosAndNothingElseChanged: files, types and all tensors
// but the pruned ones are those of the model, the record is there, and the
// result trains as a model does.
func TestPrunedModelHasItsZerosAndNothingElseChanged(t *testing.T) {
	dir := newModel(t, shape{dim: 16, layers: 2, heads: 2, kv: 1, hidden: 24, context: 64})
	rows := newRows(t)
	for _, method := range []string{"sparsegpt", "magnitude"} {
		o := PruneOptions{Model: dir, Output: filepath.Join(t.TempDir(), "pruned"), Method: method, Pattern: "2:4", Data: rows, Limit: 8, Held: 3, Threads: 2}
		var said []PruneLayer
		r, err := Prune(t.Context(), o, func(l PruneLayer) { said = append(said, l) })
		if err != nil {
			t.Fatal(err)
		}
		if r.Zeros*2 != r.Weights || len(said) != 14 || r.Before == nil || r.After == nil {
			t.Errorf("%s: %d of %d weights are 0, %d matrices, perplexities %v and %v", method, r.Zeros, r.Weights, len(said), r.Before, r.After)
		}
		before, after := opened(t, dir), opened(t, o.Output)
		for _, name := range before.Names() {
			a, _ := before.Bytes(name)
			b, err := after.Bytes(name)
			if err != nil {
				t.Fatal(err)
			}
			info, _ := after.Info(name)
			pruned := len(info.Shape) == 2 && name != "model.embed_tokens.weight" && name != "lm_head.weight"
			if bytes.Equal(a, b) == pruned {
				t.Errorf("%s: %s is as it was: %v", method, name, !pruned)
			}
			if !pruned {
				continue
			}
			values := make([]float32, info.Len())
			if err := after.ReadF32(values, name); err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(values); i += 4 {
				zeros := 0
				for _, v := range values[i : i+4] {
					if v == 0 {
						zeros++
					}
				}
				if zeros != 2 {
					t.Fatalf("%s: %s has %d zeros from element %d on", method, name, zeros, i)
				}
			}
		}
		var c map[string]json.RawMessage
		if err := json.Unmarshal(get(t, filepath.Join(o.Output, "config.json")), &c); err != nil {
			t.Fatal(err)
		}
		var note sparsityRecord
		if err := json.Unmarshal(c[sparsityKey], &note); err != nil || note != (sparsityRecord{Method: method, Pattern: "2:4"}) {
			t.Errorf("%s: the record is %s, %v", method, c[sparsityKey], err)
		}
		run := newRun(t, "lora")
		run.Model = o.Output
		mustTrain(t, run)
	}
}

func opened(t *testing.T, dir string) *safetensors.Set {
	t.Helper()
	s, err := safetensors.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// SparseGPT loses less than magnitude on text it has not seen.
func TestSparseGPTLosesLessThanMagnitude(t *testing.T) {
	dir := stories(t)
	after := map[string]float64{}
	for _, method := range []string{"sparsegpt", "magnitude"} {
		r, err := Prune(t.Context(), PruneOptions{Model: dir, Output: filepath.Join(t.TempDir(), "pruned"), Method: method, Sparsity: 0.5,
			Data: filepath.Join("..", "shared", "data", "text", "tinystories_sample.txt"), Limit: 128, Held: 6, Seed: 42}, nil)
		if err != nil {
			t.Fatal(err)
		}
		after[method] = *r.After
	}
	if a, b := after["sparsegpt"], after["magnitude"]; !(a < 0.7*b) { // 31.6 and 67.9 when written
		t.Errorf("perplexity %v, by magnitude %v", a, b)
	}
}

func TestPruneRefusesWhatItCannotDo(t *testing.T) {
	dir := newModel(t, shape{dim: 12, layers: 1, heads: 2, kv: 1, hidden: 20, context: 64})
	good := PruneOptions{Model: dir, Output: filepath.Join(t.TempDir(), "pruned"), Method: "sparsegpt", Sparsity: 0.5, Data: newRows(t), Limit: 8}
	for name, change := range map[string]func(o *PruneOptions){
		"method":   func(o *PruneOptions) { o.Method = "random" },
		"sparsity": func(o *PruneOptions) { o.Sparsity = 1 },
		"pattern":  func(o *PruneOptions) { o.Pattern = "3:4" },
		"inputs":   func(o *PruneOptions) { o.Pattern = "4:8" },
		"output":   func(o *PruneOptions) { o.Output = dir },
	} {
		o := good
		change(&o)
		if _, err := Prune(t.Context(), o, nil); err == nil || exists(good.Output) {
			t.Errorf("%s: %v, and %s there: %v", name, err, good.Output, exists(good.Output))
		}
	}
}
