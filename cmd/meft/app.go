package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"meft"
)

// app is one run of the program.
type app struct {
	in  io.Reader
	out io.Writer // data
	err io.Writer // everything else
	env env

	list []*cobra.Command // the commands in the order of the help
}

// usagef makes an error in what the user typed: exit code 2.
func usagef(format string, args ...any) error {
	return &meft.UsageError{Err: fmt.Errorf(format, args...)}
}

// exitCode reports an error and translates it.
func (a *app) exitCode(err error) int {
	if err == nil {
		return 0
	}
	a.sayf("meft: %v", err)
	var usage *meft.UsageError
	if errors.As(err, &usage) {
		return 2
	}
	return 1
}

// sayf writes a line for people. A standard error that takes no more bytes
// leaves nobody to tell.
func (a *app) sayf(format string, args ...any) {
	_, _ = fmt.Fprintf(a.err, format+"\n", args...)
}

// execute finds the command and runs it.
func (a *app) execute(args []string) error {
	root := a.commands()
	if len(args) == 0 {
		a.help(root, a.err)
		return usagef("which command? The list is above")
	}
	if err := a.knownCommand(args[0]); err != nil {
		return err
	}
	root.SetArgs(joinValues(args))
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	return root.Execute()
}

// commands is the tree of commands. Cobra's own printing is turned off: it
// writes errors in its own style.
func (a *app) commands() *cobra.Command {
	root := &cobra.Command{
		Use:           "meft",
		Short:         "fine-tune language models with adapters larger than the accelerator's memory",
		Long:          "meft fine-tunes Llama-family language models with adapters that are far larger\nthan the accelerator's memory: they live in host memory, and each step brings in\nonly the neurons that fired.",
		Version:       meft.Version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Run:           func(cmd *cobra.Command, _ []string) { a.help(cmd, a.out) },
	}
	root.SetVersionTemplate("meft {{.Version}}\n")
	root.SetGlobalNormalizationFunc(hyphens)
	root.SetFlagErrorFunc(flagError)
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { a.help(cmd, a.out) })
	a.list = []*cobra.Command{a.demoCommand(), a.trainCommand(), a.planCommand(), a.evalCommand(), a.generateCommand(),
		a.scoreCommand(), a.prepareCommand(), a.tokenizeCommand(), a.mergeCommand(), a.pruneCommand(), a.exportCommand(), a.inspectCommand(), a.methodsCommand(), a.compareCommand(), a.benchCommand(), a.versionCommand()}
	root.AddCommand(a.list...)
	return root
}

// hyphens makes --max_new_tokens and --max-new-tokens one flag.
func hyphens(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	return pflag.NormalizedName(strings.ReplaceAll(name, "_", "-"))
}

// knownCommand refuses a command that is none, naming the nearest that is.
// Cobra would complain about the flags behind it first.
func (a *app) knownCommand(name string) error {
	if strings.HasPrefix(name, "-") || strings.HasPrefix(name, "__") {
		return nil // a flag, or cobra's hidden commands for completion
	}
	names := []string{"help", "completion"} // cobra makes these
	for _, c := range a.list {
		names = append(names, c.Name())
	}
	for _, n := range names {
		if n == name {
			return nil
		}
	}
	if near := meft.Nearest(name, names); near != "" {
		return usagef("unknown command %q; did you mean %q?", name, near)
	}
	return usagef("unknown command %q; known: %s", name, strings.Join(names[2:], ", "))
}

// flagError words what is wrong with a flag, naming the nearest known one.
func flagError(cmd *cobra.Command, err error) error {
	if errors.Is(err, pflag.ErrHelp) {
		return err
	}
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return usagef("%v; see %s --help", err, cmd.CommandPath())
	}
	name := unknown.GetSpecifiedName()
	if unknown.GetSpecifiedShortnames() != "" {
		return usagef("unknown flag -%s; flags have two hyphens, see %s --help", unknown.GetSpecifiedShortnames(), cmd.CommandPath())
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	if near := meft.Nearest(strings.ReplaceAll(name, "_", "-"), known); near != "" {
		return usagef("unknown flag --%s; did you mean --%s?", name, near)
	}
	return usagef("unknown flag --%s; see %s --help", name, cmd.CommandPath())
}

// noArgs refuses arguments that are not flags.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes flags only, not %q; see %s --help", cmd.CommandPath(), args[0], cmd.CommandPath())
	}
	return nil
}

// need refuses a command line that lacks flags; they are listed together.
func need(cmd *cobra.Command, names ...string) error {
	var missing []string
	for _, n := range names {
		if f := cmd.Flags().Lookup(n); f == nil || f.Value.String() == "" {
			missing = append(missing, "--"+n)
		}
	}
	if len(missing) > 0 {
		return usagef("%s needs %s; see %s --help", cmd.CommandPath(), strings.Join(missing, " and "), cmd.CommandPath())
	}
	return nil
}

// interruptible is a context that the first Ctrl-C (or SIGTERM) cancels, after
// telling so. With it the signals are given back to the system, so that the
// second one ends the program at once.
func (a *app) interruptible(tell func()) (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	c := make(chan os.Signal, 1)
	giveBack := a.env.notify(c)
	go func() {
		select {
		case <-c:
			giveBack()
			tell()
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		giveBack()
		cancel()
	}
}
