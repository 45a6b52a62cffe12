package meft

import (
	"fmt"

	"meft/tensor"
)

// programBytes is what the process itself takes beside the ledger: code, the Go
// runtime, tokenizer tables, thread workspaces and file buffers. It was
// measured (docs/benchmarks.md) and is added to the host side of every budget.
const programBytes = 96 << 20

// overBudget says how much each budget lacks, nil when the ledger fits.
func overBudget(c Config, l *tensor.Ledger) []string {
	var problems []string
	device := l.Used(tensor.OnDevice)
	host := l.Used(tensor.Pinned) + l.Used(tensor.OnHost) + programBytes
	if b := int64(c.DeviceMemory); b > 0 && device > b {
		problems = append(problems, fmt.Sprintf("device memory: needs %v, the budget is %v: %v missing", Size(device), c.DeviceMemory, Size(device-b)))
	}
	if b := int64(c.HostMemory); b > 0 && host > b {
		problems = append(problems, fmt.Sprintf("host memory: needs %v (%v of it for the program), the budget is %v: %v missing", Size(host), Size(programBytes), c.HostMemory, Size(host-b)))
	}
	return problems
}

// saving is a change that takes less memory.
type saving struct {
	text  string
	apply func(c *Config) bool // false when there is nothing left to save
}

// savings are tried in this order, from what costs least in speed and quality.
func savings(meft bool) []saving {
	out := []saving{
		{"gradient_checkpointing=true", func(c *Config) bool { done := c.Rebuild; c.Rebuild = true; return !done }},
		{"base_dtype=bf16", func(c *Config) bool { done := c.BaseDType == "bf16"; c.BaseDType = "bf16"; return !done }},
		{"per_device_train_batch_size", func(c *Config) bool { c.Batch /= 2; c.Accumulation *= 2; return c.Batch > 0 }},
	}
	if meft {
		out = append(out,
			saving{"meft_buffer", halve("meft_buffer", 64)},
			saving{"meft_neurons", halve("meft_neurons", 64)})
	}
	return append(out, saving{"max_length", func(c *Config) bool { c.MaxLength /= 2; return c.MaxLength >= 32 }})
}

// halve halves a method's whole-number setting down to a least value.
func halve(name string, least int) func(c *Config) bool {
	return func(c *Config) bool {
		var v int
		if _, err := fmt.Sscan(c.setting(name), &v); err != nil || v == 0 {
			v = 4096
		}
		settings := map[string]string{}
		for k, s := range c.Settings {
			settings[k] = s
		}
		settings[name] = fmt.Sprint(v / 2)
		c.Settings = settings
		return v/2 >= least
	}
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
// ledger plans a configuration.
func fitting(c Config, ledger func(Config) (*tensor.Ledger, error)) string {
	for _, s := range savings(c.Method == "meft") {
		for {
			next := c
			if !s.apply(&next) {
				break
			}
			l, err := ledger(next)
			if err != nil {
				break
			}
			c = next
			if overBudget(c, l) == nil {
				return describe(c)
			}
		}
	}
	return ""
}

// describe names the memory settings of a configuration as flags.
func describe(c Config) string {
	s := fmt.Sprintf("--per_device_train_batch_size %d --gradient_accumulation_steps %d --max_length %d --base_dtype %s", c.Batch, c.Accumulation, c.MaxLength, c.BaseDType)
	if c.Rebuild {
		s += " --gradient_checkpointing"
	}
	for _, name := range []string{"meft_buffer", "meft_neurons"} {
		if v, ok := c.Settings[name]; ok {
			s += fmt.Sprintf(" --%s %s", name, v)
		}
	}
	return s
}
