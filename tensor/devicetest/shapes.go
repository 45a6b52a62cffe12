package devicetest

import (
	"testing"

	"meft/tensor"
)

// shapes: every kernel refuses operands that do not fit, before it computes.
func (s *suite) shapes(t *testing.T) {
	buf, err := s.dev.Alloc(1<<14, tensor.OnDevice)
	if err != nil {
		t.Fatal(err)
	}
	defer s.dev.Free(buf)
	x := func(dims ...int) tensor.Tensor {
		y := tensor.Tensor{Buf: buf, DType: tensor.F32, Rank: len(dims)}
		copy(y.Dims[:], dims)
		return y
	}
	ids := func(dims ...int) tensor.Tensor { y := x(dims...); y.DType = tensor.I32; return y }
	half := func(dims ...int) tensor.Tensor { y := x(dims...); y.DType = tensor.BF16; return y }
	codes := func(dims ...int) tensor.Tensor {
		y := x(dims...)
		y.DType, y.Whole = tensor.NF4, dims[0]
		return y
	}
	k := s.dev
	mask := tensor.Mask{Start: ids(3), End: ids(3), Scale: 1}
	for name, call := range map[string]func(){
		"matmul inner":     func() { k.MatMul(x(3, 4), x(3, 5), x(6, 4), tensor.MatMulOpts{}) },
		"matmul outer":     func() { k.MatMul(x(3, 4), x(3, 5), x(5, 3), tensor.MatMulOpts{}) },
		"matmul both":      func() { k.MatMul(x(3, 3), x(3, 3), x(3, 3), tensor.MatMulOpts{TransA: true, TransB: true}) },
		"matmul bf16 a":    func() { k.MatMul(x(3, 3), half(3, 3), x(3, 3), tensor.MatMulOpts{}) },
		"matmul codes a":   func() { k.MatMul(x(8, 8), codes(8, 8), x(8, 8), tensor.MatMulOpts{}) },
		"matmul codesT":    func() { k.MatMul(x(8, 8), x(8, 8), codes(8, 8), tensor.MatMulOpts{TransA: true}) },
		"gather codes":     func() { k.Gather(x(3, 8), codes(8, 8), ids(3)) },
		"convert to codes": func() { k.Convert(codes(8, 8), x(8, 8)) },
		"convert codes":    func() { k.Convert(half(8, 8), codes(8, 8)) },
		"gather width":     func() { k.Gather(x(3, 4), x(9, 5), ids(3)) },
		"gather type":      func() { k.Gather(x(3, 4), x(9, 4), x(3)) },
		"scatter":          func() { k.Scatter(x(9, 4), x(3, 4), ids(2)) },
		"scatteradd":       func() { k.ScatterAdd(x(9, 4), x(3, 5), ids(3)) },
		"rmsnorm":          func() { k.RMSNorm(x(3, 4), x(4), x(3, 4), x(4), 1) },
		"rmsnorm grad":     func() { k.RMSNormGrad(x(3, 4), x(3), x(3, 4), x(3, 4), x(4), x(3)) },
		"addbias":          func() { k.AddBias(x(3, 4), x(3)) },
		"biasgrad":         func() { k.BiasGrad(half(4), x(3, 4)) },
		"scalecolumns":     func() { k.ScaleColumns(x(3, 4), x(3, 4), x(3)) },
		"columndots":       func() { k.ColumnDots(x(4), x(3, 4), x(4, 3)) },
		"divsqrt":          func() { k.DivSqrt(x(4), x(4), x(3)) },
		"transpose":        func() { k.Transpose(x(3, 4), x(3, 4)) },
		"rope odd":         func() { k.RoPE(x(3, 2, 5), ids(3), x(9, 5), false) },
		"rope table":       func() { k.RoPE(x(3, 2, 4), ids(3), x(9, 8), false) },
		"attention heads":  func() { k.Attention(x(3, 3, 4), x(3, 3), x(3, 3, 4), x(5, 2, 4), x(5, 2, 4), mask) },
		"attention width":  func() { k.Attention(x(3, 1, 514), x(3, 1), x(3, 1, 514), x(3, 1, 514), x(3, 1, 514), mask) },
		"attention mask":   func() { k.Attention(x(2, 2, 4), x(2, 2), x(2, 2, 4), x(5, 2, 4), x(5, 2, 4), mask) },
		"attention grad": func() {
			k.AttentionGrad(x(3, 2, 4), x(4, 2, 4), x(5, 2, 4), x(3, 2, 4), x(3, 2, 4), x(3, 2), x(3, 2, 4), x(5, 2, 4), x(5, 2, 4), mask)
		},
		"swiglu":              func() { k.SwiGLU(x(3, 4), x(3, 4), x(3, 5)) },
		"swiglu grad":         func() { k.SwiGLUGrad(x(3, 4), x(3, 4), x(4, 3), x(3, 4), x(3, 4)) },
		"act":                 func() { k.Act(x(3), x(4), tensor.SiLU) },
		"act grad":            func() { k.ActGrad(x(4), x(3), x(4), tensor.SiLU) },
		"rowdots":             func() { k.RowDots(x(3, 2), x(3, 4), x(9, 4), ids(3, 3)) },
		"rowadd":              func() { k.RowAdd(x(3, 4), x(3, 2), x(9, 5), ids(3, 2)) },
		"rowouter":            func() { k.RowOuter(x(9, 4), x(3, 2), x(2, 4), ids(3, 2)) },
		"gatedrelu":           func() { k.GatedReLU(x(3, 4), x(3, 4), x(3, 5)) },
		"gatedrelu grad":      func() { k.GatedReLUGrad(x(3, 4), x(3, 3), x(3, 4), x(3, 4), x(3, 4)) },
		"softmax":             func() { k.Softmax(x(3, 4), x(4, 3)) },
		"softmax grad":        func() { k.SoftmaxGrad(x(3, 4), x(3, 4), x(2, 4)) },
		"pick":                func() { k.Pick(x(3, 2), x(4, 5), ids(3, 2)) },
		"pick grad":           func() { k.PickGrad(x(3, 5), x(3, 3), ids(3, 2)) },
		"crossentropy":        func() { k.CrossEntropy(x(3), x(3, 5), ids(4), 1) },
		"add":                 func() { k.Add(x(3), x(3), x(4)) },
		"mul":                 func() { k.Mul(x(3), x(4), x(4)) },
		"axpy":                func() { k.Axpy(x(3), 1, x(4)) },
		"fill":                func() { k.Fill(half(3), 1) },
		"convert":             func() { k.Convert(ids(3), x(3)) },
		"maskzeros":           func() { k.MaskZeros(x(3), x(4)) },
		"sumsquares":          func() { k.SumSquares(x(1), half(4)) },
		"adamw":               func() { k.AdamW(x(4), x(4), x(4), x(3), tensor.AdamWOpts{}) },
		"upload":              func() { k.Upload(x(4), make([]byte, 12)) },
		"download":            func() { k.Download(make([]byte, 20), x(4)) },
		"none where it needs": func() { k.Add(x(3), x(3), tensor.Tensor{}) },
		"none first":          func() { k.Add(tensor.Tensor{}, tensor.Tensor{}, tensor.Tensor{}) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			call()
		})
	}
}
