package model

import "meft/tensor"

// LossTensor is where the losses of the last few rows are: all of them when
// Size.LossRows is large enough.
func (m *Model) LossTensor() tensor.Tensor { return m.loss.loss.Rows(0, len(m.loss.rows)) }
