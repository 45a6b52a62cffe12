package method

import "meft/model"

// Flops is how many floating point operations a token costs in training beside
// those of the model: what the method needs, not what a device happens to do.
// In each block the keys of the probed experts are scored once (2 an element);
// the K neurons that are kept and the router go forward and backward (6 an
// element that is trained, 4 one that is not). Of a router whose logits are the
// gates only the rows of the P experts go backward, of product keys those of the
// K picks.
func (f *MEFT) Flops(c model.Config) float64 {
	layers, err := parseLayers("meft_layers", f.Layers, c.Layers)
	if err != nil {
		return 0 // Check has refused it
	}
	s := f.sizes(&model.Model{Config: c, Size: model.Size{Rows: 1, Grad: true}})
	kept, router := s.perNeuron(6), 0
	switch {
	case s.routerLearns():
		router = 4
	case s.gated():
		router = 2
	}
	block := 2*s.scores() + kept*s.top + router*s.gateWidth()
	if s.routed() {
		block += 2 * s.experts // the logits, of product keys two of half the width; nothing flows back through a choice
	}
	return float64(len(layers)) * float64(block) * float64(s.d)
}

// scores is the number of keys that are scored for a token.
func (s *sizes) scores() int {
	if s.product() {
		return 0
	}
	return s.candidates
}

// perNeuron is the operations on a kept neuron, of each element of the width:
// so many for a vector that is trained, two fewer for one that is not.
func (s *sizes) perNeuron(trained int) int {
	n := 0
	for _, p := range s.vectors() {
		n += trained
		if !s.trains(p) {
			n -= 2
		}
	}
	return n
}
