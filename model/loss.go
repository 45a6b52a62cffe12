package model

import (
	"meft/tensor"
)

// lossState is the head and the loss, a few rows of logits at a time: the
// logits of a whole batch never exist. Only rows that have a target, or whose
// logits are wanted, pass through it. c is Size.LossRows.
type lossState struct {
	sel     tensor.Tensor // I32 [c]   rows of the batch
	x       tensor.Tensor // [c, d]    the last block's output at those rows
	y       tensor.Tensor // [c, d]    normed
	rstd    tensor.Tensor // [c]
	logits  tensor.Tensor // [c, v]    then their gradient
	targets tensor.Tensor // I32 [c]
	loss    tensor.Tensor // [c]
	dx      tensor.Tensor // [c, d]

	rows       []int32   // [n] host: the selected rows of the last batch, as the caller counts them
	host       []float32 // [n] pinned: their losses
	logitsHost []float32 // [hostRows, v] pinned, nil without a cache
}

func newLossState(a *tensor.Arena, c Config, s Size) lossState {
	f := func(name string, dims ...int) tensor.Tensor { return a.New(name, tensor.F32, dims...) }
	l := lossState{
		sel: a.New("rows", tensor.I32, s.LossRows), targets: a.New("targets", tensor.I32, s.LossRows),
		x: f("x", s.LossRows, c.Dim), y: f("y", s.LossRows, c.Dim), rstd: f("rstd", s.LossRows),
		logits: f("logits", s.LossRows, c.Vocab), loss: f("loss", s.LossRows),
	}
	if s.Grad {
		l.dx = f("dx", s.LossRows, c.Dim)
	}
	l.rows = a.Int32("selected", tensor.Pinned, s.Rows)[:0]
	l.host = a.Float32("losses", tensor.Pinned, s.Rows)
	if s.CacheRows > 0 {
		l.logitsHost = a.Float32("logits", tensor.Pinned, min(hostRows, s.LossRows)*c.Vocab)
	}
	return l
}

// forwardHead computes the loss of every row with a target and, with gradients,
// the gradient of the last block's output.
func (m *Model) forwardHead(b Batch) {
	l := &m.loss
	l.rows = l.rows[:0]
	for i, t := range b.Targets {
		if t >= 0 {
			l.rows = append(l.rows, int32(i))
		}
	}
	if m.Size.Grad {
		m.dev.Fill(m.scratch.d.Rows(0, m.n), 0) // rows without a target
	}
	for at := 0; at < len(l.rows); at += m.Size.LossRows {
		rows := l.rows[at:min(at+m.Size.LossRows, len(l.rows))]
		m.send(l.targets, len(rows), func(i int) int32 { return b.Targets[rows[i]] })
		m.send(l.sel, len(rows), func(i int) int32 { return m.rowOf(int(rows[i])) })
		x := l.x.Rows(0, len(rows))
		m.dev.Gather(x, m.top.Rows(0, m.n), l.sel.Rows(0, len(rows)))
		m.piece++
		m.headLogits(x)
		m.headLoss(l.host[at:at+len(rows)], b.Scale)
	}
	m.piece = 0
}

// headLogits fills the logits of rows of the last block's output, at most
// Size.LossRows. What a Ladder put in its place has a norm of its own.
func (m *Model) headLogits(x tensor.Tensor) {
	l, n := &m.loss, x.Dim(0)
	y := x
	if m.Ladder == nil {
		y = l.y.Rows(0, n)
		m.dev.RMSNorm(y, l.rstd.Rows(0, n), x, m.norm.W, m.Config.Eps)
	}
	m.head.forward(m.dev, l.logits.Rows(0, n), y)
}

// headLoss takes the loss of the rows whose logits are there to host, and their
// gradients down to the residual stream.
func (m *Model) headLoss(host []float32, scale float32) {
	l, n := &m.loss, len(host)
	if !m.Size.Grad {
		scale = 0
	}
	logits, y := l.logits.Rows(0, n), l.y.Rows(0, n)
	m.dev.CrossEntropy(l.loss.Rows(0, n), logits, l.targets.Rows(0, n), scale)
	m.dev.Await(m.dev.Download(tensor.Bytes(host), l.loss.Rows(0, n)))
	if scale == 0 {
		return
	}
	x, dx := l.x.Rows(0, n), l.dx.Rows(0, n)
	switch {
	case m.Ladder != nil:
		m.head.backward(m.dev, dx, logits, x, false)
	case m.lowest() == len(m.Blocks):
		m.head.backward(m.dev, tensor.Tensor{}, logits, y, false)
		return
	default:
		dy := m.scratch.dh.Rows(0, n)
		m.head.backward(m.dev, dy, logits, y, false)
		m.dev.Fill(dx, 0)
		m.dev.RMSNormGrad(dx, m.norm.D, dy, x, m.norm.W, l.rstd.Rows(0, n))
	}
	m.dev.Scatter(m.scratch.d.Rows(0, m.n), dx, l.sel.Rows(0, n))
}

// Losses writes the loss of every row of the last Forward, in nats, 0 where
// there was no target. dst has the length of the batch.
func (m *Model) Losses(dst []float32) {
	clear(dst)
	for i, row := range m.loss.rows {
		dst[row] = m.loss.host[i]
	}
}

// Loss is the sum of the losses of the last Forward, added in order of rows.
func (m *Model) Loss() float64 {
	var sum float64
	for _, v := range m.loss.host[:len(m.loss.rows)] {
		sum += float64(v)
	}
	return sum
}
