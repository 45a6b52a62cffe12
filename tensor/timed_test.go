package tensor

import (
	"reflect"
	"testing"
)

// idle is a device whose kernels do not exist: what a Timed passes on panics,
// after it was counted.
type idle struct{ Device }

func (idle) Sync() error { return nil }

// A kernel that Timed forgot would run unmeasured through the embedded Device.
func TestTimedCountsEveryKernelAndCopy(t *testing.T) {
	seen := map[Op]string{}
	count := func(name string, args func(reflect.Value) []reflect.Value) {
		d := &Timed{Device: idle{}}
		m := reflect.ValueOf(d).MethodByName(name)
		func() {
			defer func() { _ = recover() }()
			m.Call(args(m))
		}()
		calls := int64(0)
		for o, s := range d.Spent {
			if calls += s.Calls; s.Calls > 0 {
				seen[Op(o)] = name
			}
		}
		if calls != 1 {
			t.Errorf("%s was counted %d times", name, calls)
		}
	}
	zeros := func(m reflect.Value) []reflect.Value {
		var in []reflect.Value
		for i := range m.Type().NumIn() {
			in = append(in, reflect.Zero(m.Type().In(i)))
		}
		return in
	}
	kernels := reflect.TypeFor[Kernels]()
	for i := range kernels.NumMethod() {
		count(kernels.Method(i).Name, zeros)
	}
	for _, o := range []MatMulOpts{{TransA: true}, {TransB: true}} {
		count("MatMul", func(m reflect.Value) []reflect.Value {
			in := zeros(m)
			in[3] = reflect.ValueOf(o)
			return in
		})
	}
	count("Upload", zeros)
	count("Download", zeros)
	names := map[string]bool{}
	for o := range Ops {
		if seen[o] == "" {
			t.Errorf("no call is counted as %v", o)
		}
		if names[o.String()] || o.String() == "" {
			t.Errorf("operation %d is called %q", o, o)
		}
		names[o.String()] = true
	}
}

func TestTimedCountsOperationsOfProducts(t *testing.T) {
	d := &Timed{Device: idle{}}
	for _, c := range []struct {
		op        Op
		dst, a, b Tensor
		o         MatMulOpts
	}{
		{OpMatMulNT, shaped(F32, 3, 5), shaped(F32, 3, 4), shaped(F32, 5, 4), MatMulOpts{TransB: true}},
		{OpMatMulNN, shaped(F32, 3, 5), shaped(F32, 3, 4), shaped(F32, 4, 5), MatMulOpts{}},
		{OpMatMulTN, shaped(F32, 3, 5), shaped(F32, 4, 3), shaped(F32, 4, 5), MatMulOpts{TransA: true}},
	} {
		func() {
			defer func() { _ = recover() }()
			d.MatMul(c.dst, c.a, c.b, c.o)
		}()
		if got := d.Spent[c.op].Flops; got != 2*3*4*5 {
			t.Errorf("%v: %v operations, want 120", c.op, got)
		}
	}
}
