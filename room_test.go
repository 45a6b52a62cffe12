package meft

import (
	"testing"

	"meft/tensor"
)

// A checkpoint has the moments in the form they are kept in, and values as
// float32 in any form.
func TestRoomForCheckpointsFollowsTheFormOfMoments(t *testing.T) {
	for _, method := range []string{"full", "parallel", "meft"} {
		for _, form := range []string{"f32", "bf16", "8bit"} {
			c := newRun(t, method)
			if method == "meft" {
				c.Settings["meft_moments"], c.Settings["meft_master"] = form, "split"
			} else if form != "f32" {
				continue
			}
			j, err := newJob(c)
			if err != nil {
				t.Fatal(err)
			}
			plan, err := j.plan()
			if err != nil {
				t.Fatal(err)
			}
			var p pieces
			e, err := j.recipe(&p).build(plan.Ledger, c.Threads)
			if err != nil {
				t.Fatal(err)
			}
			moments, values := int64(0), int64(0)
			for _, b := range e.params.Moments() {
				moments += b.Bytes()
			}
			for _, b := range e.params.Weights() {
				if b.DType != tensor.F32 {
					t.Errorf("%s is saved as %v", b.Name, b.DType)
				}
				values += b.Bytes()
			}
			e.Close()
			if got, _ := (runDir{dir: c.OutputDir}).needs(plan, j); got != 3*values+2*moments {
				t.Errorf("%s with %s moments: %d bytes for a result and two checkpoints, wanted 3·%d + 2·%d", method, form, got, values, moments)
			}
		}
	}
}
