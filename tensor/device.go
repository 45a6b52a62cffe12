package tensor

// Pool is a kind of memory.
type Pool uint8

// The pools of the Ledger.
const (
	OnDevice Pool = iota // the accelerator's memory, or what stands for it on a CPU
	Pinned               // host memory that the device copies from and to
	OnHost               // ordinary host memory
	OnDisk               // a file that the host addresses like memory; see Store
	Pools    = 4
)

// String is the pool's name as users read it.
func (p Pool) String() string { return [...]string{"device", "pinned", "host", "disk"}[p] }

// A Store gives memory of the OnDisk pool, which no device does.
type Store interface {
	// Alloc gives zeroed memory aligned to 64 bytes with Host() != nil.
	Alloc(bytes int64) (Buffer, error)
}

// Ticket stands for a copy that was started.
type Ticket int64

// A Device holds tensors and runs kernels on them, in order, as on one queue.
// Copies run on a second queue; a Ticket orders the two.
//
// Kernels return nothing. Wrong shapes and types are bugs in the caller and
// panic. Faults of the machine stick: the device ignores further work and Sync
// returns the first of them.
type Device interface {
	Kernels

	// Name says what the device is, for people.
	Name() string
	// Alloc gives zeroed memory aligned to 64 bytes. Memory of the Pinned and
	// OnHost pools has Host() != nil on every device and plain element types.
	Alloc(bytes int64, p Pool) (Buffer, error)
	// Free takes memory back. The caller has no tensors on it left.
	Free(Buffer)
	// Allocated is the number of bytes given out and not freed, counted by the
	// device itself, so that a Ledger can be checked against it.
	Allocated(p Pool) int64

	// Upload copies src, which holds exactly dst's elements in dst's type,
	// little-endian. It begins when the kernels enqueued before it are done, so
	// dst may be in use until then; kernels enqueued after it see the old or the
	// new elements unless After orders them. src must stay as it is until the
	// ticket is done.
	Upload(dst Tensor, src []byte) Ticket
	// Download copies src to dst once the kernels enqueued before are done.
	Download(dst []byte, src Tensor) Ticket
	// After makes kernels enqueued later wait for the copy.
	After(Ticket)
	// Await makes the caller wait for the copy.
	Await(Ticket)

	// Sync waits for everything and returns the first fault.
	Sync() error
	Close() error
}

// MatMulOpts says how MatMul multiplies.
type MatMulOpts struct {
	TransA, TransB bool    // use aᵀ, bᵀ; not both
	Alpha          float32 // 0 stands for 1
	Accumulate     bool    // add to dst instead of replacing it
}

// Mask says which keys each query may see: query row t attends to key rows
// [Start[t], End[t]). Sequences packed into one batch, sliding windows, padding
// and a cache with room for several sequences are all such ranges.
type Mask struct {
	Start, End Tensor  // I32 [n]; within 0..rows of k; End > Start
	Scale      float32 // of the scores, 1/sqrt(head width)
}

// Func is an activation function of Act.
type Func uint8

// The activation functions.
const (
	ReLU Func = iota
	SiLU
	Tanh
	GELU  // x·(1+tanh(√(2/π)·(x+0.044715·x³)))/2
	Funcs = 4
)

// AdamWOpts are the scalars of one AdamW step (Loshchilov and Hutter 2019,
// algorithm 2, as PyTorch computes it).
type AdamWOpts struct {
	Rate, Beta1, Beta2, Eps, Decay float32
	Correct1, Correct2             float32 // 1-beta1^t and 1-beta2^t
	Scale                          float32 // multiplies the gradient (clipping)
}

// Kernels is the complete list of what a device computes. A device that passes
// devicetest runs every model and every method. "Adds" means dst is read and
// added to; everything else overwrites. Sizes: n rows of the batch, d width.
// All floats are F32 unless said otherwise. Outputs never overlap inputs unless
// said otherwise.
type Kernels interface {
	// MatMul: dst = alpha·op(a)·op(b) (+ dst). a and dst F32 matrices, b F32 or
	// BF16 or, without TransA, quantised, whose elements are the float32 numbers
	// that package quant defines. A tensor of higher rank counts as [Dims[0], Width].
	MatMul(dst, a, b Tensor, o MatMulOpts)

	// Gather: dst[i,:] = table[ids[i],:]. table F32 or BF16, ids I32 [n].
	Gather(dst, table, ids Tensor)
	// Scatter: dst[ids[i],:] = src[i,:]. ids are distinct.
	Scatter(dst, src, ids Tensor)
	// ScatterAdd: dst[ids[i],:] += src[i,:], for equal ids in order of i.
	ScatterAdd(dst, src, ids Tensor)

	// RMSNorm: y = x·w·rstd, rstd = 1/sqrt(mean(x²)+eps). x, y [n,d], w [d]
	// F32 or BF16, rstd [n].
	RMSNorm(y, rstd, x, w Tensor, eps float32)
	// RMSNormGrad adds to dx and, unless it is none, to dw.
	RMSNormGrad(dx, dw, dy, x, w, rstd Tensor)

	// AddBias: y[i,:] += b. y [n,d], b [d] F32 or BF16.
	AddBias(y, b Tensor)
	// BiasGrad adds the sum of dy's rows to db.
	BiasGrad(db, dy Tensor)

	// ScaleColumns: y[i,:] = x[i,:]·c. x, y [n,d], c [d]. y may be x.
	ScaleColumns(y, x, c Tensor)
	// ColumnDots: s[j] += Σ_i a[i,j]·b[i,j]. a, b [n,d], s [d].
	ColumnDots(s, a, b Tensor)
	// DivSqrt: y = a/√b, by element; the root is rounded before it divides, and
	// both are rounded to nearest. y may be a.
	DivSqrt(y, a, b Tensor)
	// Transpose: y[j,i] = x[i,j]. x [n,d], y [d,n].
	Transpose(y, x Tensor)

	// RoPE rotates pairs (j, j+hd/2) of each head of x [n,h,hd] in place by the
	// angles of table [positions, hd]: row p holds hd/2 cosines, then hd/2
	// sines. pos I32 [n]. inverse turns back (the gradient).
	RoPE(x, pos, table Tensor, inverse bool)

	// Attention: per query row and head softmax(scale·q·kᵀ)·v over the rows the
	// mask allows. q, o [n,h,hd]; k, v [rows,hkv,hd], h a multiple of hkv, hd at
	// most MaxHead; lse [n,h] keeps the log-sum-exp of each row's scores.
	Attention(o, lse, q, k, v Tensor, m Mask)
	// AttentionGrad overwrites dq, dk and dv. Scores are recomputed from lse.
	AttentionGrad(dq, dk, dv, do, o, lse, q, k, v Tensor, m Mask)

	// SwiGLU: y = silu(gate)·up. y may be gate or up.
	SwiGLU(y, gate, up Tensor)
	// SwiGLUGrad overwrites dgate and dup. dgate may be dy.
	SwiGLUGrad(dgate, dup, dy, gate, up Tensor)
	// Act: y = f(x). y may be x.
	Act(y, x Tensor, f Func)
	// ActGrad: dx = dy·f'(x). dx may be dy. The slope of ReLU at 0 is 0.
	ActGrad(dx, dy, x Tensor, f Func)

	// Dropout: y[i] = 0 where the 32-bit number i of Random(key), i counting all
	// elements, is below DropBelow(p), else x[i]/(1-p). p is from 0 to below 1. y
	// may be x.
	Dropout(y, x Tensor, p float32, key uint64)

	// RowDots: s[t,j] = x[t,:]·rows[ids[t,j],:]. s [n,k], x [n,d], rows [u,d],
	// ids I32 [n,k]; where an id is -1, s is 0.
	RowDots(s, x, rows, ids Tensor)
	// RowAdd: y[t,:] += Σ_j z[t,j]·rows[ids[t,j],:], j ascending, -1 skipped.
	RowAdd(y, z, rows, ids Tensor)
	// RowOuter: drows[ids[t,j],:] += z[t,j]·x[t,:], for one row in order of t.
	// The ids of one t are distinct.
	RowOuter(drows, z, x, ids Tensor)
	// GatedReLU: z = relu(c·u). All [n,k]; c none stands for ones. z may be u.
	GatedReLU(z, u, c Tensor)
	// GatedReLUGrad: du = dz·c where c·u > 0, else 0; dc, unless none, = dz·u
	// there, else 0. du may be dz.
	GatedReLUGrad(du, dc, dz, u, c Tensor)
	// Softmax: y = softmax of each row of x [n,d]. y may be x.
	Softmax(y, x Tensor)
	// SoftmaxGrad: dx = y·(dy - Σ dy·y) by row. dx may be dy.
	SoftmaxGrad(dx, dy, y Tensor)
	// Pick: c[t,j] = p[t,ids[t,j]], 0 for -1. c [n,k], p [n,m], ids I32 [n,k].
	Pick(c, p, ids Tensor)
	// PickGrad: dp[t,ids[t,j]] += dc[t,j], j ascending, -1 skipped.
	PickGrad(dp, dc, ids Tensor)

	// CrossEntropy: loss[i] = -log softmax(logits[i,:])[targets[i]], and 0 for a
	// target of -1. logits [n,v] become their gradient times scale (rows of
	// target -1 become 0); with scale 0 they are left as they are.
	CrossEntropy(loss, logits, targets Tensor, scale float32)

	// Add: dst = a + b. dst may be a or b.
	Add(dst, a, b Tensor)
	// Mul: dst = a·b by element. dst may be a or b.
	Mul(dst, a, b Tensor)
	// Axpy: y += alpha·x.
	Axpy(y Tensor, alpha float32, x Tensor)
	// Fill sets every element of a F32 tensor.
	Fill(dst Tensor, v float32)
	// Convert copies between F32 and BF16 (round to nearest even) or alike types,
	// or decodes a quantised src, or rows of one, to F32.
	Convert(dst, src Tensor)
	// MaskZeros: g = 0 where w is 0, of either sign. Both are F32 and of one shape.
	MaskZeros(g, w Tensor)
	// SumSquares: dst[0] = Σ x², in a fixed order.
	SumSquares(dst, x Tensor)
	// AdamW makes one step on w from g and the moments m, v.
	AdamW(w, g, m, v Tensor, o AdamWOpts)
}
