package train

import (
	"strings"
	"testing"

	"meft/ref"
	"meft/task"
	"meft/tensor"
)

func refDevice() tensor.Device { return ref.New() }

// hostArena allocates on a reference device.
func hostArena(t testing.TB) *tensor.Arena {
	a := tensor.NewArena(refDevice(), &tensor.Ledger{}, &tensor.Ledger{})
	t.Cleanup(a.Close)
	return a
}

func TestDataCountsWhatIsLearned(t *testing.T) {
	d := examples(200, 3)
	sum, longest := int64(0), 0
	for i := range d.Len() {
		from, to := d.span(i)
		n := 0
		for j := from; j < to; j++ {
			if d.learned(j) {
				n++
			}
		}
		if got := d.supervisedIn(i); got != n {
			t.Fatalf("example %d at [%d, %d): counted %d, has %d", i, from, to, got, n)
		}
		if d.learned(from) {
			t.Fatalf("example %d: the first token is learned", i)
		}
		sum += int64(n)
		longest = max(longest, to-from)
	}
	if d.Supervised() != sum || d.Longest() != longest || d.Tokens() != int64(len(d.ids)) || sum == 0 {
		t.Errorf("%d of %d tokens learned, longest %d; counted %d and %d", d.Supervised(), d.Tokens(), d.Longest(), sum, longest)
	}
}

func TestFingerprintTellsDataApart(t *testing.T) {
	base := examples(20, 1)
	if examples(20, 1).Fingerprint() != base.Fingerprint() {
		t.Error("equal data, different fingerprints")
	}
	for name, change := range map[string]func(*Data){
		"token": func(d *Data) { d.ids[7]++ },
		"mask":  func(d *Data) { d.mask[1] ^= 4 },
		"bound": func(d *Data) { d.ends[3]++ },
	} {
		d := examples(20, 1)
		change(d)
		if d.Fingerprint() == base.Fingerprint() {
			t.Errorf("another %s, the same fingerprint", name)
		}
	}
	if placed := examples(20, 1); func() string { placed.Place(hostArena(t)); return placed.Fingerprint() }() != base.Fingerprint() {
		t.Error("placing data in an arena changes its fingerprint")
	}
}

func TestExamplesAreNamedByFileAndRow(t *testing.T) {
	d := &Data{}
	e := task.Encoded{IDs: []int32{1, 2}, Train: []bool{false, true}}
	for _, at := range []struct {
		file string
		row  int
	}{{"a.jsonl", 4}, {"a.jsonl", 6}, {"b.jsonl", 1}, {"", 0}} {
		if err := d.Add(e, at.file, at.row); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []string{"a.jsonl: row 4", "a.jsonl: row 6", "b.jsonl: row 1", "example 4"} {
		if got := d.Where(i); got != want {
			t.Errorf("example %d is %q, wanted %q", i, got, want)
		}
	}
	if err := d.Add(task.Encoded{}, "c.jsonl", 9); err == nil || !strings.Contains(err.Error(), "c.jsonl: row 9") {
		t.Errorf("an example without tokens: %v", err)
	}
}
