package meft

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Another reader than the program's own finds PEFT's names and shapes.
func TestSHiRAIsWrittenAsPEFTReadsIt(t *testing.T) {
	c := newRun(t, "shira shira_target=q_proj,v_proj")
	c.MaxSteps, c.SaveStrategy = 1, "no"
	mustTrain(t, c)
	adapter := filepath.Join(c.OutputDir, "adapter")
	var config map[string]any
	if err := readJSON(filepath.Join(adapter, adapterConfigFile), &config); err != nil {
		t.Fatal(err)
	}
	if config["peft_type"] != "SHIRA" || config["mask_type"] != "random" || config["r"] != 2.0 || len(config) != 12 {
		t.Errorf("adapter_config.json has %v", config)
	}
	got := header(t, filepath.Join(adapter, adapterWeightsFile))
	s := small()
	for _, layer := range []string{"0", "1"} {
		for part, out := range map[string]int{"q_proj": s.dim, "v_proj": s.dim / s.heads * s.kv} {
			pre, n := "base_model.model.model.layers."+layer+".self_attn."+part, 2*(s.dim+out)
			if w := got[pre+".shira_weight"]; w.DType != "F32" || !slices.Equal(w.Shape, []int{n}) {
				t.Errorf("%s.shira_weight is %+v, wants %d", pre, w, n)
			}
			if w := got[pre+".shira_indices"]; w.DType != "I32" || !slices.Equal(w.Shape, []int{2, n}) {
				t.Errorf("%s.shira_indices is %+v, wants 2, %d", pre, w, n)
			}
		}
	}
	if len(got) != 8 {
		t.Errorf("%d tensors: %v", len(got), got)
	}
}

// A mask that is not of as many elements a row is refused by name, and so are
// settings that are not possible.
func TestForeignMasksOfSHiRAAreRefused(t *testing.T) {
	c := newRun(t, "shira shira_target=q_proj")
	c.MaxSteps, c.SaveStrategy = 1, "no"
	mustTrain(t, c)
	adapter := filepath.Join(c.OutputDir, "adapter")
	open(t, SessionOptions{Model: c.Model, Adapter: adapter})
	spoil := func(element int, value uint32) string {
		out := t.TempDir()
		if err := os.CopyFS(out, os.DirFS(adapter)); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(out, adapterWeightsFile)
		data := get(t, path)
		from := dataOf(t, data, "base_model.model.model.layers.1.self_attn.q_proj.shira_indices")
		binary.LittleEndian.PutUint32(data[from+4*element:], value)
		put(t, path, string(data))
		return out
	}
	n := 2 * 32
	_, err := Open(SessionOptions{Model: c.Model, Adapter: spoil(5, 7)})
	mustSay(t, err, "layers.1.self_attn.q_proj.shira_indices", "element 5 is in row 7", "wanted 1", "random mask of PEFT")
	_, err = Open(SessionOptions{Model: c.Model, Adapter: spoil(n+3, 99)})
	mustSay(t, err, "shira_indices", "column 99 of 16")
	for setting, words := range map[string][]string{"shira_r=0": {"shira_r is 0"}, "shira_r=9": {"shira_r is 9", "256 elements"}, "shira_target=k,q": {"shira_target", "q_proj"}} {
		c := newRun(t, "shira "+setting)
		_, err := Train(t.Context(), c, nil)
		mustSay(t, err, words...)
	}
}
