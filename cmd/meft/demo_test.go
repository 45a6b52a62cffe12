package main

import (
	"strings"
	"testing"

	"meft/demo"
)

func TestDemoTable(t *testing.T) {
	var out, said locked
	a := &app{out: &out, err: &said}
	err := a.printDemo(&demo.Table{Facts: 60, Questions: 60, Chance: 0.05, OldBefore: 0.9, Rows: []demo.Row{
		{Method: "meft", EMBefore: 0.05, EMAfter: 0.955, OldAfter: 0.1, Trained: 7, DeviceBytes: 12e6, HostBytes: 34e6, Seconds: 12.34},
		{Method: "parallel", EMBefore: 0.05, EMAfter: 0.5, OldAfter: 0.2, Trained: 3, DeviceBytes: 12e6, HostBytes: 1e6, Seconds: 9.9},
	}})
	want := `method    new facts before   after  old facts before   after  trained  device   host  seconds
meft                 5.0 %  95.5 %            90.0 %  10.0 %        7   12 MB  34 MB     12.3
parallel             5.0 %  50.0 %            90.0 %  20.0 %        3   12 MB   1 MB      9.9
`
	if err != nil || out.String() != want {
		t.Errorf("%v\n%s\nwant\n%s", err, out.String(), want)
	}
	if !strings.Contains(said.String(), "60 facts") || !strings.Contains(said.String(), "5.0 %") {
		t.Errorf("said %q", said.String())
	}
}
