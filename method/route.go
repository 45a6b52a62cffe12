package method

import (
	"errors"
	"fmt"
	"math"

	"meft/model"
)

// The routers of MEFT: how a token comes to its neurons.
const (
	// RouteKeyExperts scores the keys of the P experts of highest logit; MEFT,
	// section 3.2.
	RouteKeyExperts = "key-experts"
	// RouteExact scores every key: what the others save work against. Without a
	// gate there are no experts, one product scores all.
	RouteExact = "exact"
	// RouteSwitch uses the neurons of the one expert of highest probability, as
	// many tokens as its capacity lets in, and keeps the experts' shares of the
	// tokens alike with an auxiliary loss; Fedus et al. 2021,
	// https://arxiv.org/abs/2101.03961, section 2.
	RouteSwitch = "switch"
	// RouteProductKey scores no keys: neuron a·√M + b has the score of sub-key a
	// for one half of the input and of sub-key b for the other, and the K highest
	// of all M sums are found among few; Lample et al. 2019,
	// https://arxiv.org/abs/1907.05242, section 3, with neurons for values as in
	// He 2024, https://arxiv.org/abs/2407.04153 (PEER).
	RouteProductKey = "product-key"
)

// GateAuto is the gate that a router goes with: the one it was published with,
// but for product keys the logit, which teaches more than the softmax over the
// kept.
const GateAuto = "auto"

// gate is meft_gate, or what auto stands for.
func (f *MEFT) gate() string {
	switch {
	case f.Gate != GateAuto:
		return f.Gate
	case f.Router == RouteStable:
		return gateSigmoid
	case f.Router == RouteSwitch:
		return GateSoftmax
	}
	return GateLogit
}

// checkRoute are the problems of a router's settings.
func (f *MEFT) checkRoute(c model.Config) error {
	problems := []error{oneOf("meft_router", f.Router, RouteKeyExperts, RouteExact, RouteSwitch, RouteStable, RouteProductKey)}
	refuse := func(format string, a ...any) { problems = append(problems, fmt.Errorf(format, a...)) }
	if !(f.Balance >= 0) || math.IsInf(f.Balance, 0) {
		refuse("meft_balance_loss is %v, wants 0 or more", f.Balance)
	}
	if !(f.Capacity >= 0) || math.IsInf(f.Capacity, 0) {
		refuse("meft_capacity_factor is %v, wants 0 (no limit) or more", f.Capacity)
	}
	if !(f.StableShare >= 0 && f.StableShare <= 1) {
		refuse("meft_stable_share is %v, wants a share of the steps, 0 to 1", f.StableShare)
	}
	if !(f.StableLoss >= 0) || math.IsInf(f.StableLoss, 0) {
		refuse("meft_stable_loss is %v, wants 0 or more", f.StableLoss)
	}
	if f.Router == RouteStable && f.Gate != GateAuto {
		refuse("meft_gate is %q, with meft_router stable it is auto: the sigmoid of the logit", f.Gate)
	}
	if f.Router != RouteKeyExperts && f.Router != RouteExact && f.Share == ShareUnion {
		refuse("meft_share union does not go with meft_router %s, whose gates are those of a token's own neurons; use token", f.Router)
	}
	if f.Neurons < 1 {
		return errors.Join(problems...)
	}
	if n := f.expertsWanted(); f.Router == RouteSwitch && n > 0 && f.Neurons%n != 0 {
		refuse("meft_neurons is %d, with meft_router switch a multiple of the %d experts: use %d or %d, or set meft_experts", f.Neurons, n, f.Neurons/n*n, (f.Neurons/n+1)*n)
	}
	if f.Router == RouteSwitch && f.gate() != GateSoftmax {
		refuse("meft_gate is %q, with meft_router switch it is softmax (or auto)", f.Gate)
	}
	if s := int(math.Sqrt(float64(f.Neurons))); f.Router == RouteProductKey && s*s != f.Neurons {
		refuse("meft_neurons is %d, with meft_router product-key a square: use %d or %d", f.Neurons, s*s, (s+1)*(s+1))
	}
	if f.Router == RouteProductKey && c.Dim%2 != 0 {
		refuse("the model is %d wide; meft_router product-key wants an even width, for two halves", c.Dim)
	}
	return errors.Join(problems...)
}

// expertsWanted is meft_experts, or what 0 stands for.
func (f *MEFT) expertsWanted() int {
	if f.Experts != 0 {
		return f.Experts
	}
	return int(math.Ceil(4 * math.Sqrt(float64(f.Neurons))))
}

// route fills in what the router says about sizes.
func (s *sizes) route(f *MEFT) {
	s.routing, s.gate = f.Router, f.gate()
	experts, probe := f.expertsWanted(), f.Probe
	switch f.Router {
	case RouteExact:
		if !s.gated() {
			experts = 1
		}
		probe = experts
	case RouteSwitch, RouteStable:
		probe = 1
	case RouteProductKey:
		s.side = int(math.Sqrt(float64(s.m)))
		experts, probe = s.side, s.side
	}
	s.each = ceilDiv(s.m, min(experts, s.m))
	s.experts = ceilDiv(s.m, s.each)
	s.probe = min(probe, s.experts)
	s.candidates = min(s.probe*s.each, s.m)
	s.routerRows, s.routerWidth, s.logitWidth = s.experts, s.d, s.experts
	if s.product() {
		s.routerRows, s.routerWidth, s.logitWidth = 2*s.side, s.d/2, 4*s.side
	}
	if f.Router == RouteSwitch {
		s.balance, s.capacity = f.Balance, f.Capacity
	}
	s.stableLoss = f.StableLoss
}

// product reports whether neurons are found by product keys.
func (s *sizes) product() bool { return s.routing == RouteProductKey }

// balanced reports whether there is an auxiliary loss.
func (s *sizes) balanced() bool { return s.balance > 0 && s.routerLearns() }

// A way is how the host picks the neurons of each token for input and logits
// that lie in a picker.
type way interface {
	// pick fills the picks of the branch at work with ids of neurons, ascending,
	// then -1.
	pick(p *picker)
	// load adds to the branch's loads how many came to each expert.
	load(p *picker)
}

// way is the router's.
func (s *sizes) way() way {
	if s.product() {
		return productKeys{}
	}
	return keyExperts{}
}

// keyExperts looks for the highest scores among the keys of the probed experts.
type keyExperts struct{}

func (keyExperts) pick(p *picker) {
	p.pool.Run(min(pickParts, p.n), (*probeTask)(p))
	if p.balanced() {
		if clear(p.b.bias); p.b.training() {
			p.weigh()
		}
	}
	if p.distils() && p.b.learns() {
		p.even()
	}
	if p.capacity > 0 && p.b.training() {
		p.limit()
	}
	p.group()
	p.pool.Run(pickParts, (*scoreTask)(p))
	p.pool.Run(min(pickParts, p.n), (*keepTask)(p))
}

// load counts the tokens that probe an expert, or where all are probed the
// neurons of an expert that are kept.
func (keyExperts) load(p *picker) {
	if p.probe == p.experts {
		p.loadOfPicks()
		return
	}
	for _, e := range p.b.probes[:p.n*p.probe] {
		if e >= 0 {
			p.b.loads[e]++
		}
	}
}

// loadOfPicks counts the picks of an expert. They are still ids.
func (p *picker) loadOfPicks() {
	for _, id := range p.b.picks[:p.n*p.top] {
		if id >= 0 {
			p.b.loads[int(id)/p.each]++
		}
	}
}

// limit drops the tokens beyond the capacity of their expert, which is the
// factor times its fair share: the later ones of the batch. They get nothing.
func (p *picker) limit() {
	most := int32(math.Ceil(p.capacity * float64(p.n) / float64(p.experts)))
	clear(p.first)
	for t, e := range p.b.probes[:p.n] {
		if p.first[e]++; p.first[e] > most {
			p.b.probes[t] = -1
			p.b.counts.Dropped++
		}
	}
}
