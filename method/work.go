package method

import (
	"math"

	"meft/model"
	"meft/param"
)

// Work is what a method does in an optimizer step beside the model, in the two
// things that a machine can be measured for.
type Work struct {
	Ops   float64 // operations of a large product that take as long
	Bytes float64 // of host memory, read or written
}

// A Worker is a method that can say what a step of so many batches, of so many
// tokens each, will cost.
type Worker interface {
	Work(c model.Config, tokens, batches int) Work
}

// What MEFT does costs more than the operations of a product: these are the
// measured times in such operations. Sources: docs/benchmarks.md and meft bench
// train of llama-15m (width 288) and llama-110m (768), both with 65,536 neurons,
// 2 threads, products at 125 to 140 GFLOP/s.
const (
	scoreCost  = 3    // an operation of a score: 44 and 54 GFLOP/s
	chooseCost = 2000 // a score to choose among: 12 and 19 ns
	routeCost  = 400  // an expert to choose among: 3 ns
	expCost    = 1000 // an exponential on the host: 8 ns
	rowCost    = 16   // an operation on rows by their ids: 6.8 and 11 GFLOP/s

	// A number in another form than f32, each step: 1.3, 1.8 and 2.4 ns.
	splitCost, halfCost, byteCost = 170, 230, 310

	// unionShare is how much of what as many random picks would hit is picked:
	// tokens agree. The runs of docs/benchmarks.md had 0.2 to 0.7.
	unionShare = 0.4
)

// Work estimates a step: scores and choices, products of the kept neurons with
// their gradients and those of the router, rows gathered and uploaded forward and
// backward, gradients downloaded and added up, their norm, and AdamW on the rows
// that were picked (all with idle rows dense). Left out are the steps that idle
// rows make up for with replay, and that a table on a disk is slower.
func (f *MEFT) Work(c model.Config, tokens, batches int) Work {
	layers, err := parseLayers("meft_layers", f.Layers, c.Layers)
	if err != nil {
		return Work{} // Check has refused it
	}
	s := f.sizes(&model.Model{Config: c, Size: model.Size{Rows: tokens, Grad: true, Micros: batches}})
	d, t := float64(s.d), float64(tokens)
	union, touched := s.hit(t), s.hit(t*float64(batches))
	if f.Idle == param.Moving {
		touched = float64(s.m)
	}
	neuron := float64(len(s.vectors())) * d                                   // numbers
	trained, kept := neuron, float64(s.perNeuron(6)+2*(len(s.vectors())-1))*d // products with the inputs are made again in the backward pass
	if !s.keys {
		trained = d
	}
	if s.shared {
		kept *= union
	} else {
		kept *= rowCost * float64(s.top)
	}
	ops := float64(s.scores())*(scoreCost*2*d+chooseCost) + kept + s.routeWork()
	up, moment, form := 4.0, 4.0, 0.0 // bytes of a number on its way up, of a moment, cost of the form
	if f.Master == param.SplitMaster {
		up, form = 2, splitCost
	}
	switch f.Moments {
	case param.HalfMoments:
		moment, form = 2, form+halfCost
	case param.ByteMoments:
		moment, form = 1+4.0/256, form+byteCost
	}
	// What is copied is read and written; a step reads gradients twice, for the norm.
	batch := union * (neuron*up*(4+4) + trained*4*(2+2))
	step := touched * trained * (4 + 4 + 2*(4+2*moment))
	n, b := float64(len(layers)), float64(batches)
	return Work{Ops: n * (b*t*ops + touched*trained*form), Bytes: n * (b*batch + step)}
}

// routeWork is the part of the router: logits, choices and, where it learns,
// gradients. Product keys are worked out for both halves of the input, half of it
// for nothing.
func (s *sizes) routeWork() float64 {
	d, ops := float64(s.d), 0.0
	if s.product() {
		side := float64(s.side)
		ops = side*(4*d+2*routeCost) + float64(s.sums())*chooseCost
		if s.routerLearns() {
			ops += 8 * d * side
		}
		return ops
	}
	if s.routed() {
		ops = float64(s.experts) * (2*d + routeCost)
	}
	if s.balanced() {
		ops += float64(s.experts) * expCost
	}
	if s.routerLearns() {
		ops += 4 * d * float64(s.gateWidth())
	}
	return ops
}

// hit is the number of neurons that so many tokens are expected to pick.
func (s *sizes) hit(tokens float64) float64 {
	m, k := float64(s.m), float64(s.top)
	if s.top == s.m {
		return m
	}
	random := -m * math.Expm1(tokens*math.Log1p(-k/m)) // m·(1 - (1-k/m)^tokens)
	return max(k, unionShare*random)
}
