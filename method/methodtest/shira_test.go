package methodtest

import (
	"math"
	"strings"
	"testing"

	"meft/method"
	"meft/ref"
)

// W + S is the same function, for a few elements, and for all of them: r = 6 of a
// layer of 12 by 12. On package ref only the order of sums of float64 differs.
func TestSHiRAMergedIntoTheWeightsIsTheSame(t *testing.T) {
	for _, m := range []method.SHiRA{{Rank: 2, Targets: "all-linear"}, {Rank: 6, Targets: "q_proj,o_proj"}, {Rank: 3, Targets: "v_proj,down_proj,lm_head"}} {
		r := Build(t, &watch{Device: ref.New()}, "shira", &m, grad(), 0)
		plain := Build(t, &watch{Device: ref.New()}, "shira", &m, grad(), 0)
		base := plain.loss()
		r.Noise()
		values, places := map[string][]float64{}, map[string][]int32{}
		for i := 0; i < len(r.Set.Dense); i += 2 {
			site := strings.TrimSuffix(r.Set.Dense[i].Name, ".shira_weight")
			values[site], places[site] = Values(r.Dev, r.Set.Dense[i].W), ints(r, i+1)
		}
		dev := plain.Dev.(*watch)
		for _, w := range plain.Model.Weights() {
			site := "base_model.model." + strings.TrimSuffix(w.Name, ".weight")
			x, in, n := dev.Read(w.W), w.W.Width(), len(values[site])
			seen := map[[2]int32]bool{}
			for i, v := range values[site] {
				at := [2]int32{places[site][i], places[site][n+i]}
				if seen[at] {
					t.Errorf("%s: %v is trained twice", site, at)
				}
				seen[at] = true
				x[int(at[0])*in+int(at[1])] += v
			}
			if want := m.Rank * (in + w.W.Dim(0)); values[site] != nil && n != want {
				t.Errorf("%s has %d elements, wants %d", site, n, want)
			}
			dev.Write(w.W, x)
		}
		if got, want := r.loss(), plain.loss(); math.Abs(got-want) > 1e-12 || math.Abs(want-base) < 0.01 {
			t.Errorf("%+v: loss %v, merged %v, of the base model %v", m, got, want, base)
		}
	}
}

// ints are the integers of a member of the set.
func ints(r *Rig, i int) []int32 {
	b := r.Set.Weights()[i]
	x := make([]byte, b.Bytes())
	b.Read(x)
	out := make([]int32, len(x)/4)
	for j := range out {
		out[j] = int32(x[4*j]) | int32(x[4*j+1])<<8 | int32(x[4*j+2])<<16 | int32(x[4*j+3])<<24
	}
	return out
}
