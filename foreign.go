package meft

import (
	"fmt"
	"strconv"
)

// foreignOptions are names that other programs have for what is one setting here,
// with values of their own: they are translated when they are set, and written
// nowhere.
func foreignOptions() []Option {
	return []Option{
		{Name: "load_in_4bit", Help: "true: base_dtype nf4, or fp4 where that was said", Default: "false", Bool: true, Bare: "true", For: "base_dtype"},
		{Name: "load_in_8bit", Help: "true: base_dtype int8", Default: "false", Bool: true, Bare: "true", For: "base_dtype"},
		{Name: "bnb_4bit_quant_type", Help: "base_dtype nf4 or fp4", For: "base_dtype"},
		{Name: "quantization_bit", Help: "4: base_dtype nf4, or fp4 where that was said; 8: base_dtype int8", For: "base_dtype"},
	}
}

// setForeign gives the setting that one of foreignOptions stands for its value.
func (c *Config) setForeign(name, value string) error {
	wanted := "true or false"
	switch name {
	case "bnb_4bit_quant_type":
		if value == "nf4" || value == "fp4" {
			c.BaseDType = value
			return nil
		}
		wanted = "nf4 or fp4"
	case "quantization_bit":
		if value == "4" || value == "8" {
			c.quantise(value == "4")
			return nil
		}
		wanted = "4 or 8"
	}
	if value == "" {
		return nil
	}
	on, err := strconv.ParseBool(value)
	if err != nil || wanted != "true or false" {
		return fmt.Errorf("%s is %q, wanted %s; or set base_dtype to nf4, fp4 or int8", name, value, wanted)
	}
	if on {
		c.quantise(name == "load_in_4bit")
	}
	return nil
}

// quantise sets base_dtype to a type of 4 or 8 bits; fp4 is one of 4 bits.
func (c *Config) quantise(four bool) {
	switch {
	case !four:
		c.BaseDType = "int8"
	case c.BaseDType != "fp4":
		c.BaseDType = "nf4"
	}
}
