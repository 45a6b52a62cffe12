package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"meft"
)

// settings collects what a command line says about the library's options, to
// be applied over a configuration file: the file's place in the arguments must
// not matter.
type settings struct {
	given []assignment
}

// assignment is one option with its value.
type assignment struct {
	option meft.Option
	as     string // the name that was used, with underscores
	flag   bool   // given as --name, not as name=value
	value  string
}

// String is the assignment as it was typed.
func (s assignment) String() string {
	if s.flag {
		return "--" + hyphened(s.as) + " " + s.value
	}
	return s.as + "=" + s.value
}

// optionFlag is the flag of one option under one of its names.
type optionFlag struct {
	option meft.Option
	as     string
	to     *settings
}

// String is the default, for the help.
func (f *optionFlag) String() string { return f.option.Default }

// Type is the word for the value in the help; for bool it shows none.
func (f *optionFlag) Type() string {
	if f.option.Bool {
		return "bool"
	}
	return "value"
}

// Set notes the value. It is judged later, together with all others, so that
// one error can list everything that is wrong.
func (f *optionFlag) Set(value string) error {
	f.to.given = append(f.to.given, assignment{f.option, f.as, true, value})
	return nil
}

// addFlags makes a flag of every option, under all its names; those that are
// not the first do not show in the help by themselves.
func (s *settings) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SortFlags = false
	for _, o := range meft.Options() {
		title := "Options"
		if o.Method != "" {
			title = "Options of --method " + o.Method
		}
		usage := o.Help
		if len(o.Aliases) > 0 {
			usage += " (also --" + strings.Join(hyphenedAll(o.Aliases), ", --") + ")"
		}
		for i, name := range append([]string{o.Name}, o.Aliases...) {
			if flags.Lookup(hyphened(name)) != nil {
				continue // two methods may share a name; both mean the same setting
			}
			f := flags.VarPF(&optionFlag{o, name, s}, hyphened(name), "", usage)
			f.NoOptDefVal = o.Bare
			f.Hidden = i > 0
			f.Annotations = map[string][]string{section: {title}}
			if len(o.Choices) > 0 {
				// Only an unknown flag makes this fail.
				_ = cmd.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(o.Choices, cobra.ShellCompDirectiveNoFileComp))
			}
		}
	}
}

func hyphened(name string) string { return strings.ReplaceAll(name, "_", "-") }

func hyphenedAll(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = hyphened(n)
	}
	return out
}

// isKey is what stands before the = of an argument that sets an option. Paths
// may have a = too.
var isKey = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*$`)

// config makes a configuration of the arguments: defaults, then the file, then
// flags and key=value. All that is wrong is reported in one usage error. Aliases
// that were used are told on standard error.
func (s *settings) config(a *app, args []string) (meft.Config, error) {
	return s.configOver(a, meft.Defaults(), args)
}

// configOver is config with other defaults.
func (s *settings) configOver(a *app, c meft.Config, args []string) (meft.Config, error) {
	file := ""
	var problems []string
	for _, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		switch {
		case ok && isKey.MatchString(key):
			s.given = append(s.given, assignment{optionNamed(key), meft.Canonical(key), false, value})
		case file == "":
			file = arg
		default:
			problems = append(problems, fmt.Sprintf("%q: the configuration file is %s already; further arguments are key=value", arg, file))
		}
	}
	if info, err := os.Stat(file); err == nil && info.IsDir() {
		problems = append(problems, fmt.Sprintf("%s: is a folder; a run's configuration is its %s", file, filepath.Join(file, "config.yaml")))
	} else if file != "" {
		if err := c.SetFile(file); errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, fmt.Sprintf("%s: no such configuration file; arguments are [config.yaml] and key=value, values of flags that can stand alone follow a =, as in --packing=false", file))
		} else if err != nil {
			problems = append(problems, err.Error())
		}
	}
	for _, g := range s.given {
		if err := c.Set(g.as, g.value); err != nil {
			problems = append(problems, err.Error())
		}
	}
	problems = append(problems, s.contradictions()...)
	a.tellAliases(s.given)
	if len(problems) > 0 {
		return c, usagef("%s", strings.Join(problems, "\n"))
	}
	return c, nil
}

// contradictions are options given both as a flag and as key=value with
// different values: neither form goes before the other.
func (s *settings) contradictions() []string {
	var out []string
	for i, x := range s.given {
		for _, y := range s.given[:i] {
			if x.option.Name != "" && x.option.Name == y.option.Name && x.flag != y.flag && x.value != y.value {
				out = append(out, fmt.Sprintf("%s and %s: leave one of them out", y, x))
			}
		}
	}
	return out
}

// tellAliases says the canonical names of options given under other ones.
func (a *app) tellAliases(given []assignment) {
	told := map[string]bool{}
	for _, g := range given {
		if g.option.Name == "" || g.as == g.option.Name && g.option.For == "" || told[g.as] {
			continue
		}
		told[g.as] = true
		if g.option.For != "" {
			a.sayf("%s sets %s here", g.as, g.option.For)
			continue
		}
		a.sayf("%s is called %s here", g.as, g.option.Name)
	}
}

// optionNamed is the option with that name or alias, the zero Option if there
// is none.
func optionNamed(name string) meft.Option {
	want := meft.Canonical(name)
	for _, o := range meft.Options() {
		if o.Name == want || slices.Contains(o.Aliases, want) {
			return o
		}
	}
	return meft.Option{}
}

// joinValues writes "--packing false" as "--packing=false" for options that may
// stand without a value: people write both, and a flag parser takes the second
// word of the first for an argument.
func joinValues(args []string) []string {
	if args[0] != "train" && args[0] != "plan" && args[0] != "bench" {
		return args
	}
	out := []string{args[0]}
	for i := 1; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return append(out, args[i:]...)
		}
		if i+1 < len(args) && strings.HasPrefix(arg, "--") && isTruth(args[i+1]) && optionNamed(arg).Bare != "" {
			arg += "=" + strings.ToLower(args[i+1])
			i++
		}
		out = append(out, arg)
	}
	return out
}

func isTruth(s string) bool {
	return strings.EqualFold(s, "true") || strings.EqualFold(s, "false")
}
