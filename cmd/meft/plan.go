package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"meft"
	"meft/cpu"
	"meft/model"
	"meft/task"
	"meft/tensor"
)

func (a *app) planCommand() *cobra.Command {
	var s settings
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "plan [config.yaml] [--flag value]... [key=value]...",
		Short: "say what a training run would take, without doing it",
		Long: fmt.Sprintf(`Says what memory meft train would take with the same arguments, to the byte, by
pool and by name, and how long a step would be. With --device-memory or
--host-memory the exit code is 1 when such a budget would be broken. Instead of a
model folder --shape may name a built-in shape, for which no data is needed:
%s.`, strings.Join(slices.Sorted(maps.Keys(model.Shapes())), ", ")),
		Example: `  meft plan run.yaml
  meft plan --shape llama-2-7b --method meft --device-memory 24GB --host-memory 128GB`,
		Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := s.config(a, args)
			if err != nil {
				return err
			}
			return a.plan(c, asJSON)
		},
	}
	s.addFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) plan(c meft.Config, asJSON bool) error {
	p, err := meft.MakePlan(c)
	if err != nil {
		return err
	}
	if asJSON {
		err = a.document(planDocument(c, p))
	} else {
		err = a.printPlan(c, p)
	}
	if err == nil && len(p.Problems) > 0 {
		err = errors.New(strings.Join(p.Problems, "\n"))
	}
	return err
}

// planned is what meft plan prints with --json. Sizes are bytes.
type planned struct {
	Model        string         `json:"model"`
	Method       string         `json:"method"`
	Parameters   int64          `json:"parameters"`
	Trained      int64          `json:"trained_parameters"`
	Memory       []plannedGroup `json:"memory"`
	Device       int64          `json:"device_bytes"`
	Pinned       int64          `json:"pinned_bytes"`
	Host         int64          `json:"host_bytes"` // without pinned
	Disk         int64          `json:"disk_bytes,omitempty"`
	Program      int64          `json:"program_bytes"`
	DeviceBudget int64          `json:"device_budget,omitempty"`
	HostBudget   int64          `json:"host_budget,omitempty"`
	Tokens       int            `json:"tokens_per_step"`
	Steps        int            `json:"steps"`
	StepSeconds  float64        `json:"step_seconds,omitempty"`
	Data         *task.Report   `json:"data,omitempty"`
	Validation   *task.Report   `json:"validation,omitempty"`
	KeepsZeros   string         `json:"keeps_zeros,omitempty"`
	Problems     []string       `json:"problems"`
}

type plannedGroup struct {
	Pool  string `json:"pool"`
	Name  string `json:"name"`
	Count int    `json:"count"`
	Bytes int64  `json:"bytes"`
}

func planDocument(c meft.Config, p *meft.Plan) planned {
	d := planned{Model: p.Model, Method: p.Method, Parameters: p.Parameters, Trained: p.Trained, Memory: []plannedGroup{},
		Device: p.Device, Pinned: p.Pinned, Host: p.Host, Disk: p.Disk, Program: p.Fixed,
		DeviceBudget: int64(c.DeviceMemory), HostBudget: int64(c.HostMemory),
		Tokens: p.Tokens, Steps: p.Steps, StepSeconds: p.StepSeconds, Data: p.Data, Validation: p.Validation, KeepsZeros: p.KeepsZeros, Problems: append([]string{}, p.Problems...)}
	for _, g := range p.Groups() {
		d.Memory = append(d.Memory, plannedGroup{g.Pool.String(), g.Name, g.Count, g.Bytes})
	}
	return d
}

// printPlan prints the account for people.
func (a *app) printPlan(c meft.Config, p *meft.Plan) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, method %s: %s parameters, %s of them trained\n\n", p.Model, p.Method, count(p.Parameters), count(p.Trained))
	t := newTable("pool", "what", ">tensors", ">bytes", ">size")
	for _, g := range p.Groups() {
		t.add(g.Pool.String(), g.Name, count(int64(g.Count)), count(g.Bytes), meft.Size(g.Bytes).String())
	}
	t.add(tensor.OnHost.String(), "the program itself", "", count(p.Fixed), meft.Size(p.Fixed).String())
	// A strings.Builder takes everything.
	_ = t.write(&b, "")
	b.WriteString("\n")
	totals := newTable("", ">bytes", ">size", ">budget")
	totals.add("device", count(p.Device), meft.Size(p.Device).String(), budget(int64(c.DeviceMemory)))
	host := p.Pinned + p.Host + p.Fixed
	totals.add("host, pinned and the program included", count(host), meft.Size(host).String(), budget(int64(c.HostMemory)))
	if p.Disk > 0 {
		totals.add("disk, for tables of the host", count(p.Disk), meft.Size(p.Disk).String(), "")
	}
	_ = totals.write(&b, "")
	b.WriteString("\n")
	for _, part := range []struct {
		name   string
		report *task.Report
	}{{"train", p.Data}, {"validation", p.Validation}} {
		if part.report != nil {
			for _, line := range part.report.Lines() {
				fmt.Fprintf(&b, "%s data: %s\n", part.name, line)
			}
		}
	}
	if c.ComputeDType == "bf16" {
		fmt.Fprintf(&b, "bf16 %s\n", bf16Products(cpu.BF16Products()))
	}
	if p.KeepsZeros != "" {
		fmt.Fprintf(&b, "the model is pruned (%s): zeros of its linear layers stay 0\n", p.KeepsZeros)
	}
	fmt.Fprintf(&b, "%s\n", timeLine(p))
	_, err := fmt.Fprint(a.out, b.String())
	return err
}

// timeLine says how long a run would take, as far as that is known.
func timeLine(p *meft.Plan) string {
	line := fmt.Sprintf("a step is %s tokens", count(int64(p.Tokens)))
	if p.StepSeconds > 0 {
		line += " and would take about " + span(time.Duration(p.StepSeconds*float64(time.Second)))
	}
	if p.Steps > 0 {
		line += fmt.Sprintf("; %s steps", count(int64(p.Steps)))
		if p.StepSeconds > 0 {
			line += " are " + span(time.Duration(float64(p.Steps)*p.StepSeconds*float64(time.Second)))
		}
	}
	return line
}
