package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"meft"
)

func (a *app) methodsCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "methods [NAME]...",
		Short: "list the fine-tuning methods with their settings",
		Long: `Lists the methods that --method may name: what they train, where they are from,
their learning rate where none is set, what can be done with their adapters, and
their settings with the defaults. Names choose some of them.`,
		Example: `  meft methods
  meft methods lora meft --json`,
		RunE: func(_ *cobra.Command, args []string) error { return a.methods(args, asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) methods(names []string, asJSON bool) error {
	list, err := chosen(meft.Methods(), names)
	if err != nil {
		return err
	}
	if asJSON {
		return a.document(list)
	}
	var b strings.Builder
	for i, m := range list {
		if i > 0 {
			b.WriteString("\n")
		}
		printMethod(&b, m)
	}
	_, err = fmt.Fprint(a.out, b.String())
	return err
}

// chosen are the methods of these names in their order, all without names.
func chosen(all []meft.MethodInfo, names []string) ([]meft.MethodInfo, error) {
	if len(names) == 0 {
		return all, nil
	}
	var out []meft.MethodInfo
	for _, name := range names {
		var known []string
		found := false
		for _, m := range all {
			known = append(known, m.Name)
			if m.Name == name {
				out, found = append(out, m), true
			}
		}
		if !found {
			return nil, usagef("unknown method %q; known: %s", name, strings.Join(known, ", "))
		}
	}
	return out, nil
}

func printMethod(b *strings.Builder, m meft.MethodInfo) {
	adapter := m.PeftType + ", a form of this program"
	switch {
	case m.PeftType == "":
		adapter = "none: the result is a model"
	case m.PEFT:
		adapter = m.PeftType + ", as PEFT writes and reads it"
	}
	fmt.Fprintf(b, "%s: %s\n", m.Name, m.Summary)
	for _, line := range [][2]string{{"source", m.Source}, {"learning rate", fmt.Sprint(m.Rate)}, {"adapter", adapter}, {"merges", m.Merges}} {
		fmt.Fprintf(b, "  %-14s %s\n", line[0], line[1])
	}
	if len(m.Settings) == 0 {
		return
	}
	t := newTable("setting", "default", "")
	for _, s := range m.Settings {
		t.add("--"+strings.ReplaceAll(s.Name, "_", "-"), s.Default, s.Help)
	}
	// A strings.Builder takes everything.
	_ = t.write(b, "  ")
}
