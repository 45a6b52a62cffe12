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
	if len(table.Rows) != 2 || table.Rows[0].Method != "meft" || table.Rows[1].Method != "parallel" {
		t.Fatalf("rows are %+v", table.Rows)
	}
	if last.Done != 60 || last.Total != 60 {
		t.Errorf("progress ended at %+v", last)
	}
	meft, parallel := table.Rows[0], table.Rows[1]
	if parallel.DeviceBytes > meft.DeviceBytes || parallel.DeviceBytes < meft.DeviceBytes*99/100 {
		t.Errorf("device memory: meft %d, parallel %d", meft.DeviceBytes, parallel.DeviceBytes)
	}
	if meft.HostBytes <= parallel.HostBytes || meft.Trained <= parallel.Trained {
		t.Errorf("meft's adapter is not the larger one: %+v, %+v", meft, parallel)
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
