package main

import (
	"fmt"
	"strings"

	"meft"
)

// The results of meft bench, which print themselves.
type (
	kernelBench   struct{ *meft.KernelBench }
	trainBench    struct{ *meft.TrainBench }
	generateBench struct{ *meft.GenerateBench }
)

// figure writes a number with three digits, or more where it has more before
// the point.
func figure(v float64) string {
	switch {
	case v == 0:
		return ""
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func millis(seconds float64) string { return fmt.Sprintf("%.3f", 1000*seconds) }

func (k kernelBench) table(b *bench) error {
	rest := fmt.Sprintf("; %d rows of %d tokens\npeak %s GFLOP/s, reading %s GB/s", k.Batch, k.Seq, figure(k.PeakGFlops), figure(k.ReadGBs))
	if err := b.heading(k.BenchCase, rest); err != nil {
		return err
	}
	t := newTable("kernel", "", "sizes", ">ms", ">GFLOP/s", ">GB/s", ">share", "of")
	for _, r := range k.Kernels {
		op, isProduct := strings.CutPrefix(r.Op, "matmul ")
		if !isProduct {
			op = ""
		}
		of := "peak"
		if r.Bound == "read" {
			of = "reading"
		}
		t.add(r.Name, op, r.Sizes, millis(r.Seconds), figure(r.GFlops), figure(r.GBs), percent(r.Share), of)
	}
	return b.finish(t)
}

func (r trainBench) table(b *bench) error {
	c := r.BenchCase
	rest := fmt.Sprintf("; %s, %d rows of %d tokens, %s trained parameters", r.Method, r.Batch, r.Seq, count(r.Trained))
	if err := b.heading(c, rest); err != nil {
		return err
	}
	lines := fmt.Sprintf("%s tokens/s (%s to %s in %d steps), a step %s ms\n", figure(r.TokS), figure(r.MinTokS), figure(r.MaxTokS), r.Steps, figure(1000*r.StepSeconds))
	lines += fmt.Sprintf("%s MFLOP a token: %s GFLOP/s, %s of the peak of %s\n", figure(r.FlopsPerToken/1e6), figure(r.GFlops), percent(r.Utilisation), figure(r.PeakGFlops))
	lines += fmt.Sprintf("memory: device %s, pinned %s, host %s", meft.Size(r.DeviceBytes), meft.Size(r.PinnedBytes), meft.Size(r.HostBytes))
	if r.RSSMiB > 0 {
		lines += fmt.Sprintf("; whole program %d MiB", r.RSSMiB)
	}
	if r.BytesToDevice > 0 {
		lines += fmt.Sprintf("\na step moves %s to the device, %s to the host; a batch uses %s of a layer's neurons", meft.Size(r.BytesToDevice), meft.Size(r.BytesToHost), percent(r.UnionShare))
	}
	if _, err := fmt.Fprintln(b.app.out, lines); err != nil {
		return err
	}
	t := newTable("work", "where", ">calls", ">ms a step", ">share", ">GFLOP/s")
	for _, p := range r.Parts {
		t.add(p.Name, p.Where, fmt.Sprintf("%.4g", p.Calls), millis(p.Seconds), percent(p.Share), figure(p.GFlops))
	}
	return b.finish(t)
}

func (r generateBench) table(b *bench) error {
	adapter := ""
	if r.Method != "" {
		adapter = "; with an adapter of " + r.Method
	}
	rest := adapter + fmt.Sprintf("\nprompts of %d tokens, %d generated; weights %s, reading %s GB/s, memory: device %s", r.Prompt, r.New, meft.Size(r.WeightBytes), figure(r.ReadGBs), meft.Size(r.DeviceBytes))
	if r.RSSMiB > 0 {
		rest += fmt.Sprintf(", whole program %d MiB", r.RSSMiB)
	}
	if err := b.heading(r.BenchCase, rest); err != nil {
		return err
	}
	t := newTable(">sequences", ">prompt tokens/s", ">generated tokens/s", ">least", ">most", ">weights GB/s", ">of reading")
	for _, g := range r.Rows {
		t.add(fmt.Sprint(g.Sequences), figure(g.PromptTokS), figure(g.DecodeTokS), figure(g.MinTokS), figure(g.MaxTokS), figure(g.WeightGBs), percent(g.ReadShare))
	}
	return b.finish(t)
}

// finish writes a table and an empty line.
func (b *bench) finish(t *table) error {
	if err := t.write(b.app.out, ""); err != nil {
		return err
	}
	_, err := fmt.Fprintln(b.app.out)
	return err
}
