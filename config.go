package meft

import (
	"fmt"
	"math"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"meft/method"
)

// Config describes a run completely. The config.yaml of a run directory is this
// struct. Field tags are the one place where an option has its name (the one
// Hugging Face uses where there is one), its other names, and its help.
type Config struct {
	Model         string `name:"model" alias:"model_name_or_path,base_model" help:"folder with config.json, *.safetensors and tokenizer files"`
	Shape         string `name:"shape" help:"built-in shape instead of a model folder, for plans and measurements: see meft plan --help"`
	RandomWeights bool   `name:"random_weights" help:"with --shape: fill the weights at random"`
	Init          string `name:"init" help:"pretrained, or random: start from random weights of the model's config.json" choices:"pretrained,random"`
	BaseDType     string `name:"base_dtype" alias:"dtype,torch_dtype" help:"type frozen weights are kept in: auto (as stored), f32, bf16, or quantised: nf4 (QLoRA), fp4, int8, which leave embedding and head in bf16" choices:"auto,f32,bf16,nf4,fp4,int8"`
	DoubleQuant   bool   `name:"bnb_4bit_use_double_quant" alias:"double_quant" help:"with base_dtype nf4 or fp4: quantise the scales of the blocks too, which saves 0.37 bits a weight"`
	ComputeDType  string `name:"compute_dtype" help:"numbers that linear layers multiply: f32, or bf16: both sides rounded, sums in f32. Faster where the processor has AVX512_BF16 (meft version says so), no faster elsewhere" choices:"f32,bf16"`

	Data           string  `name:"data" alias:"train_file,dataset,data_path" help:"training rows: .jsonl, .json, .csv, .tsv, .parquet, .txt (also .gz)"`
	ValidationData string  `name:"validation_data" alias:"validation_file,eval_data,valid_data" help:"validation rows"`
	ValSize        float64 `name:"val_size" alias:"val_set_size" help:"without validation_data: share (below 1) or number of training rows held out"`
	Task           string  `name:"task" help:"benchmark whose rows data has, and that asks and learns as it does: nq, squad, toolbench, gsm8k; empty for rows of any kind"`
	TaskVariant    string  `name:"task_variant" help:"way to ask or learn the task: short or long of nq; closed-book or open-book of squad; marked, plain or metamath of gsm8k; the first if empty"`
	DataFormat     string  `name:"data_format" help:"form of the rows: auto (by the columns), messages, conversations, alpaca, prompt, question, context, squad or text"`
	Columns        string  `name:"columns" help:"fields under other names: prompt=question,completion=answer"`
	PromptTemplate string  `name:"prompt_template" help:"how prompts are made of columns: alpaca, plain, chat, or a text with {instruction}-like placeholders"`
	ChatTemplate   string  `name:"chat_template" help:"file with a Jinja chat template instead of the tokenizer's"`
	ChatDate       string  `name:"chat_date" help:"date that chat templates print, as 2026-01-31; the day the run was begun if not set"`
	Limit          int     `name:"limit" alias:"max_samples,max_train_samples" help:"use only the first rows; 0 for all"`

	TrainOnInputs      bool    `name:"train_on_inputs" help:"take the loss on prompts too"`
	MaxLength          int     `name:"max_length" alias:"cutoff_len,sequence_len,max_seq_length,max_seq_len" help:"tokens of a row; longer ones are cut and counted; 0 for the longest row (up to the model's context)"`
	Packing            bool    `name:"packing" alias:"sample_packing,neat_packing" help:"fill sequences of max_length with several rows that do not see each other"`
	MaxLostSupervision float64 `name:"max_lost_supervision" help:"refuse to train when a larger share of trained tokens would be cut away"`

	Method    string `name:"method" help:"fine-tuning method; meft methods lists all"`
	OutputDir string `name:"output_dir" alias:"out_dir,output" help:"run directory: config.yaml, events.jsonl, checkpoints, adapter"`
	Overwrite bool   `name:"overwrite_output_dir" alias:"overwrite" help:"delete what another run left in output_dir"`
	Resume    string `name:"resume" alias:"resume_from_checkpoint" help:"true: go on from the newest good checkpoint in output_dir" bare:"true"`

	LearningRate float64 `name:"learning_rate" alias:"lr" help:"peak learning rate; 0 for the method's own default"`
	Batch        int     `name:"per_device_train_batch_size" alias:"batch_size,micro_batch_size" help:"rows of a micro-batch (bins with packing)"`
	Accumulation int     `name:"gradient_accumulation_steps" alias:"grad_accumulation_steps,accumulation" help:"micro-batches of a step"`
	Epochs       float64 `name:"num_train_epochs" alias:"epochs,num_epochs" help:"passes over the data"`
	MaxSteps     int     `name:"max_steps" alias:"steps,iters" help:"optimizer steps; above 0 it overrides the epochs"`
	Scheduler    string  `name:"lr_scheduler_type" alias:"lr_scheduler,lr_schedule" help:"linear, cosine, constant or constant_with_warmup" choices:"linear,cosine,constant,constant_with_warmup"`
	WarmupSteps  float64 `name:"warmup_steps" help:"steps of warm-up; below 1 a share of all steps"`
	WarmupRatio  float64 `name:"warmup_ratio" help:"share of all steps used for warm-up, when warmup_steps is 0"`
	WeightDecay  float64 `name:"weight_decay" help:"AdamW's decoupled weight decay"`
	Beta1        float64 `name:"adam_beta1" help:"AdamW's decay of the first moment"`
	Beta2        float64 `name:"adam_beta2" help:"AdamW's decay of the second moment"`
	Epsilon      float64 `name:"adam_epsilon" help:"AdamW's epsilon"`
	MaxGradNorm  float64 `name:"max_grad_norm" alias:"gradient_clipping" help:"clip the global norm of the gradient; 0 for no clipping"`
	Rebuild      bool    `name:"gradient_checkpointing" alias:"grad_checkpoint,rebuild" help:"keep only the blocks' inputs and recompute activations: less memory, about a third more time"`
	Seed         uint64  `name:"seed" help:"of everything random"`

	EvalStrategy string `name:"eval_strategy" alias:"evaluation_strategy" help:"when to evaluate on the validation rows: no, steps, epoch" choices:"no,steps,epoch"`
	EvalSteps    int    `name:"eval_steps" alias:"steps_per_eval" help:"steps between evaluations"`
	Generate     bool   `name:"predict_with_generate" help:"also answer the validation prompts and report exact match, containment and F1"`
	EvalLimit    int    `name:"eval_limit" alias:"max_eval_samples" help:"answer only the first validation rows; 0 for all"`
	EvalBatch    int    `name:"per_device_eval_batch_size" alias:"eval_batch_size" help:"validation rows measured, and prompts answered, at once; 0 for as many as memory for training, and 1 GiB of keys and values, have room for"`
	MaxNewTokens int    `name:"max_new_tokens" alias:"eval_max_new_tokens" help:"of an answer"`
	KeepBest     bool   `name:"load_best_model_at_end" help:"end with the best checkpoint's weights"`
	BestMetric   string `name:"metric_for_best_model" help:"loss, exact_match, contains or f1" choices:"loss,exact_match,contains,f1"`
	Patience     int    `name:"early_stopping_patience" alias:"early_stopping_steps" help:"stop after so many evaluations without a better one; 0 for never"`
	SaveStrategy string `name:"save_strategy" help:"when to write checkpoints: no, steps, epoch" choices:"no,steps,epoch"`
	SaveSteps    int    `name:"save_steps" alias:"save_every" help:"steps between checkpoints"`
	SaveLimit    int    `name:"save_total_limit" help:"most checkpoints kept, the best among them; 0 for all"`
	LoggingSteps int    `name:"logging_steps" alias:"steps_per_report,log_interval" help:"steps between entries of log_history and between progress lines"`

	Device           string `name:"device" help:"cpu" choices:"cpu"`
	Threads          int    `name:"threads" help:"CPU threads; 0 for all. Results do not depend on it"`
	DeviceMemory     Size   `name:"device_memory" alias:"max_gpu_mem,gpu_memory" help:"budget such as 8GB: refuse what needs more; 0 for none"`
	HostMemory       Size   `name:"host_memory" alias:"max_ram,ram" help:"budget for pinned and host memory; 0 for none"`
	OffloadOptimizer bool   `name:"offload_optimizer" alias:"cpu_offload,optimizer_offload,offload_optim" help:"keep AdamW's moments, and the values it steps on, in host memory (ZeRO-Offload): a step copies gradients there and values back; same bits. For tensors on the device: method meft has most of its own on the host anyway"`
	OffloadWeights   bool   `name:"offload_weights" alias:"offload_param,layer_offloading" help:"keep the weights of blocks in pinned host memory: two blocks are on the device at a time; same bits. With method full gradients and moments of blocks are there too"`
	HostStore        string `name:"host_store" help:"where method meft keeps keys, values and moments: memory, or disk: a file mapped into memory, deleted at the end, so that they may be larger than the RAM" choices:"memory,disk"`
	HostStoreDir     string `name:"host_store_dir" help:"folder of that file; output_dir if not set"`

	// Settings are the options of the methods that were set, by name.
	Settings map[string]string `name:"-"`
}

// Defaults is the one place where defaults are written; those of a method's own
// settings are in method.All.
func Defaults() Config {
	return Config{
		Init: "pretrained", BaseDType: "auto", DoubleQuant: true, ComputeDType: "f32", DataFormat: "auto", Method: "meft", OutputDir: "runs/meft",
		MaxLostSupervision: 0.01, MaxLength: 1024, Batch: 8, Accumulation: 1, Epochs: 3,
		Scheduler: "linear", Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, MaxGradNorm: 1, Seed: 42,
		EvalStrategy: "no", EvalSteps: 100, MaxNewTokens: 64, BestMetric: "loss", SaveStrategy: "steps", SaveSteps: 500, LoggingSteps: 1,
		Device: "cpu", HostStore: "memory",
	}
}

// Option is one setting as a user sees it.
type Option struct {
	Name    string   // canonical, with underscores
	Aliases []string // other names it goes by
	Help    string
	Default string
	Method  string   // the method it belongs to, "" for all
	Choices []string // the values there are, nil for any
	Bool    bool     // may be given without a value
	Bare    string   // the value it has when given without one, "" for none
	For     string   // the option that it sets in its own words, "" for itself
	field   int
	of      []string // settings of several methods that it stands for, each in its own
}

// Options are all settings there are, in order.
func Options() []Option {
	var out []Option
	v := reflect.ValueOf(Defaults())
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Tag.Get("name") == "-" {
			continue
		}
		o := Option{Name: f.Tag.Get("name"), Aliases: list(f.Tag.Get("alias")), Help: f.Tag.Get("help"), Choices: list(f.Tag.Get("choices")),
			Default: fmt.Sprint(v.Field(i)), Bool: f.Type.Kind() == reflect.Bool, Bare: f.Tag.Get("bare"), field: i}
		if o.Bool {
			o.Bare = "true"
		}
		out = append(out, o)
	}
	return append(append(out, foreignOptions()...), methodOptions()...)
}

// methodOptions are the exported fields of the methods under their JSON names.
func methodOptions() []Option {
	var out []Option
	all := method.All()
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		v := reflect.Indirect(reflect.ValueOf(all[name]))
		for i := range v.NumField() {
			f := v.Type().Field(i)
			tag := strings.Split(f.Tag.Get("json"), ",")[0]
			if !f.IsExported() || tag == "" || tag == "-" {
				continue
			}
			o := Option{Name: tag, Aliases: list(f.Tag.Get("alias")), Help: f.Tag.Get("help"), Choices: list(f.Tag.Get("choices")), Default: fmt.Sprint(v.Field(i)), Method: name, Bool: f.Type.Kind() == reflect.Bool, field: i}
			if o.Bool {
				o.Bare = "true"
			}
			out = append(out, o)
		}
	}
	return append(out, sharedOptions()...)
}

// sharedOptions stand for settings that several methods have under names of
// their own. Method is that of the default.
func sharedOptions() []Option {
	tokens := fmt.Sprint(method.All()["prompt"].(*method.Prompt).Tokens)
	return []Option{{Name: "adapter_activation", Help: "activation of the neurons of method meft or parallel: relu, silu (parallel only) or swiglu",
		Choices: []string{"relu", "silu", method.SwiGLU}, Default: "relu", Method: "meft", of: []string{"meft_activation", "parallel_activation"}},
		{Name: "num_virtual_tokens", Help: "learned positions ahead of every sequence, of method prompt or prefix", Default: tokens, Method: "prompt", of: []string{"prompt_tokens", "prefix_tokens"}}}
}

func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// Set gives one option a value. The name may be canonical or an alias, with
// hyphens or underscores. An unknown name is an error that names the nearest
// known one.
func (c *Config) Set(name, value string) error {
	o, err := findOption(name)
	if err != nil {
		return err
	}
	return c.assign(o, value)
}

// assign is Set for an option that was found.
func (c *Config) assign(o Option, value string) error {
	if !utf8.ValidString(value) {
		return fmt.Errorf("%s is %q, wanted text in UTF-8", o.Name, value)
	}
	if len(o.Choices) > 0 && !contains(o.Choices, value) {
		return fmt.Errorf("%s is %q, wanted one of %s", o.Name, value, strings.Join(o.Choices, ", "))
	}
	if o.For != "" {
		return c.setForeign(o.Name, value)
	}
	if o.Method != "" {
		if c.Settings == nil {
			c.Settings = map[string]string{}
		}
		c.Settings[o.Name] = value
		return nil
	}
	if err := parseInto(reflect.ValueOf(c).Elem().Field(o.field), value); err != nil {
		return fmt.Errorf("%s is %q, wanted %w", o.Name, value, err)
	}
	return nil
}

// UnknownOption is the error for a name no option has.
type UnknownOption struct{ Name, Nearest string }

func (e *UnknownOption) Error() string {
	if e.Nearest == "" {
		return fmt.Sprintf("unknown option %q", e.Name)
	}
	return fmt.Sprintf("unknown option %q; did you mean %q?", e.Name, e.Nearest)
}

func findOption(name string) (Option, error) { return findAmong(Options(), name) }

func findAmong(all []Option, name string) (Option, error) {
	want := Canonical(name)
	var known []string
	for _, o := range all {
		for _, n := range append([]string{o.Name}, o.Aliases...) {
			if n == want {
				return o, nil
			}
			known = append(known, n)
		}
	}
	return Option{}, &UnknownOption{Name: name, Nearest: Nearest(want, known)}
}

// Canonical is a name with underscores and without leading hyphens.
func Canonical(name string) string {
	return strings.ReplaceAll(strings.TrimLeft(name, "-"), "-", "_")
}

// Nearest is the known name with the fewest single-letter edits from name, ""
// if all are far.
func Nearest(name string, known []string) string {
	best, at := max(2, len(name)/2)+1, ""
	for _, k := range known {
		if far := max(len(k)-len(name), len(name)-len(k)); far >= best {
			continue // so many letters more or fewer are as many edits
		}
		if d := editDistance(name, k); d < best {
			best, at = d, k
		}
	}
	return at
}

func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

// parseInto sets a field from text; its error says what was wanted.
func parseInto(f reflect.Value, text string) error {
	if f.Type() == reflect.TypeFor[Size]() {
		s, err := ParseSize(text)
		if err == nil {
			f.SetInt(int64(s))
		}
		return err
	}
	switch f.Kind() {
	case reflect.String:
		f.SetString(text)
	case reflect.Bool:
		v, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("true or false")
		}
		f.SetBool(v)
	case reflect.Int:
		v, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("a whole number")
		}
		f.SetInt(int64(v))
	case reflect.Uint64:
		v, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return fmt.Errorf("a whole number from 0 up")
		}
		f.SetUint(v)
	case reflect.Float64:
		v, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
		if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("a number")
		}
		if strings.HasSuffix(text, "%") {
			v /= 100
		}
		f.SetFloat(v)
	default:
		panic("meft: option of kind " + f.Kind().String())
	}
	return nil
}
