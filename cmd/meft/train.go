package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"meft"
	"meft/train"
)

func (a *app) trainCommand() *cobra.Command {
	var s settings
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "train [config.yaml] [--flag value]... [key=value]...",
		Short: "fine-tune a model",
		Long: `Fine-tunes a model. Every option below is a flag, a key of the configuration file
(with hyphens or underscores) and a key=value argument. Defaults give way to the
file, the file to flags and arguments.

Ctrl-C writes a checkpoint and ends the run, which --resume continues; a second
Ctrl-C ends the program at once. With --json the run's events go to standard
output, one JSON object a line.`,
		Example: `  meft train --model llama --data facts.jsonl --output-dir runs/facts
  meft train run.yaml learning_rate=1e-4 --resume`,
		Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := s.config(a, args)
			if err != nil {
				return err
			}
			return a.train(c, asJSON)
		},
	}
	s.addFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the run's events instead of progress")
	return cmd
}

func (a *app) train(c meft.Config, asJSON bool) error {
	var show progress = silent{}
	if !asJSON {
		// Somebody who asks for a line every so many steps gets these.
		every := time.Second
		if c.LoggingSteps > 1 {
			every = 0
		}
		show = a.newProgress("step", every)
	}
	ctx, stop := a.interruptible(func() {
		const text = "interrupted: writing a checkpoint; Ctrl-C again ends the program at once"
		if asJSON {
			a.sayf(text)
		} else {
			show.say(text)
		}
	})
	defer stop()
	observe := (&trainView{show, c.LoggingSteps}).observe
	printer := eventPrinter{to: a.out, stop: stop}
	if asJSON {
		observe = printer.print
	}
	result, err := meft.Train(ctx, c, observe)
	show.end()
	if errors.Is(err, context.Canceled) {
		// The message before it says what happened and how to go on.
		err = errors.New(strings.TrimSuffix(err.Error(), ": "+context.Canceled.Error()))
	}
	if err != nil {
		return errors.Join(printer.err, err)
	}
	a.tellResult(c, result)
	return printer.err
}

// eventPrinter writes events as lines of JSON. When that fails it stops the run
// as Ctrl-C would: nobody is reading.
type eventPrinter struct {
	to   io.Writer
	stop func()
	err  error
}

func (p *eventPrinter) print(e train.Event) {
	if p.err != nil {
		return
	}
	line, err := train.EncodeEvent(e)
	if err == nil {
		_, err = p.to.Write(append(line, '\n'))
	}
	if p.err = err; err != nil {
		p.stop()
	}
}

// tellResult says where the adapter is and what can be done with it.
func (a *app) tellResult(c meft.Config, r *meft.Result) {
	what, use := "adapter", "--model "+c.Model+" --adapter "+r.Output
	if c.Method == "full" {
		what, use = "model", "--model "+r.Output
	}
	if r.PeakRSS > 0 {
		a.sayf("most memory: device %s, host %s, whole program %s", meft.Size(r.Device), meft.Size(r.Host), meft.Size(r.PeakRSS))
	}
	a.sayf("%s: %s", what, r.Output)
	if c.Model != "" { // a built-in shape has no tokenizer to prompt with
		a.sayf("use it: meft generate %s --prompt TEXT", use)
	}
}

// trainView shows the events of a run to people.
type trainView struct {
	show  progress
	every int // steps between lines
}

func (v *trainView) observe(e train.Event) {
	switch e := e.(type) {
	case train.Memory:
		v.show.say(memoryLine(e))
	case train.Dataset:
		for _, line := range datasetLines(e) {
			v.show.say(line)
		}
	case train.Step:
		if e.Step == 1 || e.Step == e.Steps || v.every < 2 || e.Step%v.every == 0 {
			v.show.update(e.Step, e.Steps, stepDetail(e))
		}
	case train.Eval:
		v.show.say(evalLine(e))
	case train.Saved:
		v.show.say(fmt.Sprintf("checkpoint %s (%s)", e.Dir, meft.Size(e.Bytes)))
	case train.Note:
		v.show.say(e.Text)
	case train.Done:
		v.show.end()
		v.show.say(doneLine(e))
	}
}

func memoryLine(e train.Memory) string {
	line := fmt.Sprintf("memory: device %s, host %s", meft.Size(e.Device), meft.Size(e.Pinned+e.Host))
	if e.Disk > 0 {
		line += ", disk " + meft.Size(e.Disk).String()
	}
	if e.DeviceBudget > 0 || e.HostBudget > 0 {
		line += fmt.Sprintf("; budgets: device %s, host %s", budget(e.DeviceBudget), budget(e.HostBudget))
	}
	return line
}

// budget writes a number of bytes of which 0 stands for no limit.
func budget(bytes int64) string {
	if bytes == 0 {
		return "none"
	}
	return meft.Size(bytes).String()
}

// datasetLines tell what the data came to, and all that was cut or dropped.
func datasetLines(e train.Dataset) []string {
	if e.Report == nil {
		return []string{fmt.Sprintf("%s data: %d examples, %d tokens, %d of them supervised, longest %d", e.Split, e.Examples, e.Tokens, e.Supervised, e.Longest)}
	}
	lines := e.Report.Lines()
	for i := range lines {
		lines[i] = e.Split + " data: " + lines[i]
	}
	return lines
}

func stepDetail(e train.Step) string {
	return fmt.Sprintf("loss %.4f  lr %.2e  %.0f tok/s  device %s  host %s",
		e.Loss, e.LearningRate, e.TokensPerSecond, meft.Size(e.DeviceBytes), meft.Size(e.HostBytes))
}

func evalLine(e train.Eval) string {
	parts := []string{fmt.Sprintf("evaluation at step %d:", e.Step)}
	for _, m := range []struct {
		name  string
		value *float64
		scale float64
		unit  string
	}{{"loss", e.Loss, 1, ""}, {"perplexity", e.Perplexity, 1, ""}, {"exact match", e.ExactMatch, 100, " %"},
		{"contains", e.Contains, 100, " %"}, {"f1", e.F1, 100, " %"}} {
		if m.value != nil {
			parts = append(parts, fmt.Sprintf("%s %.4g%s", m.name, *m.value*m.scale, m.unit))
		}
	}
	line := strings.Join(parts, "  ")
	if e.Best {
		line += "  (best)"
	}
	return line
}

func doneLine(e train.Done) string {
	line := fmt.Sprintf("%s after %d steps, %s tokens, %s: mean loss %.4f", e.Reason, e.Step, count(e.Tokens), span(time.Duration(e.Seconds*float64(time.Second))), e.Loss)
	if e.Restored && e.Best != nil {
		line += "; the weights are those of the best evaluation"
	}
	return line
}
