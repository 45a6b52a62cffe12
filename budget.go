package meft

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"meft/tensor"
)

// programBytes is what the process itself takes beside the ledger: 12 MB of code
// that is paged in, and the Go runtime, stacks, thread workspaces, the file
// buffers and a heap with what is left of reading the rows. Measured with 2
// threads at 27 to 29 MB (TestResidentMemoryIsTheLedgersAndTheProgram); the
// tokenizer comes on top, see programSize.
const programBytes = 32 << 20

// programSize is the memory on the host that a run of a model takes beside its
// ledger, and part of every host budget. A vocabulary in memory was measured at
// 4.5 (Llama 2, Qwen 2) to 6.6 (Llama 3) times its tokenizer.json, and 16 times
// a tokenizer.model. The checkpoint is read in pieces whose pages are given back at once.
func programSize(model string) int64 {
	for _, f := range []struct {
		name  string
		times int64
	}{{"tokenizer.json", 7}, {"tokenizer.model", 16}} {
		if info, err := os.Stat(filepath.Join(model, f.name)); err == nil && model != "" {
			return programBytes + f.times*info.Size()
		}
	}
	return programBytes
}

// lacking is how many bytes the budgets of the device and of the host are short
// of, 0 or less where they hold or there are none.
func lacking(c Config, l *tensor.Ledger) (device, host int64) {
	if b := int64(c.DeviceMemory); b > 0 {
		device = l.Used(tensor.OnDevice) - b
	}
	if b := int64(c.HostMemory); b > 0 {
		host = l.Used(tensor.Pinned) + l.Used(tensor.OnHost) + programSize(c.Model) - b
	}
	return device, host
}

// overBudget says how much each budget lacks, nil when the ledger fits.
func overBudget(c Config, l *tensor.Ledger) []string {
	var problems []string
	device, host := lacking(c, l)
	if device > 0 {
		problems = append(problems, fmt.Sprintf("device memory: needs %v, the budget is %v: %v missing", Size(device)+c.DeviceMemory, c.DeviceMemory, Size(device)))
	}
	if host > 0 {
		problems = append(problems, fmt.Sprintf("host memory: needs %v (%v of it for the program), the budget is %v: %v missing", Size(host)+c.HostMemory, Size(programSize(c.Model)), c.HostMemory, Size(host)))
	}
	return problems
}

// A saving is a change that takes less memory. It reports false when there is
// nothing left to save.
type saving func(c *Config) bool

// savings are tried in this order, from what costs least in speed and quality.
func savings(meft bool) []saving {
	out := []saving{
		func(c *Config) bool { done := c.Rebuild; c.Rebuild = true; return !done },
		func(c *Config) bool { return smallerBase(c, "bf16") },
		smallerBatch,
		func(c *Config) bool { return smallerBase(c, "nf4") },
	}
	if meft {
		out = append(out, halve("meft_buffer", 64), smallerMoments, onDisk, halve("meft_neurons", 64))
	}
	return append(out, func(c *Config) bool { c.MaxLength /= 2; return c.MaxLength >= 32 })
}

// smallerBase keeps the frozen weights in a type of fewer bits.
func smallerBase(c *Config, to string) bool {
	bits := map[string]int{"auto": 32, "f32": 32, "bf16": 16, "int8": 8, "fp4": 4, "nf4": 4}
	if bits[c.BaseDType] <= bits[to] {
		return false
	}
	c.BaseDType = to
	return true
}

// smallerBatch makes micro-batches smaller and more, the rows of a step staying
// what they are: so the run learns the same.
func smallerBatch(c *Config) bool {
	rows := c.Batch * c.Accumulation
	for b := c.Batch / 2; b > 0; b-- {
		if rows%b == 0 {
			c.Batch, c.Accumulation = b, rows/b
			return true
		}
	}
	return false
}

// halve halves a method's whole-number setting down to a least value.
func halve(name string, least int) saving {
	return func(c *Config) bool {
		var v int
		if _, err := fmt.Sscan(c.setting(name), &v); err != nil || v == 0 {
			v = 4096
		}
		c.change(name, fmt.Sprint(v/2))
		return v/2 >= least
	}
}

// change gives a method's setting another value in a copy of the settings.
func (c *Config) change(name, value string) {
	settings := maps.Clone(c.Settings)
	if settings == nil {
		settings = map[string]string{}
	}
	settings[name] = value
	c.Settings = settings
}

// smallerMoments goes from 12 bytes a number of the host's tables to 8 and 6.
func smallerMoments(c *Config) bool {
	next, ok := map[string]string{"f32": "bf16", "bf16": "8bit"}[c.setting("meft_moments")]
	if ok {
		c.change("meft_moments", next)
	}
	return ok
}

// onDisk moves the host's tables out of memory.
func onDisk(c *Config) bool {
	done := c.HostStore == "disk"
	c.HostStore = "disk"
	return !done
}

// setting is the value of a method's setting, its default where it is not set.
func (c Config) setting(name string) string {
	if v, ok := c.Settings[name]; ok {
		return v
	}
	for _, o := range methodOptions() {
		if o.Name == name {
			return o.Default
		}
	}
	return ""
}

// fitting looks for the mildest changes that fit the budgets; "" if none does.
// What makes no difference to a budget that is broken is left as it is. ledger
// plans a configuration.
func fitting(c Config, ledger func(Config) (*tensor.Ledger, error)) string {
	short := func(c Config, l *tensor.Ledger) int64 {
		device, host := lacking(c, l)
		return max(device, 0) + max(host, 0)
	}
	l, err := ledger(c)
	if err != nil {
		return ""
	}
	asked, least := c, short(c, l)
	for _, s := range savings(c.Method == "meft") {
		for next := c; s(&next); {
			l, err := ledger(next)
			if err != nil {
				break
			}
			lack := short(next, l)
			if lack >= least {
				continue // a step further may tell
			}
			if c, least = next, lack; least == 0 {
				return describe(c, asked)
			}
		}
	}
	return ""
}

// describe names the memory settings in which a configuration differs from the
// one asked for, as flags.
func describe(c, asked Config) string {
	var flags []string
	add := func(name string, value, before any) {
		if value != before {
			flags = append(flags, fmt.Sprintf("--%s %v", name, value))
		}
	}
	add("per_device_train_batch_size", c.Batch, asked.Batch)
	add("gradient_accumulation_steps", c.Accumulation, asked.Accumulation)
	add("max_length", c.MaxLength, asked.MaxLength)
	add("base_dtype", c.BaseDType, asked.BaseDType)
	add("host_store", c.HostStore, asked.HostStore)
	for _, name := range []string{"meft_buffer", "meft_moments", "meft_neurons"} {
		add(name, c.setting(name), asked.setting(name))
	}
	if c.Rebuild != asked.Rebuild {
		flags = append(flags, "--gradient_checkpointing")
	}
	return strings.Join(flags, " ")
}
