package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"meft"
)

// benchFlags are the flags of meft bench besides the options of a run.
type benchFlags struct {
	o      meft.BenchOptions
	asJSON bool
}

func (a *app) benchCommand() *cobra.Command {
	var s settings
	var f benchFlags
	d := meft.BenchDefaults()
	cmd := &cobra.Command{
		Use:   "bench [kernels] [train] [generate] [config.yaml] [--flag value]... [key=value]...",
		Short: "measure kernels, training and generation on this machine",
		Long: `Measures, with random weights and tokens and without writing anything:

  kernels   every kernel at the sizes of a training step, beside the arithmetic and
            reading speed of the machine, measured in turns with it
  train     tokens a second, floating point operations against the peak measured
            between the steps, the share of every kernel, memory
  generate  tokens a second of reading prompts and of generating, for several
            sequences at once, with the adapters of --method if it is given

All three if none is named. The options of a run are those of meft train, with a
built-in shape, 4 rows of 256 tokens and an f32 base (generate: f32 and bf16) where
nothing else is said. --shape, --method, --base-dtype and --threads take lists with
commas and may be repeated: every combination is measured.`,
		Example: `  meft bench
  meft bench train --shape llama-110m --method meft,full --threads 1,2
  meft bench generate --shape tinyllama-1.1b --base-dtype bf16 --sequences 1,8 --json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			b, err := a.benchRun(&s, &f, args)
			if err != nil {
				return err
			}
			return b.run()
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.IntVar(&f.o.Repeats, "repeats", d.Repeats, "`rounds` of every kernel and generation; measured steps of training, at least")
	flags.IntVar(&f.o.Warmup, "warmup", d.Warmup, "`steps` of training before the measured ones")
	flags.Float64Var(&f.o.Seconds, "seconds", d.Seconds, "`seconds` that measured training takes, at least")
	flags.IntVar(&f.o.Prompt, "prompt-tokens", d.Prompt, "`tokens` of a prompt")
	flags.IntVar(&f.o.New, "new-tokens", d.New, "`tokens` generated after a prompt of one token")
	flags.IntSliceVar(&f.o.Sequences, "sequences", d.Sequences, "`numbers` of sequences generated at once")
	flags.BoolVar(&f.asJSON, "json", false, "print JSON, one object a line")
	s.addFlags(cmd)
	return cmd
}

// benchKinds are what can be measured, in the order it is done.
var benchKinds = []string{"kernels", "train", "generate"}

// bench is a list of measurements.
type bench struct {
	*app
	benchFlags
	kinds                            []string
	config                           meft.Config
	shapes, methods, dtypes, threads []string // dtypes is empty where nothing was said
}

// benchRun makes sense of the arguments.
func (a *app) benchRun(s *settings, f *benchFlags, args []string) (*bench, error) {
	b := &bench{app: a, benchFlags: *f}
	for len(args) > 0 && slices.Contains(benchKinds, args[0]) {
		b.kinds, args = append(b.kinds, args[0]), args[1:]
	}
	if b.kinds == nil {
		b.kinds = benchKinds
	}
	lists := map[string]*[]string{"shape": &b.shapes, "method": &b.methods, "base_dtype": &b.dtypes, "threads": &b.threads}
	rest := args[:0:0]
	for _, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		if to := lists[optionNamed(key).Name]; ok && to != nil {
			*to = append(*to, strings.Split(value, ",")...)
		} else {
			rest = append(rest, arg)
		}
	}
	s.given = slices.DeleteFunc(s.given, func(g assignment) bool {
		to := lists[g.option.Name]
		if to != nil {
			*to = append(*to, strings.Split(g.value, ",")...)
		}
		return to != nil
	})
	base := meft.Defaults()
	base.Batch, base.MaxLength, base.LearningRate = 4, 256, 1e-4
	c, err := s.configOver(a, base, rest)
	if err != nil {
		return nil, err
	}
	b.config = c
	return b, b.fill()
}

// fill gives what was not said its value, and refuses values that cannot be.
func (b *bench) fill() error {
	if len(b.shapes) == 0 && b.config.Model == "" {
		b.shapes = []string{"llama-15m"}
		if b.config.Shape != "" {
			b.shapes[0] = b.config.Shape
		}
	}
	if len(b.shapes) == 0 {
		b.shapes = []string{""} // the model's
	}
	if len(b.dtypes) == 0 && b.config.BaseDType != "auto" {
		b.dtypes = []string{b.config.BaseDType}
	}
	if len(b.threads) == 0 {
		b.threads = []string{strconv.Itoa(b.config.Threads)}
	}
	var problems []string
	for _, list := range []struct {
		name   string
		values []string
	}{{"shape", b.shapes}, {"method", b.methods}, {"base_dtype", b.dtypes}, {"threads", b.threads}} {
		for _, v := range list.values {
			if err := b.config.Set(list.name, v); err != nil && (list.name != "shape" || v != "") {
				problems = append(problems, err.Error())
			}
		}
	}
	if len(problems) > 0 {
		return usagef("%s", strings.Join(problems, "\n"))
	}
	return nil
}

// run measures everything there is, one after another.
func (b *bench) run() error {
	ctx, stop := b.interruptible(func() { b.sayf("interrupted") })
	defer stop()
	for _, kind := range b.kinds {
		for _, c := range b.configs(kind) {
			if err := b.one(ctx, kind, c); err != nil {
				return err
			}
		}
	}
	return nil
}

// configs are the combinations of the lists that matter to a measurement.
func (b *bench) configs(kind string) []meft.Config {
	methods, dtypes := b.methods, b.dtypes
	switch {
	case len(methods) == 0 && kind == "generate":
		methods = []string{""} // the bare model
	case len(methods) == 0:
		methods = []string{b.config.Method}
	case kind == "kernels":
		methods = methods[:1]
	}
	if len(dtypes) == 0 {
		dtypes = []string{"f32"}
		if kind == "generate" {
			dtypes = []string{"f32", "bf16"}
		}
	}
	var out []meft.Config
	for _, shape := range b.shapes {
		for _, method := range methods {
			for _, dtype := range dtypes {
				for _, threads := range b.threads {
					c := b.config
					c.Shape, c.Method, c.BaseDType = shape, method, dtype
					c.Threads, _ = strconv.Atoi(threads) // fill has checked it
					out = append(out, ownSettings(c))
				}
			}
		}
	}
	return out
}

// ownSettings leaves a configuration the settings of its own method: those of
// others are for the other methods of the list.
func ownSettings(c meft.Config) meft.Config {
	own := map[string]string{}
	for _, o := range meft.Options() {
		if v, set := c.Settings[o.Name]; set && o.Method == c.Method {
			own[o.Name] = v
		}
	}
	c.Settings = own
	return c
}

// one makes one measurement and prints it.
func (b *bench) one(ctx context.Context, kind string, c meft.Config) error {
	var result interface{ table(*bench) error }
	switch kind {
	case "kernels":
		r, err := meft.BenchKernels(ctx, c, b.o)
		if err != nil {
			return err
		}
		result = kernelBench{r}
	case "train":
		r, err := meft.BenchTrain(ctx, c, b.o)
		if err != nil {
			return err
		}
		result = trainBench{r}
	default:
		r, err := meft.BenchGenerate(ctx, c, b.o)
		if err != nil {
			return err
		}
		result = generateBench{r}
	}
	if b.asJSON {
		return jsonLine(b.out, result)
	}
	return result.table(b)
}

// heading begins a table.
func (b *bench) heading(c meft.BenchCase, rest string) error {
	_, err := fmt.Fprintf(b.app.out, "%s: %s, %s base, %s%s\n", c.Type, c.Shape, c.BaseDType, c.Device, rest)
	return err
}
