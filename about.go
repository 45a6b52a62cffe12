package meft

import (
	"slices"

	"meft/method"
)

// MethodInfo is a method as meft methods lists it.
type MethodInfo struct {
	Name     string          `json:"name"`
	Summary  string          `json:"summary"`
	Source   string          `json:"source"`
	Rate     float64         `json:"learning_rate"` // peak where none is set
	PeftType string          `json:"peft_type,omitempty"`
	PEFT     bool            `json:"peft_reads"`     // PEFT loads its adapters
	Size     string          `json:"size,omitempty"` // setting that makes its adapter larger
	Merges   string          `json:"merges"`         // exactly, or what keeps its adapters from it
	Settings []MethodSetting `json:"settings"`
}

// MethodSetting is an option of one method.
type MethodSetting struct {
	Name    string   `json:"name"`
	Aliases []string `json:"aliases,omitempty"`
	Default string   `json:"default"`
	Choices []string `json:"choices,omitempty"` // the values there are
	Help    string   `json:"help"`
}

// Methods are all methods, sorted by name.
func Methods() []MethodInfo {
	options := methodOptions()
	var out []MethodInfo
	for _, name := range method.Names() {
		about := method.All()[name].About()
		m := MethodInfo{Name: name, Summary: about.Summary, Source: about.Source, Rate: about.Rate, PeftType: about.PEFT, Size: about.Size,
			PEFT: slices.Contains(typesOfPEFT(), about.PEFT), Merges: about.Merges, Settings: []MethodSetting{}}
		if m.Merges == "" {
			m.Merges = "no"
		}
		for _, o := range options {
			if o.Method == name {
				m.Settings = append(m.Settings, MethodSetting{Name: o.Name, Aliases: o.Aliases, Default: o.Default, Choices: o.Choices, Help: o.Help})
			}
		}
		out = append(out, m)
	}
	return out
}

// typesOfPEFT are the values of peft_type that are PEFT's own among those of our
// methods: their folders are written as PEFT writes them.
func typesOfPEFT() []string { return []string{"LORA", "PROMPT_TUNING", "PREFIX_TUNING", "SHIRA"} }
