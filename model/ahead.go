package model

import (
	"fmt"

	"meft/tensor"
)

// Ahead is how many learned rows are ahead of every sequence, of a batch and of
// a cache; one of the two at most. The tokens of a sequence see them as if they
// were tokens at its first positions: positions count them, and a sliding window
// that has moved on does not reach them any more.
type Ahead struct {
	Prompt int // input embeddings, which go through all blocks as the rows of tokens do
	Prefix int // keys and values of every layer; they go through none and are no rows
}

// Len is how many positions, and how many rows of a cache, a sequence takes
// before its first token.
func (a Ahead) Len() int { return a.Prompt + a.Prefix }

// Fits reports whether a batch may have so many tokens in so many sequences.
func (s Size) Fits(sequences, tokens int) bool {
	return tokens+sequences*s.Ahead.Prompt <= s.Rows && (s.Ahead.Prefix == 0 || tokens+sequences*s.Ahead.Prefix <= s.keys())
}

// Sequences is how many sequences of so many tokens a batch may have.
func (s Size) Sequences(tokens int) int {
	n := s.Rows / (tokens + s.Ahead.Prompt)
	if s.Ahead.Prefix > 0 {
		n = min(n, s.keys()/(tokens+s.Ahead.Prefix))
	}
	return n
}

// keys is how many rows of keys and values a batch may have.
func (s Size) keys() int { return max(s.Rows, s.Keys) }

// Virtual is what is learned of the rows ahead of sequences. The tensors are
// [p, d] for Model.Prompt. For Model.Prefix they are [p·2·layers, kv·d/h], p the
// outermost: of each position the key, as it is after RoPE, and the value of the
// first layer, then those of the next.
type Virtual interface {
	// Forward is asked for the values once in a pass that needs them.
	Forward() tensor.Tensor
	// Grad is asked once in Model.Backward for the tensor that the gradients are
	// added to.
	Grad() tensor.Tensor
	// Backward is called when they have been added.
	Backward()
}

// order says where the rows of a batch lie when something is ahead of its
// sequences. n is Size.Rows. It has no memory with nothing ahead.
type order struct {
	at     []int32       // [n] of a row of the caller: its place with all that is ahead counted
	from   []int32       // [n] of a row: the caller's, or ^k when its sequence's first token is k rows behind
	begins []int32       // the rows of the caller that begin sequences
	keys   int           // rows of keys of the batch, with those of a prefix
	ids    tensor.Tensor // I32 [p] rows of a prefix for the key of the first layer, none without a prefix
	filled bool          // ids is
	prefix tensor.Tensor // values of the prefix in this pass
	grad   tensor.Tensor // of the prefix, in Backward
}

func newOrder(a *tensor.Arena, s Size) order {
	var o order
	if s.Ahead.Len() == 0 {
		return o
	}
	o.at = a.Int32("places", tensor.OnHost, s.Rows)
	o.from = a.Int32("origins", tensor.OnHost, s.Rows)
	o.begins = a.Int32("sequences", tensor.OnHost, s.Rows)[:0]
	if s.Ahead.Prefix > 0 {
		o.ids = a.New("prefix ids", tensor.I32, s.Ahead.Prefix)
	}
	return o
}

// arrange decides where the n rows of a batch lie, and how many there are with
// those of a prompt. first reports whether row i of the caller begins a sequence.
func (m *Model) arrange(n int, first func(i int) bool) {
	o, ahead := &m.in.order, m.ahead
	m.n, o.keys = n, n
	if ahead.Len() == 0 {
		return
	}
	o.begins = o.begins[:0]
	for i := range n {
		if first(i) {
			o.begins = append(o.begins, int32(i))
		}
	}
	if all := n + len(o.begins)*ahead.Prompt; all > m.Size.Rows {
		panic(fmt.Sprintf("model: %d rows in %d sequences behind a prompt of %d, built for %d rows", n, len(o.begins), ahead.Prompt, m.Size.Rows))
	}
	row, at, next := 0, 0, 0
	for i := range n {
		if next < len(o.begins) && int(o.begins[next]) == i {
			next++
			at += ahead.Len()
			for k := ahead.Prompt; k > 0; k-- {
				o.from[row] = ^int32(k)
				row++
			}
		}
		o.at[i], o.from[row] = int32(at), int32(i)
		at++
		row++
	}
	m.n, o.keys = row, at
}

// origin is the row i of the caller that a row stands for. Of a row of a prompt
// it is the first of its sequence, which lies back rows behind.
func (m *Model) origin(row int) (i, back int) {
	if m.ahead.Prompt == 0 {
		return row, 0
	}
	from := m.in.order.from
	if from[row] >= 0 {
		return int(from[row]), 0
	}
	back = int(^from[row])
	return int(from[row+back]), back
}

// placeOf is where row i of the caller lies among the keys of its batch.
func (m *Model) placeOf(i int) int32 {
	if m.ahead.Len() == 0 {
		return int32(i)
	}
	return m.in.order.at[i]
}

// rowOf is the row of the batch that row i of the caller is.
func (m *Model) rowOf(i int) int32 {
	if m.ahead.Prompt == 0 {
		return int32(i)
	}
	return m.in.order.at[i]
}

// layPrompt sets the rows of the prompt of each sequence of the batch.
func (m *Model) layPrompt(x tensor.Tensor) {
	if m.ahead.Prompt == 0 || len(m.in.order.begins) == 0 {
		return
	}
	values := m.Prompt.Forward()
	for _, i := range m.in.order.begins {
		at := int(m.in.order.at[i])
		m.dev.Convert(x.Rows(at-m.ahead.Prompt, at), values)
	}
}

// promptGrad adds the gradients d of the prompt's rows, sequence by sequence.
func (m *Model) promptGrad(d tensor.Tensor) {
	grad := m.Prompt.Grad()
	for _, i := range m.in.order.begins {
		at := int(m.in.order.at[i])
		rows := d.Rows(at-m.ahead.Prompt, at)
		m.dev.Axpy(grad, 1, rows)
		if !m.embed.D.None() {
			m.dev.Fill(rows, 0) // no token's
		}
	}
	m.Prompt.Backward()
}

// takePrefix asks for the values of the prefix, if this batch begins sequences.
func (m *Model) takePrefix() {
	o, p := &m.in.order, m.ahead.Prefix
	if p == 0 || len(o.begins) == 0 {
		return
	}
	m.prefixIDs()
	o.prefix = m.Prefix.Forward()
}

// prefixIDs fills order.ids when it is wanted for the first time.
func (m *Model) prefixIDs() {
	if o := &m.in.order; !o.filled {
		m.send(o.ids, m.Size.Ahead.Prefix, func(i int) int32 { return int32(2 * i * len(m.Blocks)) })
		o.filled = true
	}
}

// ofLayer are the rows of a prefix from those of layer on: keys, or values.
func ofLayer(prefix tensor.Tensor, layer, half int) tensor.Tensor {
	return prefix.Rows(2*layer+half, prefix.Dim(0))
}

// layPrefix copies the prefix of the block to the beginning of a sequence.
func (b *Block) layPrefix(keys, values tensor.Tensor, at int) {
	o, p := &b.m.in.order, b.m.ahead.Prefix
	b.m.dev.Gather(keys.Rows(at, at+p), ofLayer(o.prefix, b.Index, 0), o.ids)
	b.m.dev.Gather(values.Rows(at, at+p), ofLayer(o.prefix, b.Index, 1), o.ids)
}

// behindPrefix are the keys and values of the batch, each sequence's behind the
// prefix, in scratch.
func (b *Block) behindPrefix(a acts) (keys, values tensor.Tensor) {
	m := b.m
	o := &m.in.order
	keys, values = m.scratch.keys.Rows(0, o.keys), m.scratch.values.Rows(0, o.keys)
	for _, i := range o.begins {
		b.layPrefix(keys, values, int(o.at[i])-m.ahead.Prefix)
	}
	places := m.in.slots.Rows(0, m.n)
	m.dev.Scatter(keys, a.k, places)
	m.dev.Scatter(values, a.v, places)
	return keys, values
}

// attentionGrad sets dq, dk and dv, and adds the gradients of the prefix,
// sequence by sequence.
func (b *Block) attentionGrad(a acts, dq, dk, dv, do tensor.Tensor) {
	m, dev := b.m, b.m.dev
	mask, p := m.mask(b.Index), m.ahead.Prefix
	if p == 0 {
		dev.AttentionGrad(dq, dk, dv, do, a.o, a.lse, a.q, a.k, a.v, mask)
		return
	}
	o, s := &m.in.order, &m.scratch
	keys, values := b.behindPrefix(a)
	dkeys, dvalues := s.dkeys.Rows(0, o.keys), s.dvalues.Rows(0, o.keys)
	dev.AttentionGrad(dq, dkeys, dvalues, do, a.o, a.lse, a.q, keys, values, mask)
	for _, i := range o.begins {
		at := int(o.at[i])
		dev.ScatterAdd(ofLayer(o.grad, b.Index, 0), dkeys.Rows(at-p, at), o.ids)
		dev.ScatterAdd(ofLayer(o.grad, b.Index, 1), dvalues.Rows(at-p, at), o.ids)
	}
	places := m.in.slots.Rows(0, m.n)
	dev.Gather(dk, dkeys, places)
	dev.Gather(dv, dvalues, places)
}

// Embed sets dst [n, d] to the input embeddings of tokens, at most Size.Rows.
func (m *Model) Embed(dst tensor.Tensor, ids []int32) {
	n := len(ids)
	m.send(m.in.ids, n, func(i int) int32 { return ids[i] })
	m.dev.Gather(dst, m.embed.W, m.in.ids.Rows(0, n))
}

// Words sets dst [n, d] to the input embeddings of the tokens whose rows are on
// their way through a block; for branches. A row of a prompt has those of token 0.
func (m *Model) Words(dst tensor.Tensor) {
	m.dev.Gather(dst, m.embed.W, m.in.ids.Rows(0, dst.Dim(0)))
}

// Remember sets a prefix to the keys and values that the model computes for p
// tokens with nothing ahead of them; see Virtual for its form. The model is built
// for a prefix of p.
func (m *Model) Remember(prefix tensor.Tensor, ids []int32) {
	m.ahead, m.draw = Ahead{}, 0
	defer func() { m.ahead = m.Size.Ahead }()
	n := len(ids)
	pos := make([]int32, n)
	for i := range pos {
		pos[i] = int32(i)
	}
	m.place(ids, pos, pos, func(i int) bool { return i == 0 })
	m.see(func(int) int32 { return 0 }, func(i int) int32 { return int32(i) + 1 })
	m.prefixIDs()
	m.dev.Gather(m.Blocks[0].acts.x.Rows(0, n), m.embed.W, m.in.ids.Rows(0, n))
	m.away.begin()
	for i, b := range m.Blocks {
		m.away.use(i, i+1)
		b.forward(train)
		m.dev.Scatter(ofLayer(prefix, i, 0), b.acts.k.Rows(0, n), m.in.order.ids)
		m.dev.Scatter(ofLayer(prefix, i, 1), b.acts.v.Rows(0, n), m.in.order.ids)
	}
}
