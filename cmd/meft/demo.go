package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"meft"
	"meft/demo"
)

func (a *app) demoCommand() *cobra.Command {
	var o demo.Options
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "fine-tune a small model on facts with several methods and compare them",
		Long: `Needs no arguments, files or network: teaches the embedded base model the embedded
facts with MEFT and with the methods it is compared with, all in the same device
memory, and prints what each of them learned and took.`,
		Example: `  meft demo
  meft demo --json > table.json`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return a.demo(o, asJSON) },
	}
	cmd.Flags().IntVar(&o.Threads, "threads", 0, "CPU `threads`; 0 for all. Results do not depend on it")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) demo(o demo.Options, asJSON bool) error {
	show := a.newProgress("step", 2*time.Second)
	ctx, stop := a.interruptible(func() { show.say("interrupted") })
	defer stop()
	result, err := demo.Run(ctx, o, func(e demo.Event) { show.update(e.Done, e.Total, e.Detail) })
	show.end()
	if err != nil {
		return err
	}
	if asJSON {
		return a.document(result)
	}
	return a.printDemo(result)
}

// printDemo prints the comparison for people, and what its numbers mean.
func (a *app) printDemo(d *demo.Table) error {
	t := newTable("method", ">new facts before", ">after", ">old facts before", ">after", ">trained", ">device", ">host", ">seconds")
	for _, r := range d.Rows {
		t.add(r.Method, percent(r.EMBefore), percent(r.EMAfter), percent(d.OldBefore), percent(r.OldAfter), fmt.Sprint(r.Trained), meft.Size(r.DeviceBytes).String(), meft.Size(r.HostBytes).String(), fmt.Sprintf("%.1f", r.Seconds))
	}
	err := t.write(a.out, "")
	a.sayf("new facts: questions about %d facts taught here that are answered exactly, in a wording no training row has;\nguessing the commonest answers gives %s. old facts: the same for what the base model (%d parameters) knew before.\nAll methods take the same device memory, the base model included; MEFT's adapter lies in host memory.", d.Facts, percent(d.Chance), d.Base)
	return err
}

// percent writes a share.
func percent(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) }
