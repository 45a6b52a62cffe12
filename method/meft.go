package method

import (
	"errors"
	"fmt"
	"runtime"

	"meft/internal/simd"
	"meft/model"
	"meft/param"
	"meft/tensor"
)

// The gates w of MEFT: what multiplies the score of a neuron.
const (
	GateLogit   = "logit"   // the raw router logit of the neuron's expert, as the authors' scoring code
	GateNone    = "none"    // one: Algorithm 1 of the paper; the router does not learn
	GateSoftmax = "softmax" // the softmax over all experts
)

// Which neurons a token uses.
const (
	ShareToken = "token" // those it picked itself
	ShareUnion = "union" // all that were fetched for the batch: Algorithm 1 as printed
)

// MEFT is a parallel adapter of M neurons a block, far wider than device memory
// holds. Keys, values and optimizer state stay in host memory; each batch
// brings only the neurons its tokens picked. With h the normed input of the
// feed-forward layer, for each token:
//
//	g = G·h                                      router, [N]
//	a_i = w_e(i) · (k_i·h)                       neurons of the P experts of highest g
//	y += Σ relu(a_i) v_i over the K highest a_i  ties to the lower i
//
// or with swiglu, where a neuron has a gate g_i beside its key,
//
//	a_i = w_e(i) · (g_i·h)
//	y += Σ silu(a_i) (k_i·h) v_i
//
// The gates alone are scored: a_i is what the choice of relu is made by, a neuron
// of negative a_i adds next to nothing, and the size of what one of positive a_i
// adds, |silu(a_i) (k_i·h)|, would take twice the reading and products to know.
//
// Expert e owns neurons [e·⌈M/N⌉, (e+1)·⌈M/N⌉), the last fewer.
//
// With meft_idle replay, keys are scored as they are in host memory and may lag
// behind until they are brought in, or until an evaluation or a save brings them
// up to date; with meft_frozen_keys none can, and replay gives the bits of dense.
//
// Hao et al. 2024, MEFT: Memory-Efficient Fine-Tuning through Sparse Adapter,
// ACL 2024, section 3 and Algorithm 1; the gate is that of the released code.
type MEFT struct {
	Neurons    int        `json:"meft_neurons" help:"neurons M of a layer's adapter, in host memory" alias:"on_gpu_size"`   // M, of a block
	TopK       int        `json:"meft_top_k" help:"neurons K that a token keeps" alias:"gpu_topk"`                          // K, neurons kept by a token, or all of the probed experts where they have fewer
	Experts    int        `json:"meft_experts" help:"experts N the neurons are divided among; 0 for 4 times the root of M"` // N; 0 for ceil(4·sqrt(M)). No expert is empty: N is lowered where M/N does not come out
	Router     string     `json:"meft_router" help:"how a token comes to its neurons: key-experts, exact (all are scored), switch (one expert; softmax gate, balance loss, capacity), stable (one expert, learned, then by the token alone) or product-key" choices:"key-experts,exact,switch,stable,product-key"`
	Probe      int        `json:"meft_probe" help:"experts P whose neurons a token looks through" alias:"n_probe"`                                                                                                                                   // P, experts probed by a token, or all where there are fewer
	Gate       string     `json:"meft_gate" help:"what a neuron's score is multiplied by: logit (of the router; it learns), none, softmax, or auto: softmax for switch, sigmoid for stable, logit for the others" choices:"auto,logit,none,softmax"` // w: logit, none or softmax
	Share      string     `json:"meft_share" help:"token: a token uses the neurons it picked; union: all that the batch picked" choices:"token,union"`                                                                                               // token or union
	Layers     string     `json:"meft_layers" help:"blocks with an adapter: all, 8-15 or 0,3,5"`                                                                                                                                                     // all, 8-15 or 0,3,5
	Idle       param.Idle `json:"meft_idle" help:"what a step does to rows that no token picked: lazy (rest), dense (move on by momentum), replay (catch up at the next touch)" choices:"lazy,dense,replay"`                                         // what a step does to rows without gradient: lazy, dense or replay
	Buffer     int        `json:"meft_buffer" help:"rows of a layer on the device at once; 0 for as many as needed, up to 4096. Fewer cost time, not exactness"`                                                                                     // rows on the device at once; 0 for at most 4096. Fewer than needed costs time, not exactness
	Activation string     `json:"meft_activation" help:"of a neuron: relu, or swiglu (gated, as the columns of the base model's feed-forward layer)" choices:"relu,swiglu"`                                                                          // relu or swiglu
	FrozenKeys bool       `json:"meft_frozen_keys" help:"train only the values: keys and router stay as they began"`                                                                                                                                 // only values are trained; router and keys stand still

	Balance     float64 `json:"meft_balance_loss" help:"weight of the auxiliary loss that evens out the experts of router switch"` // α of balance.go
	StableShare float64 `json:"meft_stable_share" help:"share of the steps in which router stable learns routes"`
	StableLoss  float64 `json:"meft_stable_loss" help:"weight of the two auxiliary losses of router stable: even experts, and a token router that foretells them"`
	Capacity    float64 `json:"meft_capacity_factor" help:"tokens that an expert of router switch takes in training, in shares of an even spread; 0 for no limit"`

	Master  param.Master  `json:"meft_master" help:"keys and values on the host: f32, or split: what goes to the device is bfloat16, the other 16 bits of each number stay" choices:"f32,split"`
	Moments param.Moments `json:"meft_moments" alias:"host_state" help:"AdamW's moments of keys and values: f32, bf16 (rounded at random) or 8bit (with a scale for 256)" choices:"f32,bf16,8bit"`

	own      *simd.Pool // where the device has none
	branches []*neurons
}

// About names the rate of the paper, section 4.3.
func (*MEFT) About() About {
	return About{Summary: "a wide sparse adapter beside each feed-forward layer, in host memory; the neurons that fire visit the device",
		Source: "Hao et al. 2024, ACL 2024, https://arxiv.org/abs/2406.04984", Rate: 1e-4, PEFT: "MEFT", Size: "meft_neurons",
		Merges: "with meft_activation swiglu and meft_gate none; exactly where meft_top_k is meft_neurons, else with the gap measured"}
}

// Reach is ToInputs.
func (*MEFT) Reach() Reach { return ToInputs }

// Check compares the settings with the model.
func (f *MEFT) Check(c model.Config) error {
	_, layers := parseLayers("meft_layers", f.Layers, c.Layers)
	var top, experts error
	if f.TopK > f.Neurons {
		top = fmt.Errorf("meft_top_k is %d of %d neurons; lower it or raise meft_neurons", f.TopK, f.Neurons)
	}
	if f.Experts > f.Neurons {
		experts = fmt.Errorf("meft_experts is %d for %d neurons; lower it or raise meft_neurons", f.Experts, f.Neurons)
	}
	return errors.Join(
		atLeast("meft_neurons", f.Neurons, 1), atLeast("meft_top_k", f.TopK, 1), top,
		atLeast("meft_experts", f.Experts, 0), experts,
		atLeast("meft_probe", f.Probe, 1), atLeast("meft_buffer", f.Buffer, 0),
		oneOf("meft_gate", f.Gate, GateAuto, GateLogit, GateNone, GateSoftmax),
		oneOf("meft_share", f.Share, ShareToken, ShareUnion),
		oneOf("meft_idle", string(f.Idle), string(param.Lazy), string(param.Moving), string(param.Replay)),
		oneOf("meft_activation", f.Activation, "relu", SwiGLU),
		oneOf("meft_master", string(f.Master), string(param.WholeMaster), string(param.SplitMaster)),
		oneOf("meft_moments", string(f.Moments), string(param.WholeMoments), string(param.HalfMoments), string(param.ByteMoments)),
		layers, f.checkRoute(c),
	)
}

// sizes are the settings worked out for a model.
type sizes struct {
	n, d        int // Size.Rows, width
	m           int // neurons
	each        int // neurons of an expert
	experts     int // N
	probe       int // P, at most N
	candidates  int // neurons of the probed experts, at most
	top         int // K, at most candidates
	most        int // neurons a batch can pick
	master      param.Master
	grads       int // neurons that can get a gradient in a step
	buffer      int // rows on the device at once
	gate        string
	routing     string // meft_router
	side        int    // root of M, of product keys
	routerRows  int    // of the router, and their width
	routerWidth int
	logitWidth  int     // logits of a token
	balance     float64 // weight of the auxiliary loss
	capacity    float64 // 0 for no limit
	stableLoss  float64 // weight of those of RouteStable
	micros      int     // batches that share the auxiliary loss
	shared      bool    // ShareUnion
	grad        bool
	keys        bool // keys are trained
	swiglu      bool // neurons have gates
}

func (f *MEFT) sizes(m *model.Model) sizes {
	s := sizes{n: m.Size.Rows, d: m.Config.Dim, m: f.Neurons, micros: max(1, m.Size.Micros), shared: f.Share == ShareUnion,
		grad: m.Size.Grad, keys: !f.FrozenKeys, master: f.Master, swiglu: f.Activation == SwiGLU}
	s.route(f)
	s.top = min(f.TopK, s.candidates)
	s.most = s.m
	if s.n < ceilDiv(s.m, s.top) {
		s.most = s.n * s.top
	}
	s.grads = s.m
	if k := m.Size.Micros; k > 0 && s.most < ceilDiv(s.m, k) {
		s.grads = k * s.most
	}
	s.buffer = f.Buffer
	if s.buffer == 0 {
		s.buffer = 4096
	}
	s.buffer = min(s.buffer, s.most)
	return s
}

// gated reports whether scores are multiplied by the router's.
func (s *sizes) gated() bool { return s.gate != GateNone }

// routed reports whether the host needs router logits.
func (s *sizes) routed() bool { return s.gated() || s.probe < s.experts || s.product() }

// few reports whether all that a token needs of the router are the logits of the
// experts it probes: then Backward works with those and not with all N.
func (s *sizes) few() bool {
	return s.stable() || s.gate == GateLogit && !s.shared && s.probe < s.experts && !s.product()
}

// own reports whether a token has gates of its own, kept for Backward: with few
// those of its experts, with product keys those of its picks.
func (s *sizes) own() bool { return s.few() || s.product() && s.gated() }

// gateWidth is the number of gates of a token.
func (s *sizes) gateWidth() int {
	switch {
	case s.product():
		return s.top
	case s.few():
		return s.probe
	}
	return s.experts
}

// routerLearns reports whether the router gets a gradient.
func (s *sizes) routerLearns() bool { return s.grad && s.gated() && s.keys }

// trains reports whether a vector of the neurons gets gradients.
func (s *sizes) trains(p param.Part) bool { return s.grad && (p == param.Value || s.keys) }

// scored is the vector of a neuron that its score is made of.
func (s *sizes) scored() param.Part {
	if s.swiglu {
		return param.Gate
	}
	return param.Key
}

// wide is the number of neurons a token computes at a time on the device.
func (s *sizes) wide() int {
	if s.shared {
		return s.buffer
	}
	return s.top
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }

// Attach hangs one branch on each chosen block.
func (f *MEFT) Attach(m *model.Model, a *tensor.Arena, seed uint64) (*param.Set, error) {
	if err := f.Check(m.Config); err != nil {
		return nil, err
	}
	layers, _ := parseLayers("meft_layers", f.Layers, m.Config.Layers)
	size := f.sizes(m)
	pool := f.pool(m.Device())
	crew := &crew{sizes: size, model: m, dev: m.Device(), pool: pool, stage: newStage(a.Sub("meft"), m.Device(), size), picker: newPicker(a.Sub("meft"), size, pool)}
	f.branches = nil
	s := &param.Set{}
	for _, i := range layers {
		b := f.branch(m, a, i, crew)
		if err := hang(m, i, b); err != nil {
			return nil, err
		}
		if n := len(f.branches); n > 0 {
			b.below = f.branches[n-1]
		}
		f.branches = append(f.branches, b)
		s.Dense = append(s.Dense, b.router)
		if b.tokens != nil {
			s.Dense = append(s.Dense, b.tokens)
		}
		s.Tables = append(s.Tables, b.table)
		if !a.Planning() && a.Err() == nil {
			b.init(seed)
		}
	}
	return s, a.Err()
}

// branch allocates what one block needs. Device scratch is laid out alike by
// every branch and lies in the memory all branches share.
func (f *MEFT) branch(m *model.Model, a *tensor.Arena, block int, c *crew) *neurons {
	name := blockName(block)
	b := &neurons{crew: c, block: block}
	b.table = param.NewTable(a, name, c.m, c.d, param.TableOptions{
		Idle: f.Idle, Gated: c.swiglu, Fixed: !c.grad, FrozenKeys: f.FrozenKeys, Master: f.Master, Moments: f.Moments, Grads: c.grads, Pool: c.pool})
	router := param.NewFixed
	if c.routerLearns() {
		router = param.NewDense
	}
	b.router = router(a, name+".router", c.routerRows, c.routerWidth)
	b.mem = newNeuronMemory(m.Scratch(), c.sizes)
	if c.grad || len(f.branches) == 0 {
		// Without gradients all blocks take turns on one list of picks.
		if c.product() {
			c.firsts = a.Int32(name+".firsts", tensor.Pinned, c.n*c.top)
			c.seconds = a.Int32(name+".seconds", tensor.Pinned, c.n*c.top)
		} else {
			c.probes = a.Int32(name+".probes", tensor.Pinned, c.n*c.probe)
		}
		c.picks = a.Int32(name+".picks", tensor.Pinned, c.n*c.top)
		c.union = a.Int32(name+".union", tensor.OnHost, c.most)
		if c.own() {
			c.gates = a.New(name+".gates", tensor.F32, c.n, c.gateWidth())
		}
	}
	b.probes, b.picks, b.union, b.gates = c.probes, c.picks, c.union, c.gates
	b.firsts, b.seconds = c.firsts, c.seconds
	if c.stable() {
		b.tokens = newTokenRouter(a, name, c.sizes)
	}
	b.loads = a.Int32(name+".loads", tensor.OnHost, c.experts)
	if c.balanced() {
		b.bias = a.Float32(name+".bias", tensor.Pinned, c.experts)
	} else if c.distils() {
		b.bias = a.Float32(name+".bias", tensor.Pinned, c.n)
	}
	b.fired = a.Int32(name+".fired", tensor.OnHost, ceilDiv(c.m, 32))
	return b
}

// pool is the device's pool, or one of its own: no device, or one that computes
// elsewhere, leaves the processor to the host work.
func (f *MEFT) pool(dev tensor.Device) *simd.Pool {
	if dev == nil {
		return nil
	}
	if d, ok := dev.(interface{ Pool() *simd.Pool }); ok {
		return d.Pool()
	}
	if f.own == nil {
		f.own = simd.NewPool(runtime.GOMAXPROCS(0), simd.Best())
	}
	return f.own
}

// Close ends the threads of the method, if it has any of its own. The model it
// is attached to cannot run afterwards.
func (f *MEFT) Close() error {
	if f.own != nil {
		f.own.Close()
		f.own = nil
	}
	return nil
}

// Hold makes Forward keep the picks of its last call, for batches of the same
// length. Gradients can then be checked by differences: a change of weights
// cannot change what is picked.
func (f *MEFT) Hold(on bool) {
	for _, b := range f.branches {
		b.hold = on
	}
}
