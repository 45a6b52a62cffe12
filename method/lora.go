package method

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"meft/model"
	"meft/param"
	"meft/tensor"
)

// AllLinear is the LoRA target that stands for every linear layer of a block.
const AllLinear = "all-linear"

// The ways A begins, in PEFT's words.
const (
	InitUniform  = "true"
	InitGaussian = "gaussian"
)

// LoRA adds a low-rank update to linear layers, whose weights W stay frozen:
//
//	y = x·Wᵀ + s·drop(x)·Aᵀ·Bᵀ        s = α/r, or α/√r with RSLoRA
//
// A is [r, in] and begins uniform in ±1/√in (PEFT's choice) or normal, B is
// [out, r] and begins as 0. drop zeroes elements of x with probability Dropout
// while training and divides the others by 1-Dropout.
//
// Hu et al. 2021, https://arxiv.org/abs/2106.09685, section 4.1; the scale α/√r
// is that of Kalajdzievski 2023, https://arxiv.org/abs/2312.03732. For DoRA see
// dora. A higher learning rate of B is LoRA+: Hayou et al. 2024,
// https://arxiv.org/abs/2402.12354.
type LoRA struct {
	Rank    int     `json:"lora_r" help:"rank r of the update of a linear layer" alias:"lora_rank,rank"`
	Alpha   float64 `json:"lora_alpha" help:"α: the update is scaled by α/r; 0 for twice the rank"`
	Dropout float64 `json:"lora_dropout" help:"share of a layer's inputs that the update does not see, by chance, in training"`
	Targets string  `json:"lora_target" help:"linear layers with an update: all-linear (those of blocks), or a list of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, lm_head" alias:"lora_target_modules,target_modules"`
	RSLoRA  bool    `json:"use_rslora" help:"scale by α/√r instead of α/r"`
	DoRA    bool    `json:"use_dora" help:"train the length of every row of a layer's weights beside the update (DoRA)"`
	Ratio   float64 `json:"loraplus_lr_ratio" help:"learning rate of B, and of DoRA's lengths, over that of A (LoRA+); 1 for the same, LoRA+'s paper takes 16"`
	Init    string  `json:"init_lora_weights" help:"how A begins: true (uniform in ±1/√in, PEFT's choice) or gaussian (deviation 1/r)" choices:"true,gaussian" alias:"lora_init"`
	Layers  string  `json:"lora_layers" help:"blocks with updates: all, 8-15 or 0,3,5" alias:"layers_to_transform"`
}

// About names the rate of QLoRA for models of up to 13B, with which most recipes begin.
func (*LoRA) About() About {
	return About{Summary: "low-rank updates of linear layers", Source: "Hu et al. 2021, https://arxiv.org/abs/2106.09685", Rate: 2e-4, PEFT: "LORA", Size: "lora_r", Merges: Exactly}
}

// Reach is ToInputs.
func (*LoRA) Reach() Reach { return ToInputs }

// Check compares the settings with the model.
func (l *LoRA) Check(c model.Config) error {
	_, layers := parseLayers("lora_layers", l.Layers, c.Layers)
	modules, targets := l.Modules()
	if targets == nil && l.Layers != "all" && slices.Contains(modules, model.HeadName) {
		targets = fmt.Errorf("lora_target has %s and lora_layers is %q: files of PEFT with layers_to_transform leave %[1]s out; wants lora_layers all", model.HeadName, l.Layers)
	}
	var alpha, dropout, ratio error
	if l.Alpha < 0 {
		alpha = fmt.Errorf("lora_alpha is %v, wants a number above 0, or 0 for twice the rank", l.Alpha)
	}
	if l.Dropout < 0 || l.Dropout >= 1 {
		dropout = fmt.Errorf("lora_dropout is %v, wants a share from 0 up to below 1", l.Dropout)
	}
	if !(l.Ratio >= 0) || math.IsInf(l.Ratio, 0) {
		ratio = fmt.Errorf("loraplus_lr_ratio is %v, wants a number above 0", l.Ratio)
	}
	begin := oneOf("init_lora_weights", cmp.Or(l.Init, InitUniform), InitUniform, InitGaussian)
	return errors.Join(atLeast("lora_r", l.Rank, 1), alpha, dropout, ratio, begin, targets, layers)
}

// Modules are the names of the linear layers that Targets chooses, in the order
// of model.Projections, then the head. AllLinear is those of blocks: as in PEFT,
// the head has to be named.
func (l *LoRA) Modules() ([]string, error) { return modules("lora_target", l.Targets) }

// modules reads a choice of linear layers.
func modules(setting, targets string) ([]string, error) {
	all := model.Projections()
	if targets == AllLinear || targets == "all" {
		return all, nil
	}
	all = append(all, model.HeadName)
	var named []string
	for name := range strings.SplitSeq(targets, ",") {
		name = strings.TrimSpace(name)
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("%s is %q: %q is not a linear layer of the model; wants %s, or some of %s", setting, targets, name, AllLinear, strings.Join(all, ","))
		}
		if slices.Contains(named, name) {
			return nil, fmt.Errorf("%s is %q: %s is named twice", setting, targets, name)
		}
		named = append(named, name)
	}
	return slices.DeleteFunc(all, func(name string) bool { return !slices.Contains(named, name) }), nil
}

// Blocks are the indices of the blocks that Layers chooses of a model with n.
func (l *LoRA) Blocks(n int) ([]int, error) { return parseLayers("lora_layers", l.Layers, n) }

// EffectiveAlpha is α, worked out where it was left to the rank.
func (l *LoRA) EffectiveAlpha() float64 {
	if l.Alpha == 0 {
		return 2 * float64(l.Rank)
	}
	return l.Alpha
}

func (l *LoRA) scale() float32 {
	r := float64(l.Rank)
	if l.RSLoRA {
		r = math.Sqrt(r)
	}
	return float32(l.EffectiveAlpha() / r)
}

// Attach hangs a branch on each chosen linear layer of each chosen block.
func (l *LoRA) Attach(m *model.Model, a *tensor.Arena, seed uint64) (*param.Set, error) {
	if err := l.Check(m.Config); err != nil {
		return nil, err
	}
	blocks, _ := l.Blocks(m.Config.Layers)
	targets, _ := l.Modules()
	s := &param.Set{}
	for _, i := range blocks {
		linears := m.Blocks[i].Linears()
		// The groups of layers that share their input; see model.Linear.
		for _, g := range [][]*model.Linear{linears[:3], linears[3:4], linears[4:6], linears[6:]} {
			g = slices.DeleteFunc(slices.Clone(g), func(n *model.Linear) bool { return !slices.Contains(targets, n.Name) })
			share := len(g)
			if l.Dropout > 0 {
				share = 1 // each layer draws its own, so its input is its own
			}
			for ; len(g) > 0; g = g[share:] {
				if err := l.group(m, a, seed, i, g[:share], s); err != nil {
					return nil, err
				}
			}
		}
	}
	if slices.Contains(targets, model.HeadName) {
		if err := l.group(m, a, seed, len(m.Blocks), []*model.Linear{m.Head()}, s); err != nil {
			return nil, err
		}
	}
	return s, a.Err()
}

// group hangs the branches of one group and adds their parameters to s. The head
// is a group of the block after the last.
func (l *LoRA) group(m *model.Model, a *tensor.Arena, seed uint64, block int, linears []*model.Linear, s *param.Set) error {
	r, in := l.Rank, linears[0].In()
	g := newLoraGroup(m, a, block, linears, l)
	dense := param.NewDense
	if !m.Size.Grad {
		dense = param.NewFixed
	}
	for i, linear := range linears {
		if linear.Branch != nil {
			return fmt.Errorf("%s (block %d) has a branch already; attach one method to one model", linear.Name, block)
		}
		site := slices.Index(append(model.Projections(), model.HeadName), linear.Name)
		g.key = loraDropout.stream(seed, block, site).Uint64()
		b := &lora{loraGroup: g, at: i}
		down := param.Adopt(a, peftName(linear)+".lora_A.weight", b.mine(g.a), b.mine(g.da), false)
		b.up = dense(a, peftName(linear)+".lora_B.weight", r, linear.Out())
		b.up.Turned, b.up.Rate = true, float32(l.Ratio)
		s.Dense = append(s.Dense, down, b.up)
		if l.DoRA {
			b.lengths = newDora(m, a, b, linear, down)
			b.lengths.length.Rate = float32(l.Ratio)
			s.Dense = append(s.Dense, b.lengths.length)
		}
		if !a.Planning() && a.Err() == nil {
			down.Fill(l.begin(r, in, loraDown.stream(seed, block, site)))
		}
		linear.Branch = b
	}
	return nil
}

// peftName is what PEFT calls a layer in its files.
func peftName(l *model.Linear) string {
	if l.Name == model.HeadName {
		return "base_model.model." + model.HeadName // whatever its weight is called
	}
	return "base_model.model." + strings.TrimSuffix(l.W.Name, ".weight")
}

// begin is A [r, in] at the start.
func (l *LoRA) begin(r, in int, from *rand.Rand) []float32 {
	if l.Init == InitGaussian {
		x := make([]float32, r*in)
		for i := range x {
			x[i] = float32(from.NormFloat64() / float64(r))
		}
		return x
	}
	return uniform(r*in, 1/math.Sqrt(float64(in)), from)
}

// uniform is n draws between -bound and bound.
func uniform(n int, bound float64, r *rand.Rand) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(bound * (2*r.Float64() - 1))
	}
	return x
}
