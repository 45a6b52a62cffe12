package param

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"meft/tensor"
)

// resident is the memory of the process that the RAM holds.
func resident(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// TestPagesOfAFileCanLeaveTheMemory: written pages that the process is made to
// drop are not lost, as anonymous memory would be, and take no memory until they
// are read again.
func TestPagesOfAFileCanLeaveTheMemory(t *testing.T) {
	const size = 64 << 20
	f, err := NewFile(t.TempDir(), size)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := f.Alloc(size)
	if err != nil {
		t.Fatal(err)
	}
	mem := b.Host()
	for i := range mem {
		if mem[i] != 0 {
			t.Fatalf("byte %d is %d at the start", i, mem[i])
		}
		mem[i] = byte(i >> 7)
	}
	with := resident(t)
	if err := unix.Madvise(mem, unix.MADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	if without := resident(t); with-without < size*9/10 { // a tenth for whatever else the process does
		t.Errorf("%d bytes resident before, %d after %d were dropped", with, without, size)
	}
	for i := range mem {
		if mem[i] != byte(i>>7) {
			t.Fatalf("byte %d came back as %d", i, mem[i])
		}
	}
}

func TestFileGivesWhatItHasAndIsHidden(t *testing.T) {
	dir := t.TempDir()
	f, err := NewFile(dir+"/made", 256)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if left, err := os.ReadDir(dir + "/made"); err != nil || len(left) != 0 {
		t.Errorf("the folder has %d files, %v", len(left), err)
	}
	a, err := f.Alloc(128)
	if err != nil || a.Bytes() != 128 || len(a.Host()) != 128 {
		t.Fatalf("%v, %v", a, err)
	}
	if _, err := f.Alloc(192); err == nil {
		t.Error("320 bytes of 256")
	}
	b, err := f.Alloc(128)
	if err != nil {
		t.Fatal(err)
	}
	a.Host()[127], b.Host()[0] = 1, 2
	if a.Host()[127] != 1 {
		t.Error("parts overlap")
	}
}

// TestTableTakesFromTheFileWhatThePlanSays, and nothing else from it.
func TestTableTakesFromTheFileWhatThePlanSays(t *testing.T) {
	for _, o := range []TableOptions{{}, {Master: SplitMaster, Moments: ByteMoments}, {Fixed: true}} {
		var plan, used tensor.Ledger
		planning := tensor.NewPlan(&plan)
		planning.KeepOnDisk(nil)
		NewTable(planning, "t", 50, 70, o)
		f, err := NewFile(t.TempDir(), plan.Used(tensor.OnDisk))
		if err != nil {
			t.Fatal(err)
		}
		a := tensor.NewArena(&hostDevice{}, &used, &plan)
		a.KeepOnDisk(f)
		tab := NewTable(a, "t", 50, 70, o)
		if err := a.Err(); err != nil {
			t.Fatal(err)
		}
		if diff := used.Diff(&plan); diff != "" || f.used != plan.Used(tensor.OnDisk) {
			t.Errorf("%+v: %s; %d bytes of the file taken, planned %d", o, diff, f.used, plan.Used(tensor.OnDisk))
		}
		x := make([]float32, 70)
		x[3] = 7
		tab.SetRow(Key, 49, x)
		tab.Row(x, Key, 49)
		if x[3] != 7 {
			t.Errorf("%+v: key 49 is %v", o, x[:5])
		}
		a.Close()
		f.Close()
	}
}
