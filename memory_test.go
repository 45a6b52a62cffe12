package meft

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"meft/method"
	"meft/tensor"
	"meft/train"
)

// built is a configuration planned and then built.
func built(t *testing.T, c Config) (*Plan, *engine) {
	t.Helper()
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
	return plan, e
}

// Three accounts of the same memory agree to the byte: the one made before
// anything is allocated, the one made while allocating, and the device's own;
// and no step of training adds anything to them.
func TestPlannedMemoryIsWhatIsUsed(t *testing.T) {
	methods := method.Names()
	for n := range 8 * len(methods) {
		method := methods[n/8]
		if n%8 == 5 && (method == "meft" || method == "parallel") {
			method += " adapter_activation=swiglu"
		}
		if router := []string{"", "product-key meft_neurons=100", "switch", "exact", "stable"}[n%5]; router != "" && method == "meft" {
			method += " meft_router=" + router
		}
		c := newRun(t, method)
		c.BaseDType = []string{"f32", "bf16"}[n%2]
		c.Rebuild, c.Packing = n/2%2 == 1, n/4%2 == 1
		c.MaxSteps, c.SaveStrategy, c.MaxLength = 2, "no", 48
		if method == "parallel" || n%8 == 2 {
			c.ValSize, c.EvalStrategy, c.EvalSteps, c.Generate, c.MaxNewTokens = 3, "steps", 1, true, 3
		}
		name := fmt.Sprintf("%s %s rebuild=%v packing=%v eval=%s", method, c.BaseDType, c.Rebuild, c.Packing, c.EvalStrategy)
		t.Run(name, func(t *testing.T) {
			plan, e := built(t, c)
			sameEntries(t, plan.Ledger, &e.ledger)
			for p := tensor.Pool(0); p < tensor.Pools; p++ {
				if a, b := plan.Ledger.Used(p), e.dev.Allocated(p); a != b {
					t.Errorf("%v: planned %d bytes, the device gave out %d", p, a, b)
				}
			}
			e.Close()
			for p := tensor.Pool(0); p < tensor.Pools; p++ {
				if left := e.dev.Allocated(p); left != 0 {
					t.Errorf("%v: %d bytes are not given back", p, left)
				}
			}
			steps := 0
			r, err := Train(t.Context(), c, func(event train.Event) {
				switch s := event.(type) {
				case train.Memory:
					if s.Device != plan.Device || s.Pinned != plan.Pinned || s.Host != plan.Host {
						t.Errorf("the run tells of %d, %d and %d bytes, planned were %d, %d and %d", s.Device, s.Pinned, s.Host, plan.Device, plan.Pinned, plan.Host)
					}
				case train.Step:
					steps++
					if s.DeviceBytes != plan.Device || s.HostBytes != plan.Pinned+plan.Host {
						t.Errorf("step %d: %d bytes on the device and %d on the host, planned were %d and %d", s.Step, s.DeviceBytes, s.HostBytes, plan.Device, plan.Pinned+plan.Host)
					}
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if steps != 2 || r.Device != plan.Device || r.Host != plan.Pinned+plan.Host {
				t.Errorf("%d steps with at most %d and %d bytes, planned were %d and %d", steps, r.Device, r.Host, plan.Device, plan.Pinned+plan.Host)
			}
		})
	}
}

// A ladder keeps no activations of the model it stands beside: of what LoRA keeps
// for its backward pass a small part is left, and a tenth of that where the model
// runs again.
func TestLadderTakesFarLessActivationsThanLoRA(t *testing.T) {
	activations := func(method string, rebuild bool) float64 {
		c := Defaults()
		c.Shape, c.Method, c.Batch, c.MaxLength, c.Rebuild, c.BaseDType = "llama-2-7b", method, 4, 512, rebuild, "bf16"
		p, err := MakePlan(c)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range p.Groups() {
			if g.Name == "activations" {
				return float64(g.Bytes)
			}
		}
		t.Fatalf("%s keeps no activations: %+v", method, p.Groups())
		return 0
	}
	lora, loraAgain := activations("lora", false), activations("lora", true)
	ladder, ladderAgain := activations("lst", false), activations("lst", true)
	t.Logf("LoRA %v, rebuilding %v; ladder %v, running again %v", Size(lora), Size(loraAgain), Size(ladder), Size(ladderAgain))
	if ladder > lora/3 || ladderAgain > loraAgain || ladderAgain > ladder/2 {
		t.Errorf("LoRA %v, rebuilding %v; ladder %v, running again %v", Size(lora), Size(loraAgain), Size(ladder), Size(ladderAgain))
	}
}

func sameEntries(t *testing.T, a, b *tensor.Ledger) {
	t.Helper()
	x, y := a.Entries(), b.Entries()
	if len(x) != len(y) {
		t.Fatalf("%d allocations planned, %d made", len(x), len(y))
	}
	for i := range x {
		if x[i].Name != y[i].Name || x[i].Pool != y[i].Pool || x[i].Bytes != y[i].Bytes {
			t.Errorf("planned %s: %d bytes of %v, made %s: %d bytes of %v", x[i].Name, x[i].Bytes, x[i].Pool, y[i].Name, y[i].Bytes, y[i].Pool)
		}
	}
}

// suggested applies the flags of a refusal's suggestion to a configuration.
func suggested(t *testing.T, c Config, message string) Config {
	t.Helper()
	_, flags, ok := strings.Cut(message, "this would fit: ")
	if !ok {
		t.Fatalf("no suggestion in %q", message)
	}
	words := strings.Fields(flags)
	for i := 0; i < len(words); i++ {
		name, value := words[i], "true"
		if i+1 < len(words) && !strings.HasPrefix(words[i+1], "--") {
			i++
			value = words[i]
		}
		if err := c.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// copied is c with settings of its own.
func copied(c Config) Config {
	settings := map[string]string{}
	for k, v := range c.Settings {
		settings[k] = v
	}
	c.Settings = settings
	return c
}

func TestBudgetIsKeptToTheByte(t *testing.T) {
	for _, m := range method.Names() {
		c := newRun(t, m)
		c.MaxSteps, c.SaveStrategy, c.MaxLength = 1, "no", 64
		plan, err := MakePlan(c)
		if err != nil {
			t.Fatal(err)
		}
		device, host := Size(plan.Device), Size(plan.Pinned+plan.Host+plan.Fixed)
		for _, budget := range []struct {
			name         string
			device, host Size // below the plan by
		}{{"device memory", 1, 0}, {"host memory", 0, 1}, {"device memory", device / 5, 0}, {"host memory", 0, Size(plan.Host) / 5}} {
			small := copied(c)
			small.DeviceMemory, small.HostMemory = device-budget.device, host-budget.host
			_, err := Train(t.Context(), small, nil)
			missing := fmt.Sprintf("%v missing", budget.device+budget.host)
			if err == nil || !strings.Contains(err.Error(), budget.name) || !strings.Contains(err.Error(), missing) {
				t.Errorf("%s: %s too small by %d bytes: got %v; wanted it to say %q", m, budget.name, budget.device+budget.host, err, missing)
				continue
			}
			if exists(small.OutputDir) {
				t.Errorf("%s: a refused run wrote to %s", m, small.OutputDir)
			}
			if strings.Contains(err.Error(), "no setting of") {
				continue
			}
			fits := suggested(t, copied(small), err.Error())
			p, err := MakePlan(fits)
			if err != nil {
				t.Errorf("%s: the suggestion is refused: %v", m, err)
			} else if len(p.Problems) > 0 {
				t.Errorf("%s: the suggestion does not fit: %q", m, p.Problems)
			} else if p.Device > int64(small.DeviceMemory) || p.Pinned+p.Host+p.Fixed > int64(small.HostMemory) {
				t.Errorf("%s: the suggestion takes %d and %d bytes of %d and %d", m, p.Device, p.Pinned+p.Host+p.Fixed, small.DeviceMemory, small.HostMemory)
			}
			if fits.Batch*fits.Accumulation != c.Batch*c.Accumulation {
				t.Errorf("%s: the suggestion takes %d rows a step, not %d", m, fits.Batch*fits.Accumulation, c.Batch*c.Accumulation)
			}
		}
		c.DeviceMemory, c.HostMemory = device, host
		mustTrain(t, c)
	}
}

func TestHopelessBudgetGetsNoSuggestion(t *testing.T) {
	c := newRun(t, "meft")
	c.DeviceMemory = 1000
	refused(t, c, "device memory", "missing", "no setting of batch")
	if exists(c.OutputDir) {
		t.Error("a refused run wrote its folder")
	}
}

// A suggestion keeps what it need not change.
func TestSuggestionChangesOnlyWhatHelps(t *testing.T) {
	c := newRun(t, "full")
	c.Rebuild = true
	plan, err := MakePlan(c)
	if err != nil {
		t.Fatal(err)
	}
	c.DeviceMemory = Size(plan.Device - 1)
	_, err = Train(t.Context(), c, nil)
	// Weights that are trained are kept in f32 whatever base_dtype says, and
	// there is no more to save in the choice of blocks' activations.
	const want = "this would fit: --per_device_train_batch_size 1 --gradient_accumulation_steps 3"
	if err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %v, wanted %q", err, want)
	}
}

// The memory that the system sees is the ledger's and the constant that is
// stated for the program itself: what is read is let go, and nothing is kept
// twice.
func TestResidentMemoryIsTheLedgersAndTheProgram(t *testing.T) {
	if testing.Short() {
		t.Skip("writes and reads 130 MB")
	}
	if peakRSS() == 0 || raceDetector {
		t.Skip("this system does not tell, or the race detector's own memory is counted too")
	}
	c := newRun(t, "meft")
	writeConfig(t, c.Model, shape{dim: 512, layers: 6, heads: 8, kv: 8, hidden: 1408, context: 64}, 280)
	writeRandom(t, c.Model)
	// Rows of 64 tokens, 4 MB of text.
	line := `{"prompt": "` + strings.Repeat("What is the colour? ", 8) + `", "completion": "red"}` + "\n"
	put(t, c.Data, strings.Repeat(line, 24000))
	for name, value := range map[string]string{"meft_neurons": "2000", "meft_buffer": "1000"} {
		if err := c.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	c.MaxSteps, c.SaveSteps, c.Threads = 2, 2, 2
	plan, err := MakePlan(c)
	if err != nil {
		t.Fatal(err)
	}
	report, killed := startChild(t, childTask{Config: c})
	if killed || report.Error != "" {
		t.Fatalf("killed %v, %s", killed, report.Error)
	}
	for _, again := range []bool{false, true} {
		if again {
			c.Resume = "true"
			if err := os.RemoveAll(filepath.Join(c.OutputDir, "adapter")); err != nil {
				t.Fatal(err)
			}
			if report, _ = startChild(t, childTask{Config: c}); report.Error != "" {
				t.Fatal(report.Error)
			}
		}
		if report.Ledger != plan.total() {
			t.Errorf("the run used %d bytes, planned were %d", report.Ledger, plan.total())
		}
		t.Logf("resumed %v: %v resident at most, %v in the ledger, %v beside it; %v are stated for the program",
			again, Size(report.Peak), Size(plan.total()), Size(report.Peak-plan.total()), Size(plan.Fixed))
		if want := plan.total() + plan.Fixed; report.Peak > want*11/10 || report.Peak < want*9/10 {
			t.Errorf("resumed %v: resident were %v, wanted %v and no more than 10 %% more or less", again, Size(report.Peak), Size(want))
		}
	}
}
