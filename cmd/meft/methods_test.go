package main

import (
	"strings"
	"testing"

	"meft"
)

func TestMethodsAreListed(t *testing.T) {
	text := must(t, "methods").out
	all := decode[[]meft.MethodInfo](t, must(t, "methods", "--json").out)
	if len(all) < 4 {
		t.Fatalf("%d methods", len(all))
	}
	for _, m := range all {
		for _, word := range []string{m.Name + ": " + m.Summary, m.Source, m.Merges} {
			if !strings.Contains(text, word) {
				t.Errorf("%q is missing in\n%s", word, text)
			}
		}
		for _, s := range m.Settings {
			if !strings.Contains(text, "--"+strings.ReplaceAll(s.Name, "_", "-")+" ") || !strings.Contains(text, s.Help) {
				t.Errorf("setting %s of %s is missing in\n%s", s.Name, m.Name, text)
			}
		}
	}
	some := decode[[]meft.MethodInfo](t, must(t, "methods", "meft", "lora", "--json").out)
	if len(some) != 2 || some[0].Name != "meft" || some[1].Name != "lora" || !some[1].PEFT || some[0].PEFT {
		t.Errorf("meft and lora are listed as %+v", some)
	}
	refused(t, 2, []string{"prefx", "lora", "full"}, "methods", "prefx")
}
