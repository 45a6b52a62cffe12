package method

import (
	"meft/model"
	"meft/param"
	"meft/tensor"
)

// Full trains every weight of the model. Norms and biases are not decayed.
type Full struct{}

// About says that all weights are trained.
func (*Full) About() About {
	return About{Summary: "every weight of the model, on the device", Source: "AdamW: Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101", Rate: 2e-5, Merges: Exactly}
}

// Reach is ToWeights.
func (*Full) Reach() Reach { return ToWeights }

// Check finds nothing to complain of: Full has no settings.
func (*Full) Check(model.Config) error { return nil }

// Attach allocates nothing: what is trained are the model's weights.
func (*Full) Attach(m *model.Model, a *tensor.Arena, _ uint64) (*param.Set, error) {
	s := &param.Set{}
	for _, w := range m.Weights() {
		d := param.Adopt(a, w.Name, w.W, w.D, w.NoDecay)
		if !w.Home.None() {
			d.Home = &param.Home{W: w.Home, D: w.HomeD, Sum: w.SumD, Zero: &w.Zero}
		}
		s.Dense = append(s.Dense, d)
	}
	return s, a.Err()
}
