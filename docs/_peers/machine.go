package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// machine is what the programs run on.
type machine struct {
	cpu    string
	flags  []string // instruction sets
	cores  int
	memory int64 // KiB
	kernel string
}

func lookAround() machine {
	read := func(path string) string {
		data, err := os.ReadFile(path)
		if err != nil {
			return ""
		}
		return string(data)
	}
	after := func(text, name string) string {
		_, v, _ := strings.Cut(field(text, name), ":")
		return strings.TrimSpace(v)
	}
	info := read("/proc/cpuinfo")
	return machine{cpu: after(info, "model name"), flags: strings.Fields(after(info, "\nflags")), cores: runtime.NumCPU(),
		memory: number(field(read("/proc/meminfo"), "MemTotal:")), kernel: strings.TrimSpace(read("/proc/sys/kernel/osrelease"))}
}

func (m machine) has(flag string) bool { return slices.Contains(m.flags, flag) }

// vectors is the widest instruction set that products use.
func (m machine) vectors() string {
	switch {
	case m.has("avx512f") && m.has("avx512bw"):
		return "avx512"
	case m.has("avx2"):
		return "avx2"
	}
	return "default"
}

func (m machine) lines() []string {
	return []string{fmt.Sprintf("%s, %s cores of %s (%s), %d GiB, Linux %s", time.Now().Format(time.DateOnly), fmt.Sprint(m.cores), m.cpu, m.vectors(), (m.memory+1<<19)>>20, m.kernel)}
}

// versions are those of the programs, as far as they tell.
func (b *bench) versions() []string {
	var out []string
	say := func(name string, args ...string) {
		cmd := exec.Command(args[0], args[1:]...)
		text, err := cmd.CombinedOutput()
		if err != nil {
			return
		}
		for _, line := range strings.Split(string(text), "\n") {
			if line = strings.TrimSpace(line); line != "" {
				out = append(out, name+strings.Join(strings.Fields(line), " "))
				return
			}
		}
	}
	say("", b.meft, "version")
	say("PyTorch ", b.python, "-c", "import torch; print(torch.__version__)")
	say("llama.cpp ", b.program("llama-cli"), "--version")
	return out
}

//go:embed sgemm.py
var sgemmScript string

// library is the path of a shared library that the system knows.
func library(name string) string {
	text, err := exec.Command("ldconfig", "-p").Output()
	if err != nil {
		return ""
	}
	for _, line := range strings.Split(string(text), "\n") {
		if strings.Contains(line, name) {
			_, path, _ := strings.Cut(line, "=>")
			return strings.TrimSpace(path)
		}
	}
	return ""
}

// openblas is the folder of OpenBLAS with OpenMP threads, which shares its pool
// with PyTorch and ggml where both use OpenMP; of any OpenBLAS where there is no
// such; "" where there is none.
func openblas() string {
	lib := library("libopenblas.so.0")
	if lib == "" {
		return ""
	}
	if real, err := filepath.EvalSymlinks(lib); err == nil {
		lib = real
	}
	dir := filepath.Dir(lib)
	for _, d := range []string{filepath.Join(dir, "openblas-openmp"), filepath.Join(filepath.Dir(dir), "openblas-openmp")} {
		if info, err := os.Stat(d); err == nil && info.IsDir() {
			return d
		}
	}
	return dir
}

// blasEnv is the environment in which OpenBLAS does its best.
func (b *bench) blasEnv(threads int) []string {
	n := fmt.Sprint(threads)
	env := []string{"OMP_NUM_THREADS=" + n, "OPENBLAS_NUM_THREADS=" + n}
	if b.core != "" {
		env = append(env, "OPENBLAS_CORETYPE="+b.core)
	}
	if dir := openblas(); dir != "" {
		env = append(env, "LD_LIBRARY_PATH="+dir)
	}
	return env
}

// torchEnv adds what makes PyTorch a fair peer: an allocator that keeps memory,
// and its widest kernels.
func (b *bench) torchEnv(threads int) []string {
	env := append(b.blasEnv(threads), "ATEN_CPU_CAPABILITY="+b.machine.vectors())
	if lib := library("libtcmalloc_minimal.so.4"); lib != "" {
		env = append(env, "LD_PRELOAD="+lib)
	}
	return env
}

// coreTypes are those of OpenBLAS that may suit a machine. The library guesses
// by the processor's model and knows no processor younger than itself.
func (m machine) coreTypes() []string {
	if m.vectors() == "avx512" {
		return []string{"", "Cooperlake", "SkylakeX", "Haswell"}
	}
	return []string{"", "Zen", "Haswell"}
}

// chooseCore finds the core type whose product is fastest, in rounds.
func (b *bench) chooseCore() (core, said string) {
	if openblas() == "" {
		return "", "OpenBLAS: not installed"
	}
	types := b.machine.coreTypes()
	speeds := map[string][]float64{}
	for range 5 {
		for _, t := range types {
			b.core = t
			out, _ := b.sgemm(1, []product{{"nt", 1024, 1024, 1024}}).run(9)
			v, err := readSgemm(out)
			if err == nil {
				speeds[t] = append(speeds[t], v["nt"])
			}
		}
	}
	best := -1.0
	var parts []string
	for _, t := range types {
		if len(speeds[t]) == 0 {
			continue
		}
		m := median(speeds[t])
		name := t
		if t == "" {
			name = "its own choice"
		}
		parts = append(parts, fmt.Sprintf("%s %.0f", name, m))
		if m > best*1.05 { // its own choice stands unless another is clearly better
			best, core = m, t
		}
	}
	if best < 0 {
		return "", "OpenBLAS: could not be run"
	}
	chosen := core
	if chosen == "" {
		chosen = "its own choice"
	}
	return core, fmt.Sprintf("OpenBLAS, 1024 cubed with 1 thread in GFLOP/s by core type: %s; used: %s", strings.Join(parts, ", "), chosen)
}

// product is op (nt, nn, tn) with the sizes of the result and of the sums.
type product struct {
	op      string
	m, k, n int
}

// sgemm runs OpenBLAS on products.
func (b *bench) sgemm(threads int, list []product) command {
	var rows [][]any
	for _, p := range list {
		rows = append(rows, []any{p.op, p.m, p.k, p.n})
	}
	in, _ := json.Marshal(rows) // strings and integers
	return command{args: []string{b.python, "-c", sgemmScript, openblas()}, env: b.blasEnv(threads), stdin: string(in), limit: 5 * time.Minute}
}

// readSgemm reads the speeds of products and averages them by op.
func readSgemm(o output) (values, error) {
	var rows []struct {
		Op     string
		GFlops float64
	}
	if err := json.Unmarshal([]byte(o.text), &rows); err != nil {
		return nil, fmt.Errorf("sgemm: %s", o.all)
	}
	by := map[string][]float64{}
	for _, r := range rows {
		by[r.Op] = append(by[r.Op], r.GFlops)
	}
	v := values{}
	for op, list := range by {
		v[op] = geometric(list)
	}
	return v, nil
}

func now() string { return time.Now().UTC().Format(time.RFC3339) }
