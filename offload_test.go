package meft

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"testing"

	"meft/train"
)

// offloads are ways to offload, by name.
func offloads() map[string]func(c *Config) {
	return map[string]func(c *Config){
		"optimizer": func(c *Config) { c.OffloadOptimizer = true },
		"weights":   func(c *Config) { c.OffloadWeights = true },
		"both":      func(c *Config) { c.OffloadOptimizer, c.OffloadWeights = true, true },
	}
}

// TestOffloadedRunGivesTheSameBits: a run with state on the host writes the files
// of one without, takes less of the device, as much as was planned, and says what
// it moved; one that is broken off goes on in the other form.
func TestOffloadedRunGivesTheSameBits(t *testing.T) {
	for _, m := range []string{"full", "parallel", "lora", "meft"} {
		for name, offload := range offloads() {
			t.Run(m+" "+name, func(t *testing.T) {
				c := newRun(t, m)
				c.Model = newModel(t, shape{dim: 16, layers: 4, heads: 2, kv: 1, hidden: 24, context: 64})
				c.Accumulation, c.Rebuild = 2, m == "lora"
				if m == "parallel" {
					c.BaseDType = "bf16"
				}
				plan := mustPlan(t, c)
				mustTrain(t, c)
				want := result(t, c)

				away := copied(c)
				away.OutputDir = filepath.Join(t.TempDir(), "away")
				offload(&away)
				planned := mustPlan(t, away)
				if planned.Device >= plan.Device || planned.Host+planned.Pinned <= plan.Host+plan.Pinned {
					t.Errorf("%d bytes on the device and %d on the host, without offloading %d and %d",
						planned.Device, planned.Host+planned.Pinned, plan.Device, plan.Host+plan.Pinned)
				}
				returns := away.OffloadOptimizer || m == "full" || m == "meft" // frozen weights only come
				ctx, stop := context.WithCancel(t.Context())
				_, err := Train(ctx, away, func(e train.Event) {
					s, ok := e.(train.Step)
					if !ok {
						return
					}
					if s.DeviceBytes != planned.Device || s.HostBytes != planned.Pinned+planned.Host {
						t.Errorf("step %d: %d and %d bytes, planned were %d and %d", s.Step, s.DeviceBytes, s.HostBytes, planned.Device, planned.Pinned+planned.Host)
					}
					if s.BytesToDevice == 0 || (s.BytesToHost > 0) != returns {
						t.Errorf("step %d: %d bytes to the device and %d to the host", s.Step, s.BytesToDevice, s.BytesToHost)
					}
					if s.Step == 3 {
						stop()
					}
				})
				if !errors.Is(err, context.Canceled) {
					t.Fatalf("broken off: %v", err)
				}
				here := copied(c)
				here.OutputDir, here.Resume = away.OutputDir, "true"
				mustTrain(t, here)
				if !bytes.Equal(result(t, here), want) {
					t.Error("other bytes than without offloading")
				}
			})
		}
	}
}
