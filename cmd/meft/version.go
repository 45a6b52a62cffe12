package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"meft"
	"meft/cpu"
	"meft/internal/simd"
)

// versionReport is what meft version prints with --json.
type versionReport struct {
	Version  string   `json:"version"`
	Go       string   `json:"go"`
	Platform string   `json:"platform"`
	CPU      string   `json:"cpu,omitempty"` // the processor's name where the system tells it
	Level    string   `json:"level"`         // of vector instructions in use
	Features string   `json:"cpu_features"`
	BF16     string   `json:"bf16_products"` // hardware, or emulated: no faster than f32
	Threads  int      `json:"threads"`
	Devices  []device `json:"devices"`
}

// device is one that models can be put on.
type device struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Memory int64  `json:"memory,omitempty"` // bytes, 0 where the system does not tell
}

func (a *app) versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "version, Go, CPU features, devices found",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			v := report()
			if asJSON {
				return a.document(v)
			}
			_, err := fmt.Fprint(a.out, v.text())
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func report() versionReport {
	dev := cpu.New(0)
	defer dev.Close()
	return versionReport{
		Version:  meft.Version,
		Go:       runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH,
		CPU:      systemFact("/proc/cpuinfo", "model name"),
		Level:    simd.Best().String(),
		Features: simd.Features(),
		BF16:     cpu.BF16Products(),
		Threads:  dev.Threads(),
		Devices:  []device{{Kind: "cpu", Name: dev.Name(), Memory: hostMemory()}},
	}
}

func (v versionReport) text() string {
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-9s %s\n", name, value)
		}
	}
	line("meft", v.Version)
	line("go", v.Go+" "+v.Platform)
	line("cpu", v.CPU)
	line("features", v.Features)
	line("bf16", bf16Products(v.BF16))
	for _, d := range v.Devices {
		memory := ""
		if d.Memory > 0 {
			memory = ", " + meft.Size(d.Memory).String() + " of memory"
		}
		line("device", d.Name+memory)
	}
	return b.String()
}

// bf16Products says what --compute-dtype bf16 brings.
func bf16Products(how string) string {
	if how == "hardware" {
		return "products by AVX512_BF16: --compute-dtype bf16 is faster than f32"
	}
	return "products emulated: --compute-dtype bf16 rounds like other machines, no faster than f32"
}

// hostMemory is the machine's memory in bytes, 0 where it cannot be told.
func hostMemory() int64 {
	var kib int64
	if _, err := fmt.Sscanf(systemFact("/proc/meminfo", "MemTotal"), "%d kB", &kib); err != nil {
		return 0
	}
	return kib << 10
}

// systemFact is the value of the first line "name : value" of a file of the
// system, "" where there is none.
func systemFact(path, name string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if key, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
