package meft

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// anotherModel is a copy of a model with a change of one of its files.
func anotherModel(t *testing.T, dir, file string, change func([]byte) []byte) string {
	t.Helper()
	out := t.TempDir()
	if err := os.CopyFS(out, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	edit(t, filepath.Join(out, file), change)
	return out
}

// lastByte changes the last element of the last tensor in a file.
func lastByte(b []byte) []byte {
	b = slices.Clone(b)
	b[len(b)-2] ^= 1
	return b
}

func TestAdapterOfAnotherBaseIsRefused(t *testing.T) {
	wide := small()
	wide.dim = 32
	for _, m := range adapters() {
		c := newRun(t, m)
		c.MaxSteps, c.SaveStrategy = 1, "no"
		mustTrain(t, c)
		adapter := filepath.Join(c.OutputDir, "adapter")
		tuned := anotherModel(t, c.Model, "model.safetensors", lastByte)
		_, err := Open(SessionOptions{Model: tuned, Adapter: adapter})
		mustSay(t, err, adapter, "base_sha256", c.Model, "--allow-other-base")
		if s := open(t, SessionOptions{Model: tuned, Adapter: adapter, OtherBase: true}); s.method == nil {
			t.Errorf("%s: no adapter", m)
		}
		_, err = Open(SessionOptions{Model: newModel(t, wide), Adapter: adapter})
		mustSay(t, err, adapter, "hidden_size 16", "32", "--allow-other-base")
		// A copy under another name, in another type in memory, is the same base.
		same := anotherModel(t, c.Model, "config.json", func(b []byte) []byte { return b })
		open(t, SessionOptions{Model: same, Adapter: adapter, BaseDType: "bf16"})
	}
}

// PEFT's adapters say nothing of their base, and those of this program say it
// beside PEFT's files, of which PEFT knows every key.
func TestOriginStandsBesideTheFilesOfPEFT(t *testing.T) {
	c := newRun(t, "lora")
	c.MaxSteps, c.SaveStrategy = 1, "no"
	mustTrain(t, c)
	adapter := filepath.Join(c.OutputDir, "adapter")
	var o map[string]any
	if err := readJSON(filepath.Join(adapter, originFile), &o); err != nil {
		t.Fatal(err)
	}
	s := open(t, SessionOptions{Model: c.Model, Adapter: adapter})
	if o["tokenizer_sha256"] != s.tok.Hash() || o["base_sha256"] != fingerprintByHand(t, c.Model) || o["meft_version"] != Version {
		t.Errorf("%s has %v", originFile, o)
	}
	if config := string(get(t, filepath.Join(adapter, adapterConfigFile))); strings.Contains(config, "sha256") {
		t.Errorf("adapter_config.json is %s", config)
	}
	renamed := anotherModel(t, c.Model, "tokenizer.json", func(b []byte) []byte {
		return bytes.ReplaceAll(bytes.ReplaceAll(bytes.ReplaceAll(b, []byte(`"A": `), []byte(`"%%": `)), []byte(`"B": `), []byte(`"A": `)), []byte(`"%%": `), []byte(`"B": `))
	})
	_, err := Open(SessionOptions{Model: renamed, Adapter: adapter})
	mustSay(t, err, adapter, "another tokenizer")

	tuned := anotherModel(t, c.Model, "model.safetensors", lastByte)
	_, err = Merge(t.Context(), MergeOptions{Model: tuned, Adapter: adapter, Output: filepath.Join(t.TempDir(), "out")})
	mustSay(t, err, adapter, "base_sha256", "--allow-other-base")
	if _, err = Merge(t.Context(), MergeOptions{Model: tuned, Adapter: adapter, Output: filepath.Join(t.TempDir(), "out"), OtherBase: true}); err != nil {
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(adapter, originFile)); err != nil {
		t.Fatal(err)
	}
	open(t, SessionOptions{Model: tuned, Adapter: adapter})
	put(t, filepath.Join(adapter, originFile), "{")
	_, err = Open(SessionOptions{Model: c.Model, Adapter: adapter})
	mustSay(t, err, originFile)
}

// fingerprintByHand follows docs/format.md for a model in one file whose
// tensors are short.
func fingerprintByHand(t *testing.T, dir string) string {
	t.Helper()
	var config map[string]json.RawMessage
	if err := readJSON(filepath.Join(dir, "config.json"), &config); err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, key := range []string{"architectures", "hidden_act", "hidden_size", "intermediate_size", "model_type", "num_attention_heads",
		"num_hidden_layers", "num_key_value_heads", "rms_norm_eps", "rope_theta", "tie_word_embeddings", "vocab_size"} {
		text += key + "=" + strings.Join(strings.Fields(string(config[key])), "") + "\n"
	}
	path := filepath.Join(dir, "model.safetensors")
	data := get(t, path)
	var head map[string]struct {
		DType   string `json:"dtype"`
		Shape   []int  `json:"shape"`
		Offsets [2]int `json:"data_offsets"`
	}
	n := 8 + binary.LittleEndian.Uint64(data)
	if err := json.Unmarshal(data[8:n], &head); err != nil {
		t.Fatal(err)
	}
	delete(head, "__metadata__")
	var names []string
	for name := range head {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		x := head[name]
		values := data[n:][x.Offsets[0]:x.Offsets[1]]
		if len(values) > 8192 {
			values = append(slices.Clone(values[:4096]), values[len(values)-4096:]...)
		}
		text += fmt.Sprintf("%s %s [%s]\n%s", name, x.DType, strings.Trim(fmt.Sprint(x.Shape), "[]"), values)
	}
	return fmt.Sprintf("%x", sha256.Sum256([]byte(text)))
}

func TestFingerprintTellsModelsApart(t *testing.T) {
	dir := newModel(t, small())
	of := func(dir string) string {
		b, err := openBase(Config{Model: dir, BaseDType: "f32"})
		if err != nil {
			t.Fatal(err)
		}
		hash, err := b.fingerprint()
		if err != nil {
			t.Fatal(err)
		}
		return hash
	}
	want := of(dir)
	if want != fingerprintByHand(t, dir) {
		t.Errorf("fingerprint is %s, by hand %s", want, fingerprintByHand(t, dir))
	}
	for name, other := range map[string]string{
		"weights": anotherModel(t, dir, "model.safetensors", lastByte),
		"rope_theta": anotherModel(t, dir, "config.json", func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"rope_theta": 10000`), []byte(`"rope_theta": 20000`), 1)
		}),
	} {
		if of(other) == want {
			t.Errorf("other %s have the same fingerprint", name)
		}
	}
	for name, other := range map[string]string{
		"a copy": anotherModel(t, dir, "config.json", func(b []byte) []byte { return b }),
		"another key": anotherModel(t, dir, "config.json", func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"bos_token_id": 0`), []byte(`"bos_token_id":  0, "use_cache": true`), 1)
		}),
	} {
		if of(other) != want {
			t.Errorf("%s has another fingerprint", name)
		}
	}
	if hash, err := (&base{name: "llama-15m"}).fingerprint(); hash != "" || err != nil {
		t.Errorf("a shape without files has %q, %v", hash, err)
	}
}
