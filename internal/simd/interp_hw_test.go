//go:build amd64 && !purego

package simd

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"unsafe"
)

// hardware are the routines of the machine by name, without the suffix of the
// width; kernels and packers included.
var hardware = map[string]any{
	"kern1AVX2": kern1AVX2, "kern2AVX2": kern2AVX2, "kern3AVX2": kern3AVX2, "kern4AVX2": kern4AVX2, "kern5AVX2": kern5AVX2, "kern6AVX2": kern6AVX2,
	"dotAVX2": dotAVX2, "dotsAVX2": dotsAVX2, "dotBF16AVX2": dotBF16AVX2, "sumAVX2": sumAVX2, "sumSquaresAVX2": sumSquaresAVX2, "maxAVX2": maxAVX2,
	"axpyAVX2": axpyAVX2, "scaleAVX2": scaleAVX2, "addAVX2": addAVX2, "mulAVX2": mulAVX2, "mulAddAVX2": mulAddAVX2, "mulScaledAVX2": mulScaledAVX2,
	"rotateAVX2": rotateAVX2, "reluAVX2": reluAVX2, "reluBackwardAVX2": reluBackwardAVX2,
	"expAVX2": expAVX2, "sigmoidAVX2": sigmoidAVX2, "siluAVX2": siluAVX2, "siluBackwardAVX2": siluBackwardAVX2,
	"tanhAVX2": tanhAVX2, "tanhBackwardAVX2": tanhBackwardAVX2, "geluAVX2": geluAVX2, "geluBackwardAVX2": geluBackwardAVX2,
	"swigluAVX2": swigluAVX2, "swigluBackwardAVX2": swigluBackwardAVX2, "adamwAVX2": adamwAVX2, "fromBF16AVX2": fromBF16AVX2, "toBF16AVX2": toBF16AVX2, "roundBF16AVX2": roundBF16AVX2,
	"packT": packT, "packTBF16": packTBF16, "packRows8": packRows8, "packRows16": packRows16, "packRows16BF16": packRows16BF16, "peakAVX2": peakAVX2,
	"thin1": thin1, "thin2": thin2, "thin3": thin3, "thin4": thin4, "thin5": thin5, "thin6": thin6, "thin7": thin7, "thin8": thin8,
	"thin1BF16": thin1BF16, "thin2BF16": thin2BF16, "thin3BF16": thin3BF16, "thin4BF16": thin4BF16, "thin5BF16": thin5BF16, "thin6BF16": thin6BF16, "thin7BF16": thin7BF16, "thin8BF16": thin8BF16,
	"thin1Codes": thin1Codes, "thin2Codes": thin2Codes, "thin3Codes": thin3Codes, "thin4Codes": thin4Codes, "thin5Codes": thin5Codes, "thin6Codes": thin6Codes, "thin7Codes": thin7Codes, "thin8Codes": thin8Codes,
	"decode4": decode4, "decode8": decode8,
	"tile1AVX2": tile1AVX2, "tile2AVX2": tile2AVX2, "tile3AVX2": tile3AVX2, "tile4AVX2": tile4AVX2, "tile5AVX2": tile5AVX2, "tile6AVX2": tile6AVX2,
	"decodeSignedAVX2": decodeSignedAVX2, "decodeRootsAVX2": decodeRootsAVX2, "encodeSignedAVX2": encodeSignedAVX2, "encodeRootsAVX2": encodeRootsAVX2, "largestAVX2": largestAVX2,
	"laneTopAVX2": laneTopAVX2, "laneWeightsAVX2": laneWeightsAVX2, "laneGradsAVX2": laneGradsAVX2,
}

// onHardware calls a routine as the interpreter does.
func onHardware(name string, args []any) float64 {
	f := reflect.ValueOf(hardware[name])
	in := make([]reflect.Value, len(args))
	for i, a := range args {
		switch a := a.(type) {
		case []float32:
			in[i] = reflect.ValueOf(unsafe.SliceData(a))
		case []byte:
			in[i] = reflect.ValueOf(unsafe.SliceData(a))
		case []uint16:
			in[i] = reflect.ValueOf(unsafe.SliceData(a))
		case []int32:
			in[i] = reflect.ValueOf(unsafe.SliceData(a))
		default:
			in[i] = reflect.ValueOf(a)
		}
	}
	if out := f.Call(in); len(out) > 0 {
		return out[0].Float()
	}
	return 0
}

// The interpreter and the processor agree bit for bit on every AVX2 routine.
func TestInterpreterEqualsHardware(t *testing.T) {
	if !hasAVX2 {
		t.Skip("this machine has no AVX2")
	}
	m := newMachine(t)
	rng := rand.New(rand.NewPCG(21, 0))
	for name := range m.routines {
		if strings.HasSuffix(name, "AVX512") {
			continue
		}
		if hardware[name] == nil {
			t.Errorf("%s is not compared", name)
			continue
		}
		for _, args := range routineArgs(rng, name) {
			copied := copyArgs(args)
			got, want := m.call(name, args...), onHardware(name, copied)
			compareArgs(t, name, got, want, args, copied)
		}
	}
}
