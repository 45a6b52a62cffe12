package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// The tables of the page, in order.
const (
	tableProducts = "Products"
	tableTraining = "Training"
	tableFinetune = "Training one row at a time, and other programs"
	tableGenerate = "Generation"
)

// shape is a model that all programs can be given.
type shape struct {
	name     string // of the peers' scripts
	ours     string // built-in shape of meft
	batch    int    // rows of 256 tokens
	steps    int    // measured
	seconds  int    // after which measuring may end
	neurons  int    // of MEFT: as many as 24 GiB hold in every program
	full     bool   // all weights can be trained in 24 GiB
	decodes  int    // tokens generated
	finetune int    // steps of llama.cpp
}

func shapes() []shape {
	return []shape{
		{"15m", "llama-15m", 4, 8, 8, 16384, true, 64, 8},
		{"110m", "llama-110m", 4, 4, 20, 16384, true, 64, 4},
		{"1.1b", "tinyllama-1.1b", 1, 3, 30, 4096, false, 32, 2},
	}
}

// seq is the tokens of a row.
const seq = 256

// comparisons are all there are. A method or shape that one of the programs
// does not have fails by name and leaves the others alone.
func (b *bench) comparisons() []*comparison {
	var all []*comparison
	for _, t := range b.threads {
		for _, s := range shapes() {
			all = append(all, b.products(s, t))
			for _, m := range b.methods(s) {
				all = append(all, b.training(s, m, t))
			}
			all = append(all, b.finetunes(s, t)...)
			all = append(all, b.generation(s, "f32", t), b.generation(s, "bf16", t))
		}
		all = append(all, b.llmc(t))
	}
	return all
}

// method is a way to fine-tune as meft and PyTorch call it.
type method struct {
	name, dtype  string
	ours, theirs []string
}

// methods are the same work in both programs: LoRA on every linear layer, a
// parallel adapter, MEFT over all neurons and MEFT with a router of 64 experts.
// The exception is meft-masks: Key-Experts with the default settings beside what
// the method's authors released, which scores all keys and masks the rest away.
func (b *bench) methods(s shape) []method {
	m := strconv.Itoa(s.neurons)
	list := []method{
		{"lora", "f32", []string{"--method", "lora", "--lora-r", "8", "--lora-target", "all-linear"}, []string{"--method", "lora", "--r", "8", "--targets", "all"}},
		{"adapter4096", "f32", []string{"--method", "parallel", "--parallel-bottleneck", "4096"}, []string{"--method", "adapter", "--r", "4096"}},
		{"meft-masks", "f32", []string{"--method", "meft", "--meft-neurons", m}, []string{"--method", "meft", "--r", m, "--topk", "64", "--scope", "token"}},
		{"meft-token", "f32", []string{"--method", "meft", "--meft-neurons", m, "--meft-experts", "1", "--meft-probe", "1", "--meft-gate", "none"},
			[]string{"--method", "meft", "--r", m, "--topk", "64", "--scope", "token"}},
		{"meft-routed", "f32", []string{"--method", "meft", "--meft-neurons", m, "--meft-experts", "64", "--meft-probe", "4", "--meft-gate", "softmax"},
			[]string{"--method", "meft", "--r", m, "--topk", "64", "--experts", "64", "--probe", "4"}},
	}
	for _, x := range list {
		x.dtype = "bf16"
		list = append(list, x)
	}
	if s.full {
		list = append([]method{{"full", "f32", []string{"--method", "full"}, []string{"--method", "full"}}}, list...)
	}
	return list
}

func (b *bench) training(s shape, m method, threads int) *comparison {
	c := &comparison{name: fmt.Sprintf("train-%s-%s-%s-t%d", s.name, m.name, m.dtype, threads), table: tableTraining, threads: threads,
		title: fmt.Sprintf("%s, %s, %s, %d x %d", s.ours, m.name, m.dtype, s.batch, seq), metrics: []string{"tok/s"}}
	c.sides = append(c.sides, b.oursTraining(s, m, s.batch, seq, threads), b.torch("PyTorch", s, m, threads, b.torchEnv(threads)))
	if m.name == "full" {
		c.sides = append(c.sides, b.torch("PyTorch as installed", s, m, threads, []string{fmt.Sprintf("OMP_NUM_THREADS=%d", threads)}))
		if s.name == "15m" {
			c.sides = append(c.sides, b.gomlx(threads))
		}
	}
	return c
}

// oursTraining is meft bench train.
func (b *bench) oursTraining(s shape, m method, batch, seq, threads int) side {
	args := append([]string{b.meft, "bench", "train", "--shape", s.ours}, m.ours...)
	args = append(args, "--base-dtype", m.dtype, "--per-device-train-batch-size", strconv.Itoa(batch), "--max-length", strconv.Itoa(seq),
		"--threads", strconv.Itoa(threads), "--repeats", strconv.Itoa(s.steps), "--seconds", "1", "--json")
	return side{program: "meft", cmd: plain(command{args: args}), read: readLine}
}

func (b *bench) torch(program string, s shape, m method, threads int, env []string) side {
	script := b.script("torch_peer.py")
	dtype := map[string]string{"f32": "fp32", "bf16": "bf16"}[m.dtype]
	args := append([]string{b.python, script, "--threads", strconv.Itoa(threads), "--shape", s.name, "--batch", strconv.Itoa(s.batch), "--seq", strconv.Itoa(seq),
		"--steps", strconv.Itoa(s.steps), "--warmup", "1", "--seconds", strconv.Itoa(s.seconds), "--dtype", dtype}, m.theirs...)
	return side{program: program, need: []string{script, b.python}, cmd: plain(command{args: args, env: env}), read: readLine}
}

// gomlx is a Llama of the 15m shape in GoMLX. With two threads it may hang.
func (b *bench) gomlx(threads int) side {
	exe := b.program("gomlx_train")
	return side{program: "GoMLX", need: []string{exe}, read: readLine, cmd: plain(command{limit: 4 * time.Minute, env: []string{fmt.Sprintf("GOMAXPROCS=%d", threads)},
		args: []string{exe, "-dim", "288", "-layers", "6", "-heads", "6", "-ffn", "768", "-vocab", "32000", "-batch", "4", "-seq", "256", "-steps", "3", "-seconds", "60"}})}
}

// finetunes are llama.cpp's training programs, one row at a time.
func (b *bench) finetunes(s shape, threads int) []*comparison {
	var all []*comparison
	for _, m := range []struct{ name, exe string }{{"full", "llama-finetune"}, {"lora", "llama-finetune-lora"}} {
		for _, x := range b.methods(s) {
			if x.name != m.name || x.dtype != "f32" {
				continue
			}
			c := &comparison{name: fmt.Sprintf("finetune-%s-%s-t%d", s.name, m.name, threads), table: tableFinetune, threads: threads,
				title: fmt.Sprintf("%s, %s, f32, 1 x %d", s.ours, m.name, seq), metrics: []string{"tok/s"}}
			c.sides = []side{b.oursTraining(s, x, 1, seq, threads), b.llamaFinetune("llama.cpp", m.exe, s, threads), b.llamaFinetune("llama.cpp with OpenBLAS", m.exe+"-blas", s, threads)}
			all = append(all, c)
		}
	}
	return all
}

var finetuneStep = regexp.MustCompile(`data=0*(\d+)/0*(\d+)`)

func (b *bench) llamaFinetune(program, exe string, s shape, threads int) side {
	path := b.program(exe)
	n := strconv.Itoa(threads)
	return side{program: program, need: []string{path, b.script("mkgguf.py")}, read: readSteps(seq, 2), cmd: func() (command, error) {
		model, err := b.gguf(s.name, "f32")
		if err != nil {
			return command{}, err
		}
		text, err := b.text(model, s.finetune)
		if err != nil {
			return command{}, err
		}
		args := []string{path, "-m", model, "-f", text, "-c", strconv.Itoa(seq), "-b", strconv.Itoa(seq), "-ub", strconv.Itoa(seq), "-t", n, "-tb", n, "-fa", "off", "-ngl", "0"}
		if strings.Contains(exe, "lora") {
			args = append(args, "--lora-rank", "8", "--lora-modules", "attn_q,attn_k,attn_v,attn_o,ffn_gate,ffn_up,ffn_down", "--checkpoint-save-steps", "100000")
		} else {
			args = append(args, "-epochs", "1", "-val-split", "0", "-o", "ft.gguf")
		}
		return command{args: args, env: b.blasEnv(threads), dir: b.data, stamp: finetuneStep, stamps: s.finetune + 2}, nil
	}}
}

// generation is reading a prompt of 255 tokens and generating after one.
func (b *bench) generation(s shape, dtype string, threads int) *comparison {
	n, news := strconv.Itoa(threads), strconv.Itoa(s.decodes)
	c := &comparison{name: fmt.Sprintf("generate-%s-%s-t%d", s.name, dtype, threads), table: tableGenerate, threads: threads,
		title: fmt.Sprintf("%s, %s", s.ours, dtype), metrics: []string{"prompt tok/s", "generated tok/s"}}
	ours := command{args: []string{b.meft, "bench", "generate", "--shape", s.ours, "--base-dtype", dtype, "--sequences", "1", "--prompt-tokens", "255", "--new-tokens", news,
		"--repeats", "3", "--threads", n, "--json"}}
	c.sides = []side{{program: "meft", cmd: plain(ours), read: readGeneration}}
	llama := func(program, exe, dtype string) {
		path := b.program(exe)
		c.sides = append(c.sides, side{program: program, need: []string{path, b.script("mkgguf.py")}, read: readLlamaBench, cmd: func() (command, error) {
			model, err := b.gguf(s.name, dtype)
			return command{args: []string{path, "-m", model, "-t", n, "-p", "255", "-n", news, "-r", "3", "-o", "json", "-ngl", "0"}, env: b.blasEnv(threads)}, err
		}})
	}
	llama("llama.cpp", "llama-bench", dtype)
	llama("llama.cpp with OpenBLAS", "llama-bench-blas", dtype)
	if dtype == "bf16" {
		llama("llama.cpp, f16", "llama-bench", "f16")
	}
	if dtype == "f32" && s.name != "1.1b" {
		c.sides = append(c.sides, b.llama2c(s, threads))
	}
	return c
}

var llama2cSpeed = regexp.MustCompile(`tok/s: ([0-9.]+)`)

// llama2c generates only.
func (b *bench) llama2c(s shape, threads int) side {
	exe, tokens := b.program("run"), b.program("tokenizer.bin")
	return side{program: "llama2.c", need: []string{exe, tokens, b.script("mkllama2c.py")}, cmd: func() (command, error) {
		model, err := b.made("l2c-"+s.name+".bin", func(path string) []string {
			return []string{b.script("mkllama2c.py"), s.name, path, strings.TrimSuffix(path, ".bin") + "-q8.bin"}
		})
		return command{args: []string{exe, model, "-z", tokens, "-n", "128", "-t", "0", "-s", "1"}, env: []string{fmt.Sprintf("OMP_NUM_THREADS=%d", threads)}}, err
	}, read: func(o output) (values, error) {
		m := llama2cSpeed.FindStringSubmatch(o.all)
		if m == nil {
			return nil, fmt.Errorf("%s", o.all)
		}
		return values{"generated tok/s": float(m[1])}, nil
	}}
}

var llmcStep = regexp.MustCompile(`took ([0-9.]+)(ms|s)? *(ms)?`)

// gpt2Flops are the operations a token takes in training GPT-2 124M on rows of
// 64: counted as meft bench counts them for its shapes.
const gpt2Flops = 6*(12*12*768*768+50257*768) + 12*3*2*768*65

// llmc trains GPT-2, which is no shape of ours: operations a second are
// compared, not tokens.
func (b *bench) llmc(threads int) *comparison {
	s := shapes()[1]
	full := method{"full", "f32", []string{"--method", "full"}, nil}
	exe := b.program("train_gpt2")
	c := &comparison{name: fmt.Sprintf("llmc-124m-full-t%d", threads), table: tableFinetune, threads: threads,
		title: "llama-110m beside GPT-2 124M, full, f32, 4 x 64", metrics: []string{"GFLOP/s"}}
	c.sides = []side{b.oursTraining(s, full, 4, 64, threads), {program: "llm.c", need: []string{exe, b.script("mkgpt2.py")}, cmd: func() (command, error) {
		dir, err := b.made("gpt2", func(path string) []string { return []string{b.script("mkgpt2.py"), path} })
		return command{args: []string{"stdbuf", "-oL", exe}, env: []string{fmt.Sprintf("OMP_NUM_THREADS=%d", threads)}, dir: dir, stamp: llmcStep, stamps: 9}, err
	}, read: readLLMC}}
	return c
}

// products are the matrix products of training a shape, by what is transposed.
func (b *bench) products(s shape, threads int) *comparison {
	c := &comparison{name: fmt.Sprintf("products-%s-t%d", s.name, threads), table: tableProducts, threads: threads,
		title: fmt.Sprintf("%s, %d rows", s.ours, s.batch*seq), metrics: []string{"nt", "nn", "tn"}}
	var list []product
	ours := command{args: []string{b.meft, "bench", "kernels", "--shape", s.ours, "--base-dtype", "f32", "--per-device-train-batch-size", strconv.Itoa(s.batch),
		"--max-length", strconv.Itoa(seq), "--threads", strconv.Itoa(threads), "--repeats", "5", "--json"}}
	c.sides = []side{
		{program: "meft", cmd: plain(ours), read: func(o output) (v values, err error) {
			v, list, err = readKernels(o)
			return v, err
		}},
		{program: "OpenBLAS", need: []string{b.python, openblas()}, cmd: func() (command, error) { return b.sgemm(threads, list), nil }, read: readSgemm},
	}
	return c
}

// plain is a command that needs nothing made before.
func plain(c command) func() (command, error) { return func() (command, error) { return c, nil } }

// gguf is a model with random weights in llama.cpp's form.
func (b *bench) gguf(shape, dtype string) (string, error) {
	return b.made(fmt.Sprintf("%s-%s-0.gguf", shape, dtype), func(path string) []string {
		return []string{b.script("mkgguf.py"), shape, dtype, path, "--tied", "0"}
	})
}

// made is a file of the data folder that a script makes once. A file beside it
// says that the script came to its end.
func (b *bench) made(name string, script func(path string) []string) (string, error) {
	path, err := filepath.Abs(filepath.Join(b.data, name))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path + ".done"); err == nil {
		return path, nil
	}
	fmt.Printf("making %s\n", name)
	cmd := exec.Command(b.python, script(path)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s could not be made: %w: %s", name, err, out)
	}
	return path, os.WriteFile(path+".done", nil, 0o644)
}

// text is what a model is fine-tuned on: enough words for the steps, of which
// llama.cpp makes half-overlapping windows. A model is made with its words.
func (b *bench) text(model string, steps int) (string, error) {
	path := filepath.Join(filepath.Dir(model), fmt.Sprintf("text-%d.txt", steps))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	words, err := os.ReadFile(model + ".txt")
	if err != nil {
		return "", err
	}
	s := strings.ReplaceAll(string(words), "\n", " ")
	need := (steps+4)*(seq/2) + 2*seq
	if s == "" {
		return "", fmt.Errorf("%s.txt is empty", model)
	}
	for len(s) < need {
		s += s
	}
	return path, os.WriteFile(path, []byte(s[:need]), 0o644)
}
