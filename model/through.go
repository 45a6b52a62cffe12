package model

import "meft/tensor"

// Enter puts the embeddings of a batch into x [n, d]. With Through a model is run
// a block at a time over many batches whose residual streams are on the host.
func (m *Model) Enter(b Batch, x []float32) {
	m.lay(b)
	at := m.Blocks[0].acts.x.Rows(0, m.n)
	m.dev.Gather(at, m.embed.W, m.in.ids.Rows(0, m.n))
	m.dev.Await(m.dev.Download(tensor.Bytes(x), at))
}

// Through runs block i over the residual stream x [n, d] of a batch and leaves in
// x what comes out. The model has no prompt, prefix or ladder.
func (m *Model) Through(i int, b Batch, x []float32) {
	m.lay(b)
	block := m.Blocks[i]
	m.dev.After(m.dev.Upload(block.acts.x.Rows(0, m.n), tensor.Bytes(x)))
	m.away.use(i, -1)
	block.forward(train)
	m.dev.Await(m.dev.Download(tensor.Bytes(x), block.out.Rows(0, m.n)))
}
