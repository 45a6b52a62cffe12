package method

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"meft/model"
	"meft/param"
	"meft/safetensors"
	"meft/tensor"
)

// SHiRA trains a few elements of the weights of linear layers, which stay as they
// are and get what is added beside them:
//
//	y = x·Wᵀ + x·Sᵀ        S is 0 but for r·(in + out) elements, drawn by chance
//
// as many as a LoRA of rank r has, and begins as 0. Every row of S has as many
// elements, but for the first rows, which have one more where they do not come
// out even; the mask of PEFT draws from the whole matrix. So the products are
// those of rows by their ids, on transposes:
//
//	yᵀ[i] += Σ_j v[i,j]·xᵀ[ids[i,j]]
//
// Bhardwaj et al. 2024, https://arxiv.org/abs/2406.13175, SHiRA-Rand.
type SHiRA struct {
	Rank    int    `json:"shira_r" help:"train as many elements of a layer as LoRA of rank r has: r·(in + out)"`
	Targets string `json:"shira_target" help:"linear layers with trained elements: all-linear (those of blocks), or a list of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, lm_head"`
}

// About names the rate of PEFT's comparison of methods.
func (*SHiRA) About() About {
	return About{Summary: "a few elements of the weights of linear layers", Source: "Bhardwaj et al. 2024, https://arxiv.org/abs/2406.13175", Rate: 1e-4, PEFT: "SHIRA", Size: "shira_r", Merges: Exactly}
}

// Reach is ToInputs.
func (*SHiRA) Reach() Reach { return ToInputs }

// Modules are the names of the linear layers that Targets chooses.
func (s *SHiRA) Modules() ([]string, error) { return modules("shira_target", s.Targets) }

// Check compares the settings with the model.
func (s *SHiRA) Check(c model.Config) error {
	targets, err := s.Modules()
	errs := []error{atLeast("shira_r", s.Rank, 1), err}
	for _, w := range chosen(c, targets) {
		if s.count(w.Dims[1], w.Dims[0]) > w.Dims[0]*w.Dims[1] {
			errs = append(errs, fmt.Errorf("shira_r is %d: %s has %d elements, fewer than %d·(%d + %d)", s.Rank, w.Name, w.Dims[0]*w.Dims[1], s.Rank, w.Dims[1], w.Dims[0]))
			break
		}
	}
	return errors.Join(errs...)
}

// chosen are the matrices of the layers with those names, that of the head among
// them where it is the embedding.
func chosen(c model.Config, targets []string) (out []model.WeightShape) {
	for _, w := range c.WeightShapes() {
		name := strings.TrimSuffix(w.Name, ".weight")
		if len(w.Dims) == 2 && slices.Contains(targets, name[strings.LastIndexByte(name, '.')+1:]) {
			out = append(out, w)
		}
	}
	if c.Tied && slices.Contains(targets, model.HeadName) {
		out = append(out, model.WeightShape{Name: model.HeadName + ".weight", Dims: []int{c.Vocab, c.Dim}})
	}
	return out
}

// Flops is how many floating point operations a token costs in training beside
// those of the model: six a trained element.
func (s *SHiRA) Flops(c model.Config) float64 {
	targets, _ := s.Modules()
	n := 0
	for _, w := range chosen(c, targets) {
		n += s.count(w.Dims[1], w.Dims[0])
	}
	return 6 * float64(n)
}

// count is the number of trained elements of a layer.
func (s *SHiRA) count(in, out int) int { return s.Rank * (in + out) }

// Attach hangs a branch on each chosen linear layer.
func (s *SHiRA) Attach(m *model.Model, a *tensor.Arena, seed uint64) (*param.Set, error) {
	if err := s.Check(m.Config); err != nil {
		return nil, err
	}
	targets, _ := s.Modules()
	set := &param.Set{}
	for i := range len(m.Blocks) + 1 {
		linears := []*model.Linear{m.Head()}
		if i < len(m.Blocks) {
			linears = m.Blocks[i].Linears()
		}
		for site, l := range linears {
			if !slices.Contains(targets, l.Name) {
				continue
			}
			if l.Branch != nil {
				return nil, fmt.Errorf("%s (block %d) has a branch already; attach one method to one model", l.Name, i)
			}
			b := s.branch(m, a, l)
			l.Branch = b
			set.Dense = append(set.Dense, b.values, b.places)
			if !a.Planning() && a.Err() == nil {
				ids := s.draw(l.In(), l.Out(), shiraPlaces.stream(seed, i, site))
				m.Device().Await(m.Device().Upload(b.places.W, tensor.Bytes(ids)))
			}
		}
	}
	return set, a.Err()
}

// draw is the places of a layer's elements, as files have them: all rows, then
// all columns. Every row's come first, then one more of the first rows.
func (s *SHiRA) draw(in, out int, r *rand.Rand) []int32 {
	n := s.count(in, out)
	each, more := n/out, n%out
	ids := make([]int32, 2*n)
	rows, cols := ids[:n], ids[n:]
	taken := make([]bool, in)
	for i := range out {
		k := each
		if i < more {
			k++
		}
		// Floyd's sample of k of in: places are distinct.
		row := make([]int32, 0, k)
		for top := in - k; top < in; top++ {
			c := r.IntN(top + 1)
			if taken[c] {
				c = top
			}
			taken[c] = true
			row = append(row, int32(c))
		}
		for _, c := range row {
			taken[c] = false
		}
		if i < more {
			rows[out*each+i], cols[out*each+i] = int32(i), row[each]
		}
		copy(cols[i*each:], row[:each])
		for j := range each {
			rows[i*each+j] = int32(i)
		}
	}
	return ids
}

// sparse is the branch of one linear layer. n is the rows of the batch, e the
// number of elements.
type sparse struct {
	dev       tensor.Device
	in, out   int
	each      int           // elements of every row
	more      int           // rows with one more
	values    *param.Dense  // [e]
	places    *param.Dense  // I32 [2, e] rows, then columns
	xT, yT    tensor.Tensor // [n·in], [n·out] scratch: xᵀ, and yᵀ or dyᵀ
	gradients tensor.Tensor // [e] scratch; none without gradients
}

func (s *SHiRA) branch(m *model.Model, a *tensor.Arena, l *model.Linear) *sparse {
	e, n := s.count(l.In(), l.Out()), m.Size.Rows
	if l.Name == model.HeadName {
		n = m.Size.LossRows
	}
	b := &sparse{dev: m.Device(), in: l.In(), out: l.Out(), each: e / l.Out(), more: e % l.Out()}
	dense := param.NewDense
	if !m.Size.Grad {
		dense = param.NewFixed
	}
	name, scratch := peftName(l), m.Scratch()
	b.values = dense(a, name+".shira_weight", e)
	b.places = param.Adopt(a, name+".shira_indices", a.New(name+".shira_indices", tensor.I32, 2, e), tensor.Tensor{}, true)
	b.xT, b.yT = scratch.New("shira.x", tensor.F32, n*b.in), scratch.New("shira.y", tensor.F32, n*b.out)
	if m.Size.Grad {
		b.gradients = scratch.New("shira.grads", tensor.F32, e)
	}
	return b
}

// parts are the elements of t [e] that every row has, [out, each], and the one
// more of the first rows, [more, 1]; of places, their columns.
func (b *sparse) parts(t tensor.Tensor) (all, rest tensor.Tensor) {
	if t.DType == tensor.I32 {
		t = t.Rows(1, 2).View(t.Dim(1))
	}
	n := b.out * b.each
	return t.Rows(0, n).View(b.out, b.each), t.Rows(n, n+b.more).View(b.more, 1)
}

// turned is room for the transpose of n rows of that width.
func turned(t tensor.Tensor, width, n int) tensor.Tensor { return t.Rows(0, width*n).View(width, n) }

// Forward adds x·Sᵀ to y.
func (b *sparse) Forward(y, x tensor.Tensor) {
	if y.None() {
		return
	}
	xT, yT := turned(b.xT, b.in, x.Dim(0)), turned(b.yT, b.out, x.Dim(0))
	values, last := b.parts(b.values.W)
	ids, lastIDs := b.parts(b.places.W)
	b.dev.Transpose(xT, x)
	b.dev.Transpose(yT, y)
	b.dev.RowAdd(yT, values, xT, ids)
	if b.more > 0 {
		b.dev.RowAdd(yT.Rows(0, b.more), last, xT, lastIDs)
	}
	b.dev.Transpose(y.View(y.Dim(0), b.out), yT)
}

// Backward mirrors Forward.
func (b *sparse) Backward(dx, dy, x tensor.Tensor) {
	xT, dyT := turned(b.xT, b.in, x.Dim(0)), turned(b.yT, b.out, x.Dim(0))
	grads, lastGrads := b.parts(b.gradients)
	ids, lastIDs := b.parts(b.places.W)
	b.dev.Transpose(xT, x)
	b.dev.Transpose(dyT, dy)
	b.dev.RowDots(grads, dyT, xT, ids)
	if b.more > 0 {
		b.dev.RowDots(lastGrads, dyT.Rows(0, b.more), xT, lastIDs)
	}
	b.dev.Add(b.values.D, b.values.D, b.gradients)
	if dx.None() {
		return
	}
	values, last := b.parts(b.values.W)
	dxT := xT // x is not needed any more
	b.dev.Transpose(dxT, dx)
	b.dev.RowOuter(dxT, values, dyT, ids)
	if b.more > 0 {
		b.dev.RowOuter(dxT, last, dyT.Rows(0, b.more), lastIDs)
	}
	b.dev.Transpose(dx.View(dx.Dim(0), b.in), dxT)
}

// CheckPlaces refuses an adapter file whose elements do not lie as Attach puts
// them: places of rows in their order, and columns of the layer.
func (s *SHiRA) CheckPlaces(c model.Config, a *safetensors.Set) error {
	targets, _ := s.Modules()
	for _, w := range chosen(c, targets) {
		layer := strings.TrimSuffix(w.Name, ".weight")
		data, err := a.Bytes("base_model.model." + layer + ".shira_indices")
		if err != nil {
			continue // what is missing is named where tensors are read
		}
		if err := s.checkPlaces(layer, data, w.Dims[1], w.Dims[0]); err != nil {
			return err
		}
	}
	return nil
}

func (s *SHiRA) checkPlaces(layer string, data []byte, in, out int) error {
	n := s.count(in, out)
	ids := make([]int32, len(data)/4)
	copy(tensor.Bytes(ids), data)
	if len(ids) != 2*n {
		return nil // of another shape, which is named where tensors are read
	}
	each := n / out
	for i := range n {
		row := i / each
		if i >= out*each {
			row = i - out*each
		}
		if int(ids[i]) != row {
			return fmt.Errorf("%s.shira_indices: element %d is in row %d, wanted %d: this program reads masks with %d elements in every row, one more in the first %d, listed so; the random mask of PEFT is another", layer, i, ids[i], row, each, n%out)
		}
		if c := ids[n+i]; c < 0 || int(c) >= in {
			return fmt.Errorf("%s.shira_indices: element %d is in column %d of %d", layer, i, c, in)
		}
	}
	return nil
}

// Fold adds the elements to the weights.
func (s *SHiRA) Fold(c model.Config, a *safetensors.Set) (*Fold, error) {
	if err := s.CheckPlaces(c, a); err != nil {
		return nil, err
	}
	f := &Fold{Weights: map[string]func(w []float32) error{}}
	for _, name := range a.Names() {
		if layer, ok := strings.CutSuffix(name, ".shira_weight"); ok {
			f.Weights[strings.TrimPrefix(layer, "base_model.model.")+".weight"] = func(w []float32) error { return s.fold(w, a, layer) }
		}
	}
	return f, nil
}

// fold changes the weight of one layer.
func (s *SHiRA) fold(w []float32, a *safetensors.Set, layer string) error {
	info, _ := a.Info(layer + ".shira_weight")
	values := make([]float32, info.Len())
	if err := a.ReadF32(values, layer+".shira_weight"); err != nil {
		return err
	}
	data, err := a.Bytes(layer + ".shira_indices")
	if err != nil {
		return err
	}
	ids := make([]int32, 2*len(values))
	copy(tensor.Bytes(ids), data)
	rows, cols := ids[:len(values)], ids[len(values):]
	in := len(w) / (int(slices.Max(rows)) + 1) // every row has an element
	for i, v := range values {
		w[int(rows[i])*in+int(cols[i])] += v
	}
	return nil
}
