// Command _recipe makes the demonstration's base model from nothing: the
// synthetic world's text, a tokenizer trained on it, and a small Llama trained
// from random weights by the program's own "train --method full --init random".
//
//	go run ./demo/_recipe [-work DIR]      the result replaces demo/base
//	go run ./demo/_recipe -files DIR       the demonstration's files, to try other settings
package main

import (
	"context"
	"flag"
	"fmt"
	"iter"
	"log"
	"os"
	"path/filepath"

	"meft"
	"meft/demo"
	"meft/safetensors"
	"meft/task/world"
	"meft/token"
	"meft/train"
)

const (
	documents = 60000 // written about the world the model is to know
	vocab     = 2048
	config    = `{
  "architectures": ["LlamaForCausalLM"],
  "bos_token_id": 0,
  "eos_token_id": 1,
  "hidden_act": "silu",
  "hidden_size": 128,
  "initializer_range": 0.02,
  "intermediate_size": 384,
  "max_position_embeddings": 256,
  "model_type": "llama",
  "num_attention_heads": 4,
  "num_hidden_layers": 6,
  "num_key_value_heads": 4,
  "rms_norm_eps": 1e-05,
  "rope_theta": 10000.0,
  "tie_word_embeddings": true,
  "torch_dtype": "bfloat16",
  "vocab_size": 2048
}
`
)

func main() {
	work := flag.String("work", "runs/demo-base", "folder for the corpus and the training run")
	recipe := flag.String("recipe", "demo/_recipe/pretrain.yaml", "training configuration")
	out := flag.String("out", "demo/base", "folder the model goes to")
	files := flag.String("files", "", "instead: write the demonstration's model, facts and questions into this folder")
	flag.Parse()
	log.SetFlags(0)
	if *files != "" {
		if err := demo.WriteFiles(*files, demo.Facts(0)); err != nil {
			log.Fatal(err)
		}
		return
	}
	if err := run(*work, *recipe, *out); err != nil {
		log.Fatal(err)
	}
}

func run(work, recipe, out string) error {
	start := filepath.Join(work, "start")
	if err := prepare(start); err != nil {
		return err
	}
	c := meft.Defaults()
	if err := c.SetFile(recipe); err != nil {
		return err
	}
	c.Model, c.Data, c.OutputDir = start, filepath.Join(work, "corpus.jsonl"), filepath.Join(work, "run")
	if err := writeCorpus(c.Data); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(c.OutputDir, "config.yaml")); err == nil {
		c.Resume = "true"
	}
	r, err := meft.Train(context.Background(), c, func(e train.Event) {
		if s, ok := e.(train.Step); ok && s.Step%25 == 0 {
			log.Printf("step %d of %d: loss %.4f, %.0f tokens/s", s.Step, s.Steps, s.Loss, s.TokensPerSecond)
		}
	})
	if err != nil {
		return err
	}
	return pack(r.Output, out)
}

func corpus() iter.Seq[string] { return world.Pretraining(demo.WorldSeed, demo.WorldSize, documents) }

// prepare writes the folder that training starts from: a configuration and a
// tokenizer, no weights.
func prepare(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	t, err := token.Train(corpus(), vocab, []string{"<s>", "</s>"})
	if err != nil {
		return err
	}
	if err := t.WriteJSON(filepath.Join(dir, "tokenizer.json")); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o644)
}

func writeCorpus(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	err = world.WriteText(f, corpus())
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// pack copies a trained model with its weights rounded to bfloat16.
func pack(from, to string) error {
	set, err := safetensors.Open(from)
	if err != nil {
		return err
	}
	defer set.Close()
	var tensors []safetensors.Tensor
	for _, name := range set.Names() {
		info, _ := set.Info(name)
		data := make([]uint16, info.Len())
		if err := set.ReadBF16(data, name); err != nil {
			return err
		}
		tensors = append(tensors, safetensors.BF16(name, data, info.Shape...))
	}
	if err := safetensors.Write(filepath.Join(to, "model.safetensors"), tensors, map[string]string{"format": "pt"}); err != nil {
		return err
	}
	for _, name := range []string{"config.json", "tokenizer.json", "tokenizer_config.json"} {
		data, err := os.ReadFile(filepath.Join(from, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, name), data, 0o644)
		}
		if err != nil {
			return err
		}
	}
	fmt.Println("wrote", to)
	return nil
}
