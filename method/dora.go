package method

import (
	"math"

	"meft/model"
	"meft/param"
	"meft/tensor"
)

// dora is what DoRA adds to the branch of a linear layer: every row of W + s·B·A
// gets a trained length m_j instead of its own,
//
//	y = c ⊙ (x·Wᵀ + s·x·Aᵀ·Bᵀ)        c_j = m_j / ‖W_j + s·B_j·A‖
//
// without the bias. m begins as the lengths of W's rows, so that c is 1. In the
// backward pass the norms count as constants (section 4.3 of the paper), as they
// do in PEFT; so the gradient is not that of the formula. With dropout the parts
// are PEFT's too: y = x·Wᵀ + (c-1) ⊙ (drop(x)·Wᵀ) + c ⊙ (s·drop(x)·Aᵀ·Bᵀ).
//
// The norms are worked out without W + s·B·A, for weights of any type:
//
//	‖W_j + s·B_j·A‖² = ‖W_j‖² + B_j·(2s·A·W_j + s²·A·Aᵀ·B_j)
//
// Liu et al. 2024, https://arxiv.org/abs/2402.09353.
type dora struct {
	*lora
	w       *model.Weight // [out, in]
	down    *param.Dense  // A
	length  *param.Dense  // [out] m
	squares tensor.Tensor // [out] ‖W_j‖²
	norms   tensor.Tensor // [out] ‖W_j + s·B_j·A‖²
	factor  tensor.Tensor // [out] c
	changes int           // of A and B when norms were worked out, below 0 for never
}

// doraScratch is what the branches of a group use in turn.
type doraScratch struct {
	wide tensor.Tensor // [n·out] gradients or outputs of the layer; none without gradients
	part tensor.Tensor // [r·out] 2s·A·Wᵀ + s²·A·Aᵀ·Bᵀ
	gram tensor.Tensor // [r, r]  A·Aᵀ
	sum  tensor.Tensor // [out]; none without gradients
	some tensor.Tensor // [someRows, in] rows of W
	ids  tensor.Tensor // I32 [someRows]
}

// someRows is how many rows of W are measured at a time when they were loaded.
const someRows = 64

func newDoraScratch(a *tensor.Arena, linears []*model.Linear, r, n int, grad bool) doraScratch {
	out := 0
	for _, l := range linears {
		out = max(out, l.Out())
	}
	f := func(name string, dims ...int) tensor.Tensor { return a.New("lora.dora."+name, tensor.F32, dims...) }
	s := doraScratch{part: f("part", r*out), gram: f("gram", r, r), some: f("rows", someRows, linears[0].In())}
	s.ids = a.New("lora.dora.ids", tensor.I32, someRows)
	if grad {
		s.wide, s.sum = f("wide", n*out), f("sum", out)
	}
	return s
}

// newDora adds lengths to b. They begin when the weights have values.
func newDora(m *model.Model, a *tensor.Arena, b *lora, l *model.Linear, down *param.Dense) *dora {
	dense := param.NewDense
	if !m.Size.Grad {
		dense = param.NewFixed
	}
	name := peftName(l) + ".lora_magnitude_vector"
	f := func(part string) tensor.Tensor { return a.New(name+part, tensor.F32, l.Out()) }
	d := &dora{lora: b, w: l.W, down: down, length: dense(a, name, l.Out()), squares: f(".weights"), norms: f(".norms"), factor: f(".factors"), changes: -1}
	m.AfterLoad(func() {
		m.Show(l.W)
		d.start()
	})
	return d
}

// start measures the rows of W and gives them their own lengths.
func (d *dora) start() {
	out, s := d.squares.Len(), &d.dora
	ids := make([]int32, someRows)
	for i := range ids {
		ids[i] = int32(i)
	}
	d.dev.Await(d.dev.Upload(s.ids, tensor.Bytes(ids)))
	for at := 0; at < out; at += someRows {
		n := min(someRows, out-at)
		some := s.some.Rows(0, n)
		d.dev.Convert(some, d.w.W.Rows(at, at+n))
		d.dev.RowDots(d.squares.Rows(at, at+n).View(n, 1), some, some, s.ids.Rows(0, n).View(n, 1))
	}
	lengths := make([]float32, out)
	d.dev.Await(d.dev.Download(tensor.Bytes(lengths), d.squares))
	for i, v := range lengths {
		lengths[i] = float32(math.Sqrt(float64(v)))
	}
	d.length.Fill(lengths)
	d.changes = -1
}

// fit brings the factors up to date. Norms change with A and B, at most once a
// step: in generation, and in the micro-batches of a step, they stand.
func (d *dora) fit() {
	if changes := d.down.Changes() + d.up.Changes(); changes != d.changes {
		d.changes = changes
		a, r, out := d.mine(d.a), d.rank, d.squares.Len()
		part := d.dora.part.Rows(0, r*out).View(r, out)
		d.dev.MatMul(part, a, d.w.W, tensor.MatMulOpts{TransB: true, Alpha: 2 * d.scale})
		d.dev.MatMul(d.dora.gram, a, a, tensor.MatMulOpts{TransB: true, Alpha: d.scale * d.scale})
		d.dev.MatMul(part, d.dora.gram, d.up.W, tensor.MatMulOpts{Accumulate: true})
		d.dev.Convert(d.norms, d.squares)
		d.dev.ColumnDots(d.norms, d.up.W, part)
	}
	d.dev.DivSqrt(d.factor, d.length.W, d.norms)
}

// room is the scratch for n rows as wide as the layer's output.
func (d *dora) room(n int) tensor.Tensor {
	out := d.squares.Len()
	return d.dora.wide.Rows(0, n*out).View(n, out)
}

// forward turns y, which is x·Wᵀ, into the layer's output; u is the group's.
func (d *dora) forward(y, x, u tensor.Tensor) {
	d.fit()
	if !d.drops() {
		d.add(y, u)
		d.dev.ScaleColumns(y, y, d.factor)
		return
	}
	z := d.room(x.Dim(0))
	d.dev.MatMul(z, d.dropped.Rows(0, x.Dim(0)), d.w.W, tensor.MatMulOpts{TransB: true})
	d.dev.Axpy(y, -1, z)
	d.add(z, u)
	d.dev.ScaleColumns(z, z, d.factor)
	d.dev.Add(y, y, z)
}

// backward adds the gradient of m and returns c ⊙ dy, in scratch. x is what the
// branch saw.
func (d *dora) backward(dy, x, u tensor.Tensor) tensor.Tensor {
	z, sum := d.room(x.Dim(0)), d.dora.sum.Rows(0, d.squares.Len())
	d.dev.MatMul(z, x, d.w.W, tensor.MatMulOpts{TransB: true})
	d.add(z, u)
	d.dev.Fill(sum, 0)
	d.dev.ColumnDots(sum, dy, z)
	d.dev.DivSqrt(sum, sum, d.norms)
	d.dev.Add(d.length.D, d.length.D, sum) // dm += Σ dy ⊙ z / ‖W + s·B·A‖
	return d.scaled(dy)
}

// scaled is c ⊙ dy in scratch.
func (d *dora) scaled(dy tensor.Tensor) tensor.Tensor {
	z := d.room(dy.Dim(0))
	d.dev.ScaleColumns(z, dy, d.factor)
	return z
}
