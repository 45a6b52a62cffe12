package demo

import (
	"context"
	"testing"
)

func TestSmallDemonstrationComparesAtEqualDeviceMemory(t *testing.T) {
	var last Event
	table, err := Run(context.Background(), Options{People: 4, Steps: 30}, func(e Event) {
		if e.Done < last.Done {
			t.Errorf("progress fell from %d to %d", last.Done, e.Done)
		}
		last = e
	})
	if err != nil {
		t.Fatal(err)
	}
	list := entries()
	if len(table.Rows) != len(list) || table.Rows[0].Method != "meft" {
		t.Fatalf("rows are %+v", table.Rows)
	}
	if want := 30 * len(list); last.Done != want || last.Total != want {
		t.Errorf("progress ended at %+v", last)
	}
	meft := table.Rows[0]
	for i, r := range table.Rows[1:] {
		if r.Method != list[i+1].name {
			t.Errorf("row %d is %s, wants %s", i+1, r.Method, list[i+1].name)
		}
		// One more of a rank or a neuron takes up to 2 % of this memory.
		if r.DeviceBytes > meft.DeviceBytes || r.DeviceBytes < meft.DeviceBytes*97/100 {
			t.Errorf("device memory: meft %d, %s %d", meft.DeviceBytes, r.Method, r.DeviceBytes)
		}
		if meft.HostBytes <= r.HostBytes || meft.Trained <= r.Trained {
			t.Errorf("meft's adapter is not the larger one: %+v, %+v", meft, r)
		}
	}
	// Four people's facts are few: a handful of steps teaches some of them.
	if meft.EMAfter <= meft.EMBefore {
		t.Errorf("exact match %v before, %v after", meft.EMBefore, meft.EMAfter)
	}
	// The base model was trained on its world until it knew it.
	if table.OldBefore < 0.9 {
		t.Errorf("the base model answers %v of its own world's questions", table.OldBefore)
	}
}

func TestDemonstrationStopsWhenAsked(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	_, err := Run(ctx, Options{People: 2, Steps: 1000}, func(e Event) {
		if e.Done == 2 {
			cancel()
		}
	})
	if err == nil || ctx.Err() == nil {
		t.Errorf("ended with %v", err)
	}
}
