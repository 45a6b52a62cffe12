package meft

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime/debug"
	"strings"

	"meft/internal/simd"
	"meft/method"
	"meft/model"
	"meft/param"
	"meft/task"
	"meft/tensor"
	"meft/token"
	"meft/train"
)

// UsageError is an error in what the user asked for, as against one in files or
// the machine.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

// job is a run that has been checked and whose data has been read, but for
// which nothing has been allocated.
type job struct {
	config  Config
	base    *base
	tok     *token.Tokenizer
	chat    *token.ChatTemplate
	method  method.Method
	data    *train.Data // nil without data (a plan of a shape)
	valid   *train.Data // nil without validation rows
	ask     []train.Question
	report  *task.Report // of data
	vreport *task.Report // of valid
	size    model.Size
	length  int // most tokens of a row
}

// newJob checks a configuration and reads the data it names.
func newJob(c Config) (*job, error) {
	if err := checkConfig(c); err != nil {
		return nil, &UsageError{err}
	}
	b, err := openBase(c)
	if err != nil {
		return nil, err
	}
	j := &job{config: c, base: b}
	if j.method, err = newMethod(c.Method, c.Settings); err != nil {
		return nil, &UsageError{err}
	}
	if err := b.suits(c.Method, j.method); err != nil {
		return nil, err
	}
	if err := j.method.Check(b.config); err != nil {
		return nil, err
	}
	if err := takeText(j.method, b); err != nil {
		return nil, err
	}
	if c.Init == "random" && j.method.Reach() != method.ToWeights {
		return nil, &UsageError{fmt.Errorf("init random starts from a model that knows nothing; method %s would keep it so: use --method full", c.Method)}
	}
	if b.dir == "" && c.Data != "" {
		return nil, &UsageError{fmt.Errorf("shape %s has no tokenizer to read data with; leave data out (its rows are then random tokens), or give --model FOLDER", c.Shape)}
	}
	if c.Data != "" {
		if j.tok, err = b.tokenizer(); err != nil {
			return nil, err
		}
		if j.chat, err = chatTemplate(c.ChatTemplate, j.tok); err != nil {
			return nil, err
		}
		if err := j.readData(); err != nil {
			return nil, err
		}
	}
	if b.dir == "" && b.random && c.Data == "" {
		j.data, j.report = randomRows(b.config, j.context(), c)
	}
	j.resize()
	return j, nil
}

// randomRows stand for data in measurements on a built-in shape: two steps'
// worth of full rows of random tokens, all of them trained.
func randomRows(m model.Config, context int, c Config) (*train.Data, *task.Report) {
	r := rand.New(rand.NewPCG(c.Seed, 0))
	length := c.MaxLength
	if length == 0 || length > context {
		length = context
	}
	d, report := &train.Data{}, &task.Report{}
	for range 2 * c.Batch * c.Accumulation {
		x := task.Encoded{IDs: make([]int32, length), Train: make([]bool, length), Supervised: length - 1, EOS: true}
		for i := range x.IDs {
			x.IDs[i] = int32(r.IntN(m.Vocab))
			x.Train[i] = i > 0
		}
		report.Add(task.Example{}, x)
		if err := d.Add(x, "", 0); err != nil {
			panic(fmt.Sprintf("meft: random rows: %v", err)) // they have tokens
		}
	}
	return d, report
}

// checkConfig reports every value that no run can have, in one error.
func checkConfig(c Config) error {
	var problems []string
	need := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}
	need(c.Batch > 0, "per_device_train_batch_size is %d, wanted 1 or more", c.Batch)
	need(c.Accumulation > 0, "gradient_accumulation_steps is %d, wanted 1 or more", c.Accumulation)
	need(c.Epochs > 0 || c.MaxSteps > 0, "num_train_epochs is %v and max_steps %d, wanted one above 0", c.Epochs, c.MaxSteps)
	need(c.MaxLength >= 0 && c.MaxLength != 1, "max_length is %d, wanted 0 or at least 2", c.MaxLength)
	need(c.LearningRate >= 0 && c.WeightDecay >= 0 && c.MaxGradNorm >= 0, "learning_rate %v, weight_decay %v, max_grad_norm %v: wanted none below 0", c.LearningRate, c.WeightDecay, c.MaxGradNorm)
	need(c.Beta1 >= 0 && c.Beta1 < 1 && c.Beta2 >= 0 && c.Beta2 < 1 && c.Epsilon > 0, "adam_beta1 %v, adam_beta2 %v, adam_epsilon %v: wanted betas in [0, 1) and an epsilon above 0", c.Beta1, c.Beta2, c.Epsilon)
	need(c.WarmupSteps >= 0 && c.WarmupRatio >= 0 && c.WarmupRatio <= 1, "warmup_steps %v, warmup_ratio %v: wanted steps from 0 up and a ratio from 0 to 1", c.WarmupSteps, c.WarmupRatio)
	need(c.MaxLostSupervision >= 0 && c.MaxLostSupervision <= 1, "max_lost_supervision is %v, wanted a share from 0 to 1", c.MaxLostSupervision)
	need(c.EvalSteps > 0 && c.SaveSteps > 0 && c.LoggingSteps > 0, "eval_steps %d, save_steps %d, logging_steps %d: wanted 1 or more", c.EvalSteps, c.SaveSteps, c.LoggingSteps)
	need(c.Threads >= 0, "threads is %d, wanted 0 (all) or more", c.Threads)
	need(c.EvalBatch >= 0, "per_device_eval_batch_size is %d, wanted 1 or more, or 0 for as many as there is room for", c.EvalBatch)
	need(c.HostStore == "memory" || c.Method == "meft", "host_store is %s: method %s keeps nothing on the host; leave it out", c.HostStore, c.Method)
	need(c.HostStore == "disk" || c.HostStoreDir == "", "host_store_dir is %s, host_store %s: wanted host_store disk with it", c.HostStoreDir, c.HostStore)
	need(c.MaxNewTokens > 0, "max_new_tokens is %d, wanted 1 or more", c.MaxNewTokens)
	need(c.EvalStrategy == "no" || c.ValidationData != "" || c.ValSize > 0, "eval_strategy %s needs validation rows: give validation_data or val_size", c.EvalStrategy)
	need(c.Patience == 0 && !c.KeepBest || c.EvalStrategy != "no", "early_stopping_patience and load_best_model_at_end need evaluations: set eval_strategy to steps or epoch")
	if o, err := c.readOptions(); err != nil {
		problems = append(problems, err.Error())
	} else if err := o.CheckTask(); err != nil {
		problems = append(problems, err.Error())
	}
	if len(problems) > 0 {
		return errors.New(strings.Join(problems, "\n"))
	}
	return nil
}

// rate is the peak learning rate: the method's own where none is set.
func (j *job) rate() float64 {
	if j.config.LearningRate > 0 {
		return j.config.LearningRate
	}
	return j.method.About().Rate
}

// storeDir is the folder for host tables, "" where they are in memory.
func (c Config) storeDir() string {
	if c.HostStore != "disk" {
		return ""
	}
	return cmp.Or(c.HostStoreDir, c.OutputDir)
}

// context is the most tokens that a sequence may have, behind what the method
// learns ahead of it.
func (j *job) context() int { return j.base.config.MaxPositions - method.Ahead(j.method).Len() }

// resize decides what the model is built for. Rows are as long as the data
// needs, not as long as they may be.
func (j *job) resize() {
	c := j.config
	ahead := method.Ahead(j.method)
	j.length = c.MaxLength
	if limit := j.context(); j.length == 0 || j.length > limit {
		j.length = limit
	}
	if j.data != nil && !c.Packing {
		j.length = min(j.length, j.data.Longest())
	}
	context, cache := j.length, 0
	rows := c.Batch * (j.length + ahead.Prompt)
	keys := c.Batch * (j.length + ahead.Prefix) // wanted with a prefix
	if j.valid != nil {
		long, n := j.valid.Longest(), max(1, c.EvalBatch)
		context = max(context, long)
		rows, keys = max(rows, n*(long+ahead.Prompt)), max(keys, n*(long+ahead.Prefix))
	}
	context += ahead.Len()
	if len(j.ask) > 0 {
		prompts := make([][]int32, len(j.ask))
		for i, q := range j.ask {
			prompts[i] = q.Prompt
		}
		s := generateSize(j.base.config, ahead, prompts, j.decoding())
		rows, context, cache = max(rows, s.Rows), max(context, s.Context), s.CacheRows
	}
	j.size = j.method.Reach().Size(model.Size{Rows: rows, Keys: max(rows, keys), Context: context, Ahead: ahead, CacheRows: cache,
		KeepZeros: j.base.pruned != "", Rebuild: c.Rebuild, Offload: c.OffloadWeights, Frozen: j.base.frozen, Micros: c.Accumulation})
}

// keepsZeros is the pattern of a pruned base whose weights are trained, without
// its zeros; "" where there is nothing to say of zeros.
func (j *job) keepsZeros() string {
	if j.method.Reach() != method.ToWeights {
		return ""
	}
	return j.base.pruned
}

func (j *job) decoding() model.Decoding {
	return model.Decoding{MaxNew: j.config.MaxNewTokens, Batch: j.config.EvalBatch, Stops: stops(j.tok, j.base.config)}
}

// stops are the ids that end an answer, by tokenizer and model.
func stops(tok *token.Tokenizer, c model.Config) []int32 {
	out := append([]int32(nil), c.EOS...)
	if tok != nil {
		for _, id := range tok.Stops() {
			if int(id) < c.Vocab {
				out = append(out, id)
			}
		}
	}
	return out
}

// pieces are what a run has besides model and parameters.
type pieces struct {
	batches, validation *train.Batches
	rate                func(step int) float32
	steps               int
}

// recipe is the job's memory. The optimizer, data and batches are made into p.
func (j *job) recipe(p *pieces) *recipe {
	return &recipe{base: j.base, method: j.method, size: j.size, seed: j.config.Seed, disk: j.config.storeDir(), first: j.place, more: func(a *tensor.Arena, parts *parts) error {
		return j.attach(a, parts, p)
	}}
}

// place moves the rows into the arena. That comes before everything else, and
// what reading them left in the heap is given back at once: so there is never
// more than one copy of them beside the model.
func (j *job) place(a *tensor.Arena) {
	if j.data != nil {
		j.data.Place(a.Sub("data.train"))
	}
	if j.valid != nil {
		j.valid.Place(a.Sub("data.validation"))
	}
	if !a.Planning() {
		debug.FreeOSMemory()
	}
}

// attach allocates the optimizer's and the batches' memory.
func (j *job) attach(a *tensor.Arena, parts *parts, p *pieces) error {
	c := j.config
	var err error
	if j.data != nil {
		o := train.BatchOptions{Size: c.Batch, Accumulation: c.Accumulation, MaxLength: j.length, Ahead: j.size.Ahead.Len(), Packing: c.Packing, Seed: c.Seed}
		if p.batches, err = train.NewBatches(a.Sub("data.train"), j.data, o); err != nil {
			return err
		}
		p.steps = p.batches.Steps(c.Epochs, c.MaxSteps)
	}
	if j.valid != nil {
		long := j.valid.Longest()
		o := train.BatchOptions{Size: c.EvalBatch, MaxLength: long, Ahead: j.size.Ahead.Len(), Ordered: true}
		if o.Size == 0 {
			o.Size = max(1, j.size.Sequences(long))
		}
		if p.validation, err = train.NewBatches(a.Sub("data.validation"), j.valid, o); err != nil {
			return err
		}
	}
	warmup := c.WarmupSteps
	if warmup == 0 {
		warmup = math.Ceil(c.WarmupRatio * float64(p.steps))
	} else if warmup < 1 {
		warmup = math.Ceil(warmup * float64(p.steps))
	}
	if p.rate, err = param.Schedule(c.Scheduler, j.rate(), int(warmup), max(p.steps, 1)); err != nil {
		return &UsageError{err}
	}
	adamw := param.AdamW{Beta1: float32(c.Beta1), Beta2: float32(c.Beta2), Eps: float32(c.Epsilon), Decay: float32(c.WeightDecay)}
	var pool *simd.Pool
	if dev, ok := a.Device().(interface{ Pool() *simd.Pool }); ok {
		pool = dev.Pool()
	}
	optimizer := param.NewOptimizer
	if c.OffloadOptimizer {
		optimizer = param.NewOffloaded
	}
	parts.optimizer = optimizer(a, pool, parts.params, adamw, p.rate)
	return a.Err()
}
