package model

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"meft/quant"
	"meft/safetensors"
	"meft/tensor"
)

// HeadType is the type that embedding and head are kept in where the model's
// matrices are frozen in t. They are looked up and end the network, and are few:
// quantised models keep them in BF16, as bitsandbytes leaves them alone.
func HeadType(t tensor.DType) tensor.DType {
	if t.Quantised() {
		return tensor.BF16
	}
	return t
}

// kept is the type a weight is kept in.
func (s spec) kept(size Size) tensor.DType {
	switch {
	case s.vector || size.Weights:
		return tensor.F32
	case !s.linear:
		return HeadType(size.Frozen)
	}
	return size.Frozen
}

// CheckFrozen reports every matrix that cannot be kept in the type: those of NF4
// and FP4 are made of whole blocks of 64.
func CheckFrozen(c Config, t tensor.DType) error {
	if !t.Quantised() || t == tensor.INT8 {
		return nil
	}
	var problems []string
	for _, sp := range c.specs() {
		if sp.linear && sp.count()%tensor.QuantBlock != 0 {
			problems = append(problems, fmt.Sprintf("tensor %q is %v, %d values", sp.name, sp.dims, sp.count()))
		}
	}
	if len(problems) == 0 {
		return nil
	}
	if n := len(problems); n > 7 {
		problems = append(problems[:7], fmt.Sprintf("and %d more", n-7))
	}
	return fmt.Errorf("%v has blocks of %d values, and these matrices are no multiple of it:\n  %s\nkeep the base in int8, bf16 or f32", t, tensor.QuantBlock, strings.Join(problems, "\n  "))
}

// quantPiece is about how many values of a matrix are in F32 at a time, by
// thread.
const quantPiece = 1 << 16

// loadQuantised codes a weight piece by piece, on as many goroutines as the
// device has threads. Which takes which piece shows nowhere. Beside the weight
// itself that takes a piece for each and with double scales 4 bytes for every
// 64 values.
func (m *Model) loadQuantised(w *Weight, s *safetensors.Set) error {
	to := w.place()
	mem := codesOr(to)
	e := quant.NewEncoder(quant.Of(to.DType, mem, to.Dim(0), to.Width()))
	n, piece := to.Len(), max(1, quantPiece/e.Unit())*e.Unit()
	var (
		next   atomic.Int64
		group  sync.WaitGroup
		mu     sync.Mutex
		broken error
		at     int
	)
	for range min(m.threads(), (n+piece-1)/piece) {
		group.Go(func() {
			x := make([]float32, piece)
			for {
				i := (int(next.Add(1)) - 1) * piece
				if i >= n {
					return
				}
				part := x[:min(piece, n-i)]
				if err := readFinite(part, s, w.Name, i, n); err != nil {
					mu.Lock()
					if broken == nil || i < at { // the first, whoever finds it
						broken, at = err, i
					}
					mu.Unlock()
					return
				}
				e.Encode(part, i)
			}
		})
	}
	group.Wait()
	if broken != nil {
		return broken
	}
	e.Finish()
	m.push(to, mem)
	return nil
}

// readFinite reads values of a tensor of n from i on and refuses NaN and Inf.
func readFinite(x []float32, s *safetensors.Set, name string, i, n int) error {
	if err := s.ReadF32At(x, name, i); err != nil {
		return err
	}
	if err := safetensors.CheckFinitePart(name, x, i, n); err != nil {
		info, _ := s.Info(name)
		return fmt.Errorf("%s: %w", info.File, err)
	}
	return nil
}

// threads is the number of the device's, 1 where it does not say.
func (m *Model) threads() int {
	if d, ok := m.dev.(interface{ Threads() int }); ok {
		return d.Threads()
	}
	return 1
}

// codesOr is hostOr for a quantised tensor.
func codesOr(t tensor.Tensor) []byte {
	if t.Buf.Host() != nil {
		return t.Codes()
	}
	return tensor.Bytes(make([]uint32, (t.Bytes()+3)/4))[:t.Bytes()]
}

// initialCodes is initialValues for a quantised weight: values are coded as they
// are drawn, and never there all at once.
func initialCodes(to tensor.Tensor, value func() float32) []byte {
	mem := codesOr(to)
	e := quant.NewEncoder(quant.Of(to.DType, mem, to.Dim(0), to.Width()))
	n, piece := to.Len(), max(1, 4096/e.Unit())*e.Unit()
	x := make([]float32, min(piece, n))
	for i := 0; i < n; i += piece {
		part := x[:min(piece, n-i)]
		for j := range part {
			part[j] = value()
		}
		e.Encode(part, i)
	}
	e.Finish()
	return mem
}
