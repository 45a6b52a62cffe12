package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// section is the annotation of a flag that names its part of the help.
const section = "section"

// helpWidth is how wide help is where no terminal says otherwise.
const helpWidth = 100

// help writes what a command does, its flags by section with their defaults,
// and examples.
func (a *app) help(cmd *cobra.Command, w io.Writer) {
	var b strings.Builder
	text := cmd.Long
	if text == "" {
		text = cmd.Short
	}
	fmt.Fprintf(&b, "%s\n\nUsage:\n  %s\n", text, useLine(cmd))
	if cmd.Example != "" {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", strings.TrimRight(cmd.Example, "\n"))
	}
	if !cmd.HasParent() {
		b.WriteString("\nCommands:\n")
		for _, c := range a.list {
			fmt.Fprintf(&b, "  %-10s  %s\n", c.Name(), c.Short)
		}
	}
	width := helpWidth
	if a.env.width > 0 {
		width = min(a.env.width, width)
	}
	titles, sets := sections(cmd)
	for i, title := range titles {
		fmt.Fprintf(&b, "\n%s:\n%s", title, sets[i].FlagUsagesWrapped(width))
	}
	_, _ = io.WriteString(w, b.String())
}

// useLine is how a command is called.
func useLine(cmd *cobra.Command) string {
	if cmd.HasParent() {
		return cmd.Parent().CommandPath() + " " + cmd.Use
	}
	return cmd.Use + " COMMAND [flags]"
}

// sections are a command's flags by section, in the order they were made.
func sections(cmd *cobra.Command) (titles []string, sets []*pflag.FlagSet) {
	cmd.InitDefaultHelpFlag()
	cmd.LocalFlags().SortFlags = false
	cmd.Flags().SortFlags = false
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		title := "Flags"
		if s := f.Annotations[section]; len(s) > 0 {
			title = s[0]
		}
		for i, t := range titles {
			if t == title {
				sets[i].AddFlag(f)
				return
			}
		}
		set := pflag.NewFlagSet(title, pflag.ContinueOnError)
		set.SortFlags = false
		set.AddFlag(f)
		titles, sets = append(titles, title), append(sets, set)
	})
	return titles, sets
}
