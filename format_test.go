package meft

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"meft/task"
	"meft/train"
)

// The page that defines the files names every option, with its other names and
// default, and every key of the JSON that runs, adapters and evaluations write.
func TestFormatPageNamesEveryOptionAndKey(t *testing.T) {
	data, err := os.ReadFile("docs/format.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	// A code span, so that a word of the text does not stand in for a name.
	wanted := func(what, name string) {
		if !strings.Contains(page, "`"+name+"`") {
			t.Errorf("%s: `%s` is not in docs/format.md", what, name)
		}
	}
	for _, o := range Options() {
		for _, name := range append([]string{o.Name}, o.Aliases...) {
			wanted("option", name)
		}
		for _, choice := range o.Choices {
			wanted("value of "+o.Name, choice)
		}
	}
	for _, k := range task.All() {
		wanted("task", k.Name)
		for _, v := range k.Variants {
			wanted("variant of "+k.Name, v.Name)
		}
		for _, m := range k.Marks {
			wanted("mark of "+k.Name, m.FullName())
		}
	}
	for _, form := range task.Forms() {
		wanted("form", form)
	}
	for _, v := range []any{train.Memory{}, train.MemoryGroup{}, train.Dataset{}, train.Step{}, train.Eval{}, train.Saved{}, train.Note{}, train.Done{},
		train.State{}, train.Best{}, task.Report{}, task.ItemScore{}, adapterConfig{}, adapterShape{}, peftConfig{}, promptConfig{},
		MethodInfo{}, MethodSetting{}, MergeResult{}, Difference{}, ExportResult{}, EvalResult{}, Metric{}, PreparedRow{}, Inspection{}, PruneResult{}, PruneLayer{}, sparsityRecord{}, Field{}, InspectTensor{},
		BenchCase{}, TrainBench{}, BenchPart{}, KernelBench{}, KernelSpeed{}, GenerateBench{}, GenerateSpeed{}} {
		typ := reflect.TypeOf(v)
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			if typ.Field(i).Anonymous || !typ.Field(i).IsExported() {
				continue // its own fields are in the JSON
			}
			if name == "" || name == "-" {
				t.Errorf("%v: field %s has no JSON name", typ, typ.Field(i).Name)
				continue
			}
			wanted(typ.String(), name)
		}
	}
}
