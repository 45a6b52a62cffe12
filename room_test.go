package meft

import (
	"testing"

	"meft/method"
	"meft/tensor"
)

// A checkpoint has the moments in the form they are kept in, and values as
// float32 in any form.
func TestRoomForCheckpointsFollowsTheFormOfMoments(t *testing.T) {
	for _, name := range []string{"full", "parallel", "meft", "prefix"} {
		for _, form := range []string{"f32", "bf16", "8bit"} {
			c := newRun(t, name)
			if name == "prefix" {
				// Tensors are whole lines of 64 bytes, as memory is given.
				c.Settings["prefix_projection"], c.Settings["prefix_tokens"], c.Settings["encoder_hidden_size"] = "true", "4", "16"
			}
			if name == "meft" {
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
			result, trained := values, int64(0) // a checkpoint has these too
			if projected := method.Projected(j.method); projected != nil {
				result, trained = 4*projected.Parameters(), values
			} else if name == "prefix" {
				t.Error("a prefix with a projection is as it is trained")
			}
			e.Close()
			if got, _ := (runDir{dir: c.OutputDir}).needs(plan, j); got != 3*result+2*(trained+moments) {
				t.Errorf("%s with %s moments: %d bytes for a result and two checkpoints, wanted 3·%d + 2·(%d + %d)", name, form, got, result, trained, moments)
			}
		}
	}
}
