package meft

import (
	"testing"

	"meft/method"
)

// The list has what a method says of itself, and its options with the defaults
// that training takes.
func TestMethodsAreListedWithTheirOptions(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range Methods() {
		about := method.All()[m.Name].About()
		if m.Summary != about.Summary || m.Source == "" || m.Rate != about.Rate || m.PeftType != about.PEFT || m.Merges == "" {
			t.Errorf("%s is listed as %+v, says %+v", m.Name, m, about)
		}
		for _, s := range m.Settings {
			seen[s.Name] = true
			if s.Help == "" {
				t.Errorf("%s of %s has no help", s.Name, m.Name)
			}
			o, err := findOption(s.Name)
			if err != nil || o.Default != s.Default || o.Method != m.Name {
				t.Errorf("%s of %s is listed with default %q; as an option it has %+v, %v", s.Name, m.Name, s.Default, o, err)
			}
		}
	}
	for _, o := range Options() {
		if (o.Method != "") != seen[o.Name] {
			t.Errorf("option %s of method %q: listed is %v", o.Name, o.Method, seen[o.Name])
		}
	}
	for _, m := range Methods() {
		if want := m.Name == "lora" || m.Name == "prompt" || m.Name == "prefix"; m.PEFT != want && m.PeftType != "SHIRA" {
			t.Errorf("PEFT reads adapters of %s: %v", m.Name, m.PEFT)
		}
	}
}
